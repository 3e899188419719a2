--- Weights by a formula that tools/golden/formula.py has too, so that golden files need not hold
--- them. Value k of a parameter comes from the k-th step of x -> 16807 x mod (2^31 - 1), which is
--- exact in doubles, begun at a number made of the parameter's name.

local tensor = require 'sppo.tensor'

local M = {}

local PRIME = 2147483647

--- The `n` numbers of `name`, in -1..1.
function M.numbers(name, n)
  local state, list = 7, {}
  for i = 1, #name do state = (state * 31 + name:byte(i)) % (PRIME - 1) end
  state = state + 1
  for i = 1, n do
    state = state * 16807 % PRIME
    list[i] = 2 * state / PRIME - 1
  end
  return list
end

--- A parameter's values: norms' weights are 0.8..1.2, biases -0.1..0.1, tables -1..1, matrices as
--- large as keeps what they multiply: 1.7 / sqrt(inputs).
---@param name string
---@param shape integer[]
---@return sppo.Tensor
function M.parameter(name, shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  local list = M.numbers(name, n)
  local scale, offset = 1.7 / math.sqrt(shape[2] or 1), 0
  if name:find('embeddings.weight', 1, true) then scale = 1 end
  if name:find('bias', 1, true) then scale = 0.1
  elseif #shape == 1 then scale, offset = 0.2, 1 end
  for i = 1, n do list[i] = offset + scale * list[i] end
  return tensor.tensor(list, shape)
end

return M
