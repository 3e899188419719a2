--- A ranker of one's own: SmolLM2-135M learns from pairs which of two answers people's judges like
--- better, reading both side by side as PairRM does. What comes out is a folder for
--- `pairrm.preference { model = .. }` and `sppo rank`.
---
---     tools/fetch-model smollm2 && tools/fetch-data
---     sppo run recipes/ranker.lua
---
--- Other pairs: any file that data.pairs reads (docs/data.md), in the two names below. A scalar
--- reward instead (Bradley-Terry, a third of the work): form = 'reward', with
--- limits = { max_prompt = 192, max_length = 512 }, for `reward.preference`.
---
--- Seed 1, as it stands (2 cores, 35 minutes): of 200 held-out pairs the chosen answer gets the
--- higher score in 0.578, where the longer answer is the chosen one in 0.455. A thousand pairs once
--- over move a new head little; more pairs, or a larger train.lr, are the first things to try.

local data = require 'sppo.data'
local ranker = require 'sppo.ranker'

return {
  name = 'ranker',
  seed = 1,
  rounds = 1,
  policy = { model = 'smollm2-135m-instruct' },
  train = {
    optimizer = 'adamw', lr = 2e-5, schedule = 'cosine', batch = 16, epochs = 1,
    micro_tokens = 2048,
  },
  run = function(run)
    ranker.run(run, {
      form = 'pairrm',
      train = data.pairs 'ultrafeedback-train.jsonl',
      held_out = data.pairs 'ultrafeedback-eval.jsonl',
      limits = { source_maxlength = 128, candidate_maxlength = 160 },
    })
  end,
}
