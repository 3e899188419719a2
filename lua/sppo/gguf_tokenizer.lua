--- A tokenizer as the metadata of a GGUF file (tokenizer.ggml.*), as llama.cpp reads it.

local engine = require 'sppo.ffi'
local tokenizer_write = require 'sppo.tokenizer_write'

local M = {}

--- Pattern of the engine -> tokenizer.ggml.pre.
local patterns = {
  gpt2 = 'gpt-2', smollm = 'smollm', ['llama-bpe'] = 'llama-bpe', qwen2 = 'qwen2',
}

-- llama.cpp's enum llama_token_type.
local NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

--- Adds it to a writer (lua/sppo/files.lua); raises for a tokenizer that has no form there.
---@param w table
---@param model sppo.Model
function M.write(w, model)
  local t, count = model.tokenizer, model.config.vocab_size
  local pre = patterns[t.pattern]
  if not pre then
    engine.raise('argument', ('%s: a tokenizer of pattern %s is not written as GGUF'):format(
      model.path, t.pattern))
  end
  local names, types, merges = tokenizer_write.token_names(t), {}, {}
  for id = 0, count - 1 do types[id + 1] = names[id] and NORMAL or UNUSED end
  for _, token in ipairs(t.specials) do
    types[token.id + 1] = token.special and CONTROL or USER_DEFINED
  end
  local tokens = {}
  for id = 0, count - 1 do tokens[id + 1] = names[id] or ('[PAD%d]'):format(id) end
  for rank = 0, t:merge_count() - 1 do
    local left, right = t:merge(rank)
    merges[rank + 1] = names[left] .. ' ' .. names[right]
  end
  w:string('tokenizer.ggml.model', 'gpt2')
  w:string('tokenizer.ggml.pre', pre)
  w:strings('tokenizer.ggml.tokens', tokens)
  w:numbers('tokenizer.ggml.token_type', 'i32', types)
  w:strings('tokenizer.ggml.merges', merges)
  if t.bos_id then w:number('tokenizer.ggml.bos_token_id', 'u32', t.bos_id) end
  for i, key in ipairs { 'eos_token_id', 'eot_token_id' } do
    if t.eos_ids[i] then w:number('tokenizer.ggml.' .. key, 'u32', t.eos_ids[i]) end
  end
  if t.chat_template then w:string('tokenizer.chat_template', t.chat_template) end
end

return M
