--- Tokenizers: text to token ids and back, by the engine (engine/llm/bpe.c): byte-level BPE,
--- tiktoken's ranks, BPE of characters, and SentencePiece models.
---
--- Text is never read as special tokens unless a piece says so: what a user writes stays text. Ids
--- are those of the Hugging Face tokenizer of the same files; nothing is added in front or behind
--- (that is the chat template's business, lua/sppo/chat).

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local tokenizer_json = require 'sppo.tokenizer_json'
local tokenizer_spm = require 'sppo.tokenizer_spm'
local tokenizer_write = require 'sppo.tokenizer_write'

local ffi, C, try = engine.ffi, engine.C, engine.try

local M = {}

local REPLACEMENT = '\239\191\189' -- U+FFFD

local id_box = ffi.new('const int32_t *[1]')
local length_box = ffi.new('int64_t[1]')
local text_box = ffi.new('const char *[1]')
local kind_box = ffi.new('sppo_token_kind[1]')
local number_box = ffi.new('double[1]')
local bad_box = ffi.new('int[1]')
local left_box, right_box = ffi.new('int32_t[1]'), ffi.new('int32_t[1]')

-- ---- UTF-8 ----

--- What of `bytes` can be shown: each ill-formed part as one U+FFFD; and the start of a character
--- that the end cuts off, which may yet be completed.
local function decode_utf8(bytes)
  local p, length, at = ffi.cast('const char *', bytes), #bytes, 0
  local valid = tonumber(C.sppo_utf8_scan(p, length, bad_box))
  if valid == length then return bytes, '' end
  local parts = {}
  while true do
    parts[#parts + 1] = bytes:sub(at + 1, at + valid)
    at = at + valid
    if bad_box[0] == 0 then break end
    parts[#parts + 1] = REPLACEMENT
    at = at + bad_box[0]
    valid = tonumber(C.sppo_utf8_scan(p + at, length - at, bad_box))
  end
  return table.concat(parts), bytes:sub(at + 1)
end

--- The text with each ill-formed part of its UTF-8 replaced by one U+FFFD.
---@param bytes string
---@return string
function M.to_utf8(bytes)
  local text, rest = decode_utf8(bytes)
  return rest == '' and text or text .. REPLACEMENT
end

---@class sppo.TextStream
local Stream = {}
Stream.__index = Stream

--- The text that token `id` completes; '' while a character is still cut off.
---@param id integer
---@return string
function Stream:push(id)
  local text
  text, self.rest = decode_utf8(self.rest .. self.tokenizer:bytes(id, not self.started))
  self.started = true
  return text
end

--- What is left at the end: '' or U+FFFD for a character that never was completed.
---@return string
function Stream:finish()
  local rest = self.rest
  self.rest = ''
  return rest == '' and '' or REPLACEMENT
end

-- ---- the class ----

---@class sppo.Tokenizer
---@field vocab_size integer
---@field pattern string          how text is split into words: 'smollm', 'gpt2', ..
---@field form string             of its tokens: 'LETTERS', 'RANKS', 'CHARACTERS', 'PIECES'
---@field bos_id? integer
---@field eos_ids integer[]       what ends an answer; the first is the tokenizer's own
---@field specials { id: integer, text: string, special: boolean }[]  by id; special = false: tokens
---       that are found in any text
---@field chat_template? string
local Tokenizer = {}
Tokenizer.__index = Tokenizer

function Tokenizer:__tostring()
  return ('Tokenizer(%d tokens, %s)'):format(self.vocab_size,
    self.form == 'PIECES' and 'sentencepiece' or self.pattern)
end

local function take(h)
  try(C.sppo_bpe_encode(h, id_box, length_box))
  local ids, p = {}, id_box[0]
  for i = 1, tonumber(length_box[0]) do ids[i] = p[i - 1] end
  return ids
end

--- Token ids of plain text. Raises if it is not UTF-8.
---@param text string
---@return integer[]
function Tokenizer:encode(text)
  if type(text) ~= 'string' then
    engine.raise('argument', ('encode: text must be a string, got %s'):format(type(text)), 2)
  end
  try(C.sppo_bpe_put(self.h, text, #text, 0))
  return take(self.h)
end

--- Token ids of a text made of pieces, encoded as a whole; special tokens are read only inside of
--- pieces with special = true.
---@param pieces { text: string, special?: boolean }[]
---@return integer[]
function Tokenizer:encode_pieces(pieces)
  for i, piece in ipairs(pieces) do
    if type(piece.text) ~= 'string' then
      engine.raise('argument', ('encode_pieces: pieces[%d].text must be a string, got %s'):format(i,
        type(piece.text)), 2)
    end
  end
  for _, piece in ipairs(pieces) do
    try(C.sppo_bpe_put(self.h, piece.text, #piece.text, piece.special and 1 or 0))
  end
  return take(self.h)
end

local SPACE = '▁' -- U+2581: a space, in tokens of characters

--- The bytes that a token stands for: not UTF-8 if it is a part of a character. `first`: it begins
--- a text, so the space that encoding puts there is left out.
---@param id integer
---@param first? boolean
---@return string
function Tokenizer:bytes(id, first)
  try(C.sppo_bpe_token(self.h, id, text_box, length_box, kind_box))
  local text, kind = ffi.string(text_box[0], length_box[0]), tonumber(kind_box[0])
  if not self.spaced or kind == C.SPPO_TOKEN_SPECIAL then return text end
  if kind == C.SPPO_TOKEN_BYTE then return string.char(tonumber(text:sub(4, 5), 16)) end
  if first and self.strip_space and kind == C.SPPO_TOKEN_NORMAL then
    text = text:gsub('^' .. SPACE, '')
  end
  return (text:gsub(SPACE, ' '))
end

--- The text of token ids, special tokens too, as they are written; always UTF-8.
---@param ids integer[]
---@return string
function Tokenizer:decode(ids)
  local parts = {}
  for i, id in ipairs(ids) do parts[i] = self:bytes(id, i == 1) end
  return M.to_utf8(table.concat(parts))
end

--- An object that decodes token by token: push(id), then finish().
---@return sppo.TextStream
function Tokenizer:stream()
  return setmetatable({ tokenizer = self, rest = '' }, Stream)
end

--- The id of the token with this very text, or nil.
---@param text string
---@return integer?
function Tokenizer:id(text)
  local id = tonumber(C.sppo_bpe_find(self.h, text, #text))
  if id < 0 and self.spaced then
    text = text:gsub(' ', SPACE)
    id = tonumber(C.sppo_bpe_find(self.h, text, #text))
  end
  return id >= 0 and id or nil
end

--- Number of merges (of BPE).
---@return integer
function Tokenizer:merge_count() return tonumber(C.sppo_bpe_merge_count(self.h)) end

--- The two tokens that a merge joins; raises if there is no such rank.
---@param rank integer  counts from 0
---@return integer left, integer right
function Tokenizer:merge(rank)
  try(C.sppo_bpe_merge(self.h, rank, left_box, right_box))
  return left_box[0], right_box[0]
end

--- The bytes of a tokenizer.model, of a tokenizer that is a SentencePiece model.
---@return string
function Tokenizer:model_bytes()
  try(C.sppo_spm_bytes(self.spm, text_box, length_box))
  return ffi.string(text_box[0], length_box[0])
end

--- Writes tokenizer.json, tokenizer_config.json, special_tokens_map.json and
--- generation_config.json into a folder: what `transformers` and from_folder read.
---@param folder string
function Tokenizer:write(folder) tokenizer_write.write(self, folder) end

-- ---- construction ----

--- Calls build(bad), in which bad(format, ...) ends it with that text; nil, err with the path then.
local function open(path, build)
  local marker = {}
  local function bad(...)
    marker.text = (...):format(select(2, ...))
    error(marker, 0)
  end
  local ok, result = pcall(build, bad)
  if ok then return result end
  if result ~= marker then error(result, 0) end
  local text = path .. ': ' .. marker.text
  engine.kind('format', text)
  return nil, text
end

local options_type = ffi.typeof('sppo_bpe_options')

--- A tokenizer without tokens; need(status) ends the construction with the engine's text.
local function start(bad, found)
  local function need(status)
    if status ~= 0 then bad('%s', ffi.string(C.sppo_last_error())) end
  end
  local box = ffi.new('sppo_bpe *[1]')
  need(C.sppo_bpe_new(box, found.pattern, found.count, options_type {
    whole_words = found.whole_words and 1 or 0,
    nfc = found.nfc and 1 or 0,
    form = C['SPPO_BPE_' .. found.form],
    fuse_unknown = found.fuse_unknown and 1 or 0,
  }))
  local t = setmetatable({ h = ffi.gc(box[0], C.sppo_bpe_free) }, Tokenizer)
  for _, field in ipairs { 'pattern', 'form', 'spm', 'spaced', 'strip_space', 'copies', 'bos_id',
    'chat_template' } do
    t[field] = found[field]
  end
  t.whole_words, t.nfc, t.eos_ids = found.whole_words or false, found.nfc or false,
    found.eos_ids or {}
  return t, need
end

local function finish(t, need)
  need(C.sppo_bpe_finish(t.h))
  t.vocab_size = tonumber(C.sppo_bpe_vocab(t.h))
  t.specials = {}
  for id = 0, t.vocab_size - 1 do
    need(C.sppo_bpe_token(t.h, id, text_box, length_box, kind_box))
    local kind = tonumber(kind_box[0])
    if kind == C.SPPO_TOKEN_SPECIAL or kind == C.SPPO_TOKEN_ADDED then
      t.specials[#t.specials + 1] = { id = id, text = ffi.string(text_box[0], length_box[0]),
        special = kind == C.SPPO_TOKEN_SPECIAL }
    end
  end
  return t
end

local function check_ends(t, bad)
  local function check(what, id)
    if id ~= nil and (type(id) ~= 'number' or id % 1 ~= 0 or id < 0 or id >= t.vocab_size) then
      bad('the %s token is %s, the vocabulary has %d', what, tostring(id), t.vocab_size)
    end
  end
  check('bos', t.bos_id)
  for _, id in ipairs(t.eos_ids) do check('eos', id) end
end

local gguf_kinds = { C.SPPO_TOKEN_NORMAL, C.SPPO_TOKEN_SPECIAL, C.SPPO_TOKEN_SPECIAL,
  C.SPPO_TOKEN_ADDED, C.SPPO_TOKEN_UNUSED }

--- Names that llama.cpp gives to one pattern.
local gguf_patterns = {
  ['gpt-2'] = 'gpt2', mpt = 'gpt2', ['llama3'] = 'llama-bpe', ['llama-v3'] = 'llama-bpe',
  ['deepseek-r1-qwen'] = 'qwen2', starcoder = 'smollm', refact = 'smollm',
}

--- A tokenizer of plain data (lua/sppo/tokenizer_json.lua says of which fields).
local function build(bad, found)
  local t, need = start(bad, found)
  for _, token in ipairs(found.tokens) do
    need(C.sppo_bpe_add_token(t.h, token.id, token.text, #token.text, token.kind))
  end
  for _, a in ipairs(found.added) do
    need(C.sppo_bpe_add_token(t.h, a.id, a.text, #a.text,
      a.special and C.SPPO_TOKEN_SPECIAL or C.SPPO_TOKEN_ADDED))
    if a.lstrip or a.rstrip then
      need(C.sppo_bpe_set_strip(t.h, a.id, a.lstrip and 1 or 0, a.rstrip and 1 or 0))
    end
  end
  if found.spm then tokenizer_spm.add_steps(found) end
  for _, step in ipairs(found.steps) do
    need(C.sppo_bpe_add_step(t.h, C['SPPO_STEP_' .. step[1]], step[2], #step[2], step[3], #step[3]))
  end
  if found.unknown then need(C.sppo_bpe_set_unknown(t.h, found.unknown)) end
  if found.spm then
    need(C.sppo_spm_finish(found.spm))
    need(C.sppo_bpe_use(t.h, found.spm))
  end
  for _, merge in ipairs(found.merges or {}) do
    need(C.sppo_bpe_add_merge(t.h, merge, #merge))
  end
  return finish(t, need)
end

--- Byte-level BPE of a GGUF.
local function gguf_bytes(g, bad)
  local function array(key)
    local i = C.sppo_gguf_key_find(g.h, 'tokenizer.ggml.' .. key)
    local count = i >= 0 and tonumber(C.sppo_gguf_array_count(g.h, i)) or -1
    if count < 0 then bad('tokenizer.ggml.%s is missing or no array', key) end
    return i, count
  end
  local tokens, count = array('tokens')
  local types, type_count = array('token_type')
  local merges, merge_count = array('merges')
  if type_count ~= count then bad('%d tokens with %d token types', count, type_count) end
  local pre = g:string('tokenizer.ggml.pre') or 'default'
  pre = gguf_patterns[pre] or pre
  local t, need = start(bad, { pattern = pre, count = count, form = 'LETTERS',
    whole_words = pre == 'llama-bpe', nfc = pre == 'qwen2' })
  for id = 0, count - 1 do
    need(C.sppo_gguf_array_number(g.h, types, id, number_box))
    local kind = gguf_kinds[number_box[0]]
    if not kind then bad('token %d has type %g; types 1 to 5 are read', id, number_box[0]) end
    need(C.sppo_gguf_array_string(g.h, tokens, id, text_box, length_box))
    local ends = tokenizer_spm.ends[ffi.string(text_box[0], length_box[0])]
    if ends and kind == C.SPPO_TOKEN_ADDED then kind = C.SPPO_TOKEN_SPECIAL end
    need(C.sppo_bpe_add_token(t.h, id, text_box[0], length_box[0], kind))
  end
  for rank = 0, merge_count - 1 do
    need(C.sppo_gguf_array_string(g.h, merges, rank, text_box, length_box))
    need(C.sppo_bpe_add_merge(t.h, text_box[0], length_box[0]))
  end
  return finish(t, need)
end

--- The tokenizer in a GGUF file's metadata; nil, err.
---@param g sppo.Gguf
---@return sppo.Tokenizer?
function M.from_gguf(g)
  return open(g.path, function(bad)
    local model, t = g:string('tokenizer.ggml.model'), nil
    if model == 'gpt2' then
      t = gguf_bytes(g, bad)
    elseif model == 'llama' then
      local found, text = tokenizer_spm.from_gguf(g)
      if not found then bad('%s', text) end
      t = build(bad, found)
    else
      bad('tokenizer.ggml.model is \'%s\'; this version reads gpt2 (byte-level BPE) and llama '
        .. '(SentencePiece BPE)', tostring(model))
    end
    t.bos_id = g:number('tokenizer.ggml.bos_token_id')
    t.eos_ids[1] = g:number('tokenizer.ggml.eos_token_id')
    local eot = g:number('tokenizer.ggml.eot_token_id')
    if eot and eot ~= t.eos_ids[1] then t.eos_ids[#t.eos_ids + 1] = eot end
    t.chat_template = g:string('tokenizer.chat_template')
    check_ends(t, bad)
    return t
  end)
end

--- Whether a folder holds files of a tokenizer.
---@param path string
function M.in_folder(path)
  return files.exists(path .. '/tokenizer.json') or tokenizer_spm.find(path) ~= nil
end

--- The tokenizer in a model folder as Hugging Face has it; nil, err.
---@param path string
---@return sppo.Tokenizer?
function M.from_folder(path)
  local found, err = tokenizer_json.read(path)
  if not found then return nil, err end
  local name = files.exists(path .. '/tokenizer.json') and 'tokenizer.json' or
    tokenizer_spm.find(path)
  return open(path .. '/' .. name, function(bad)
    local t = build(bad, found)
    check_ends(t, bad)
    return t
  end)
end

--- The tokenizer of one file: a SentencePiece model, or Llama-3's tiktoken ranks; nil, err.
---@param path string
---@return sppo.Tokenizer?
function M.from_file(path)
  local found, err = tokenizer_spm.read(path, {})
  if found and found.form == 'PIECES' then found = tokenizer_spm.set_scheme(found, 'always') end
  if not found then
    engine.kind('format', err)
    return nil, err
  end
  found.copies = { ['tokenizer.model'] = assert(files.read(path)) }
  return open(path, function(bad) return build(bad, found) end)
end

return M
