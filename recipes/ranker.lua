--- A reward model of one's own: SmolLM2-135M learns from pairs which of two answers people's judges
--- like better (Bradley-Terry). What comes out is a folder for `reward.preference { model = .. }`.
---
---     tools/fetch-model smollm2 && tools/fetch-data
---     sppo run recipes/ranker.lua
---
--- Other pairs: any file that data.pairs reads (docs/data.md), in the two names below.

local data = require 'sppo.data'
local reward = require 'sppo.reward'

local limits = { max_prompt = 192, max_length = 512 }

return {
  name = 'ranker',
  seed = 1,
  rounds = 1,
  policy = { model = 'smollm2-135m-instruct' },
  train = {
    optimizer = 'adamw', lr = 2e-5, schedule = 'cosine', batch = 16, epochs = 1,
    micro_tokens = 1024,
  },
  run = function(run)
    reward.run(run, {
      train = data.pairs 'ultrafeedback-train.jsonl',
      held_out = data.pairs 'ultrafeedback-eval.jsonl',
      limits = limits,
    })
  end,
}
