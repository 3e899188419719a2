--- Decoding: 64 sequences, 4 answers of each of 16 prompts of 64 tokens. Prompts are computed
--- before the clock starts; what is measured is whole steps: model, sampler, bookkeeping.

local bench_model = require 'sppo.bench.model'
local sample = require 'sppo.sample'

local C = require('sppo.ffi').C

local PROMPTS, K, PROMPT_TOKENS = 16, 4, 64

return function(bench)
  local model, note = bench_model.open(bench.model, 'bf16')
  local prompts = {}
  for i = 1, PROMPTS do
    prompts[i] = { id = i, tokens = bench_model.tokens(model.config, PROMPT_TOKENS, i) }
  end
  local steps = bench.steps or 64
  local times = {}
  sample.run(model, prompts, {
    k = K, batch = PROMPTS * K, stop_ids = {}, temperature = 0.7, top_p = 0.9, seed = 1,
    -- One token comes with the prompt; the first step sizes the arena and the last is not followed
    -- by a tick in full, so neither is measured.
    max_new_tokens = steps + 3,
    on_step = function() times[#times + 1] = C.sppo_clock() end,
  }, function() end)
  local seconds, best = times[steps + 1] - times[1], math.huge
  for i = 2, steps + 1 do best = math.min(best, times[i] - times[i - 1]) end
  bench.result(('decode, %d sequences of %d prompts'):format(PROMPTS * K, PROMPTS),
    steps * PROMPTS * K / seconds, 'tokens/s',
    ('%s, %d steps of %.1f ms, the best %.1f ms'):format(note,
      steps, 1000 * seconds / steps, 1000 * best))
end
