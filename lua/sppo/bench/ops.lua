--- The linear layers of SmolLM2-135M, or of Llama-3-8B, at the row counts of decoding and of
--- training.
local machine = require 'sppo.bench.machine'
local ops = require 'sppo.ops'
local scope = require 'sppo.scope'
local tensor = require 'sppo.tensor'

local C = require('sppo.ffi').C

local SECONDS = 0.1

local shapes = {
  { 'qkv', 576, { 576, 192, 192 } },
  { 'o', 576, { 576 } },
  { 'gate_up', 576, { 1536, 1536 } },
  { 'down', 1536, { 576 } },
  { 'head', 576, { 49152 } },
}

-- Of Llama-3-8B.
local large = {
  { 'qkv', 4096, { 4096, 1024, 1024 } }, { 'gate_up', 4096, { 14336, 14336 } },
  { 'down', 14336, { 4096 } },
}

--- Seconds of fn, the best of as many calls as fit.
local function best_time(fn)
  scope.run(fn)
  local best, stop = math.huge, C.sppo_clock() + SECONDS
  repeat
    local begin = C.sppo_clock()
    scope.run(fn)
    best = math.min(best, C.sppo_clock() - begin)
  until C.sppo_clock() > stop
  return best
end

local function measure(bench, shape, dtype, rows, peak)
  local name, inputs, outputs = unpack(shape)
  scope.run(function()
    local x = tensor.zeros({ rows, inputs }):normal_(0, 1, 1)
    local weights, values, bytes = {}, 0, 0
    for i, n in ipairs(outputs) do
      weights[i] = ops.pack(tensor.zeros({ n, inputs }):normal_(0, 0.05, i), dtype)
      values = values + n * inputs
      bytes = bytes + tonumber(C.sppo_tensor_bytes(weights[i].h))
    end
    local seconds = best_time(function() ops.linear(x, weights) end)
    local rate = 2 * rows * values / seconds / 1e9
    bench.result {
      name = ('linear %s %s, %d rows'):format(name, dtype, rows), value = rate, unit = 'GFLOP/s',
      limit = peak, limit_unit = 'GFLOP/s', share = rate / peak, dtype = dtype, batch = rows,
      note = ('weights at %.1f GB/s'):format(bytes / seconds / 1e9),
    }
  end)
end

return function(bench)
  local peak = machine.peak(bench.threads)
  for _, shape in ipairs(bench.llama8b and large or shapes) do
    for _, dtype in ipairs { 'f32', 'bf16', 'q8_0' } do
      for _, rows in ipairs { 1, 64, 512 } do measure(bench, shape, dtype, rows, peak) end
    end
  end
end
