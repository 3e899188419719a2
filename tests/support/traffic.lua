--- What the device is asked for, counted by the fake runtime (tests/cuda/emu).

local engine = require 'sppo.ffi'

local C, ffi = engine.C, engine.ffi

ffi.cdef [[
typedef struct sppo_emu_counts_result {
    double launches, products, fills, copies, waits, bytes_up, bytes_down, bytes_inside,
        product_flops, product_bytes;
} sppo_emu_counts_result;
void sppo_emu_counts(sppo_emu_counts_result *out);
]]

local M = {}

--- Why nothing can be counted, nil if it can.
function M.missing()
  if pcall(function() return C.sppo_emu_counts end) then return nil end
  return 'a real device counts nothing: only the emulation does'
end

--- What fn() asks of the device.
function M.counted(fn)
  local out = ffi.new 'sppo_emu_counts_result'
  C.sppo_emu_counts(out)
  fn()
  C.sppo_emu_counts(out)
  return out
end

return M
