--- sppo: self-play preference optimisation. `sppo.x` loads sppo/x.lua on first use.

local engine = require 'sppo.ffi'
local tensor = require 'sppo.tensor'
local scope = require 'sppo.scope'
local ops = require 'sppo.ops'

local C = engine.C

local M = {
  tensor = tensor.tensor,
  zeros = tensor.zeros,
  ints = tensor.ints,
  is_tensor = tensor.is_tensor,
  ops = ops,
  scope = scope.run,
  keep = scope.keep,
}

--- Runs fn(...) without recording for backward; returns what it returns.
---@param fn function
function M.no_grad(fn, ...)
  local was = C.sppo_grad_enable(0)
  local function leave(ok, ...)
    C.sppo_grad_enable(was)
    if not ok then error((...), 0) end
    return ...
  end
  return leave(pcall(fn, ...))
end

--- Threads that an op uses; sets them if `n` is given (0: as many as there are processors).
---@param n? integer
---@return integer
function M.threads(n)
  if n then engine.try(C.sppo_threads_set(n)) end
  return C.sppo_threads()
end

--- Bytes of tensors alive and at their most since the start or `reset`, on a device.
---@param device? 'cpu'|'meta'  'cpu'
---@return { used: number, peak: number }
function M.memory(device)
  local d = tensor.devices[device or 'cpu']
  return { used = tonumber(C.sppo_memory_used(d)), peak = tonumber(C.sppo_memory_peak(d)) }
end

--- Uses the kernels of an instruction set; raises if this processor lacks it.
---@param name 'avx512vnni'|'avx512'|'avx2'|'plain'
function M.cpu_use(name) engine.try(C.sppo_cpu_use(name)) end

--- Name of the instruction set in use.
---@return string
function M.cpu_name() return engine.ffi.string(C.sppo_cpu_name()) end

return setmetatable(M, {
  __index = function(t, key)
    local module = require('sppo.' .. key)
    rawset(t, key, module)
    return module
  end,
})
