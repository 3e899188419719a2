--- What the device is asked for, counted by the fake runtime (tests/cuda/emu).

local engine = require 'sppo.ffi'

local C, ffi = engine.C, engine.ffi

ffi.cdef [[
typedef struct sppo_emu_counts_result {
    double launches, products, fills, copies, waits, bytes_up, bytes_down, bytes_inside,
        product_flops, product_bytes, captured, graphs, made, destroyed, updates;
} sppo_emu_counts_result;
void sppo_emu_counts(sppo_emu_counts_result *out);
]]

ffi.cdef [[
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
]]

local M = {}

--- fn() with decode steps whose launches are not made one graph.
function M.without_graphs(fn)
  local was = os.getenv 'SPPO_CUDA_GRAPHS'
  ffi.C.setenv('SPPO_CUDA_GRAPHS', '0', 1)
  local ok, err = pcall(fn)
  if was then ffi.C.setenv('SPPO_CUDA_GRAPHS', was, 1)
  else ffi.C.unsetenv 'SPPO_CUDA_GRAPHS' end
  if not ok then error(err, 0) end
end

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
