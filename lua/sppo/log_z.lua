--- What stands for log Z(x) = log E exp(eta P(y beats pi_t)) in SPPO's target eta P - log Z: by
--- name a function of eta and of P(y beats pi_t) of all the prompt's answers.

local M = {}

--- eta / 2, the paper's constant (equation 4.6).
---@param eta number
---@return number
function M.half(eta) return eta / 2 end

--- log((e^eta - 1) / eta): what it tends to where answers have a total order and P is 0 or 1
--- (appendix A).
---@param eta number
---@return number
function M.ordered(eta) return eta - math.log(eta) + math.log(1 - math.exp(-eta)) end

--- log of the mean over the prompt's own K answers (equation 4.5 with B = K).
---@param eta number
---@param wins number[]  P(y beats pi_t) of each answer
---@return number
function M.estimate(eta, wins)
  local highest, sum = -math.huge, 0
  for _, p in ipairs(wins) do highest = math.max(highest, p) end
  for _, p in ipairs(wins) do sum = sum + math.exp(eta * (p - highest)) end
  return eta * highest + math.log(sum / #wins)
end

return M
