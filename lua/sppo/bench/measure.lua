--- How a figure is taken: several times, with a look at the machine's own speed before and after.
--- On a machine shared with others that speed moves; what was measured while it moved is measured
--- again.

local engine = require 'sppo.ffi'

local C = engine.C

local M = {}

M.MOVED = 0.15 -- share by which the machine's speed may change during a measurement
M.TRIES = 5
M.PROBE_SECONDS = 0.1
M.READ_BYTES = 256 * 2^20

---@class sppo.bench.Probe  what limits a figure, measured now
---@field unit string
---@field rate fun(): number

--- f32 multiply-adds, GFLOP/s.
function M.fma(threads)
  return { unit = 'GFLOP/s', rate = function()
    return C.sppo_bench_fma(threads, M.PROBE_SECONDS)
  end }
end

--- Integer multiply-adds of bytes, GOP/s.
function M.dot(threads)
  return { unit = 'GOP/s', rate = function() return C.sppo_bench_dot(threads, M.PROBE_SECONDS) end }
end

--- Reading memory, GB/s.
function M.read(threads)
  return { unit = 'GB/s', rate = function()
    return C.sppo_bench_read(threads, M.READ_BYTES, M.PROBE_SECONDS)
  end }
end

function M.median(list)
  local sorted = {}
  for i, x in ipairs(list) do sorted[i] = x end
  table.sort(sorted)
  local n = #sorted
  return n % 2 == 1 and sorted[(n + 1) / 2] or (sorted[n / 2] + sorted[n / 2 + 1]) / 2
end

---@class sppo.bench.Figure
---@field seconds number   median
---@field fastest number
---@field slowest number
---@field repeats integer
---@field limit number     the probe's rate, median
---@field steady boolean   false: the machine's speed moved in too many of the tries

--- Runs `fn` (which returns seconds) `repeats` times between two looks at the machine.
---@param probe sppo.bench.Probe
---@param repeats integer
---@param fn fun(): number
---@return sppo.bench.Figure
function M.steady(probe, repeats, fn)
  local times, limits, moved = {}, {}, 0
  local before = probe.rate()
  while #times < repeats do
    local seconds = fn()
    local after = probe.rate()
    local change = math.abs(after - before) / math.max(after, before)
    if change <= M.MOVED or moved >= M.TRIES then
      times[#times + 1], limits[#limits + 1] = seconds, (before + after) / 2
    end
    if change > M.MOVED then moved = moved + 1 end
    before = after
  end
  return {
    seconds = M.median(times), fastest = math.min(unpack(times)), slowest = math.max(unpack(times)),
    repeats = repeats, limit = M.median(limits), steady = moved <= M.TRIES,
  }
end

return M
