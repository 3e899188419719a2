--- The tensor class: one class with a dtype field, over an engine handle.
---
--- Axes are 1-based, negative from the end; token ids and positions inside tensors are 0-based.
--- A method that ends in `_` changes its tensor; all others return a new one.

local engine = require 'sppo.ffi'
local scope = require 'sppo.scope'

local ffi, C, try = engine.ffi, engine.C, engine.try

local dtypes = { f32 = 0, bf16 = 1, f16 = 2, q8_0 = 3, i32 = 4 }
local dtype_names = { [0] = 'f32', 'bf16', 'f16', 'q8_0', 'i32' }
local devices = { cpu = 0, cuda = 1, meta = 2 }
local device_names = { [0] = 'cpu', 'cuda', 'meta' }

local default_device = 'cpu'

local box = ffi.new('sppo_tensor *[6]') -- where ops put what they return
local dims = ffi.new('int64_t[4]')

local M = { box = box, dtypes = dtypes, devices = devices }

---@class sppo.Tensor
---@field shape integer[]
---@field dtype 'f32'|'bf16'|'f16'|'q8_0'|'i32'
---@field device 'cpu'|'cuda'|'meta'
---@field layout 'rows'|'panels'
---@field grad sppo.Tensor?   a new handle to the gradient
---@field needs_grad boolean   whether ops that use it are recorded
---@operator add(sppo.Tensor): sppo.Tensor
---@operator add(number): sppo.Tensor
---@operator sub(sppo.Tensor): sppo.Tensor
---@operator sub(number): sppo.Tensor
---@operator mul(sppo.Tensor): sppo.Tensor
---@operator mul(number): sppo.Tensor
---@operator div(number): sppo.Tensor
---@operator unm: sppo.Tensor
local methods = {}
local properties = {}

local Tensor = {
  __index = function(t, key)
    local method = methods[key]
    if method then return method end
    local property = properties[key]
    if property then return property(t) end
  end,
}
M.methods = methods

--- The engine's pointer; raises if the tensor was released.
local function pointer(t)
  local h = t.h
  if not h then engine.raise('state', 'tensor was released when its scope ended', 3) end
  return h
end

--- A Lua tensor for an owned handle.
---@param h ffi.cdata*  sppo_tensor *
---@return sppo.Tensor
function M.wrap(h)
  local t = setmetatable({ h = h }, Tensor)
  if not scope.adopt(t) then t:finalize() end
  return t
end
local wrap = M.wrap

--- Whether a value is a tensor.
---@param value any
---@return boolean
function M.is_tensor(value) return getmetatable(value) == Tensor end

--- The engine's pointer of a tensor argument; raises if it is none, or was released.
---@param value any
---@param name string      the op's, for the text
---@param argument string  the same
---@return ffi.cdata* h    sppo_tensor *
function M.handle(value, name, argument)
  if getmetatable(value) ~= Tensor then
    engine.raise('argument', ('%s: %s must be a tensor, got %s'):format(name, argument,
      type(value)), 4)
  end
  return pointer(value)
end

--- Hands the tensor to the garbage collector (outside of every scope).
function methods:finalize() ffi.gc(pointer(self), C.sppo_tensor_release) end

--- Drops the handle now; the tensor can't be used afterwards.
function methods:release()
  if not self.h then return end
  C.sppo_tensor_release(ffi.gc(self.h, nil))
  self.h, self.scope = false, nil
end

local function axis_of(t, axis, name)
  local n = C.sppo_tensor_ndim(pointer(t))
  local a = axis < 0 and n + axis or axis - 1
  if a < 0 or a >= n then
    engine.raise('argument', ('%s: axis %d of a tensor with %d'):format(name, axis, n), 3)
  end
  return a
end

--- Size along an axis.
---@param axis integer  from 1, or negative from the end
---@return integer
function methods:size(axis)
  return tonumber(C.sppo_tensor_size(pointer(self), axis_of(self, axis, 'size')))
