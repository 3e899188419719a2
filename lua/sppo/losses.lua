--- Losses as compositions of log-probs. A loss gets the answers of some prompts and gives a
--- one-value tensor: the sum over these prompts, divided by the prompts of the whole optimizer
--- step, so that micro-batches add up.
---
--- With D = log pi(y) - log pi_t(y), summed over the answer's tokens, p = P(y beats pi_t), and
--- (w, l) the chosen and the rejected answer; beta = 1 / eta.

local ops = require 'sppo.ops'

local M = {}

---@class sppo.LossBatch
---@field logprob sppo.Tensor    [answers] log pi(y), differentiable
---@field reference sppo.Tensor  [answers] log pi_t(y)
---@field win sppo.Tensor        [answers] P(y beats pi_t)
---@field share sppo.Tensor      [answers] 1 / (answers of its prompt)
---@field chosen sppo.Tensor     [prompts] i32, index of the chosen answer
---@field rejected sppo.Tensor   [prompts] i32
---@field pair sppo.Tensor       [prompts] P(chosen beats rejected)
---@field prompts integer        of the whole step
---@field eta number

--- D of each answer.
local function log_ratio(b) return b.logprob - b.reference end

local function pair(b)
  local d = log_ratio(b)
  return ops.take_rows(d, b.chosen), ops.take_rows(d, b.rejected)
end

local function total(values, b) return ops.sum(values) * (1 / b.prompts) end

--- Mean over a prompt's answers of (D - eta (p - 1/2))^2: equation 4.7. For two answers this is the
--- official code's half of the sum (sppo/trainer.py, sppo_loss).
function M.sppo(b)
  local residual = log_ratio(b) - (b.win - 0.5) * b.eta
  return total(ops.mul(ops.square(residual), b.share), b)
end

--- As `sppo`, with P(w beats l) alone: half of (D_w - eta (P - 1/2))^2 + (D_l + eta (P - 1/2))^2.
function M.sppo_single(b)
  local w, l = pair(b)
  local target = (b.pair - 0.5) * b.eta
  return total(ops.square(w - target) + ops.square(l + target), b) * 0.5
end

--- P taken as 1 and 0: (D_w - eta / 2)^2 + (D_l + eta / 2)^2 (TRL's sppo_hard, without the half).
function M.sppo_hard(b)
  local w, l = pair(b)
  return total(ops.square(w - b.eta / 2) + ops.square(l + b.eta / 2), b)
end

--- -log sigmoid(beta (D_w - D_l)).
function M.dpo(b)
  local w, l = pair(b)
  return total(ops.log_sigmoid((w - l) * (1 / b.eta)), b) * -1
end

--- ((D_w - D_l) - eta / 2)^2.
function M.ipo(b)
  local w, l = pair(b)
  return total(ops.square(w - l - b.eta / 2), b)
end

--- max(0, 1 - beta (D_w - D_l)).
function M.hinge(b)
  local w, l = pair(b)
  return total(ops.relu((w - l) * (-1 / b.eta) + 1), b)
end

return M
