--- How many answers the estimate of P(y beats pi_t) takes: 2, 3, 5 or 8 of the 8 that are sampled,
--- while chosen and rejected stay the best and the worst of all 8 (the paper's ablation; with 2 the
--- estimate is (1/2 + P(y_w beats y_l)) / 2).
---
---     tools/fetch-model smollm2
---     sppo run recipes/estimate.lua
---
--- Prints, and writes as compare.csv, the same table as recipes/compare.lua; docs/claims.md has it.

local compare = require 'sppo.selfplay.compare'
local recipe = require 'sppo.selfplay.recipe'
local select_of = require 'sppo.select'

local base = recipe.base 'recipes/quickstart.lua'
base.name = 'estimate'
base.sample.k = 8

function base.run(run)
  run:evaluate(0)
  run:sample(1)
  run:prefer(1)
  local branches = {}
  for i, k in ipairs { 2, 3, 5, 8 } do
    branches[i] = run:branch('k' .. k, { select = select_of.best_and_worst_by(k) },
      compare.algorithm)
  end
  if not run.stopped then compare.write(run, branches) end
end

return base
