--- Start and load: a model's file to packed weights, beside copying as many bytes into fresh
--- memory; and how long the program takes to say its version.

local bench_model = require 'sppo.bench.model'
local measure = require 'sppo.bench.measure'
local model_of = require 'sppo.model'

local C = require('sppo.ffi').C

local STARTS = 20

--- Median milliseconds of `sppo version`, the shell that starts it not counted.
local function start_ms()
  local function ms(command)
    local times = {}
    for i = 1, STARTS do
      local begin = C.sppo_clock()
      os.execute(command)
      times[i] = 1000 * (C.sppo_clock() - begin)
    end
    return measure.median(times)
  end
  local program = assert(io.open('/proc/self/cmdline', 'rb'))
  local name = program:read('*a'):match('^[^%z]+')
  program:close()
  local quoted = "'" .. name:gsub("'", "'\\''") .. "'"
  return ms(quoted .. ' version > /dev/null') - ms(': > /dev/null')
end

return function(bench)
  bench.result { name = 'sppo version', value = start_ms(), unit = 'ms', repeats = STARTS }
  if not model_of.find(bench.model) then
    bench.result { name = 'load', unit = '', note = bench.model .. ': not there, nothing to load' }
    return
  end
  for _, dtype in ipairs(bench.dtype and { bench.dtype } or { 'f32', 'bf16', 'q8_0' }) do
    local bytes, copies, before = 0, {}, tonumber(C.sppo_memory_used(0))
    local figure = measure.steady(measure.read(bench.threads), bench.repeats or 3, function()
      local begin = C.sppo_clock()
      local model = bench_model.open(bench, dtype)
      local seconds = C.sppo_clock() - begin
      bytes = tonumber(C.sppo_memory_used(0)) - before
      model_of.release(model)
      begin = C.sppo_clock()
      C.sppo_bench_fresh_copy(bytes)
      copies[#copies + 1] = C.sppo_clock() - begin
      return seconds
    end)
    local copy = measure.median(copies)
    bench.result { name = 'load ' .. dtype, value = figure.seconds, unit = 's',
      low = figure.fastest, high = figure.slowest, repeats = figure.repeats, steady = figure.steady,
      dtype = dtype, note = ('%.0f MB packed; copying them into fresh memory: %.3f s, %.1f times'
        ):format(bytes / 1e6, copy, figure.seconds / copy) }
  end
end
