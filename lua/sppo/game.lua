--- Preference as a game (the paper, equation 3.3): two players each choose an answer, the one whose
--- answer is preferred wins. Everything here works on a matrix with P[i][j] = P(i beats j) and
--- P[i][j] + P[j][i] = 1, of answers or of whole policies.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'

local C = engine.C

local M = {}

--- Raises unless `p` is a square matrix with P[i][j] + P[j][i] = 1 (within 1e-9); gives its size.
---@param p number[][]
---@return integer
function M.check(p)
  local n = #p
  if n == 0 then engine.raise('argument', 'game: the matrix is empty', 2) end
  for i = 1, n do
    if type(p[i]) ~= 'table' or #p[i] ~= n then
      engine.raise('argument', ('game: row %d must have %d numbers'):format(i, n), 2)
    end
    for j = 1, n do
      check.number(('game: P[%d][%d]'):format(i, j), p[i][j], 'number', 0, 1)
      if j <= i and math.abs(p[i][j] + p[j][i] - 1) > 1e-9 then
        engine.raise('argument', ('game: P[%d][%d] + P[%d][%d] is %.12g, not 1'):format(i, j, j, i,
          p[i][j] + p[j][i]), 2)
      end
    end
  end
  return n
end

--- P(i beats a policy) for each i.
---@param p number[][]
---@param policy number[]  probabilities
---@return number[]
function M.against(p, policy)
  local wins = {}
  for i = 1, #p do
    local sum, row = 0, p[i]
    for j = 1, #row do sum = sum + row[j] * policy[j] end
    wins[i] = sum
  end
  return wins
end

--- Duality gap of Theorem 4.1: max over pi of P(pi beats policy) - min over pi of P(policy beats
--- pi). 0 for a von Neumann winner, 1 for a policy that something always beats.
---@param p number[][]
---@param policy number[]
---@return number
function M.gap(p, policy)
  local best = -math.huge
  for _, win in ipairs(M.against(p, policy)) do best = math.max(best, win) end
  return 2 * best - 1
end

--- The von Neumann winner: the policy that nothing beats more than half of the time, by the simplex
--- method with Bland's rule on max sum(x), (P + 1) x <= 1, x >= 0; the policy is x / sum(x).
---@param p number[][]
---@return number[] policy, number gap   the gap is what rounding leaves, checked to be below 1e-9
function M.winner(p)
  local n = M.check(p)
  -- Rows of the tableau: n constraints with their slacks, then the objective.
  local t, basis = {}, {}
  for i = 1, n do
    t[i], basis[i] = {}, n + i
    for j = 1, n do t[i][j] = p[i][j] + 1 end
    for j = 1, n do t[i][n + j] = i == j and 1 or 0 end
    t[i][2 * n + 1] = 1
  end
  t[n + 1] = {}
  for j = 1, 2 * n + 1 do t[n + 1][j] = j <= n and -1 or 0 end
  for _ = 1, 1e5 do
    local column
    for j = 1, 2 * n do
      if t[n + 1][j] < -1e-12 then
        column = j
        break
      end
    end
    if not column then break end
    local row, least
    for i = 1, n do
      if t[i][column] > 1e-12 then
        local ratio = t[i][2 * n + 1] / t[i][column]
        if not least or ratio < least or (ratio == least and basis[i] < basis[row]) then
          row, least = i, ratio
        end
      end
    end
    local pivot = t[row][column]
    for j = 1, 2 * n + 1 do t[row][j] = t[row][j] / pivot end
    for i = 1, n + 1 do
      local factor = t[i][column]
      if i ~= row and factor ~= 0 then
        for j = 1, 2 * n + 1 do t[i][j] = t[i][j] - factor * t[row][j] end
      end
    end
    basis[row] = column
  end
  local policy, sum = {}, 0
  for i = 1, n do policy[i] = 0 end
  for i = 1, n do
    if basis[i] <= n then
      policy[basis[i]] = math.max(0, t[i][2 * n + 1])
      sum = sum + policy[basis[i]]
    end
  end
  for i = 1, n do policy[i] = policy[i] / sum end
  local gap = M.gap(p, policy)
  if gap > 1e-9 then
    engine.raise('runtime', ('game: the solver left a gap of %.3g'):format(gap))
  end
  return policy, gap
end

--- Number of circles of three that beat each other in turn.
---@param p number[][]
---@return integer
function M.cycles(p)
  local n, count = #p, 0
  for a = 1, n do
    for b = a + 1, n do
      for c = b + 1, n do
        local ab, bc, ca = p[a][b] - 0.5, p[b][c] - 0.5, p[c][a] - 0.5
        if (ab > 0 and bc > 0 and ca > 0) or (ab < 0 and bc < 0 and ca < 0) then
          count = count + 1
        end
      end
    end
  end
  return count
end

