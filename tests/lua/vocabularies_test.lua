--- Vocabulary-only GGUFs of llama.cpp against the ids that it publishes with them
--- (ggml-vocab-NAME.gguf, .gguf.inp, .gguf.out), and its ids of 20,000 made strings
--- (tests/golden/vocabularies.json); SmolLM2's of the same strings. SPPO_VOCABULARIES names a
--- folder of them; tools/fetch-vocabularies makes one.

local files = require 'sppo.files'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local parity = require 'support.parity'
local strings = require 'support.strings'
local tokenizer = require 'sppo.tokenizer'

local tests = {}

local ROOT = (...):match('^(.*)/tests/') or '.'
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

--- The made strings of tests/golden/tokenizers.json, a block of them a digest.
local function same_ids(t, name, reference)
  local made = assert(files.json(ROOT .. '/tests/golden/tokenizers.json'))
  local golden = assert(files.json(ROOT .. '/tests/golden/vocabularies.json')).vocabularies[name]
  local make, wrong, block = strings.maker(made.lists, made.seed), {}, 0
  for digest in golden.blocks:gmatch('%x+') do
    block = block + 1
    local lines = {}
    for i = 1, made.block do
      local ids = t:encode(make())
      if block == 1 and i == 1 then lu.assertEquals(ids, golden.first) end
      lines[i] = table.concat(ids, ' ') .. '\n'
    end
    if files.sha256(table.concat(lines)):sub(1, 12) ~= digest then wrong[#wrong + 1] = block end
  end
  lu.assertEquals(block * made.block, made.count)
  parity.note('tokenizer', name .. ' (GGUF)', 'ids of made strings', reference, #wrong, made.count)
  lu.assertEquals(wrong, {}, name)
end

for _, name in ipairs(read) do
  tests['test_made_' .. name:gsub('%W', '_')] = function()
    same_ids(assert(tokenizer.from_gguf(assert(files.gguf(path_of(name))))), name, 'llama.cpp')
  end
end

function tests.test_made_smollm2()
  local path = model_of.home() .. '/models/smollm2-135m-instruct/model.gguf'
  if not files.exists(path) then lu.skip(('no %s (tools/fetch-model smollm2)'):format(path)) end
  same_ids(assert(tokenizer.from_gguf(assert(files.gguf(path)))), 'smollm2', 'transformers')
end

function tests.test_refused()
  for name, text in pairs(refused) do
    local t, err = tokenizer.from_gguf(assert(files.gguf(path_of(name))))
    lu.assertNil(t, name)
    lu.assertStrContains(err, text)
  end
end

return tests
