--- A loss of one's own: a function of the batch (lua/sppo/losses.lua says what is in it) that gives
--- a one-value tensor. Here SPPO's squared distance grows linearly beyond `limit` nats (Huber's).

local ops = require 'sppo.ops'

local base = require('sppo.selfplay.recipe').base 'recipes/tiny.lua'
base.name = 'my-loss'

local limit = 2

function base.train.loss(b)
  local residual = b.logprob - b.reference - (b.win - 0.5) * b.eta
  local over = ops.relu(residual - limit) + ops.relu(residual * -1 - limit) -- |residual| - limit
  local huber = ops.square(residual) - ops.square(over)
  return ops.sum(ops.mul(huber, b.share)) * (1 / b.prompts)
end

return base
