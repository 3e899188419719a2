--- SentencePiece models and tiktoken's rank files, to the plain data that lua/sppo/tokenizer.lua
--- makes a tokenizer of. The engine checks the pieces (engine/llm/spm.c).

local base64 = require 'sppo.base64'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'

local ffi, C = engine.ffi, engine.C

local M = {}

local LIMIT = 64 * 2^20 -- bytes of a model file

local text_box = ffi.new('const char *[1]')
local length_box = ffi.new('int64_t[1]')
local kind_box = ffi.new('int[1]')
local number_box = ffi.new('double[1]')

--- Names that a SentencePiece model, or Llama-3's rank file, has in a folder.
M.names = { 'tokenizer.model', 'spm.model', 'spiece.model', 'sentencepiece.bpe.model' }

--- The first of these files in a folder, or nil.
---@param folder string
---@return string? name
function M.find(folder)
  for _, name in ipairs(M.names) do
    if files.exists(folder .. '/' .. name) then return name end
  end
end

local function owned(box) return ffi.gc(box[0], C.sppo_spm_free) end

local spm_options = ffi.typeof('sppo_spm_options')

--- An empty model; options as sppo_spm_options.
function M.new(options)
  local box = ffi.new('sppo_spm *[1]')
  engine.try(C.sppo_spm_new(box, spm_options(options)))
  return owned(box)
end

-- ---- a model's own tokens ----

--- Control tokens that Gemma's model file calls user-defined: in a user's text they are text.
local turns = { ['<start_of_turn>'] = true, ['<end_of_turn>'] = true }

local kinds = {
  [C.SPPO_PIECE_NORMAL] = C.SPPO_TOKEN_NORMAL,
  [C.SPPO_PIECE_UNKNOWN] = C.SPPO_TOKEN_SPECIAL,
  [C.SPPO_PIECE_CONTROL] = C.SPPO_TOKEN_SPECIAL,
  [C.SPPO_PIECE_USER] = C.SPPO_TOKEN_NORMAL, -- the library finds it
  [C.SPPO_PIECE_UNUSED] = C.SPPO_TOKEN_UNUSED,
  [C.SPPO_PIECE_BYTE] = C.SPPO_TOKEN_BYTE,
}

--- Calls f(id, text, kind of piece) for each piece.
local function each_piece(model, f)
  for id = 0, tonumber(C.sppo_spm_count(model)) - 1 do
    engine.try(C.sppo_spm_piece(model, id, text_box, length_box, number_box, kind_box))
    f(id, ffi.string(text_box[0], length_box[0]), kind_box[0])
  end
end

--- A model's pieces by id from 1 on: { text, score, kind }.
---@param model ffi.cdata*
---@return { text: string, score: number, kind: integer }[]
function M.pieces(model)
  local list = {}
  each_piece(model, function(id, text, kind)
    list[id + 1] = { text = text, score = number_box[0], kind = kind }
  end)
  return list
end

