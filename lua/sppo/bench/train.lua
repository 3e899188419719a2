--- A training step: 4 prompts of 128 tokens with 2 answers of 128 each, gradients and optimizer, as
--- a share of the multiply-adds that this machine does, measured between the steps; and its memory.
---
--- Useful FLOPs are those that the gradient needs: 6 a weight and token, attention forward and
--- backward; nothing for what is computed twice to save memory.

local bench_model = require 'sppo.bench.model'
local cost = require 'sppo.bench.cost'
local host = require 'sppo.host'
local measure = require 'sppo.bench.measure'
local model_of = require 'sppo.model'
local train = require 'sppo.train'

local C = require('sppo.ffi').C

local PROMPTS, ANSWERS, LENGTH = 4, 2, 128

--- Useful FLOPs of a step.
local function step_flops(c)
  local answer = LENGTH - 1 -- an answer's last token is only predicted
  local tokens = PROMPTS * (LENGTH + ANSWERS * answer)
  local predicted = PROMPTS * ANSWERS * LENGTH
  local pairs_seen = PROMPTS * (LENGTH * (LENGTH + 1) / 2
    + ANSWERS * (answer * LENGTH + answer * (answer + 1) / 2))
  local attention = 4 * pairs_seen * c.num_attention_heads * c.head_dim * c.num_hidden_layers
  return 3 * (2 * tokens * cost.layer_weights(c) * c.num_hidden_layers
    + 2 * predicted * c.vocab_size * c.hidden_size + attention), tokens
end

--- MB of memory that this process had at most; nil where the system does not say.
local function resident()
  local f = io.open('/proc/self/status')
  local kib = f and f:read('*a'):match('VmHWM:%s*(%d+) kB')
  if f then f:close() end
  return kib and kib * 1024 / 1e6
end

--- From now on `resident` counts; what was before is forgotten.
local function forget_resident_peak()
  local f = io.open('/proc/self/clear_refs', 'w')
  if not f then return end
  f:write('5')
  f:close()
end

local function groups_of(config)
  local groups = {}
  for i = 1, PROMPTS do
    local answers = {}
    for k = 1, ANSWERS do
      answers[k] = { tokens = bench_model.tokens(config, LENGTH, 100 * i + k), logprob = -1000,
        win = k == 1 and 0.95 or 0.05 }
    end
    groups[i] = { prompt = bench_model.tokens(config, LENGTH, i), answers = answers, pair = 0.95 }
  end
  return groups
end

return function(bench)
  local model, note = bench_model.open(bench, 'f32')
  local probe, repeats = measure.fma(bench.threads), bench.repeats or 5
  C.sppo_memory_reset_peak(0)
  forget_resident_peak()
  -- train.run calls between steps; `steady` wants to call a step: a coroutine turns it round. The
  -- first step touches new memory and is not measured.
  local step = coroutine.wrap(function()
    train.run(model, groups_of(model.config), {
      loss = 'sppo', eta = 1000, log_z = 'half', normalise = 'none', optimizer = 'rmsprop', lr = 0,
      schedule = 'constant', warmup = 0, clip = 1, batch = PROMPTS, epochs = 2^30,
      recompute = bench.recompute, micro_tokens = bench.micro_tokens or 512,
      checkpoint_seconds = math.huge,
    }, {
      round = 1, seed = 1,
      -- Never written: no time between checkpoints is long enough.
      checkpoint = ('%s/sppo-bench-%d'):format(os.getenv('TMPDIR') or '/tmp', host.process_id()),
      on_step = function() coroutine.yield() end,
      note = function() return {} end,
      stop = function() return false end,
    })
  end)
  step()
  local figure = measure.steady(probe, repeats, function()
    local begin = C.sppo_clock()
    step()
    return C.sppo_clock() - begin
  end)
  local flops, tokens = step_flops(model.config)
  local seconds = figure.seconds
  local own, all = tonumber(C.sppo_memory_peak(0)) / 1e6, resident()
  model_of.release(model)
  bench.result {
    name = 'step, 4 prompts x 2 answers', value = seconds, unit = 's', low = figure.fastest,
    high = figure.slowest, repeats = repeats, limit = figure.limit, limit_unit = probe.unit,
    share = flops / seconds / 1e9 / figure.limit, steady = figure.steady, dtype = 'f32',
    note = ('%s%.0f tokens/s, useful work only'):format(note, tokens / seconds),
  }
  bench.result { name = 'memory, own count', value = own, unit = 'MB' }
  if all then
    bench.result { name = 'memory, resident', value = all, unit = 'MB',
      note = ('%.1f %% more'):format(100 * (all / own - 1)) }
  end
end
