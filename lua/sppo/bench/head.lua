--- The loss head: log-probs of 2,048 tokens over 49,152 words and their gradients, in chunks,
--- beside the same products made whole (logits, and their backward products): time and memory.

local measure = require 'sppo.bench.measure'
local ops = require 'sppo.ops'
local scope = require 'sppo.scope'
local tensor = require 'sppo.tensor'

local C = require('sppo.ffi').C

local N, D, V = 2048, 576, 49152

--- Seconds of `loss` forward and backward, and the memory beyond what there was and the gradients.
local function timed(hidden, weight, loss)
  local used = tonumber(C.sppo_memory_used(0))
  C.sppo_memory_reset_peak(0)
  local begin = C.sppo_clock()
  scope.run(function() ops.sum(loss()):backward() end)
  local seconds = C.sppo_clock() - begin
  local gradients = 4 * (N * D + V * D)
  hidden:clear_grad_()
  weight:clear_grad_()
  return seconds, (tonumber(C.sppo_memory_peak(0)) - used - gradients) / 1e6
end

return function(bench)
  scope.run(function()
    local hidden = tensor.zeros({ N, D }):normal_(0, 1, 1):requires_grad_()
    local weight = ops.pack(tensor.zeros({ V, D }):normal_(0, 0.05, 2), 'f32'):requires_grad_()
    local ids = {}
    for i = 1, N do ids[i] = i * 7919 % V end
    local target = tensor.ints(ids)
    local function chunked() return ops.token_logprob(hidden, weight, target) end
    local function whole() return ops.linear(hidden, { weight }) end
    timed(hidden, weight, chunked)
    local probe, memory, whole_memory, whole_times = measure.fma(bench.threads), 0, 0, {}
    local figure = measure.steady(probe, bench.repeats or 5, function()
      local seconds, megabytes = timed(hidden, weight, whole)
      whole_times[#whole_times + 1], whole_memory = seconds, megabytes
      seconds, memory = timed(hidden, weight, chunked)
      return seconds
    end)
    local flops, unchunked = 6 * N * D * V, measure.median(whole_times)
    bench.result {
      name = ('log-probs of %d x %d, chunked'):format(N, V), value = figure.seconds, unit = 's',
      low = figure.fastest, high = figure.slowest, repeats = figure.repeats, limit = figure.limit,
      limit_unit = probe.unit, steady = figure.steady,
      -- The logits are made twice: four products, three of them useful.
      share = flops / figure.seconds / 1e9 / figure.limit,
      note = ('%.1f MB of work memory'):format(memory),
    }
    bench.result { name = 'its three products, whole', value = unchunked, unit = 's',
      note = ('%.1f MB of logits and gradients; chunked takes %.2f times as long'):format(
        whole_memory, figure.seconds / unchunked) }
  end)
end
