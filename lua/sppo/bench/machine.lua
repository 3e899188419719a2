--- What this machine can do at most: multiply-adds of floats and of bytes, reading memory and
--- caches, copying, and handing work to its threads.

local engine = require 'sppo.ffi'

local C = engine.C

local SECONDS = 0.3
local KIB, MIB = 2^10, 2^20

--- GFLOP/s of f32 multiply-adds.
local function peak(threads) return C.sppo_bench_fma(threads, SECONDS) end

return setmetatable({ peak = peak }, {
  __call = function(_, bench)
    for _, threads in ipairs(bench.threads > 1 and { 1, bench.threads } or { 1 }) do
      local function result(name, value, unit)
        bench.result { name = ('%s, %d threads'):format(name, threads), value = value, unit = unit }
      end
      result('f32 multiply-add', peak(threads), 'GFLOP/s')
      result('int8 multiply-add', C.sppo_bench_dot(threads, SECONDS), 'GOP/s')
      result('memory read', C.sppo_bench_read(threads, 256 * MIB, SECONDS), 'GB/s')
      result('16 MiB read', C.sppo_bench_read(threads, 16 * MIB, SECONDS), 'GB/s')
      result('512 KiB a thread read', C.sppo_bench_read(threads, threads * 512 * KIB, SECONDS),
        'GB/s')
      result('memory copy', C.sppo_bench_copy(threads, 128 * MIB, SECONDS), 'GB/s')
      if threads > 1 then
        result('empty parallel region', 1e6 * C.sppo_bench_region(threads, SECONDS), 'us')
      end
    end
  end,
})
