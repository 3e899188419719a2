--- A tokenizer's files in a model folder: tokenizer.json and what stands beside it, to plain data
--- and back. lua/sppo/tokenizer.lua makes the tokenizer; what the engine checks is left to it.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local json = require 'sppo.json'

local M = {}

local LLAMA3 = [[(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|]] ..
  [[ ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+]]
local QWEN2 = [[(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|]] ..
  [[ ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+]]

local function byte_level(use_regex)
  return { type = 'ByteLevel', add_prefix_space = false, trim_offsets = true,
    use_regex = use_regex }
end

local function sequence(first, use_regex)
  return { type = 'Sequence', pretokenizers = { first, byte_level(use_regex) } }
end

local function split(regex)
  return sequence({ type = 'Split', pattern = { Regex = regex }, behavior = 'Isolated',
    invert = false }, false)
end

--- Pattern of the engine -> pre_tokenizer of tokenizer.json.
local pre_tokenizers = {
  gpt2 = byte_level(true),
  smollm = sequence({ type = 'Digits', individual_digits = true }, true),
  ['llama-bpe'] = split(LLAMA3),
  qwen2 = split(QWEN2),
}

local function given(value)
  if value ~= json.null then return value end
end

--- The same text for the same splitting, whatever is left out or does not matter.
local function canonical(p)
  if type(p) ~= 'table' then return tostring(p) end
  if p.type == 'Sequence' and type(p.pretokenizers) == 'table' then
    local parts = {}
    for i, part in ipairs(p.pretokenizers) do parts[i] = canonical(part) end
    return table.concat(parts, ', ')
  end
  if p.type == 'ByteLevel' then
    return ('ByteLevel(add_prefix_space=%s, use_regex=%s)'):format(
      tostring(p.add_prefix_space ~= false), tostring(p.use_regex ~= false))
  end
  if p.type == 'Digits' then
    return ('Digits(individual=%s)'):format(tostring(p.individual_digits == true))
  end
  if p.type == 'Split' then
    local pattern = type(p.pattern) == 'table' and p.pattern.Regex or 'a string'
    return ('Split(%s, %s, invert=%s)'):format(tostring(pattern), tostring(p.behavior),
      tostring(p.invert == true))
  end
  return tostring(p.type)
end

local function pattern_of(pre_tokenizer)
  local found = canonical(pre_tokenizer)
  for name, known in pairs(pre_tokenizers) do
    if canonical(known) == found then return name end
  end
  return nil, ('its pre-tokenizer is none of gpt2, smollm, llama-bpe, qwen2: %s'):format(
    found:sub(1, 300))
end

-- ---- reading ----

--- nil, or what this version does not do of a tokenizer.json.
local function unsupported(document)
  local model, normalizer = document.model, given(document.normalizer)
  if type(model) ~= 'table' or (model.type ~= nil and model.type ~= 'BPE') then
    return 'its model is not BPE'
  end
  if type(model.vocab) ~= 'table' or type(model.merges) ~= 'table' then
    return 'its model has no vocab or no merges'
  end
  for _, key in ipairs { 'dropout', 'unk_token', 'continuing_subword_prefix', 'end_of_word_suffix',
    'byte_fallback' } do
    local value = given(model[key])
    if value and value ~= '' then
      return ('model.%s is %s, this version reads byte-level BPE without it'):format(key,
        tostring(value))
    end
  end
  if normalizer ~= nil and (type(normalizer) ~= 'table' or normalizer.type ~= 'NFC') then
    return ('normalizer %s is not supported, only NFC is'):format(
      tostring(type(normalizer) == 'table' and normalizer.type or normalizer))
  end
end

--- The added tokens as a list, and by id; nil, text.
local function read_added(list)
  if list ~= nil and type(list) ~= 'table' then return nil, 'added_tokens is not an array' end
  local added, by_id = {}, {}
  for i, a in ipairs(list or {}) do
    if type(a) ~= 'table' or type(a.content) ~= 'string' or type(a.id) ~= 'number' then
      return nil, ('added_tokens[%d] has no content or no id'):format(i - 1)
    end
    for _, flag in ipairs { 'single_word', 'lstrip', 'rstrip' } do
      if a[flag] == true then
        return nil, ('added_tokens[%d] has %s, which is not supported'):format(i - 1, flag)
      end
    end
    added[i] = { id = a.id, text = a.content, special = a.special == true }
    by_id[a.id] = a.content
  end
  return added, by_id
end

--- Merges as "left right", from that form or from pairs; nil, text.
local function read_merges(list)
  local merges = {}
  for i, merge in ipairs(list) do
    if type(merge) == 'table' and type(merge[1]) == 'string' and type(merge[2]) == 'string' then
      merge = merge[1] .. ' ' .. merge[2]
    end
    if type(merge) ~= 'string' then
      return nil, ('merges[%d] is neither a string nor two'):format(i - 1)
    end
    merges[i] = merge
  end
  return merges
end

--- A document of the folder, {} if it has none; nil, err.
local function read_optional(path)
  if not files.exists(path) then return {} end
  local document, err = files.json(path)
  if document == nil then return nil, err end
  if type(document) ~= 'table' then return nil, path .. ': not an object' end
  return document
end

local function id_of(document, text)
  text = given(text)
  if type(text) == 'table' then text = text.content end
  if type(text) ~= 'string' then return nil end
  for _, a in ipairs(given(document.added_tokens) or {}) do
    if a.content == text then return a.id end
  end
  return document.model.vocab[text]
end

--- Beginning, end and chat template, from the files beside tokenizer.json; nil, err.
local function read_config(path, document, found)
  local config, err = read_optional(path .. '/tokenizer_config.json')
  if not config then return nil, err end
  local generation
  generation, err = read_optional(path .. '/generation_config.json')
  if not generation then return nil, err end

  found.bos_id = id_of(document, config.bos_token)
  found.eos_ids = { id_of(document, config.eos_token) }
  local more = given(generation.eos_token_id)
  for _, id in ipairs(type(more) == 'table' and more or { more }) do
    if id ~= found.eos_ids[1] then found.eos_ids[#found.eos_ids + 1] = id end
  end

  local template = given(config.chat_template)
  if type(template) == 'table' then -- several with names
    local named = template
    template = nil
    for _, t in ipairs(named) do
      if type(t) == 'table' and t.name == 'default' then template = t.template end
    end
  end
  if files.exists(path .. '/chat_template.jinja') then
    template, err = files.read(path .. '/chat_template.jinja', 2^20)
    if not template then return nil, err end
  end
  found.chat_template = type(template) == 'string' and template or nil
  return found
end

--- The plain data of a folder's tokenizer: pattern, count, normal { text = id }, added, merges,
--- whole_words, nfc, bos_id, eos_ids, chat_template; nil, err.
---@param path string
function M.read(path)
  local file = path .. '/tokenizer.json'
  local document, err = files.json(file)
  if document == nil then return nil, err end
  local function bad(text)
    engine.kind('format', file .. ': ' .. text)
    return nil, file .. ': ' .. text
  end
  if type(document) ~= 'table' then return bad('not an object') end
  local text = unsupported(document)
  if text then return bad(text) end
  local found = { count = 0, normal = {}, whole_words = document.model.ignore_merges == true,
    nfc = given(document.normalizer) ~= nil }
  local by_id
  found.pattern, text = pattern_of(given(document.pre_tokenizer))
  if not found.pattern then return bad(text) end
  found.added, by_id = read_added(given(document.added_tokens))
  if not found.added then return bad(by_id) end
  found.merges, text = read_merges(document.model.merges)
  if not found.merges then return bad(text) end

  -- A token may stand both in the vocabulary and among the added ones: the latter say what it is.
  for token, id in pairs(document.model.vocab) do
    if type(token) ~= 'string' or type(id) ~= 'number' or id % 1 ~= 0 then
      return bad('model.vocab is not an object of ids')
    end
    if by_id[id] == nil then
      found.normal[token] = id
      found.count = found.count + 1
    elseif by_id[id] ~= token then
      return bad(('id %d is two tokens, in model.vocab and in added_tokens'):format(id))
    end
  end
  found.count = found.count + #found.added
  return read_config(path, document, found)
end

-- ---- writing ----

--- GPT-2's letter for each byte.
local letters = {}
do
  local next_letter = 0x100
  for byte = 0, 255 do
    local code = byte
    if byte <= 0x20 or (byte >= 0x7F and byte <= 0xA0) or byte == 0xAD then
      code, next_letter = next_letter, next_letter + 1
    end
    letters[string.char(byte)] = code < 0x80 and string.char(code) or
      string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64)
  end
end

--- What tokenizer.json and GGUF call each token, by id from 0.
---@param t sppo.Tokenizer
---@return table<integer, string>
function M.token_names(t)
  local names = {}
  for id = 0, t.vocab_size - 1 do names[id] = t:bytes(id):gsub('.', letters) end
  for _, token in ipairs(t.specials) do names[token.id] = token.text end
  return names
end

--- "key": value lines of an object, in the order given; json.encode would sort 49,152 ids by name.
local function object(lines) return '{\n' .. table.concat(lines, ',\n') .. '\n}' end

local function added_token(token)
  return { content = token.text, single_word = false, lstrip = false, rstrip = false,
    normalized = false, special = token.special }
end

local function model_text(t, names)
  local vocab, merges = {}, {}
  for id = 0, t.vocab_size - 1 do
    vocab[id + 1] = ('%s: %d'):format(json.encode(names[id]), id)
  end
  for rank = 0, t:merge_count() - 1 do
    local left, right = t:merge(rank)
    merges[rank + 1] = json.encode(names[left] .. ' ' .. names[right])
  end
  return object {
    '"type": "BPE"', '"dropout": null', '"unk_token": null', '"continuing_subword_prefix": ""',
    '"end_of_word_suffix": ""', '"fuse_unk": false', '"byte_fallback": false',
    '"ignore_merges": ' .. tostring(t.whole_words),
    '"vocab": ' .. object(vocab),
    '"merges": [\n' .. table.concat(merges, ',\n') .. '\n]',
  }
end

--- Writes the files that hold tokenizer `t` into `folder`.
---@param t sppo.Tokenizer
---@param folder string
function M.write(t, folder)
  local names, added, decoder = M.token_names(t), {}, {}
  for i, token in ipairs(t.specials) do
    added[i] = added_token(token)
    added[i].id = token.id
    decoder[tostring(token.id)] = added_token(token)
  end
  files.write(folder .. '/tokenizer.json', object {
    '"version": "1.0"', '"truncation": null', '"padding": null',
    '"added_tokens": ' .. json.encode(json.array(added)),
    '"normalizer": ' .. (t.nfc and '{"type": "NFC"}' or 'null'),
    '"pre_tokenizer": ' .. json.encode(pre_tokenizers[t.pattern]),
    '"post_processor": null',
    '"decoder": ' .. json.encode(byte_level(true)),
    '"model": ' .. model_text(t, names),
  } .. '\n')

  local ends = { bos_token = names[t.bos_id], eos_token = names[t.eos_ids[1]] }
  local function write(name, value)
    files.write(folder .. '/' .. name, json.encode(json.object(value), { indent = true }) .. '\n')
  end
  write('special_tokens_map.json', ends)
  write('tokenizer_config.json', {
    tokenizer_class = 'PreTrainedTokenizerFast',
    added_tokens_decoder = json.object(decoder),
    bos_token = ends.bos_token,
    eos_token = ends.eos_token,
    chat_template = t.chat_template,
    clean_up_tokenization_spaces = false,
  })
  write('generation_config.json', {
    bos_token_id = t.bos_id,
    eos_token_id = json.array({ unpack(t.eos_ids) }),
  })
end

return M
