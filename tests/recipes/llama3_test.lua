--- recipes/llama3.lua whole, unchanged but for sizes: a random Llama-3 of two layers with the real
--- tokenizer, judged by a random PairRM with the real DeBERTa tokenizer. The two vocabularies are
--- in SPPO_TEST_DATA, or shared/data beside the repository (tokenizers/).

local files = require 'sppo.files'
local llama3 = require 'support.llama3'
local lu = require 'luaunit'
local shell = require 'support.shell'

local tests = {}

local DATA = (os.getenv 'SPPO_TEST_DATA' or shell.root() .. '/../shared/data') .. '/tokenizers/'

local function vocabulary(name)
  local text = files.read(DATA .. name)
  if not text then lu.skip(('no %s%s (a folder with tokenizers/, in SPPO_TEST_DATA)'):format(DATA,
    name)) end
  return text
end

function tests.test_runs_whole()
  vocabulary 'llama3.tiktoken'
  shell.in_folder(function(home)
    llama3.write(home, vocabulary)
    local out = home .. '/run'
    local code, _, err = shell.sppo({ 'run', 'recipes/llama3.lua', 'out=' .. out, '--quiet',
      'train.lr=1e-3', unpack(llama3.sizes) }, { SPPO_HOME = home })
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