--- Plain data of a model that is not finished yet, with the tokens that files beside it add:
--- { id, text, special, lstrip, rstrip }. What they call special is a control piece from here on.
--- nil, text.
---@param model ffi.cdata*
---@param added table[]
function M.data(model, added)
  local found = { form = 'PIECES', pattern = 'none', spm = model, tokens = {}, added = {},
    steps = {}, spaced = true }
  local count, pieces, tokens = tonumber(C.sppo_spm_count(model)), {}, {}
  each_piece(model, function(id, text, kind)
    if kind == C.SPPO_PIECE_USER and turns[text] then
      kind = C.SPPO_PIECE_CONTROL
      engine.try(C.sppo_spm_set_kind(model, id, kind))
    end
    tokens[id] = { id = id, text = text, kind = kinds[kind] }
    pieces[id] = kind
  end)
  for _, a in ipairs(added) do
    local own = tokens[a.id]
    if own and own.text ~= a.text then
      return nil, ('id %d is %s in the SentencePiece model and %s in added_tokens'):format(a.id,
        own.text, a.text)
    end
    local user = own and pieces[a.id] == C.SPPO_PIECE_USER
    if not (own and (user or own.kind == C.SPPO_TOKEN_SPECIAL) and not a.special) then
      if user or pieces[a.id] == C.SPPO_PIECE_NORMAL then
        engine.try(C.sppo_spm_set_kind(model, a.id, C.SPPO_PIECE_CONTROL))
      end
      tokens[a.id] = nil
      found.added[#found.added + 1] = a
      if a.id >= count then count = a.id + 1 end
    end
  end
  for id = 0, count - 1 do found.tokens[#found.tokens + 1] = tokens[id] end
  found.count = count
  return found
end

--- What is put in front of text: 'always' (as the model says), 'first', 'never'. nil, text.
function M.set_scheme(found, scheme)
  local settings = C.sppo_spm_settings(found.spm)
  local prefix = settings.add_dummy_prefix ~= 0
  found.strip_space = prefix and scheme ~= 'never' and settings.whitespace_suffix == 0
  if not prefix or scheme == 'always' then return found end
  if scheme == 'first' then
    if settings.remove_extra_whitespaces ~= 0 then
      return nil, 'a space in front of the first text only, of a model that removes extra spaces, '
        .. 'is not supported'
    end
    found.steps = { { 'PREPEND_FIRST', '', ' ' } }
  end
  settings.add_dummy_prefix = 0
  return found
end

--- Adds to `found` the steps that a unigram model's own settings ask for (SentencePiece's
--- normalizer.cc): its map, spaces at the ends dropped, several as one, U+2581 for a space and in
--- front. The library does the same for BPE models.
function M.add_steps(found)
  local settings = C.sppo_spm_settings(found.spm)
  if settings.unigram == 0 then return end
  local steps = found.steps
  engine.try(C.sppo_spm_charsmap(found.spm, text_box, length_box))
  if length_box[0] > 0 then
    steps[#steps + 1] = { 'CHARSMAP', ffi.string(text_box[0], length_box[0]), '' }
  end
  local extra, space = settings.remove_extra_whitespaces ~= 0, ' '
  if extra then
    steps[#steps + 1] = { 'COLLAPSE', ' ', ' ' }
    steps[#steps + 1] = { 'TRIM_LEFT', ' ', '' }
  end
  if settings.add_dummy_prefix ~= 0 and settings.whitespace_suffix == 0 then
    steps[#steps + 1] = { 'PREPEND', '', ' ' }
  end
  if settings.escape_whitespaces ~= 0 then
    space = '▁'
    steps[#steps + 1] = { 'REPLACE', ' ', space }
  end
  -- At the end U+2581 goes too where the text itself has it.
  if extra then steps[#steps + 1] = { 'TRIM_RIGHT', space, '' } end
end

-- ---- files ----

--- The model of a file's bytes; nil, text.
local function parse(data)
  local box = ffi.new('sppo_spm *[1]')
  local status = C.sppo_spm_parse(box, data, #data)
  if status ~= 0 then return nil, ffi.string(C.sppo_last_error()) end
  return owned(box)
end

--- Llama-3's tokens that no text becomes, from id 128000 on, in the order of its release.
local function llama3_specials(first)
  local names = { 'begin_of_text', 'end_of_text', 'reserved_special_token_0',
    'reserved_special_token_1', 'reserved_special_token_2', 'reserved_special_token_3',
    'start_header_id', 'end_header_id', 'reserved_special_token_4', 'eot_id' }
  for i = 5, 250 do names[#names + 1] = 'reserved_special_token_' .. i end
  local added = {}
  for i, name in ipairs(names) do
    added[i] = { id = first + i - 1, text = '<|' .. name .. '|>', special = true }
  end
  return added
end

--- Whether these bytes are a rank file: lines of base64 and a number.
local function is_ranks(data) return data:find('^[%w+/]+=* %d+\r?\n') ~= nil end

--- Plain data of a rank file: Llama-3's, 128,000 tokens. nil, text.
local function read_ranks(data)
  local tokens, count, line = {}, 0, 0
  for text in data:gmatch('[^\n]+') do
    line = line + 1
    local code, rank = text:match('^([%w+/]+=*) (%d+)\r?$')
    local bytes = code and base64.decode(code)
    rank = tonumber(rank)
    if not bytes or bytes == '' then
      return nil, ('line %d is not base64 and a rank'):format(line)
    end
    if rank ~= line - 1 then
      return nil, ('line %d has rank %s, ranks count from 0'):format(line, tostring(rank))
    end
    count = count + 1
    tokens[count] = { id = rank, text = bytes, kind = C.SPPO_TOKEN_NORMAL }
  end
  if count ~= 128000 then
    return nil, ('%d ranks; of rank files only Llama-3\'s with 128000 is read'):format(count)
  end
  local added = llama3_specials(count)
  return { form = 'RANKS', pattern = 'llama-bpe', whole_words = true, tokens = tokens,
    added = added, count = count + #added, steps = {}, bos_id = count,
    eos_ids = { count + 1, count + 9 } }
end

--- Plain data of a model file, by its content; `added` as for data(). nil, text.
---@param path string
---@param added table[]
function M.read(path, added)
  local bytes, err = files.read(path, LIMIT)
  if not bytes then return nil, err end
  local found, text
  if is_ranks(bytes) then
    found, text = read_ranks(bytes)
  else
    local model
    model, text = parse(bytes)
    if model then found, text = M.data(model, added) end
  end
  if found then return found end
  return nil, path .. ': ' .. text
end

-- ---- GGUF ----

--- Tokens that end a text or a turn. Some files call them the user's own, which would be found in
--- what a user writes; whatever a file says, they are special (as in llama.cpp's llama-vocab.cpp).
M.ends = {}
for _, text in ipairs { '</s>', '<eos>', '<|endoftext|>', '<|end_of_text|>', '<|end|>',
  '<|eot_id|>', '<|eom_id|>', '<|im_end|>', '<end_of_turn>' } do
  M.ends[text] = true
end

--- Plain data of a GGUF's `llama` vocabulary: tokens, scores, types. nil, text.
---@param g sppo.Gguf
function M.from_gguf(g)
  local function array(key)
    local i = C.sppo_gguf_key_find(g.h, 'tokenizer.ggml.' .. key)
    local count = i >= 0 and tonumber(C.sppo_gguf_array_count(g.h, i)) or -1
    return i, count
  end
  local function flag(key, default)
    local value = g:number('tokenizer.ggml.' .. key)
    if value == nil then value = default end
    return value
  end
  local tokens, count = array('tokens')
  local scores, score_count = array('scores')
  local types, type_count = array('token_type')
  if count < 1 or score_count ~= count or type_count ~= count then
    return nil, ('tokenizer.ggml.tokens, scores and token_type have %d, %d and %d entries; each '
      .. 'token wants one'):format(count, score_count, type_count)
  end
  local model = M.new { add_dummy_prefix = flag('add_space_prefix', 1), escape_whitespaces = 1,
    remove_extra_whitespaces = flag('remove_extra_whitespaces', 0) }
  local settings = C.sppo_spm_settings(model)
  local unknown = g:number('tokenizer.ggml.unknown_token_id')
  for id = 0, count - 1 do
    local status = C.sppo_gguf_array_number(g.h, types, id, number_box)
    local kind = number_box[0]
    if status == 0 then status = C.sppo_gguf_array_number(g.h, scores, id, number_box) end
    if status == 0 then
      status = C.sppo_gguf_array_string(g.h, tokens, id, text_box, length_box)
    end
    if status == 0 then
      if kind == C.SPPO_PIECE_BYTE then settings.byte_fallback = 1 end
      -- Converters fill gaps of a vocabulary with unknown tokens, and write the one as control.
      if kind == C.SPPO_PIECE_UNKNOWN then
        unknown = unknown or id
        kind = C.SPPO_PIECE_UNUSED
      end
      if id == unknown then kind = C.SPPO_PIECE_UNKNOWN end
      if kind == C.SPPO_PIECE_USER and M.ends[ffi.string(text_box[0], length_box[0])] then
        kind = C.SPPO_PIECE_CONTROL
      end
      status = C.sppo_spm_add(model, text_box[0], length_box[0], number_box[0],
        kind >= 0 and kind < 100 and kind or 0)
    end
    if status ~= 0 then return nil, ffi.string(C.sppo_last_error()) end
  end
  local found, text = M.data(model, {})
  if not found then return nil, text end
  return M.set_scheme(found, 'always')
end

return M
