--- recipes/llama3.lua whole, unchanged but for sizes: a random Llama-3 of two layers with the real
--- tokenizer, judged by a random PairRM with the real DeBERTa tokenizer. The two vocabularies are
--- in SPPO_TEST_DATA, or shared/data beside the repository (tokenizers/).

local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local pairrm = require 'sppo.pairrm'
local shell = require 'support.shell'
local weights = require 'sppo.weights'

local tests = {}

local DATA = (os.getenv 'SPPO_TEST_DATA' or shell.root() .. '/../shared/data') .. '/tokenizers/'

-- Llama-3's form: a header with the role, the text, and the token that ends a turn.
local TEMPLATE = '{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}' ..
  '<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}' ..
  '{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}'

local function vocabulary(name)
  local text = files.read(DATA .. name)
  if not text then lu.skip(('no %s%s (a folder with tokenizers/, in SPPO_TEST_DATA)'):format(DATA,
    name)) end
  return text
end

local function write_policy(folder)
  local model = model_of.random({
    model_type = 'llama', architectures = { 'LlamaForCausalLM' }, vocab_size = 128256,
    hidden_size = 32, intermediate_size = 48, num_hidden_layers = 2, num_attention_heads = 4,
    num_key_value_heads = 2, max_position_embeddings = 512, rope_theta = 500000,
    rms_norm_eps = 1e-5, bos_token_id = 128000, eos_token_id = 128009,
  }, 5, { deviation = 0.3 })
  model_of.save(model, folder, 'bf16')
  model_of.release(model)
  files.write(folder .. '/tokenizer.model', vocabulary 'llama3.tiktoken')
  files.write(folder .. '/tokenizer_config.json', json.encode {
    bos_token = '<|begin_of_text|>', eos_token = '<|eot_id|>', chat_template = TEMPLATE })
end

local function write_ranker(folder)
  local config = pairrm.published 'large'
  config.hidden_size, config.num_hidden_layers = 16, 2
  config.num_attention_heads, config.intermediate_size = 2, 24
  local ranker = pairrm.random(config, 6)
  files.make_folder(folder)
  files.write(folder .. '/config.json', json.encode(config))
  weights.save(ranker.net, folder .. '/model.safetensors', 'f32')
  files.write(folder .. '/spm.model', vocabulary 'deberta-v3.spm.model')
  local added = {}
  for i, text in ipairs { '[MASK]', '<|source|>', '<|candidate1|>', '<|candidate2|>',
    '<|candidate|>' } do
    added[tostring(127999 + i)] = { content = text, special = true }
  end
  files.write(folder .. '/tokenizer_config.json', json.encode { added_tokens_decoder = added })
end

local function write_prompts(path, first)
  local lines = {}
  for i = 1, 3 do
    lines[i] = json.encode { prompt = ('Say number %d in one word, please.'):format(first + i) }
  end
  files.write(path, table.concat(lines, '\n') .. '\n')
end

function tests.test_runs_whole()
  vocabulary 'llama3.tiktoken'
  shell.in_folder(function(home)
    for _, name in ipairs { '/models', '/data', '/data/prompts' } do
      files.make_folder(home .. name)
    end
    write_policy(home .. '/models/llama3-8b')
    write_ranker(home .. '/models/pairrm')
    for round = 1, 3 do
      write_prompts(('%s/data/prompts/ultrafeedback-%d.jsonl'):format(home, round), 3 * round)
    end
    write_prompts(home .. '/data/prompts/ultrafeedback-test.jsonl', 20)
    local out = home .. '/run'
    local code, _, err = shell.sppo({ 'run', 'recipes/llama3.lua', 'out=' .. out, '--quiet',
      'sample.max_new_tokens=6', 'train.batch=2', 'train.lr=1e-3' }, { SPPO_HOME = home })
    lu.assertEquals(code, 0, err)
    local read = function(name) return assert(files.read_records(out .. '/' .. name)) end
    local first = read('round-1/answers.msgpack')[1]
    -- <|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n .. assistant's header.
    lu.assertEquals({ first.prompt[1], first.prompt[2], first.prompt[4] }, { 128000, 128006,
      128007 })
    lu.assertEquals(first.prompt[#first.prompt], 271)
    local p = read('round-1/preference.msgpack')[1].matrix
    lu.assertEquals({ #p, #p[1] }, { 5, 5 })
    lu.assertNotEquals(p[1][2], 0.5)
    for round = 1, 3 do
      lu.assertTrue(#read(('round-%d/rows.msgpack'):format(round)) > 0)
      lu.assertTrue(files.exists(('%s/round-%d/weights/model.safetensors'):format(out, round)))
    end
    local last = shell.metrics(out)
    lu.assertEquals(last[#last].round, 3)
    lu.assertNotNil(last[#last]['eval/win_rate'])
  end)
end

return tests
