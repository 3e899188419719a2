--- A tokenizer's files in a model folder, tokenizer.json or a model file and what stands beside it,
--- to plain data. lua/sppo/tokenizer.lua makes the tokenizer; what the engine checks is left to it.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local json = require 'sppo.json'
local spm = require 'sppo.tokenizer_spm'
local tokenizer_steps = require 'sppo.tokenizer_steps'
local tokenizer_write = require 'sppo.tokenizer_write'

local C = engine.C

local M = {}

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
  for name, known in pairs(tokenizer_write.pre_tokenizers) do
    if canonical(known) == found then return name end
  end
  return nil, ('its pre-tokenizer is none of gpt2, smollm, llama-bpe, qwen2: %s'):format(
    found:sub(1, 300))
end

-- ---- reading ----

--- nil, or what this version does not do of a BPE model.
local function unsupported(model)
  if type(model.vocab) ~= 'table' or type(model.merges) ~= 'table' then
    return 'its model has no vocab or no merges'
  end
  for _, key in ipairs { 'dropout', 'continuing_subword_prefix', 'end_of_word_suffix' } do
    local value = given(model[key])
    if value and value ~= '' then
      return ('model.%s is %s, this version reads BPE without it'):format(key, tostring(value))
    end
  end
end

--- Whether the model's tokens are text of characters, as SentencePiece's are, not GPT-2's letters.
local function is_of_characters(document)
  local p, model = given(document.pre_tokenizer), document.model
  return model.type == 'Unigram' or model.byte_fallback == true or p == nil or
    (type(p) == 'table' and p.type == 'Metaspace')
end

--- The added tokens as a list, and by id; nil, text.
local function read_added(list)
  if list ~= nil and type(list) ~= 'table' then return nil, 'added_tokens is not an array' end
  local added, by_id = {}, {}
  for i, a in ipairs(list or {}) do
    if type(a) ~= 'table' or type(a.content) ~= 'string' or type(a.id) ~= 'number' then
      return nil, ('added_tokens[%d] has no content or no id'):format(i - 1)
    end
    if a.single_word == true then
      return nil, ('added_tokens[%d] has single_word, which is not supported'):format(i - 1)
    end
    added[i] = { id = a.id, text = a.content, special = a.special == true,
      lstrip = a.lstrip == true, rstrip = a.rstrip == true }
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

--- What a config says of a token, its text or an object with it, as an id; nil for none.
local function id_of(found, text)
  text = given(text)
  if type(text) == 'table' then text = text.content end
  if type(text) ~= 'string' then return nil end
  for _, a in ipairs(found.added) do
    if a.text == text then return a.id end
  end
  for _, token in ipairs(found.tokens) do
    if token.text == text then return token.id end
  end
end

--- Names of beginning and end where no config names them, as SentencePiece models have them.
local usual = { bos = { '<s>', '<bos>', '[CLS]' }, eos = { '</s>', '<eos>', '[SEP]' } }

local function usual_id(found, which)
  for _, text in ipairs(found.form == 'PIECES' and usual[which] or {}) do
    local id = id_of(found, text)
    if id then return id end
  end
end

local function read_template(path, config)
  local template = given(config.chat_template)
  if type(template) == 'table' then -- several with names
    local named = template
    template = nil
    for _, t in ipairs(named) do
      if type(t) == 'table' and t.name == 'default' then template = t.template end
    end
  end
  if files.exists(path .. '/chat_template.jinja') then
    return files.read(path .. '/chat_template.jinja', 2^20)
  end
  return type(template) == 'string' and template or nil
end

