--- `sppo gen`, `chat` and `rank` with --device cuda, each a process of its own, beside the same on
--- the CPU.

local compare = require 'support.compare'
local devices = require 'support.devices'
local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local pairrm = require 'sppo.pairrm'
local shell = require 'support.shell'
local small_model = require 'support.small_model'
local weights = require 'sppo.weights'

local missing = devices.missing()
if missing then return missing end

local tests = {}

--- What a verb writes; it must succeed.
local function output(words, device)
  local list = { unpack(words) }
  list[#list + 1], list[#list + 2] = '--device', device
  local code, out, err = shell.sppo(list)
  lu.assertEquals({ code, err }, { 0, '' })
  return out
end

--- f32: the CPU's tokens. The others round what they multiply elsewhere than the CPU does; the
--- likeliest tokens of this model are the same all the same.
function tests.test_gen()
  shell.in_folder(function(folder)
    small_model.write(folder .. '/m', 4)
    for _, dtype in ipairs { 'f32', 'bf16', 'q8_0' } do
      local words = { 'gen', folder .. '/m', 'ab', '-k', '3', '--max-new-tokens', '12', '--seed',
        '5', '--dtype', dtype }
      if dtype ~= 'f32' then words[#words + 1], words[#words + 2] = '--temperature', '0' end
      local cpu, cuda = output(words, 'cpu'), output(words, 'cuda')
      lu.assertTrue(#cpu > 60)
      lu.assertEquals(cuda, cpu, dtype)
    end
    local code, _, err = shell.sppo { 'gen', folder .. '/m', 'ab', '--device', 'cud' }
    lu.assertEquals(code, 2)
    lu.assertStrContains(err, "gen: unknown device 'cud' (did you mean 'cuda'?)")
  end)
end

function tests.test_chat()
  shell.in_folder(function(folder)
    small_model.write(folder .. '/m', 4)
    local function talk(device)
      local code, out, err = shell.run("printf 'ab\\nba\\n' | " .. shell.program { 'chat',
        folder .. '/m', '--max-new-tokens', '6', '--dtype', 'f32', '--device', device })
      lu.assertEquals({ code, err }, { 0, '' })
      return out
    end
    local want = talk 'cpu'
    lu.assertTrue(#want > 2)
    lu.assertEquals(talk 'cuda', want)
  end)
end

--- A folder with a random DeBERTa ranker whose tokenizer knows the letters a and b.
local function write_ranker(folder)
  local config = shell.golden('pairrm.json').config
  for key, value in pairs { vocab_size = 16, hidden_size = 16, intermediate_size = 16,
    cls_token_id = 4, sep_token_id = 5, source_prefix_id = 6, cand1_prefix_id = 7,
    cand2_prefix_id = 8 } do config[key] = value end
  local small, added = pairrm.random(config, 3), {}
  files.make_folder(folder)
  files.write(folder .. '/config.json', json.encode(config))
  weights.save(small.net, folder .. '/model.safetensors', 'f32')
  for i, text in ipairs { '[CLS]', '[SEP]', '<|source|>', '<|candidate1|>', '<|candidate2|>' } do
    added[i] = { id = 3 + i, content = text, special = true }
  end
  files.write(folder .. '/tokenizer.json', json.encode {
    added_tokens = added, normalizer = json.null,
    pre_tokenizer = { type = 'ByteLevel', add_prefix_space = false, trim_offsets = true },
    model = { type = 'BPE', unk_token = json.null, merges = { 'a b' },
      vocab = { a = 0, b = 1, ab = 2, ['Ġ'] = 3 } },
  })
end

function tests.test_rank()
  shell.in_folder(function(folder)
    write_ranker(folder .. '/m')
    local list = folder .. '/list.jsonl'
    files.write(list, '{"prompt": "ab", "answers": ["a", "bb a", "b"]}\n')
    local words = { 'rank', folder .. '/m', list, '--json' }
    local want, got = json.decode(output(words, 'cpu')), json.decode(output(words, 'cuda'))
    lu.assertEquals(got.ranks, want.ranks)
    for i = 1, 3 do compare.close(got.logits[i], want.logits[i], 1e-5, 'logits', 1) end
  end)
end

return tests