--- The one that beats every other more than half of the time, or nil.
---@param p number[][]
---@return integer?
function M.condorcet(p)
  for i = 1, #p do
    local all = true
    for j = 1, #p do all = all and (i == j or p[i][j] > 0.5) end
    if all then return i end
  end
end

--- T exact steps of equation 4.1, pi_t+1 ~ pi_t exp(eta P(y beats pi_t)): the average of pi_1 ..
--- pi_T, and pi_T+1.
---@param p number[][]
---@param start number[]   pi_1, all positive
---@param eta number
---@param steps integer    T
---@return number[] average, number[] last
function M.play(p, start, eta, steps)
  local n = #p
  local policy, log, average = {}, {}, {}
  for i = 1, n do policy[i], log[i], average[i] = start[i], math.log(start[i]), 0 end
  for _ = 1, steps do
    local highest = -math.huge
    for i = 1, n do
      average[i] = average[i] + policy[i] / steps
      local win, row = 0, p[i]
      for j = 1, n do win = win + row[j] * policy[j] end
      log[i] = log[i] + eta * win
      highest = math.max(highest, log[i])
    end
    local sum = 0
    for i = 1, n do
      log[i] = log[i] - highest
      policy[i] = math.exp(log[i])
      sum = sum + policy[i]
    end
    for i = 1, n do policy[i] = policy[i] / sum end
  end
  return average, policy
end

--- What Theorem 4.1 promises for T steps with eta = c / sqrt(T). Exponential weights gain at least
--- what any fixed answer gains, less log(1 / min pi_1) / eta + eta T / 8 (Hoeffding's lemma; gains
--- are in 0..1), and playing itself a policy gains exactly 1/2 a step. So P(y beats the average) is
--- at most 1/2 + (L / c + c / 8) / sqrt(T) with L = log(1 / min pi_1), and the gap at most twice
--- what is above 1/2.
---@param start number[]
---@param c number
---@param steps integer
---@return number
function M.bound(start, c, steps)
  local least = math.huge
  for _, v in ipairs(start) do least = math.min(least, v) end
  return 2 * (math.log(1 / least) / c + c / 8) / math.sqrt(steps)
end

--- The Bradley-Terry model nearest to a matrix: scores r with sum 0 that maximise the likelihood of
--- P[i][j] under sigmoid(r_i - r_j) over all pairs (equation 3.1), by Newton-damped gradient steps.
---@param p number[][]
---@return number[] scores
function M.bradley_terry(p)
  local n, r = #p, {}
  for i = 1, n do r[i] = 0 end
  for _ = 1, 20000 do
    local most, mean = 0, 0
    for i = 1, n do
      local slope, curve = 0, 1e-9
      for j = 1, n do
        if i ~= j then
          local q = 1 / (1 + math.exp(r[j] - r[i]))
          slope, curve = slope + p[i][j] - q, curve + q * (1 - q)
        end
      end
      -- P of 0 or 1 has no finite maximum: scores stay within +-20.
      local new = math.max(-20, math.min(20, r[i] + slope / curve * 0.5))
      most = math.max(most, math.abs(new - r[i]))
      r[i] = new
    end
    for i = 1, n do mean = mean + r[i] / n end
    for i = 1, n do r[i] = r[i] - mean end
    if most < 1e-10 then break end
  end
  return r
end

local MIXTURE = 0x6d697874

--- Draws which policy of a mixture answers: an index with probability weights[i], the same for the
--- same seed, prompt and answer.
---@param weights number[]  probabilities
---@param seed integer
---@param prompt integer
---@param answer integer
---@return integer
function M.draw(weights, seed, prompt, answer)
  local u, sum = C.sppo_philox_uniform(seed, 0, prompt, answer, MIXTURE), 0
  for i, w in ipairs(weights) do
    sum = sum + w
    if u < sum then return i end
  end
  for i = #weights, 1, -1 do
    if weights[i] > 0 then return i end
  end
end

--- The game between the rounds of a finished run: P(round i's held-out answers beat round j's), the
--- start first, from what evaluation wrote. nil, err where rounds are missing.
---@param path string   the run folder
---@return number[][]?
function M.of_run(path)
  local run, err = require('sppo.report.run').load(path)
  if not run then return nil, err end
  if run.last == 0 then
    local text = path .. ': no round of it was evaluated'
    engine.kind('argument', text)
    return nil, text
  end
  local p = {}
  for i = 0, run.last do
    p[i + 1] = { [i + 1] = 0.5 }
    for j = 0, i - 1 do
      local key = j == 0 and 'eval/win_rate' or 'eval/win_rate_against/' .. j
      local rate = run.rounds[i][key]
      if type(rate) ~= 'number' then
        local text = ('%s: round %d has no %s'):format(path, i, key)
        engine.kind('argument', text)
        return nil, text
      end
      p[i + 1][j + 1], p[j + 1][i + 1] = rate, 1 - rate
    end
  end
  return p
end

return M
