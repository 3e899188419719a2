--- Vocabulary-only GGUFs of llama.cpp against the ids that it publishes with them
--- (ggml-vocab-NAME.gguf, .gguf.inp, .gguf.out). SPPO_VOCABULARIES names a folder of them;
--- tools/fetch-vocabularies makes one.

local files = require 'sppo.files'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local parity = require 'support.parity'
local tokenizer = require 'sppo.tokenizer'

local tests = {}

local FOLDER = os.getenv 'SPPO_VOCABULARIES' or model_of.home() .. '/data/vocabularies'
local BETWEEN = '\n__ggml_vocab_test__\n'

--- Which of them this version reads.
local read = { 'gpt-2', 'llama-bpe', 'llama-spm', 'mpt', 'phi-3', 'qwen2', 'refact', 'starcoder' }

--- What is said of the others: of models that are not among ours.
local refused = {
  aquila = 'pre-tokenizer \'default\' is none of',
  ['bert-bge'] = 'tokenizer.ggml.model is \'bert\'; this version reads',
  ['command-r'] = 'pre-tokenizer \'command-r\' is none of',
  ['deepseek-coder'] = 'pre-tokenizer \'deepseek-coder\' is none of',
  ['deepseek-llm'] = 'pre-tokenizer \'deepseek-llm\' is none of',
  falcon = 'pre-tokenizer \'falcon\' is none of',
  ['gemma-4'] = 'tokenizer.ggml.model is \'gemma4\'; this version reads',
  ['gpt-neox'] = 'pre-tokenizer \'default\' is none of',
  ['nomic-bert-moe'] = 'tokenizer.ggml.model is \'t5\'; this version reads',
  qwen35 = 'pre-tokenizer \'qwen35\' is none of',
}

local function path_of(name)
  local path = ('%s/ggml-vocab-%s.gguf'):format(FOLDER, name)
  if not files.exists(path) then
    lu.skip(('no %s (tools/fetch-vocabularies; or its folder in SPPO_VOCABULARIES)'):format(path))
  end
  return path
end

local function text_of(path)
  local f = assert(io.open(path, 'rb'))
  local text = f:read '*a'
  f:close()
  return text
end

for _, name in ipairs(read) do
  tests['test_' .. name:gsub('%W', '_')] = function()
    local path = path_of(name)
    local t = assert(tokenizer.from_gguf(assert(files.gguf(path))))
    local text, at, cases = text_of(path .. '.inp'), 1, 0
    for line in io.lines(path .. '.out') do
      local first, last = text:find(BETWEEN, at, true)
      local given = text:sub(at, first and first - 1 or #text)
      lu.assertEquals(table.concat(t:encode(given), ' '), line:match '^%s*(.-)%s*$',
        ('%q'):format(given))
      at, cases = last and last + 1 or #text + 1, cases + 1
    end
    lu.assertEquals(at, #text + 1)
    lu.assertTrue(cases > 40)
    parity.note('tokenizer', name .. ' (GGUF)', 'ids of llama.cpp\'s own strings', 'llama.cpp', 0,
      cases)
  end
end

function tests.test_refused()
  for name, text in pairs(refused) do
    local t, err = tokenizer.from_gguf(assert(files.gguf(path_of(name))))
    lu.assertNil(t, name)
    lu.assertStrContains(err, text)
  end
end

return tests