end

--- Number of axes, 0..4.
---@return integer
function methods:dim() return C.sppo_tensor_ndim(pointer(self)) end
--- Number of values.
---@return integer
function methods:count() return tonumber(C.sppo_tensor_count(pointer(self))) end

function properties.shape(t)
  local shape = {}
  for i = 1, t:dim() do shape[i] = t:size(i) end
  return shape
end
function properties.dtype(t) return dtype_names[tonumber(C.sppo_tensor_dtype(pointer(t)))] end
function properties.device(t) return device_names[tonumber(C.sppo_tensor_device(pointer(t)))] end
function properties.layout(t)
  return C.sppo_tensor_layout(pointer(t)) == 0 and 'rows' or 'panels'
end
function properties.grad(t)
  local g = C.sppo_tensor_grad(pointer(t))
  if g == nil then return end
  C.sppo_tensor_retain(g)
  return wrap(g)
end
function properties.needs_grad(t) return C.sppo_tensor_needs_grad(pointer(t)) ~= 0 end

local function set_dims(shape)
  for i = 1, #shape do dims[i - 1] = shape[i] end
  return #shape
end

--- Runs fn(...) between two calls of `set`, which returns what to set at the end.
local function within(set, value, fn, ...)
  local was = set(value)
  local function leave(ok, ...)
    set(was)
    if not ok then error((...), 0) end
    return ...
  end
  return leave(pcall(fn, ...))
end

local function set_device(device)
  local was = default_device
  default_device = device
  return was
end

--- Runs fn(...) with `device` as the one that tensors are made on where none is named.
---@param device? 'cpu'|'cuda'|'meta'  none: no other than before
---@param fn function
function M.on_device(device, fn, ...)
  return within(set_device, device or default_device, fn, ...)
end

--- Runs fn(...), where ops on meta count the work memory of this device's kernels; it need not be
--- there.
---@param device 'cpu'|'cuda'
---@param fn function
function M.meta_as(device, fn, ...) return within(C.sppo_meta_as, devices[device], fn, ...) end

--- What memory is for; the order is the engine's (sppo_memory_kind).
M.kinds = { 'activations', 'weights', 'optimizer', 'gradients', 'kv', 'workspace' }

local kind_numbers = {}
for i, kind in ipairs(M.kinds) do kind_numbers[kind] = i - 1 end

--- Runs fn(...), whose tensors are counted as this kind.
---@param kind 'weights'|'optimizer'|'activations'
---@param fn function
function M.of_kind(kind, fn, ...)
  return within(C.sppo_memory_kind_set, kind_numbers[kind], fn, ...)
end

--- Bytes at the peak since the last reset. Scratch is not part of the peak.
---@param device 'cpu'|'cuda'|'meta'
---@return { peak: number, scratch: number, kinds: table<string, number> }
function M.memory_peak(device)
  local d, kinds = devices[device], {}
  for i, kind in ipairs(M.kinds) do kinds[kind] = tonumber(C.sppo_memory_peak_kind(d, i - 1)) end
  return { peak = tonumber(C.sppo_memory_peak(d)), kinds = kinds,
    scratch = tonumber(C.sppo_memory_scratch(d)) }
end

--- Begins a new peak.
---@param device 'cpu'|'cuda'|'meta'
function M.reset_memory_peak(device) C.sppo_memory_reset_peak(devices[device]) end

--- The device that tensors are made on where none is named.
---@return 'cpu'|'cuda'|'meta'
function M.default_device() return default_device end

