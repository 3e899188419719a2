--- Which answers of a prompt are trained on. A selector takes the prompt's answers and their
--- estimates of P(y beats pi_t) and gives indices, chosen first, or nil and why the prompt is left out.

local M = {}

local function same_tokens(a, b)
  if #a.tokens ~= #b.tokens then return false end
  for i = 1, #a.tokens do
    if a.tokens[i] ~= b.tokens[i] then return false end
  end
  return true
end

--- The best and the worst by win rate (first index on ties), as the paper trains.
---@param answers table[]
---@param wins number[]
---@return integer[]? indices, string? reason  'tie' or 'identical'
function M.best_and_worst(answers, wins)
  local best, worst = 1, 1
  for i = 2, #wins do
    if wins[i] > wins[best] then best = i end
    if wins[i] < wins[worst] then worst = i end
  end
  if wins[best] == wins[worst] then return nil, 'tie' end
  if same_tokens(answers[best], answers[worst]) then return nil, 'identical' end
  return { best, worst }
end

--- All answers, best first; repeated ones once.
function M.all(answers, wins)
  local order = {}
  for i = 1, #wins do
    local new = true
    for _, j in ipairs(order) do new = new and not same_tokens(answers[i], answers[j]) end
    if new then order[#order + 1] = i end
  end
  if #order < 2 then return nil, 'identical' end
  table.sort(order, function(a, b)
    if wins[a] ~= wins[b] then return wins[a] > wins[b] end
    return a < b
  end)
  if wins[order[1]] == wins[order[#order]] then return nil, 'tie' end
  return order
end

local sum = require('ffi').new('float[1]')

--- Sum of the first n log-probs in f32, in order: the bits that training's segment_sum gives.
---@param logprobs number[]
---@param n integer
function M.sum_f32(logprobs, n)
  sum[0] = 0
  for i = 1, n do sum[0] = sum[0] + logprobs[i] end
  return tonumber(sum[0])
end

return M
