--- Which answers of a prompt are trained on. A selector takes the prompt's answers, their estimates
--- of P(y beats pi_t) and the matrix, and gives indices, chosen first, or nil and why the prompt is
--- left out. After the indices it may give other estimates to train with, one for each answer.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'

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

--- The best and the worst of all answers; P(y beats pi_t) is estimated from k of them: the two
--- and the first k - 2 others (the paper's ablation of the batch of the estimate).
---@param k integer  2 or more
---@return fun(answers: table[], wins: number[], matrix: number[][])
function M.best_and_worst_by(k)
  return function(answers, wins, matrix)
    local pair, reason = M.best_and_worst(answers, wins)
    if not pair then return nil, reason end
    local batch, estimates = { pair[1], pair[2] }, {}
    for i = 1, #answers do
      if #batch < k and i ~= pair[1] and i ~= pair[2] then batch[#batch + 1] = i end
    end
    for i = 1, #answers do
      local sum = 0
      for _, j in ipairs(batch) do sum = sum + (i == j and 0.5 or matrix[i][j]) end
      estimates[i] = sum / #batch
    end
    return pair, estimates
  end
end

--- All answers, best first; repeated ones once.
---@param answers table[]
---@param wins number[]
---@return integer[]? indices, string? reason  'tie' or 'identical'
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

--- Calls a selector of the user's; raises unless it gives what the built-in ones do.
---@param selector function
---@param answers table[]
---@param wins number[]
---@param matrix number[][]
---@return integer[]? indices, string|number[]? reason_or_estimates
function M.call(selector, answers, wins, matrix)
  local indices, more = selector(answers, wins, matrix)
  local k, seen = #answers, {}
  local function bad(...)
    engine.raise('argument', ('%sselect: %s'):format(check.place(selector),
      (...):format(select(2, ...))))
  end
  if indices == nil then
    if more ~= nil and type(more) ~= 'string' then
      bad('after nil comes a text that says why, got a %s', type(more))
    end
    return nil, more or 'tie'
  end
  if type(indices) ~= 'table' or #indices < 2 then
    bad('indices of at least two answers are wanted, chosen first, got %s',
      type(indices) == 'table' and #indices .. ' of them' or 'a ' .. type(indices))
  end
  for n, i in ipairs(indices) do
    if type(i) ~= 'number' or i % 1 ~= 0 or i < 1 or i > k then
      bad('index %d is %s, the answers are 1..%d', n, tostring(i), k)
    end
    if seen[i] then bad('answer %d is there twice', i) end
    seen[i] = true
  end
  if more == nil then return indices end
  if type(more) ~= 'table' or #more ~= k then
    bad('the estimates must be a number for each of %d answers, got %s', k,
      type(more) == 'table' and #more .. ' of them' or 'a ' .. type(more))
  end
  for i = 1, k do
    local text = check.number_text(('estimate %d'):format(i), more[i], 'number', 0, 1)
    if text then bad('%s', text) end
  end
  return indices, more
end

local rounded = require('ffi').new('float[1]')

--- Log-prob of an answer's first n tokens as training's segment_sum adds them: in f64, rounded to
--- f32, so that log pi - log pi_t is exactly 0 before the first step.
---@param logprobs number[]
---@param n integer
---@return number
function M.answer_logprob(logprobs, n)
  local total = 0
  for i = 1, n do total = total + logprobs[i] end
  rounded[0] = total
  return tonumber(rounded[0])
end

return M
