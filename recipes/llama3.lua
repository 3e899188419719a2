--- Llama-3-8B-Instruct by SPPO: three rounds of self-play, each on a third of UltraFeedback's
--- prompts, judged by PairRM; the values of the paper (arXiv 2405.00675, section 5.1).
---
---     sppo plan recipes/llama3.lua --hardware h100       memory, work and time; needs no file
---     sppo run recipes/llama3.lua prompts=mine-{round}.jsonl held_out=mine-test.jsonl
---
--- Wanted: the model's folder under the name 'llama3-8b' (or policy.model=DIR), PairRM's under
--- 'pairrm', and prompts as JSON lines, a "prompt" in each. Not run yet: 8 billion parameters with
--- gradients and an optimizer's state are more than the machines at hand hold.
---
--- The official code (github.com/uclaml/SPPO) samples with sample.temperature=0.7 sample.top_p=0.9
--- and has other ways too: compat=uclaml (docs/compat.md).

local pairrm = require 'sppo.preference.pairrm'

return {
  name = 'llama3',
  seed = 1,
  rounds = 3,
  policy = { model = 'llama3-8b', dtype = 'bf16' },
  -- A third of UltraFeedback a round, so that no prompt is seen twice: 19,766, 19,958 and 19,996
  -- prompts in the split that the paper uses, 994 to 1,000 held out.
  prompts = 'ultrafeedback-{round}.jsonl',
  held_out = 'ultrafeedback-test.jsonl',
  sample = { k = 5, temperature = 1, top_p = 1, max_new_tokens = 2048 },
  preference = pairrm.preference { model = 'pairrm' },
  select = 'best_and_worst',
  train = {
    loss = 'sppo', eta = 1000, optimizer = 'rmsprop', lr = 5e-7, schedule = 'linear', warmup = 0.1,
    batch = 64, epochs = 1, max_prompt = 512, max_length = 1024, checkpoint_seconds = 1800,
  },
  evaluate = { k = 1 },
  -- For `sppo plan` where the files are not there; 200 tokens a prompt are a guess.
  plan = { prompts = 20000, held_out = 1000, prompt_tokens = 200 },
}
