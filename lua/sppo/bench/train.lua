--- A training step: 4 prompts of 128 tokens with 2 answers of 128 each, gradients and optimizer, as
--- a share of the multiply-adds that this machine does, measured between the steps, so that what
--- other programs take from the machine they take from both.
---
--- Useful FLOPs are those that the gradient needs: 6 a weight and token, attention forward and
--- backward; nothing for what is computed twice to save memory.

local bench_model = require 'sppo.bench.model'
local host = require 'sppo.host'
local machine = require 'sppo.bench.machine'
local train = require 'sppo.train'

local C = require('sppo.ffi').C

local PROMPTS, ANSWERS, LENGTH = 4, 2, 128

--- Useful FLOPs of a step.
local function step_flops(c)
  local q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
  local layer = c.hidden_size * (2 * q + 2 * kv + 3 * c.intermediate_size)
  local answer = LENGTH - 1 -- an answer's last token is only predicted
  local tokens = PROMPTS * (LENGTH + ANSWERS * answer)
  local predicted = PROMPTS * ANSWERS * LENGTH
  local pairs_seen = PROMPTS * (LENGTH * (LENGTH + 1) / 2
    + ANSWERS * (answer * LENGTH + answer * (answer + 1) / 2))
  return 6 * tokens * layer * c.num_hidden_layers + 6 * predicted * c.vocab_size * c.hidden_size
    + 12 * pairs_seen * q * c.num_hidden_layers, tokens
end

return function(bench)
  local model, note = bench_model.open(bench.model, 'f32')
  local groups = {}
  for i = 1, PROMPTS do
    local answers = {}
    for k = 1, ANSWERS do
      answers[k] = {
        tokens = bench_model.tokens(model.config, LENGTH, 100 * i + k), logprob = -1000,
        win = k == 1 and 0.95 or 0.05 }
    end
    local prompt = bench_model.tokens(model.config, LENGTH, i)
    groups[i] = { prompt = prompt, answers = answers, pair = 0.95 }
  end
  local steps = bench.steps or 3
  -- The first step touches new memory and is not measured.
  local number, seconds, peak, begin = 0, 0, 0, nil
  local function on_step()
    if begin then
      seconds = seconds + C.sppo_clock() - begin
      peak = peak + machine.peak(bench.threads)
      number = number + 1
    end
    begin = C.sppo_clock()
  end
  train.run(model, groups, {
    loss = 'sppo', eta = 1000, optimizer = 'rmsprop', lr = 0, schedule = 'constant', warmup = 0,
    clip = 1,
    batch = PROMPTS, epochs = steps + 1, micro_tokens = 2048, checkpoint_seconds = math.huge,
  }, {
    round = 1, seed = 1,
    -- Never written: no time between checkpoints is long enough.
    checkpoint = ('%s/sppo-bench-%d'):format(os.getenv('TMPDIR') or '/tmp', host.process_id()),
    on_step = on_step,
    note = function() return {} end,
    stop = function() return false end,
  })
  seconds, peak = seconds / number, peak / number
  local flops, tokens = step_flops(model.config)
  local rate = flops / seconds / 1e9
  bench.result('train, tokens', tokens / seconds, 'tokens/s',
    ('%s, %.2f s a step'):format(note, seconds))
  bench.result('train, useful work', rate, 'GFLOP/s')
  bench.result('train, share of multiply-add rate', 100 * rate / peak, '%',
    ('of %.0f GFLOP/s'):format(peak))
end
