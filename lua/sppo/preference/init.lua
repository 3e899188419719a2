--- Sources of preference behind one form: `prefer(prompt, answers, details)` gives the K x K matrix
--- P with P[i][j] = P(answer i beats answer j).

local check = require 'sppo.check'
local engine = require 'sppo.ffi'

local M = {}

---@alias sppo.Prefer fun(prompt: table, answers: string[], details: table[]): number[][]

---@class sppo.Preference
---@field prefer fun(prompt: table, answers: string[], details: table[]): number[][]
---@field pass? fun(prompt: table, answer: string, detail: table): boolean   for the pass rate
---@field key? string   says what it depends on; the recipe's text stands in where it is missing
---@field both_orders? boolean   P[i][j] and P[j][i] are judged apart and need not add up to 1

--- What a recipe may give, in that form: a table with `prefer`, or just the function.
---@param source sppo.Preference|sppo.Prefer
---@return sppo.Preference
function M.new(source)
  if type(source) == 'function' then return { prefer = source } end
  return source
end

--- What stands where a row of k numbers is wanted.
local function row_text(row, k)
  if type(row) == 'table' then return ('%d numbers, got %d'):format(k, #row) end
  local got = type(row) == 'number' and ('%.4g'):format(row) or type(row)
  return ('%d numbers, got %s: P[i][j] is the probability that answer i beats answer j'):format(k,
    got)
end

--- '3', or '3 (How do I make tea?)': which prompt it was, with how its text begins.
local function prompt_text(prompt)
  local id, text = tostring(prompt.id), prompt.text
  if type(text) ~= 'string' then return id end
  text = text:gsub('%s+', ' ')
  if #text > 40 then text = text:sub(1, 40):gsub('[\192-\255]?[\128-\191]*$', '') .. '..' end
  return ('%s (%s)'):format(id, text)
end

--- The matrix for some answers; raises unless it is K x K with values in 0..1, and P[i][j] +
--- P[j][i] near 1 (0.5..1.5) if not both orders are judged.
---@param preference sppo.Preference
---@param prompt table        the recipe's
---@param answers string[]    K texts
---@param details table[]     how each ended: { stopped, tokens }
---@return number[][]         K x K
function M.matrix(preference, prompt, answers, details)
  local p = preference.prefer(prompt, answers, details)
  local k = #answers
  local function bad(...)
    local what = (...):format(select(2, ...))
    engine.raise('argument', ('%spreference: prompt %s: %s'):format(check.place(preference.prefer),
      prompt_text(prompt), what))
  end
  if type(p) ~= 'table' or #p ~= k then
    bad('a matrix of %d rows was expected, got %s', k,
      type(p) == 'table' and #p .. ' rows' or type(p))
  end
  for i = 1, k do
    if type(p[i]) ~= 'table' or #p[i] ~= k then bad('row %d must have %s', i, row_text(p[i], k)) end
    for j = 1, k do
      local value = p[i][j]
      if type(value) ~= 'number' or not (value >= 0 and value <= 1) then
        bad('P[%d][%d] must be in 0..1, got %s', i, j, tostring(value))
      end
      if j < i and not preference.both_orders and math.abs(value + p[j][i] - 1) > 0.5 then
        bad('P[%d][%d] + P[%d][%d] is %g, it must be near 1: P[i][j] is the probability that ' ..
          'answer i beats answer j (both_orders = true if the order is part of the judgement)', i,
          j, j, i, value + p[j][i])
      end
    end
  end
  return p
end

--- Whether an answer passes; raises unless the source says true or false.
---@param preference sppo.Preference  one with `pass`
---@param prompt table
---@param answer string
---@param detail table   { stopped, tokens } of the answer
---@return boolean
function M.passes(preference, prompt, answer, detail)
  local value = preference.pass(prompt, answer, detail)
  if type(value) ~= 'boolean' then
    engine.raise('argument', ('%spreference.pass: prompt %s: true or false is wanted, got %s'
      ):format(check.place(preference.pass), prompt_text(prompt), tostring(value)))
  end
  return value
end

--- Estimates of P(y_i beats pi_t): each row's mean, itself included at 1/2 (the paper, section
--- 5.1).
---@param p number[][]
---@return number[]
function M.wins(p)
  local wins = {}
  for i = 1, #p do
    local sum = 0
    for j = 1, #p do sum = sum + (i == j and 0.5 or p[i][j]) end
    wins[i] = sum / #p
  end
  return wins
end

--- The official code's convention: scores s_i = mean_j (L_ij - L_ji) and P_ij = sigmoid(s_i - s_j)
--- (LLM-Blender's get_scores_from_cmps, scripts/compute_prob.py).
---@param logits number[][]  L[i][j], answer i first; the diagonal is 0
---@return number[][] p, number[] scores
function M.from_scores(logits)
  local k, scores, p = #logits, {}, {}
  for i = 1, k do
    local sum = 0
    for j = 1, k do sum = sum + logits[i][j] - logits[j][i] end
    scores[i] = sum / k
  end
  for i = 1, k do
    p[i] = {}
    for j = 1, k do p[i][j] = 1 / (1 + math.exp(scores[j] - scores[i])) end
  end
  return p, scores
end

return M
