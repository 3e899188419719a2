--- SPPO, DPO and IPO from the same start, prompts, first answers and preferences, three rounds
--- each: the quickstart with another loss and nothing else changed (DPO's beta is 1 / eta = 0.001).
---
---     tools/fetch-model smollm2
---     sppo run recipes/compare.lua
---
--- Prints, and writes as compare.csv: win rate against the start, length, and how far training
--- moved the log-probs of chosen and rejected answers (nats). Each loss has a run folder inside.

local compare = require 'sppo.selfplay.compare'
local recipe = require 'sppo.selfplay.recipe'

local losses = { 'sppo', 'dpo', 'ipo' }

local base = recipe.base 'recipes/quickstart.lua'
base.name = 'compare'

function base.run(run)
  run:evaluate(0)
  run:sample(1)
  run:prefer(1)
  run:select(1)
  local branches = {}
  for i, loss in ipairs(losses) do
    branches[i] = run:branch(loss, { train = { loss = loss } }, compare.algorithm)
  end
  if not run.stopped then compare.write(run, branches) end
end

return base