--- A zero-filled tensor.
---@param shape integer[]
---@param dtype? string   'f32'
---@param device? string  the default device, 'cpu' unless inside `on_device`
---@return sppo.Tensor
function M.zeros(shape, dtype, device)
  local d, v = dtypes[dtype or 'f32'], devices[device or default_device]
  if not d then engine.raise('argument', ('zeros: unknown dtype \'%s\''):format(dtype), 2) end
  if not v then engine.raise('argument', ('zeros: unknown device \'%s\''):format(device), 2) end
  if #shape > 4 then
    engine.raise('shape', ('zeros: %d dimensions, a tensor has 0..4'):format(#shape), 2)
  end
  local n = set_dims(shape)
  try(C.sppo_tensor_new(box, d, v, n, dims))
  return wrap(box[0])
end

local function flatten(values, flat, shape, level)
  if type(values) ~= 'table' then
    flat[#flat + 1] = values
    return
  end
  if shape[level] == nil then shape[level] = #values
  elseif shape[level] ~= #values then
    engine.raise('shape', ('tensor: a row of %d values among rows of %d'):format(#values,
      shape[level]), 4)
  end
  for i = 1, #values do flatten(values[i], flat, shape, level + 1) end
end

local ctypes = { f32 = 'float[?]', i32 = 'int32_t[?]', bf16 = 'uint16_t[?]', f16 = 'uint16_t[?]' }

--- A tensor from (nested) Lua lists.
---@param values number|table
---@param shape? integer[]  other than the nesting's
---@param dtype? 'f32'|'i32'|'bf16'|'f16'|'q8_0'
---@return sppo.Tensor
function M.tensor(values, shape, dtype)
  local flat, nested = {}, {}
  flatten(values, flat, nested, 1)
  shape, dtype = shape or nested, dtype or 'f32'
  if dtype ~= 'f32' and dtype ~= 'i32' then
    local wide = M.tensor(values, shape)
    local t = wide:to(dtype)
    wide:release()
    return t
  end
  local t = M.zeros(shape, dtype)
  if t:count() ~= #flat then
    engine.raise('shape', ('tensor: %d values for %d places'):format(#flat, t:count()), 2)
  end
  if t.device == 'meta' then return t end
  local bytes = ffi.new(ctypes[dtype], #flat)
  for i = 1, #flat do bytes[i - 1] = flat[i] end
  try(C.sppo_tensor_write(t.h, bytes, #flat * 4))
  return t
end

--- A 1-dimensional i32 tensor from a Lua list or an int32_t array of n values.
---@param values integer[]|ffi.cdata*
---@param n? integer  #values
---@return sppo.Tensor  [n] i32
function M.ints(values, n)
  n = n or #values
  local t = M.zeros({ n }, 'i32')
  if default_device == 'meta' then return t end
  local p = values
  if type(values) == 'table' then
    p = ffi.new('int32_t[?]', n)
    for i = 1, n do p[i - 1] = values[i] end
  end
  try(C.sppo_tensor_write(t.h, p, n * 4))
  return t
end

--- All values, row-major, as a flat Lua list of numbers.
---@return number[]
function methods:tolist()
  local n, list = self:count(), {}
  local values = scope.run(function()
    local t = self
    if t.layout == 'panels' then t = t:unpack() end
    if t.dtype ~= 'f32' and t.dtype ~= 'i32' then t = t:to('f32') end
    t = t:contiguous()
    local out = ffi.new(ctypes[t.dtype], n)
    try(C.sppo_tensor_read(t.h, out, n * 4))
    return out
  end)
  for i = 1, n do list[i] = values[i - 1] end
  return list
end

--- The value of a one-value tensor.
---@return number
function methods:item()
  if self:count() ~= 1 then
    engine.raise('shape', ('item: the tensor has %d values'):format(self:count()), 2)
  end
  return self:tolist()[1]
end

--- Pointer to the values of a gap-free CPU tensor; good while the tensor lives.
---@param ctype? string  'float *', of i32 'int32_t *'
---@return ffi.cdata*
function methods:data(ctype)
  return ffi.cast(ctype or (self.dtype == 'i32' and 'int32_t *' or 'float *'),
    C.sppo_tensor_data(pointer(self)))
end

--- The same values in another shape, without a copy; raises if their number differs or the tensor
--- has gaps.
---@param ... integer|integer[]  the sizes, or a list of them; one may be -1
---@return sppo.Tensor
function methods:view(...)
  local shape = type((...)) == 'table' and (...) or { ... }
  if #shape > 4 then
    engine.raise('shape', ('view: %d dimensions, a tensor has 0..4'):format(#shape), 2)
  end
  local n = set_dims(shape)
  try(C.sppo_view(box, pointer(self), n, dims))
  return wrap(box[0])
end

--- t[.., start : start + length, ..] along `axis`, without a copy.
---@param axis integer
---@param start integer  counts from 0
---@param length integer
---@return sppo.Tensor
function methods:narrow(axis, start, length)
  try(C.sppo_narrow(box, pointer(self), axis_of(self, axis, 'narrow'), start, length))
  return wrap(box[0])
end

--- Two axes swapped, without a copy.
---@param a integer
---@param b integer
---@return sppo.Tensor
function methods:transpose(a, b)
  try(C.sppo_transpose(box, pointer(self), axis_of(self, a, 'transpose'),
    axis_of(self, b, 'transpose')))
  return wrap(box[0])
end

--- The values without gaps in row-major order: itself, or a copy.
---@return sppo.Tensor
function methods:contiguous()
  try(C.sppo_contiguous(box, pointer(self)))
  return wrap(box[0])
end

--- Takes over the values of a tensor of the same shape, dtype, layout and device; not recorded.
---@param source sppo.Tensor
---@return sppo.Tensor self
function methods:copy_(source)
  try(C.sppo_tensor_copy(pointer(self), M.handle(source, 'copy_', 'source')))
  return self
end

--- The tensor itself if it is on `device`, else a copy there: gap-free, in rows.
---@param device 'cpu'|'cuda'
---@return sppo.Tensor
function methods:on(device)
  if self.device == device then return self end
  return scope.run(function()
    local t = self.layout == 'panels' and self:unpack() or self:contiguous()
    return M.zeros(t.shape, t.dtype, device):copy_(t)
  end)
end

--- Uniform values in low..high, the same for the same seed.
---@param low number
---@param high number
---@param seed? integer  0
---@return sppo.Tensor self
function methods:uniform_(low, high, seed)
  try(C.sppo_tensor_uniform(pointer(self), low, high, seed or 0))
  return self
end

--- Normal values, the same for the same seed.
---@param mean number
---@param deviation number
---@param seed? integer  0
---@return sppo.Tensor self
function methods:normal_(mean, deviation, seed)
  try(C.sppo_tensor_normal(pointer(self), mean, deviation, seed or 0))
  return self
end

--- Marks a parameter: ops that use it are recorded for backward.
---@param on? boolean  true
---@return sppo.Tensor self
function methods:requires_grad_(on)
  try(C.sppo_tensor_set_needs_grad(pointer(self), on == false and 0 or 1))
  return self
end

--- Forgets the gradient.
---@return sppo.Tensor self
function methods:clear_grad_()
  C.sppo_tensor_clear_grad(pointer(self))
  return self
end

--- Gradients of everything that led to this one-value tensor; consumes the tape.
---@param seed? number  d(loss) / d(this), 1
function methods:backward(seed) try(C.sppo_backward(pointer(self), seed or 1)) end

--- Number of NaN or infinite values.
---@return integer
function methods:nonfinite()
  local count = ffi.new('int64_t[1]')
  try(C.sppo_tensor_nonfinite(pointer(self), count))
  return tonumber(count[0])
end

function Tensor.__tostring(t)
  if not t.h then return 'tensor (released)' end
  return ('tensor [%s] %s %s%s'):format(table.concat(t.shape, ', '), t.dtype, t.device,
    t.layout == 'panels' and ' panels' or '')
end

M.class = Tensor
scope.class = Tensor

return M