--- Beginning, end and chat template, from the files beside the vocabulary; nil, err.
local function read_config(path, config, found)
  local generation, err = read_optional(path .. '/generation_config.json')
  if not generation then return nil, err end
  found.bos_id = id_of(found, config.bos_token) or found.bos_id or usual_id(found, 'bos')
  local eos = id_of(found, config.eos_token)
  if eos or not found.eos_ids then found.eos_ids = { eos or usual_id(found, 'eos') } end
  local more, seen = given(generation.eos_token_id), {}
  for _, id in ipairs(found.eos_ids) do seen[id] = true end
  for _, id in ipairs(type(more) == 'table' and more or { more }) do
    if not seen[id] then found.eos_ids[#found.eos_ids + 1] = id end
  end
  found.chat_template, err = read_template(path, config)
  if err then return nil, err end
  return found
end

--- The vocabulary of a BPE model, with the added tokens: count, tokens, merges; or text.
local function read_vocab(document, found, by_id, byte_fallback)
  local text
  found.merges, text = read_merges(document.model.merges)
  if not found.merges then return text end
  -- A token may stand both in the vocabulary and among the added ones: the latter say what it is.
  for token, id in pairs(document.model.vocab) do
    if type(token) ~= 'string' or type(id) ~= 'number' or id % 1 ~= 0 then
      return 'model.vocab is not an object of ids'
    end
    if by_id[id] == nil then
      local is_byte = byte_fallback and token:find('^<0x%x%x>$')
      found.tokens[#found.tokens + 1] = { id = id, text = token,
        kind = is_byte and C.SPPO_TOKEN_BYTE or C.SPPO_TOKEN_NORMAL }
    elseif by_id[id] ~= token then
      return ('id %d is two tokens, in model.vocab and in added_tokens'):format(id)
    end
  end
  found.count = #found.tokens + #found.added
end

--- BPE of bytes, in GPT-2's letters. nil, text.
local function read_bytes(document, added, by_id)
  local text = unsupported(document.model)
  if text then return nil, text end
  for _, key in ipairs { 'unk_token', 'byte_fallback' } do
    local value = given(document.model[key])
    if value and value ~= '' then
      return nil, ('model.%s is %s, byte-level BPE is read without it'):format(key, tostring(value))
    end
  end
  local found = { form = 'LETTERS', tokens = {}, added = added,
    whole_words = document.model.ignore_merges == true }
  found.steps, text = tokenizer_steps.of_normalizer(document.normalizer)
  if not found.steps then return nil, text end
  if #found.steps == 1 and found.steps[1][1] == 'NFC' then found.nfc, found.steps = true, {} end
  found.pattern, text = pattern_of(given(document.pre_tokenizer))
  if not found.pattern then return nil, text end
  text = read_vocab(document, found, by_id, false)
  if text then return nil, text end
  return found
end

--- BPE of characters, as it is made from a SentencePiece model. nil, text.
local function read_characters(document, added, by_id)
  local model = document.model
  local text = unsupported(model)
  if text then return nil, text end
  local found = { form = 'CHARACTERS', tokens = {}, added = added, spaced = true,
    whole_words = model.ignore_merges == true, fuse_unknown = model.fuse_unk == true }
  text = read_vocab(document, found, by_id, model.byte_fallback == true)
  if text then return nil, text end
  local unknown = given(model.unk_token)
  found.unknown = id_of(found, unknown)
  if unknown and not found.unknown then
    return nil, ('model.unk_token %s is not in the vocabulary'):format(tostring(unknown))
  end
  return found
end

--- A Unigram model, for the library. nil, text.
local function read_unigram(document, added)
  local model = document.model
  if type(model.vocab) ~= 'table' then return nil, 'its model has no vocab' end
  local special = {}
  for _, a in ipairs(added) do special[a.id] = a.special end
  local m = spm.new { unigram = 1, byte_fallback = model.byte_fallback == true and 1 or 0,
    hugging_face = 1 }
  for i, entry in ipairs(model.vocab) do
    local id, token, score = i - 1, nil, nil
    if type(entry) == 'table' then token, score = entry[1], entry[2] end
    if type(token) ~= 'string' or type(score) ~= 'number' then
      return nil, ('model.vocab[%d] is not a text and a score'):format(id)
    end
    local kind = C.SPPO_PIECE_NORMAL
    if id == model.unk_id then kind = C.SPPO_PIECE_UNKNOWN
    elseif special[id] then kind = C.SPPO_PIECE_CONTROL
    elseif model.byte_fallback == true and token:find('^<0x%x%x>$') then
      kind = C.SPPO_PIECE_BYTE
    end
    if C.sppo_spm_add(m, token, #token, score, kind) ~= 0 then
      return nil, engine.ffi.string(C.sppo_last_error())
    end
  end
  return spm.data(m, added)
end

--- The scheme of a tokenizer.json whose model is read from the SentencePiece file beside it.
local function scheme_of(document)
  local p = given(document.pre_tokenizer)
  if type(p) == 'table' and p.type == 'Sequence' and type(p.pretokenizers) == 'table' then
    for _, part in ipairs(p.pretokenizers) do
      if type(part) == 'table' and part.type == 'Metaspace' then p = part end
    end
  end
  if type(p) == 'table' and p.type == 'Metaspace' then return tokenizer_steps.scheme(p) end
  return 'always' -- or never, where the model file says so
end

--- The plain data of a tokenizer.json, `name` the SentencePiece file beside it; nil, text.
local function read_document(path, document, name)
  if type(document) ~= 'table' then return nil, 'not an object' end
  local model = document.model
  if type(model) ~= 'table' or (model.type ~= nil and model.type ~= 'BPE' and
    model.type ~= 'Unigram') then
    return nil, ('its model is %s; BPE and Unigram are read'):format(
      tostring(type(model) == 'table' and model.type or model))
  end
  local added, by_id = read_added(given(document.added_tokens))
  if not added then return nil, by_id end
  if not is_of_characters(document) then return read_bytes(document, added, by_id) end
  local found, text
  if name then
    found, text = spm.read(path .. '/' .. name, added)
    if not found then return nil, text, true end
    if found.form == 'PIECES' then return spm.set_scheme(found, scheme_of(document)) end
  end
  if model.type == 'Unigram' then found, text = read_unigram(document, added)
  else found, text = read_characters(document, added, by_id) end
  if not found then return nil, text end
  found.steps, text = tokenizer_steps.of_normalizer(document.normalizer)
  if not found.steps then return nil, text end
  local pattern, strip = tokenizer_steps.add_pre_tokenizer(found.steps, document.pre_tokenizer)
  if not pattern then return nil, strip end
  found.pattern, found.strip_space = pattern, strip
  return found
end

--- Tokens that the files beside a bare SentencePiece model add; nil, err.
local function beside(path, config)
  local added, seen = {}, {}
  for id, a in pairs(given(config.added_tokens_decoder) or {}) do
    if type(a) ~= 'table' or type(a.content) ~= 'string' or not tonumber(id) then
      local text = ('%s/tokenizer_config.json: added_tokens_decoder.%s has no content'):format(path,
        tostring(id))
      engine.kind('format', text)
      return nil, text
    end
    added[#added + 1] = { id = tonumber(id), text = a.content, special = a.special == true,
      lstrip = a.lstrip == true, rstrip = a.rstrip == true }
    seen[tonumber(id)] = true
  end
  local more, err = read_optional(path .. '/added_tokens.json')
  if not more then return nil, err end
  for text, id in pairs(more) do
    if type(id) == 'number' and not seen[id] then
      added[#added + 1] = { id = id, text = text, special = true }
    end
  end
  table.sort(added, function(a, b) return a.id < b.id end)
  return added
end

--- Files of a folder that hold its tokenizer: written again beside a model that is saved.
local copied = { 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json',
  'added_tokens.json', 'generation_config.json', 'chat_template.jinja' }

local function read_copies(path, name)
  local copies = {}
  local function add(file)
    if not files.exists(path .. '/' .. file) then return end
    local text, err = files.read(path .. '/' .. file)
    if not text then return err end
    copies[file] = text
  end
  for _, file in ipairs(copied) do
    local err = add(file)
    if err then return nil, err end
  end
  local err = name and add(name)
  if err then return nil, err end
  return copies
end

--- Plain data of the vocabulary alone, from tokenizer.json or, without one, the model file; and
--- the file it came from. nil, err.
local function read_vocabulary(path, config, name)
  local file = path .. '/tokenizer.json'
  if files.exists(file) or not name then
    local document, err = files.json(file)
    if document == nil then return nil, err end
    local found, text, whole = read_document(path, document, name)
    if found then return found end
    err = whole and text or file .. ': ' .. text
    engine.kind('format', err)
    return nil, err
  end
  local added, err = beside(path, config)
  if not added then return nil, err end
  local found
  found, err = spm.read(path .. '/' .. name, added)
  if found and found.form == 'PIECES' then
    local scheme = config.legacy == false and 'first' or 'always'
    if config.add_prefix_space == false then scheme = 'never' end
    found, err = spm.set_scheme(found, scheme)
    if err then err = path .. '/' .. name .. ': ' .. err end
  end
  if found then return found end
  engine.kind('format', err)
  return nil, err
end

--- The plain data of a folder's tokenizer; nil, err. Fields: form, pattern, count, tokens (a list
--- of { id, text, kind }), added (of { id, text, special, lstrip, rstrip }), merges, steps,
--- whole_words, nfc, unknown, fuse_unknown, spm, spaced and strip_space (tokens write a space as
--- U+2581; decoding drops the first), bos_id, eos_ids, chat_template, copies (the files, where they
--- are not made anew).
---@param path string
function M.read(path)
  local name = spm.find(path)
  local config, err = read_optional(path .. '/tokenizer_config.json')
  if not config then return nil, err end
  local found
  found, err = read_vocabulary(path, config, name)
  if not found then return nil, err end
  if found.form ~= 'LETTERS' or #found.steps > 0 then
    found.copies, err = read_copies(path, name)
    if not found.copies then return nil, err end
  end
  return read_config(path, config, found)
end

return M
