--- `sppo export`, GGUF files and folders of our own: read back they are the same model.
---
--- SPPO_EXPORTS=PATH keeps the GGUF files there, and in expected.json the likeliest tokens that
--- follow some prompts: for tools/golden/exports.py, which asks llama.cpp for them.

local compare = require 'support.compare'
local files = require 'sppo.files'
local gguf = require 'sppo.gguf'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local sample = require 'sppo.sample'
local scope = require 'sppo.scope'
local segments = require 'sppo.segments'
local shell = require 'support.shell'
local small_model = require 'support.small_model'
local tensor = require 'sppo.tensor'

local tests = {}

local prompt = { 5, 0, 1, 2, 3, 4, 0, 0, 1, 6 }

local function logits(model)
  return scope.run(function()
    local at = segments.new { { count = #prompt } }
    return model.net.lm_head(model.net(tensor.ints(prompt), at)):tolist()
  end)
end

--- A random model of a config beside the sizes that all have, with the tokenizer of the small one.
local function random(folder, more)
  local config = { vocab_size = 8, hidden_size = 64, intermediate_size = 96, num_hidden_layers = 2,
    num_attention_heads = 4, num_key_value_heads = 2, max_position_embeddings = 16384,
    eos_token_id = 6 }
  for key, value in pairs(more) do config[key] = value end
  local model = model_of.random(config, 4)
  for _, p in ipairs(nn.parameters(model.net)) do -- norms and biases that are not 1 and 0
    local t = p.owner[p.key]
    if #t.shape == 1 then
      scope.run(function() t:copy_(t + tensor.zeros(t.shape):normal_(0, 0.1, #p.name)) end)
    end
  end
  small_model.write(folder, 1)
  model.tokenizer = assert(model_of.open(folder, { tokenizer_only = true })).tokenizer
  model.tokenizer.eos_ids = { 6 }
  return model
end

local kinds = {
  llama = { model_type = 'llama' },
  tied = { model_type = 'llama', tie_word_embeddings = true, rope_theta = 500000 },
  biased = { model_type = 'llama', attention_bias = true },
  linear = { model_type = 'llama', rope_scaling = { rope_type = 'linear', factor = 4 } },
  llama31 = { model_type = 'llama', rope_theta = 500000, rope_scaling = { rope_type = 'llama3',
    factor = 8, low_freq_factor = 1, high_freq_factor = 4,
    original_max_position_embeddings = 8192 } },
  mistral = { model_type = 'mistral', sliding_window = json.null },
  qwen2 = { model_type = 'qwen2', rope_theta = 1000000 },
  gemma2 = { model_type = 'gemma2', head_dim = 20, query_pre_attn_scalar = 20,
    sliding_window = 4096 },
}

--- The likeliest tokens after prompts, to the one that ends a text: { prompt, tokens } of each.
local function greedy(model)
  local prompts, cases = {}, {}
  for i = 1, 12 do
    prompts[i] = { id = i, tokens = {} }
    for j = 1, 3 + i do prompts[i].tokens[j] = (i * j + j) % 8 end
  end
  sample.run(model, prompts, { k = 1, max_new_tokens = 24, stop_ids = { 6 }, temperature = 0 },
    function(number, answers)
      cases[number] = { prompt = prompts[number].tokens, tokens = answers[1].tokens }
    end)
  return cases
end

function tests.test_gguf_reads_back()
  local keep, expected = os.getenv 'SPPO_EXPORTS', {}
  shell.in_folder(function(folder)
    for name, more in pairs(kinds) do
      local model = random(folder .. '/' .. name, more)
      local want = logits(model)
      for dtype, far in pairs { f32 = 1e-6, f16 = 2e-3, bf16 = 2e-2, q8_0 = 2e-2 } do
        local path = ('%s/%s-%s.gguf'):format(folder, name, dtype)
        assert(gguf.write(model, path, dtype))
        local again = assert(model_of.open(path))
        compare.close(logits(again), want, far, name .. ' ' .. dtype, 1)
        lu.assertEquals(again.tokenizer:encode('ab ba\n'), model.tokenizer:encode('ab ba\n'))
        lu.assertEquals(again.tokenizer.eos_ids, { 6 })
        lu.assertEquals(again.template, model.tokenizer.chat_template)
        if keep and dtype == 'f32' then
          assert(gguf.write(model, ('%s/%s.gguf'):format(keep, name), dtype))
          expected[name] = greedy(again)
        end
        model_of.release(again)
      end
      model_of.release(model)
    end
  end)
  if keep then files.write(keep .. '/expected.json', json.encode(expected)) end
end

function tests.test_what_llama_cpp_would_not_compute()
  shell.in_folder(function(folder)
    local function refused(more, text)
      local model = random(folder .. '/x', more)
      local ok, err = gguf.write(model, folder .. '/x.gguf', 'f16')
      lu.assertNil(ok)
      lu.assertStrContains(err, text)
      lu.assertFalse(files.exists(folder .. '/x.gguf'))
      model_of.release(model)
    end
    refused({ model_type = 'mistral', sliding_window = 100 }, 'a sliding window of 100')
    refused({ model_type = 'gemma2', head_dim = 20, query_pre_attn_scalar = 13 },
      'query_pre_attn_scalar is 13, llama.cpp takes 20')
    refused({ model_type = 'gemma2', head_dim = 20, query_pre_attn_scalar = 20,
      attn_logit_softcapping = json.null }, 'attn_logit_softcapping is off')
    refused({ model_type = 'llama', mlp_bias = true }, 'mlp_bias')
  end)
end

function tests.test_verb()
  shell.in_folder(function(folder)
    small_model.write(folder .. '/m', 3)
    local want = logits(assert(model_of.open(folder .. '/m')))
    local code, out = shell.sppo { 'export', folder .. '/m', folder .. '/out.gguf', '--dtype',
      'f32' }
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, 'out.gguf: f32, 0.')
    compare.close(logits(assert(model_of.open(folder .. '/out.gguf'))), want, 1e-6, 'gguf', 1)
    code = shell.sppo { 'export', folder .. '/m', folder .. '/hf', '--dtype', 'f32' }
    lu.assertEquals(code, 0)
    compare.same_bits(logits(assert(model_of.open(folder .. '/hf'))), want, 'folder')
    lu.assertStrContains(shell.read(folder .. '/hf/README.md'), 'library_name: transformers')
    local function fails(arguments, wanted_code, text)
      local c, _, err = shell.sppo(arguments)
      lu.assertEquals(c, wanted_code, err)
      lu.assertStrContains(err, text)
    end
    fails({ 'export', folder .. '/m', folder .. '/hf' }, 2,
      ('is there already\ntry: sppo export %s/m %s/hf --force\n'):format(folder, folder))
    fails({ 'export', folder .. '/m', folder, '--force' }, 2, 'is no model folder')
    fails({ 'export', folder .. '/m', folder .. '/y', '--dtype', 'q8_0' }, 2, 'bf16, f32')
    fails({ 'export', folder .. '/nothing', folder .. '/y' }, 6, 'no model there')
    code = shell.sppo { 'export', folder .. '/m', folder .. '/hf', '--force' }
    lu.assertEquals(code, 0)
  end)
end

--- Weights of a run carry its figures and its recipe.
function tests.test_card()
  shell.in_folder(function(folder)
    small_model.write(folder .. '/base', 1)
    files.make_folder(folder .. '/run')
    files.make_folder(folder .. '/run/round-1')
    small_model.write(folder .. '/run/round-1/weights', 2)
    files.write(folder .. '/run/recipe.lua', '-- ```\nreturn {}\n')
    files.write(folder .. '/run/recipe.resolved.json', json.encode {
      policy = { model = 'the-start' }, seed = 7 })
    files.write(folder .. '/run/metrics.jsonl',
      '{"round":0,"eval/pass_rate":0.25}\n{"round":1,"eval/win_rate":0.625}\n')
    local code = shell.sppo { 'export', folder .. '/run/round-1/weights', folder .. '/hf' }
    lu.assertEquals(code, 0)
    local card = shell.read(folder .. '/hf/README.md')
    for _, part in ipairs { 'the-start after 1 round of self-play', '| start |  |  |  | 0.250 |  |',
      '| 1 | 0.625 |', '````lua\n-- ```\nreturn {}\n````', '"seed": 7' } do
      lu.assertStrContains(card, part)
    end
    -- A GGUF says of which run and round it is.
    code = shell.sppo { 'export', folder .. '/run/round-1/weights', folder .. '/x.gguf' }
    lu.assertEquals(code, 0)
    local _, out = shell.sppo { 'inspect', folder .. '/x.gguf' }
    lu.assertStrMatches(out, '.*general.name +run%-round%-1\n.*')
  end)
end

return tests
