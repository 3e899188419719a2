--- SentencePiece, tiktoken and tokenizer.json of characters: small models made here, and real ones
--- against ids of the reference packages (tests/golden/tokenizers.json). Real files are looked for
--- in SPPO_TEST_DATA, or shared/data beside the repository.

local base64 = require 'sppo.base64'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local spm = require 'sppo.tokenizer_spm'
local parity = require 'support.parity'
local shell = require 'support.shell'
local strings = require 'support.strings'
local tokenizer = require 'sppo.tokenizer'

local C = engine.C
local ROOT = (...):match('^(.*)/tests/') or '.'
local DATA = os.getenv('SPPO_TEST_DATA') or ROOT .. '/../shared/data'
local SPACE = '▁'

local M = {}

local golden

local function load_golden()
  golden = golden or assert(files.json(ROOT .. '/tests/golden/tokenizers.json'))
  return golden
end

--- The path of a vocabulary of the golden file; skips the test where it is not there.
local function vocabulary(name)
  local path = DATA .. '/tokenizers/' .. name
  if not files.exists(path) then
    lu.skip(('no %s (a folder with tokenizers/, in SPPO_TEST_DATA)'):format(path))
  end
  lu.assertEquals(assert(files.sha256_file(path)), load_golden().sha256[name], path)
  return path
end

local opened = {}

local function open(name)
  local path = vocabulary(name)
  opened[name] = opened[name] or assert(tokenizer.from_file(path))
  return opened[name]
end

local function temporary()
  local path = os.tmpname()
  os.remove(path)
  files.make_folder(path)
  return path
end

--- The tokenizer of a folder with these files: text, or a value to be written as JSON. nil, err.
local function from_files(contents)
  local folder = temporary()
  for name, content in pairs(contents) do
    files.write(folder .. '/' .. name, type(content) == 'table' and json.encode(content) or content)
  end
  local t, err = tokenizer.from_folder(folder)
  files.remove(folder)
  return t, err
end

-- ---- against the reference ----

local function digest_of(t, texts)
  local lines = {}
  for i, text in ipairs(texts) do lines[i] = table.concat(t:encode(text), ' ') .. '\n' end
  return files.sha256(table.concat(lines)):sub(1, 12)
end

--- The package that the golden ids of a vocabulary are of.
local function package_of(name)
  return name:find 'json$' and 'tokenizers' or name:find 'tiktoken$' and 'tiktoken' or
    'sentencepiece'
end

