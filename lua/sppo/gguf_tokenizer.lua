--- A tokenizer as the metadata of a GGUF file (tokenizer.ggml.*), as llama.cpp reads it.

local engine = require 'sppo.ffi'
local tokenizer_spm = require 'sppo.tokenizer_spm'
local tokenizer_write = require 'sppo.tokenizer_write'

local C = engine.C

local M = {}

--- Pattern of the engine -> tokenizer.ggml.pre.
local patterns = {
  gpt2 = 'gpt-2', smollm = 'smollm', ['llama-bpe'] = 'llama-bpe', qwen2 = 'qwen2',
}

-- llama.cpp's enum llama_token_type.
local NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

--- Tokens by id from 1 on, with names for ids that the model has and the tokenizer has not.
local function all_tokens(names, count)
  local tokens = {}
  for id = 0, count - 1 do tokens[id + 1] = names[id] or ('[PAD%d]'):format(id) end
  return tokens
end

--- Byte-level BPE.
local function write_bytes(w, t, names, types, count)
  local merges = {}
  for rank = 0, t:merge_count() - 1 do
    local left, right = t:merge(rank)
    merges[rank + 1] = names[left] .. ' ' .. names[right]
  end
  w:string('tokenizer.ggml.model', 'gpt2')
  w:string('tokenizer.ggml.pre', patterns[t.pattern])
  w:strings('tokenizer.ggml.tokens', all_tokens(names, count))
  w:numbers('tokenizer.ggml.token_type', 'i32', types)
  w:strings('tokenizer.ggml.merges', merges)
end

--- A SentencePiece model of type BPE.
local function write_pieces(w, t, names, types, count)
  local scores, unknown = {}, nil
  for id = 0, count - 1 do scores[id + 1] = -1e3 end
  for id, piece in ipairs(tokenizer_spm.pieces(t.spm)) do
    scores[id], names[id - 1] = piece.score, piece.text
    if piece.kind == C.SPPO_PIECE_UNKNOWN then unknown, types[id] = id - 1, UNKNOWN
    elseif piece.kind == C.SPPO_PIECE_BYTE then types[id] = BYTE
    elseif piece.kind == C.SPPO_PIECE_UNUSED then types[id] = UNUSED
    elseif piece.kind == C.SPPO_PIECE_USER and types[id] == NORMAL then types[id] = USER_DEFINED
    end
  end
  w:string('tokenizer.ggml.model', 'llama')
  w:strings('tokenizer.ggml.tokens', all_tokens(names, count))
  w:numbers('tokenizer.ggml.scores', 'f32', scores)
  w:numbers('tokenizer.ggml.token_type', 'i32', types)
  w:number('tokenizer.ggml.add_space_prefix', 'bool',
    C.sppo_spm_settings(t.spm).add_dummy_prefix ~= 0 and 1 or 0)
  w:number('tokenizer.ggml.unknown_token_id', 'u32', unknown)
end

--- nil, or why a tokenizer has no form there.
---@param t sppo.Tokenizer
---@return string?
function M.not_said(t)
  if t.form == 'PIECES' then
    if C.sppo_spm_settings(t.spm).unigram ~= 0 then
      return 'llama.cpp reads no Unigram tokenizer for a decoder'
    end
  elseif t.form ~= 'LETTERS' or not patterns[t.pattern] then
    return ('its tokenizer (%s) is not written as GGUF'):format(tostring(t))
  end
end

--- Adds it to a writer (lua/sppo/files.lua).
---@param w table
---@param model sppo.Model
function M.write(w, model)
  local t, count = model.tokenizer, model.config.vocab_size
  local names, types = tokenizer_write.token_names(t), {}
  for id = 0, count - 1 do types[id + 1] = names[id] and NORMAL or UNUSED end
  for _, token in ipairs(t.specials) do
    types[token.id + 1] = token.special and CONTROL or USER_DEFINED
  end
  local write = t.form == 'PIECES' and write_pieces or write_bytes
  write(w, t, names, types, count)
  if t.bos_id then w:number('tokenizer.ggml.bos_token_id', 'u32', t.bos_id) end
  for i, key in ipairs { 'eos_token_id', 'eot_token_id' } do
    if t.eos_ids[i] then w:number('tokenizer.ggml.' .. key, 'u32', t.eos_ids[i]) end
  end
  if t.chat_template then w:string('tokenizer.chat_template', t.chat_template) end
end

return M
