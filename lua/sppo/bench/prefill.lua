--- Prompts: tokens a second of one forward pass over a prompt, with the logits of its last token,
--- as a share of the machine's multiply-adds.

local bench_model = require 'sppo.bench.model'
local cost = require 'sppo.bench.cost'
local measure = require 'sppo.bench.measure'
local model_of = require 'sppo.model'
local ops = require 'sppo.ops'
local scope = require 'sppo.scope'
local segments = require 'sppo.segments'
local tensor = require 'sppo.tensor'

local C = require('sppo.ffi').C

return function(bench)
  local dtype, n = bench.dtype or 'f32', bench.prompt_tokens or 512
  local model, note = bench_model.open(bench, dtype)
  local ids = bench_model.tokens(model.config, n, 1)
  local recording = C.sppo_grad_enable(0)
  local function run()
    local begin = C.sppo_clock()
    scope.run(function()
      local hidden = model.net(tensor.ints(ids), segments.new { { count = n } })
      model.net.lm_head(ops.take_rows(hidden, tensor.ints { n - 1 }))
    end)
    return C.sppo_clock() - begin
  end
  run()
  local probe = dtype == 'q8_0' and measure.dot(bench.threads) or measure.fma(bench.threads)
  local figure = measure.steady(probe, bench.repeats or 5, run)
  C.sppo_grad_enable(recording)
  model_of.release(model)
  local flops = n * cost.row_flops(model.config, (n + 1) / 2, false)
    + 2 * model.config.hidden_size * model.config.vocab_size
  bench.result {
    name = ('%s, %d tokens'):format(dtype, n), value = n / figure.seconds, unit = 'tokens/s',
    low = n / figure.slowest, high = n / figure.fastest, repeats = figure.repeats,
    limit = figure.limit, limit_unit = probe.unit,
    share = flops / figure.seconds / 1e9 / figure.limit, steady = figure.steady, dtype = dtype,
    note = ('%s%.0f ms'):format(note, 1000 * figure.seconds),
  }
end
