--- Callbacks: `on_step` sees each optimizer step's metrics, `on_round` each round's and may end the
--- run. Here it ends once the win rate rises by less than 0.05, and steps that move far are shown.

local base = require('sppo.selfplay.recipe').base 'recipes/tiny.lua'
base.name, base.rounds = 'my-stopping', 6

function base.on_step(metrics, run)
  local moved = metrics['rewards/margins'] * metrics['sppo/eta']
  if moved > 2 then run:say(('step %d: margin of %.1f nats'):format(metrics.step, moved)) end
end

local best = 0

function base.on_round(_, metrics)
  if metrics['eval/win_rate'] < best + 0.05 then return 'stop' end
  best = metrics['eval/win_rate']
end

return base
