--- What this machine can do at most: f32 multiply-adds and reading memory.

local C = require('sppo.ffi').C

local SECONDS, BYTES = 0.5, 256 * 2 ^ 20

--- GFLOP/s of f32 multiply-adds.
local function peak(threads) return C.sppo_bench_fma(threads, SECONDS) end

return setmetatable({ peak = peak }, {
  __call = function(_, bench)
    for _, threads in ipairs(bench.threads > 1 and { 1, bench.threads } or { 1 }) do
      bench.result(('f32 multiply-add, %d threads'):format(threads), peak(threads), 'GFLOP/s')
      bench.result(('memory read, %d threads'):format(threads),
        C.sppo_bench_read(threads, BYTES, SECONDS), 'GB/s')
    end
  end,
})
