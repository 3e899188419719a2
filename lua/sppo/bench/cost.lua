--- What a forward pass needs at least: useful FLOPs and bytes, from a model's sizes.

local M = {}

--- Weights of a layer's products.
function M.layer_weights(c)
  local q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
  return c.hidden_size * (2 * q + 2 * kv + 3 * c.intermediate_size)
end

local BYTES = { f32 = 4, bf16 = 2, q8_0 = 34 / 32 }

--- Bytes of the weights that a decode step reads: all layers, norms and the head, each once.
function M.weight_bytes(c, dtype)
  return BYTES[dtype] * (c.num_hidden_layers * M.layer_weights(c) + c.hidden_size * c.vocab_size)
    + 4 * c.hidden_size * (2 * c.num_hidden_layers + 1)
end

--- Bytes of one token's keys and values.
function M.kv_bytes(c)
  return 8 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim
end

--- FLOPs of one row: all products, and attention over `keys` keys.
---@param head boolean  with the output projection
function M.row_flops(c, keys, head)
  local weights = c.num_hidden_layers * M.layer_weights(c)
  if head then weights = weights + c.hidden_size * c.vocab_size end
  return 2 * weights + 4 * keys * c.num_attention_heads * c.head_dim * c.num_hidden_layers
end

--- FLOPs of one pair of `n` tokens through PairRM: all products with weights, content by content,
--- and both tables of positions within reach. What a forward pass makes of the tables once for all
--- its pairs does not count.
function M.pair_flops(c, n)
  local weights = c.hidden_size * (4 * c.hidden_size + 2 * c.intermediate_size)
  local reach = math.min(2 * n - 1, 2 * c.position_buckets)
  return c.num_hidden_layers * n * (2 * weights + 4 * c.hidden_size * (n + reach))
end

return M
