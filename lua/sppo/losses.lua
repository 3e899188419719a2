--- Losses as compositions of log-probs. A loss gets the answers of some prompts and gives a
--- one-value tensor: the sum over these prompts, divided by the prompts of the whole optimizer
--- step, so that micro-batches add up. `kto_pair` couples the prompts of a step: training gives it
--- all of them at once (lua/sppo/train.lua).
---
--- With D = log pi(y) - log pi_t(y), summed over the answer's tokens (with normalise = 'tokens':
--- their mean), p = P(y beats pi_t), and (w, l) the chosen and the rejected answer; beta = 1 / eta.

local ops = require 'sppo.ops'

local M = {}

---@class sppo.LossBatch
---@field logprob sppo.Tensor    [answers] log pi(y), differentiable
---@field reference sppo.Tensor  [answers] log pi_t(y)
---@field win sppo.Tensor        [answers] P(y beats pi_t)
---@field share sppo.Tensor      [answers] 1 / (answers of its prompt)
---@field per_token sppo.Tensor  [answers] 1 / (tokens of the answer)
---@field excess sppo.Tensor     [answers] what log Z of its prompt is taken above eta / 2
---                              (lua/sppo/log_z.lua)
---@field chosen sppo.Tensor     [prompts] i32, index of the chosen answer
---@field rejected sppo.Tensor   [prompts] i32
---@field pair sppo.Tensor       [prompts] P(chosen beats rejected)
---@field prompts integer        of the whole step
---@field eta number
---@field normalise 'none'|'tokens'
---@field label_smoothing number

--- D of each answer.
local function log_ratio(b)
  local d = b.logprob - b.reference
  return b.normalise == 'tokens' and ops.mul(d, b.per_token) or d
end

local function pair(b, d)
  d = d or log_ratio(b)
  return ops.take_rows(d, b.chosen), ops.take_rows(d, b.rejected)
end

local function total(values, b) return ops.sum(values) * (1 / b.prompts) end

local function sigmoid(x) return ops.exp(ops.log_sigmoid(x)) end

--- Mean over a prompt's answers of (D - (eta p - log Z))^2, where log Z is eta / 2 unless log_z
--- says otherwise: equation 4.7. For two answers this is the official code's half of the sum
--- (sppo/trainer.py, sppo_loss).
---@param b sppo.LossBatch
---@return sppo.Tensor  [1]
function M.sppo(b)
  local residual = log_ratio(b) - ((b.win - 0.5) * b.eta - b.excess)
  return total(ops.mul(ops.square(residual), b.share), b)
end

--- As `sppo`, with P = P(w beats l) alone: half of (D_w - (eta P - log Z))^2 + (D_l - (eta (1 - P)
--- - log Z))^2.
---@param b sppo.LossBatch
---@return sppo.Tensor  [1]
function M.sppo_single(b)
  local w, l = pair(b)
  local target, excess = (b.pair - 0.5) * b.eta, ops.take_rows(b.excess, b.chosen)
  return total(ops.square(w - target + excess) + ops.square(l + target + excess), b) * 0.5
end

--- P taken as 1 and 0: (D_w - (eta - log Z))^2 + (D_l + log Z)^2 (TRL's sppo_hard, without the
--- half).
---@param b sppo.LossBatch
---@return sppo.Tensor  [1]
function M.sppo_hard(b)
  local w, l = pair(b)
  local excess = ops.take_rows(b.excess, b.chosen)
  return total(ops.square(w - b.eta / 2 + excess) + ops.square(l + b.eta / 2 + excess), b)
end

--- -(1 - s) log sigmoid(beta (D_w - D_l)) - s log sigmoid(beta (D_l - D_w)), s = label_smoothing
--- (the official code's and TRL's 'sigmoid').
---@param b sppo.LossBatch
---@return sppo.Tensor  [1]
function M.dpo(b)
  local w, l = pair(b)
  local x, s = (w - l) * (1 / b.eta), b.label_smoothing
  local value = ops.log_sigmoid(x) * (s - 1)
  if s > 0 then value = value - ops.log_sigmoid(x * -1) * s end
  return total(value, b)
end

--- ((D_w - D_l) - eta / 2)^2 (the official code's 'ipo').
---@param b sppo.LossBatch
---@return sppo.Tensor  [1]
function M.ipo(b)
  local w, l = pair(b)
  return total(ops.square(w - l - b.eta / 2), b)
end

--- `ipo` with the mean over each answer's tokens for D, whatever normalise says (TRL's 'ipo').
---@param b sppo.LossBatch
---@return sppo.Tensor  [1]
function M.ipo_mean(b)
  local w, l = pair(b, ops.mul(b.logprob - b.reference, b.per_token))
  return total(ops.square(w - l - b.eta / 2), b)
end

--- max(0, 1 - beta (D_w - D_l)).
---@param b sppo.LossBatch
---@return sppo.Tensor  [1]
function M.hinge(b)
  local w, l = pair(b)
  return total(ops.relu((w - l) * (-1 / b.eta) + 1), b)
end

--- Half of (1 - sigmoid(beta (D_w - max(0, mean D_l)))) + (1 - sigmoid(beta (max(0, mean D_w) -
--- D_l))), the means over the prompts of the optimizer step, which are differentiated too (TRL up
--- to 0.8.6, and the official code).
---@param b sppo.LossBatch
---@return sppo.Tensor  [1]
function M.kto_pair(b)
  local w, l = pair(b)
  local beta, n = 1 / b.eta, b.prompts
  -- A row for each prompt: their means are one-value tensors.
  local first = {}
  for i = 1, n do first[i] = 0 end
  first = require('sppo.tensor').ints(first)
  local kl_w = ops.take_rows(ops.relu(ops.sum(w) * (1 / n)):view(1), first)
  local kl_l = ops.take_rows(ops.relu(ops.sum(l) * (1 / n)):view(1), first)
  local kept = sigmoid((w - kl_l) * beta) + sigmoid((kl_w - l) * beta)
  return total(kept * -1 + 2, b) * 0.5
end

return M
