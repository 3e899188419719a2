--- The model that decode and train are measured with: a given one, or random weights of SmolLM2's
--- shape, which are as fast.

local model_of = require 'sppo.model'

local M = {}

M.shape = {
  model_type = 'llama', vocab_size = 49152, hidden_size = 576, intermediate_size = 1536,
  num_hidden_layers = 30, num_attention_heads = 9, num_key_value_heads = 3, rope_theta = 100000,
  rms_norm_eps = 1e-5, max_position_embeddings = 8192, tie_word_embeddings = true,
}

-- Four layers of Llama-3-8B; a head so small that it does not count.
M.llama8b = {
  model_type = 'llama', vocab_size = 1024, hidden_size = 4096, intermediate_size = 14336,
  num_hidden_layers = 4, num_attention_heads = 32, num_key_value_heads = 8, rope_theta = 500000,
  rms_norm_eps = 1e-5, max_position_embeddings = 8192,
}

---@param bench { model: string, llama8b?: boolean }
---@param dtype string
---@return sppo.Model model, string note
function M.open(bench, dtype)
  local name, shape, note = bench.model, M.shape, 'random weights of SmolLM2-135M\'s shape; '
  if bench.llama8b then
    shape, note = M.llama8b, '4 layers of Llama-3-8B\'s shape, random weights; '
  elseif name ~= 'smollm2-135m-instruct' or model_of.find(name) then
    local model, err = model_of.open(name, { dtype = dtype })
    if not model then require('sppo.cli.exit').data(err) end
    return model, ''
  end
  local config = {}
  for key, value in pairs(shape) do config[key] = value end
  return model_of.random(config, 1, { dtype = dtype }), note
end

--- n token ids, spread over the vocabulary.
function M.tokens(config, n, seed)
  local list = {}
  for i = 1, n do list[i] = (seed * 7919 + i * 104729) % config.vocab_size end
  return list
end

return M