--- Compares 20,000 made strings, and all lines of the prompt files, with what the golden file says.
local function same_as_reference(t, name)
  local g = load_golden()
  local expected, make, wrong = g.vocabularies[name], strings.maker(g.lists, g.seed), {}
  local block = 0
  for digest in expected.blocks:gmatch('%x+') do
    block = block + 1
    local texts = {}
    for i = 1, g.block do texts[i] = make() end
    if block == 1 then lu.assertEquals(t:encode(texts[1]), expected.first) end
    if digest_of(t, texts) ~= digest then wrong[#wrong + 1] = block end
  end
  lu.assertEquals(block * g.block, g.count)
  lu.assertEquals(wrong, {}, name)
  parity.note('tokenizer', name, 'ids of made strings', package_of(name), #wrong,
    g.count)
  for file, digest in pairs(expected.prompts) do
    local path = DATA .. '/prompts/' .. file
    if files.exists(path) and files.sha256_file(path) == g.prompts_sha256[file] then
      local texts = {}
      for line in (assert(files.read(path)) .. '\n'):gmatch('(.-)\n') do
        texts[#texts + 1] = line
      end
      lu.assertEquals(digest_of(t, texts), digest, name .. ' ' .. file)
      parity.note('tokenizer', name, 'ids of lines of prompts', package_of(name), 0,
        #texts)
    end
  end
end

function M.test_mistral_ids()
  same_as_reference(open 'mistral-v1.spm.model', 'mistral-v1.spm.model')
end

function M.test_deberta_ids()
  same_as_reference(open 'deberta-v3.spm.model', 'deberta-v3.spm.model')
end

function M.test_llama3_ids() same_as_reference(open 'llama3.tiktoken', 'llama3.tiktoken') end

function M.test_unigram_ids()
  same_as_reference(open 'unigram-1000.spm.model', 'unigram-1000.spm.model')
end

--- Pieces of a model file: a list of { text, score, kind }, and ids by text.
local function pieces_of(path)
  local data, box = assert(files.read(path)), engine.ffi.new('sppo_spm *[1]')
  engine.try(C.sppo_spm_parse(box, data, #data))
  local m = engine.ffi.gc(box[0], C.sppo_spm_free)
  local text, length = engine.ffi.new('const char *[1]'), engine.ffi.new('int64_t[1]')
  local score, kind = engine.ffi.new('double[1]'), engine.ffi.new('int[1]')
  local pieces, ids = {}, {}
  for id = 0, tonumber(C.sppo_spm_count(m)) - 1 do
    engine.try(C.sppo_spm_piece(m, id, text, length, score, kind))
    local piece = engine.ffi.string(text[0], length[0])
    pieces[id + 1] = { piece, score[0], kind[0] }
    ids[piece] = id
  end
  return pieces, ids
end

local LEGACY = { type = 'Sequence', normalizers = {
  { type = 'Prepend', prepend = SPACE },
  { type = 'Replace', pattern = { String = ' ' }, content = SPACE },
} }

--- Mistral's tokenizer.json, as bpe_json of tools/golden/tokenizers_ids.py makes it.
local function mistral_json()
  local pieces, ids = pieces_of(vocabulary 'mistral-v1.spm.model')
  local merges = {}
  for _, piece in ipairs(pieces) do
    local text, starts = piece[1], {}
    for at in text:gmatch('()[%z\1-\127\192-\255][\128-\191]*') do starts[#starts + 1] = at end
    local lengths = {}
    for i = 2, #starts do
      local left, right = text:sub(1, starts[i] - 1), text:sub(starts[i])
      if ids[left] and ids[right] then
        lengths[#lengths + 1] = { left, right, piece[2], i - 1, #starts - i + 1 }
      end
    end
    for _, merge in ipairs(lengths) do merges[#merges + 1] = merge end
  end
  local function order(a, b)
    if a[3] ~= b[3] then return a[3] > b[3] end
    if a[4] ~= b[4] then return a[4] > b[4] end
    if a[5] ~= b[5] then return a[5] > b[5] end
    return ids[a[1]] < ids[b[1]]
  end
  table.sort(merges, order)
  for i, merge in ipairs(merges) do merges[i] = { merge[1], merge[2] } end
  return {
    added_tokens = json.array {}, normalizer = LEGACY, pre_tokenizer = json.null,
    model = { type = 'BPE', unk_token = '<unk>', fuse_unk = true, byte_fallback = true,
      vocab = ids, merges = merges },
  }
end

function M.test_mistral_json_ids()
  local document = mistral_json()
  local t = assert(from_files { ['tokenizer.json'] = document })
  lu.assertEquals(t.form, 'CHARACTERS')
  same_as_reference(t, 'mistral-v1.json')
  lu.assertEquals(t:decode(t:encode(' Hé  🚀\n')), ' Hé  🚀\n')
  lu.assertEquals(t:id(' the'), 272)

  -- Beside its model file, that is used.
  local bytes = assert(files.read(vocabulary 'mistral-v1.spm.model'))
  document.added_tokens = { { id = 1, content = '<s>', special = true },
    { id = 2, content = '</s>', special = true }, { id = 32000, content = '[X]' } }
  t = assert(from_files { ['tokenizer.json'] = document, ['tokenizer.model'] = bytes,
    ['tokenizer_config.json'] = { bos_token = '<s>', eos_token = '</s>' } })
  lu.assertEquals(tostring(t), 'Tokenizer(32001 tokens, sentencepiece)')
  lu.assertEquals({ t.bos_id, t.eos_ids }, { 1, { 2 } })
  lu.assertEquals(t:encode_pieces { { text = '<s>', special = true }, { text = '[INST] </s>a' } },
    { 1, 733, 16289, 28793, 1867, 28713, 28767, 28708 })
  lu.assertEquals(t:encode('[X]')[1], 32000)
end

function M.test_unigram_json_ids()
  local vocab = {}
  for _, piece in ipairs((pieces_of(vocabulary 'unigram-1000.spm.model'))) do
    if piece[3] <= C.SPPO_PIECE_UNKNOWN then vocab[#vocab + 1] = { piece[1], piece[2] } end
  end
  local t = assert(from_files { ['tokenizer.json'] = {
    added_tokens = json.array {},
    normalizer = { type = 'Sequence', normalizers = {
      { type = 'NFKC' }, { type = 'Strip', strip_left = true, strip_right = true },
      { type = 'Replace', pattern = { Regex = ' {2,}' }, content = ' ' },
    } },
    pre_tokenizer = { type = 'Metaspace', replacement = SPACE, prepend_scheme = 'always',
      split = true },
    model = { type = 'Unigram', unk_id = 0, byte_fallback = false, vocab = vocab },
  } })
  same_as_reference(t, 'unigram-1000.json')
end

--- Ids of what text keeps give the text back; of what is normalised first, the same ids again.
function M.test_round_trips()
  local g = load_golden()
  local names = { 'mistral-v1.spm.model', 'llama3.tiktoken', 'deberta-v3.spm.model' }
  for _, name in ipairs(names) do
    local t, make = open(name), strings.maker(g.lists, 7)
    local exact = name ~= 'deberta-v3.spm.model'
    for _ = 1, 5000 do
      local text = make()
      local ids = t:encode(text)
      local back = t:decode(ids)
      if name == 'mistral-v1.spm.model' then text = text:gsub(SPACE, ' ') end
      if exact then lu.assertEquals(back, text)
      elseif not back:find('^ ') and not text:find('[%z\1-\31]') then
        lu.assertEquals(t:decode(t:encode(back)), back)
      end
      local stream, parts = t:stream(), {}
      for i, id in ipairs(ids) do parts[i] = stream:push(id) end
      parts[#parts + 1] = stream:finish()
      lu.assertEquals(table.concat(parts), back)
    end
  end
end

--- A million of the same character takes seconds, whatever the tokenizer.
function M.test_long_runs()
  for _, name in ipairs { 'mistral-v1.spm.model', 'deberta-v3.spm.model', 'unigram-1000.spm.model',
    'llama3.tiktoken' } do
    local t = open(name)
    for _, letter in ipairs { 'a', ' ', '\n', '漢', 'a ' } do
      local begin = os.clock()
      t:encode(letter:rep(1000000))
      lu.assertTrue(os.clock() - begin < 30, name)
    end
    lu.assertErrorMsgContains('more than', t.encode, t, ('a'):rep(17 * 2^20))
  end
end

function M.test_written_models_read_back()
  for _, name in ipairs { 'mistral-v1.spm.model', 'llama3.tiktoken' } do
    local t, folder = open(name), temporary()
    t:write(folder)
    local again = assert(tokenizer.from_folder(folder))
    files.remove(folder)
    lu.assertEquals(again.vocab_size, t.vocab_size)
    lu.assertEquals(again:encode('Hello  world\n 漢 1234'), t:encode('Hello  world\n 漢 1234'))
    lu.assertEquals(again.specials, t.specials)
  end
end

function M.test_llama3_specials()
  local t = open 'llama3.tiktoken'
  lu.assertEquals(t.vocab_size, 128256)
  lu.assertEquals(t.bos_id, 128000)
  lu.assertEquals(t.eos_ids, { 128001, 128009 })
  lu.assertEquals(t:encode_pieces {
    { text = '<|begin_of_text|><|start_header_id|>assistant<|end_header_id|>\n\n', special = true },
    { text = '<|eot_id|>' },
  }, { 128000, 128006, 78191, 128007, 271, 27, 91, 68, 354, 851, 91, 29 })
  for _, id in ipairs(t:encode('<|eot_id|><|begin_of_text|>')) do lu.assertTrue(id < 128000) end
end

-- ---- small models ----

--- A model of pieces { text, score, kind }, unfinished.
local function small_model(pieces, options)
  local m = spm.new(options or { add_dummy_prefix = 1, escape_whitespaces = 1 })
  for _, piece in ipairs(pieces) do
    engine.try(C.sppo_spm_add(m, piece[1], #piece[1], piece[2] or 0, piece[3] or 1))
  end
  return m
end

local PIECES = { { '<unk>', 0, 2 }, { '<s>', 0, 3 }, { '</s>', 0, 3 }, { SPACE, -4 }, { 'a', -5 },
  { 'b', -6 }, { 'ab', -1 }, { SPACE .. 'ab', -2 }, { '<start_of_turn>', 0, 4 }, { '[u]', 0, 4 } }

local function small_bytes(pieces, options)
  local m = small_model(pieces or PIECES, options)
  engine.try(C.sppo_spm_finish(m))
  local data, length = engine.ffi.new('const char *[1]'), engine.ffi.new('int64_t[1]')
  engine.try(C.sppo_spm_bytes(m, data, length))
  return engine.ffi.string(data[0], length[0])
end

function M.test_small_model()
  local t = assert(from_files { ['spm.model'] = small_bytes() })
  lu.assertEquals(t:encode('ab  ab'), { 7, 3, 7 })
  lu.assertEquals(t:encode('xyaz'), { 3, 0, 4, 0 }) -- unknown characters in a row are one
  lu.assertEquals(t:encode(''), {})
  lu.assertEquals(t:decode { 7, 3, 7 }, 'ab  ab')
  lu.assertEquals(t:decode { 4, 7, 1 }, 'a ab<s>')
  lu.assertEquals({ t.bos_id, t.eos_ids }, { 1, { 2 } })
  -- Special pieces as text are text; those called user-defined are found in any.
  lu.assertEquals(t:encode('<s>ab'), { 3, 0, 6 })
  lu.assertEquals(t:encode('<start_of_turn>'), { 3, 0, 4, 0 })
  lu.assertEquals(t:encode('ab[u]b'), { 7, 9, 5 })
  lu.assertEquals(t:encode_pieces { { text = '<s>ab<start_of_turn>', special = true },
    { text = 'ab</s>' } }, { 1, 7, 8, 7, 0 })
  lu.assertErrorMsgContains('not UTF-8 (at byte 2)', t.encode, t, 'ab\255')
end

--- In a GGUF file, whose metadata the reader takes, it gives the same ids.
function M.test_small_model_in_gguf()
  local t = assert(from_files { ['spm.model'] = small_bytes() })
  shell.in_folder(function(folder)
    local path = folder .. '/m.gguf'
    files.gguf_writer(path, {}, function(w)
      w:string('general.architecture', 'llama')
      require('sppo.gguf_tokenizer').write(w, { tokenizer = t,
        config = { vocab_size = t.vocab_size + 2 } })
    end)
    local g = assert(files.gguf(path))
    local again = assert(tokenizer.from_gguf(g))
    lu.assertEquals(again.vocab_size, t.vocab_size + 2)
    for _, text in ipairs { 'ab  ab', 'xyaz', '<s>ab', 'ab[u]b', '<start_of_turn>' } do
      lu.assertEquals(again:encode(text), t:encode(text))
    end
    lu.assertEquals({ again.bos_id, again.eos_ids[1] }, { t.bos_id, t.eos_ids[1] })
  end)
end

--- What ends a text is special even where a file calls it the user's own: what a user writes is not
--- read as it.
function M.test_ends_in_gguf_are_special()
  shell.in_folder(function(folder)
    local function ids(name, metadata)
      local path = ('%s/%s.gguf'):format(folder, name)
      files.gguf_writer(path, {}, metadata)
      local t = assert(tokenizer.from_gguf(assert(files.gguf(path))))
      return { t:encode 'a</s>', t:encode 'a[u]', t:encode_pieces { { text = 'a' },
        { text = '</s>', special = true } } }
    end
    lu.assertEquals(ids('pieces', function(w)
      w:string('tokenizer.ggml.model', 'llama')
      w:strings('tokenizer.ggml.tokens', { '<unk>', '</s>', '[u]', SPACE .. 'a', '<', '/', 's',
        '>', SPACE, 'a' })
      w:numbers('tokenizer.ggml.scores', 'f32', { 0, 0, 0, -1, -2, -3, -4, -5, -6, -7 })
      w:numbers('tokenizer.ggml.token_type', 'i32', { 2, 4, 4, 1, 1, 1, 1, 1, 1, 1 })
      w:number('tokenizer.ggml.unknown_token_id', 'u32', 0)
      w:number('tokenizer.ggml.eos_token_id', 'u32', 1)
    end), { { 3, 4, 5, 6, 7 }, { 3, 2 }, { 3, 1 } })
    lu.assertEquals(ids('bytes', function(w)
      w:string('tokenizer.ggml.model', 'gpt2')
      w:string('tokenizer.ggml.pre', 'gpt-2')
      w:strings('tokenizer.ggml.tokens', { 'a', '</s>', '[u]', '<', '/', 's', '>' })
      w:numbers('tokenizer.ggml.token_type', 'i32', { 1, 4, 4, 1, 1, 1, 1 })
      w:strings('tokenizer.ggml.merges', {})
      w:number('tokenizer.ggml.eos_token_id', 'u32', 1)
    end), { { 0, 3, 4, 5, 6 }, { 0, 2 }, { 0, 1 } })
  end)
end

--- Where a folder says that no space, or one in front of the first text only, is added.
function M.test_prefix_schemes()
  local function ids(config)
    local t = assert(from_files { ['tokenizer.model'] = small_bytes(),
      ['tokenizer_config.json'] = config })
    return t:encode_pieces { { text = 'ab' }, { text = '<s>ab', special = true } }
  end
  lu.assertEquals(ids {}, { 7, 1, 7 })
  lu.assertEquals(ids { legacy = false }, { 7, 1, 6 })
  lu.assertEquals(ids { add_prefix_space = false }, { 6, 1, 6 })
end

function M.test_added_tokens_of_a_model()
  local t = assert(from_files { ['tokenizer.model'] = small_bytes(), ['tokenizer_config.json'] = {
    added_tokens_decoder = {
      ['9'] = { content = '[u]', special = true },
      ['10'] = { content = '<m>', special = true, lstrip = true, rstrip = true },
    },
    eos_token = '<m>',
  } })
  lu.assertEquals(t.vocab_size, 11)
  lu.assertEquals(t.eos_ids, { 10 })
  lu.assertEquals(t:encode('[u]<m>'), { 3, 0 })
  lu.assertEquals(t:encode_pieces { { text = 'ab \n<m>\t  ab', special = true } }, { 7, 10, 7 })
  local _, err = from_files { ['tokenizer.model'] = small_bytes(), ['tokenizer_config.json'] = {
    added_tokens_decoder = { ['4'] = { content = 'z', special = true } } } }
  lu.assertStrContains(err, 'id 4 is a in the SentencePiece model and z in added_tokens')
end

function M.test_hostile_models()
  local good = small_bytes()
  local function fails(bytes, text)
    local t, err = from_files { ['tokenizer.model'] = bytes }
    lu.assertNil(t)
    lu.assertStrContains(err, 'tokenizer.model: ')
    lu.assertStrContains(err, text)
  end
  fails('', 'is empty')
  fails('hello world', 'sentencepiece: ')
  fails(good:sub(1, 40), 'longer than what is left')
  fails('\10\255\255\255\255\255\255\255\255\255\1a', 'longer than what is left (at byte 11)')
  fails(('\255'):rep(11), 'a number of more than 64 bits')
  fails('\10\3\10\1a', '0 pieces of type unknown')
  fails(good .. '\18\2\24\3', 'model type 3 is not supported')
  fails('\10\2\10\0' .. good, 'piece 0 has 0 bytes, it may have 1..256')
  fails('\10\4\10\2a\0' .. good, 'piece 0 has a NUL in it')
  fails('\10\3\10\1\255' .. good, 'piece 0 is not UTF-8')
  fails('\10\8\10\1z\21\0\0\192\127' .. good, 'piece 0 has score nan')
  fails('\10\5\10\1z\24\9' .. good, 'piece 0 has type 9')
  fails('\10\3\10\1a' .. good, 'pieces 0 and 5 are the same')
  fails('\26\4\18\2ab' .. good, 'the map of characters is cut off')
  local long = ('a'):rep(2^20)
  fails('\10\132\128\64\10\128\128\64' .. long, '1048576 bytes, it may have 1..256')
  local nested = {}
  for i = 1, 62 do nested[i] = { ('n'):rep(i), 0, 4 } end
  lu.assertErrorMsgContains('more than 60 user-defined pieces begin piece 61', function()
    nested[#nested + 1] = { '<unk>', 0, 2 }
    small_bytes(nested)
  end)
  lu.assertErrorMsgContains('1 of 256 bytes have a piece, byte fallback is on', function()
    small_bytes({ { '<unk>', 0, 2 }, { '<0x00>', 0, 6 } }, { byte_fallback = 1 })
  end)
end

--- A double array of 256 units in which the root's child for `byte` is at `byte` and has a leaf.
local function charsmap(texts, change)
  local units = {}
  for i = 0, 255 do units[i] = 2^31 end
  units[0] = 2^10 * 256 -- offset 256: children in the second block
  for i = 256, 767 do units[i] = 2^31 end
  units[256 + 97] = 97 + 2^8 + 2^10 * bit.bxor(256 + 97, 512) -- 'a', its children at 512
  units[512] = 2^31 -- the value: offset 0 of the texts
  if change then change(units) end
  local parts = {}
  for i = 0, 767 do
    local u = units[i]
    parts[i + 1] = string.char(u % 256, math.floor(u / 256) % 256, math.floor(u / 65536) % 256,
      math.floor(u / 16777216))
  end
  return '\0\12\0\0' .. table.concat(parts) .. texts
end

function M.test_charsmaps()
  local function set(map)
    local m = small_model(PIECES)
    local status = C.sppo_spm_set_charsmap(m, map, #map)
    if status ~= 0 then return engine.ffi.string(C.sppo_last_error()) end
    engine.try(C.sppo_spm_finish(m))
    local data, length = engine.ffi.new('const char *[1]'), engine.ffi.new('int64_t[1]')
    engine.try(C.sppo_spm_bytes(m, data, length))
    return assert(from_files { ['spm.model'] = engine.ffi.string(data[0], length[0]) })
  end
  lu.assertEquals(set(charsmap('b\0')):encode('ab'), { 3, 5, 5 })
  lu.assertStrContains(set(charsmap('b')), 'does not end in a NUL')
  lu.assertStrContains(set(charsmap(('b'):rep(17) .. '\0')), 'more than 16 times as long')
  lu.assertStrContains(set(charsmap('\255\0')), 'not UTF-8')
  lu.assertStrContains(set(charsmap('b\0', function(u) u[512] = 2^31 + 9 end)), 'without a text')
  lu.assertStrContains(set(charsmap('b\0', function(u) u[0] = 2^10 * 4096 end)),
    'outside of itself')
  lu.assertStrContains(set(charsmap('b\0', function(u) -- 'a' again and again
    u[256 + 97] = 97 + 2^10 * 97
  end)), 'a rule of more than 31 bytes')
  lu.assertStrContains(set('\0\12\0\0abc'), 'is cut off')
  -- As a step of tokenizer.json: the same map.
  local t = assert(from_files { ['tokenizer.json'] = {
    normalizer = { type = 'Precompiled', precompiled_charsmap = 'AAwAAA==' }, pre_tokenizer =
      json.null, model = { type = 'BPE', byte_fallback = true, vocab = { a = 0 },
      merges = json.array {} } } } == nil)
  lu.assertTrue(t)
end

-- ---- tokenizer.json ----

--- A tokenizer.json of characters; `change` edits it. nil, err.
local function small_json(change)
  local document = {
    added_tokens = { { id = 0, content = '<unk>', special = true },
      { id = 7, content = '<end>', special = true, rstrip = true } },
    normalizer = json.null,
    pre_tokenizer = { type = 'Metaspace', replacement = SPACE, prepend_scheme = 'first' },
    model = { type = 'BPE', unk_token = '<unk>', fuse_unk = false, byte_fallback = true,
      vocab = { ['<unk>'] = 0, a = 1, b = 2, ab = 3, [SPACE] = 4, [SPACE .. 'ab'] = 5,
        ['<0x63>'] = 6 },
      merges = { 'a b', { SPACE, 'ab' } } },
  }
  if change then change(document) end
  return from_files { ['tokenizer.json'] = document }
end

function M.test_small_json()
  local t = assert(small_json())
  lu.assertEquals(t:encode('ab ab'), { 5, 5 })
  lu.assertEquals(t:encode('ab  cab'), { 5, 4, 4, 6, 3 })
  lu.assertEquals(t:encode('xxa'), { 4, 0, 0, 1 }) -- unknown, not fused
  lu.assertEquals(t:encode(' ab'), { 5 }) -- no second space in front
  lu.assertEquals(t:encode_pieces { { text = 'ab<end> \n ab', special = true } }, { 5, 7, 3 })
  lu.assertEquals(t:decode { 5, 6, 5 }, 'abc ab')

  t = assert(small_json(function(d)
    d.pre_tokenizer.prepend_scheme = 'never'
    d.model.fuse_unk = true
    d.normalizer = { type = 'Sequence', normalizers = { { type = 'Strip' }, { type = 'NFKC' },
      { type = 'Replace', pattern = { Regex = ' {2,}' }, content = ' ' },
      { type = 'Replace', pattern = { String = 'z' }, content = 'ab' } } }
  end))
  lu.assertEquals(t:encode(' \n z   ｂxx\t'), { 3, 4, 2, 0 })
  lu.assertEquals(t:decode { 5 }, ' ab')
  t = assert(small_json(function(d)
    d.model.ignore_merges, d.model.merges = true, json.array {}
  end))
  lu.assertEquals(t:encode('ab abb'), { 5, 4, 1, 2, 2 })
end

function M.test_what_json_does_not_do()
  local function fails(text, change)
    local t, err = small_json(change)
    lu.assertNil(t)
    lu.assertStrContains(err, '/tokenizer.json: ')
    lu.assertStrContains(err, text)
  end
  fails('its model is WordPiece; BPE and Unigram are read', function(d)
    d.model.type = 'WordPiece'
  end)
  fails('model.dropout is 0.1', function(d) d.model.dropout = 0.1 end)
  fails('normalizer Lowercase is not supported', function(d)
    d.normalizer = { type = 'Lowercase' }
  end)
  fails('normalizer.normalizers[0].pattern \\s+ is not supported', function(d)
    d.normalizer = { type = 'Sequence', normalizers = {
      { type = 'Replace', pattern = { Regex = '\\s+' }, content = ' ' } } }
  end)
  fails('normalizer.precompiled_charsmap is not base64', function(d)
    d.normalizer = { type = 'Precompiled', precompiled_charsmap = '!' }
  end)
  fails('the map of characters is cut off', function(d)
    d.normalizer = { type = 'Precompiled', precompiled_charsmap = 'AAAA' }
  end)
  fails('pre_tokenizer BertPreTokenizer is not supported', function(d)
    d.pre_tokenizer = { type = 'BertPreTokenizer' }
  end)
  fails('pre_tokenizer.prepend_scheme is last', function(d)
    d.pre_tokenizer.prepend_scheme = 'last'
  end)
  fails('pre_tokenizer.replacement is _', function(d) d.pre_tokenizer.replacement = '_' end)
  fails('added_tokens[1] has single_word', function(d) d.added_tokens[2].single_word = true end)
  fails('model.unk_token <none> is not in the vocabulary', function(d)
    d.model.unk_token = '<none>'
  end)
  fails('model.vocab[0] is not a text and a score', function(d)
    d.model = { type = 'Unigram', vocab = { { 'a' } } }
  end)
  fails('0 pieces of type unknown', function(d)
    d.added_tokens = json.array {}
    d.model = { type = 'Unigram', vocab = { { 'a', 0 } } }
  end)
end

-- ---- rank files and base64 ----

function M.test_hostile_rank_files()
  local function fails(text, err_text)
    local t, err = from_files { ['tokenizer.model'] = text }
    lu.assertNil(t)
    lu.assertStrContains(err, 'tokenizer.model: ' .. err_text)
  end
  fails('YQ== 0\nYg== 1\n', '2 ranks; of rank files only Llama-3\'s with 128000 is read')
  fails('YQ== 0\nYg== 2\n', 'line 2 has rank 2, ranks count from 0')
  fails('YQ== 0\nYg 1\n', 'line 2 is not base64 and a rank')
  fails('YQ== 0\n!\n', 'line 2 is not base64 and a rank')
end

function M.test_base64()
  for bytes, text in pairs { [''] = '', a = 'YQ==', ab = 'YWI=', abc = 'YWJj', ['\0\255'] = 'AP8=',
    ['\251\239\190'] = '++++' } do
    lu.assertEquals(base64.decode(text), bytes)
  end
  for _, text in ipairs { 'a', 'YQ=', 'YQ===', 'Y Q=', 'YQ==\n', '=' } do
    lu.assertNil(base64.decode(text))
  end
end

return M
