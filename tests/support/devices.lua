--- The same computation on the CPU and on 'cuda': values and gradients within a tolerance of the
--- CPU's. Where there is no such device it says why.

local compare = require 'support.compare'
local lu = require 'luaunit'
local segments = require 'sppo.segments'
local sppo = require 'sppo'

local ops = sppo.ops

local M = {}

--- nil where the device is there, and cuDNN if SPPO_CUDA_ATTENTION asks for it, else a suite of one
--- skipped test.
function M.missing()
  local ok, why = pcall(function()
    sppo.scope(function()
      local x = sppo.zeros({ 1, 1, 8 }, 'f32', 'cuda')
      if os.getenv 'SPPO_CUDA_ATTENTION' == 'cudnn' then
        ops.attention(x, x, x, segments.new { { count = 1 } })
      end
    end)
  end)
  if not ok then return { test_all = function() lu.skip(tostring(why)) end } end
end

--- Numbers in low..high, the same on each run.
function M.numbers(n, low, high, seed)
  local state, list = seed * 7919 + 12345, {}
  for i = 1, n do
    state = (state * 16807) % 2147483647
    list[i] = low + (high - low) * state / 2147483647
  end
  return list
end

--- The same values on a device.
function M.on(device, t)
  return device == 'cpu' and t or sppo.zeros(t.shape, t.dtype, device):copy_(t)
end

--- An input of a case: { shape, below = N | low =, high =, to = dtype, pack = dtype }.
local function make_input(device, spec, seed)
  local n = 1
  for _, size in ipairs(spec.shape) do n = n * size end
  local list = M.numbers(n, spec.below and 0 or spec.low or -1, spec.below or spec.high or 1, seed)
  if spec.below then
    for i = 1, n do list[i] = math.min(math.floor(list[i]), spec.below - 1) end
  end
  local t = M.on(device, sppo.tensor(list, spec.shape, spec.below and 'i32' or 'f32'))
  if spec.to then t = t:to(spec.to) end
  if spec.pack then t = ops.pack(t, spec.pack) end
  if t.dtype == 'f32' and not spec.fixed then t:requires_grad_() end
  return t
end

--- Backward from weighted sums of the outputs.
local function differentiate(device, outputs)
  local loss
  for i, y in ipairs(outputs) do
    lu.assertEquals(y.device, device)
    if y.needs_grad then
      local weight = sppo.tensor(M.numbers(y:count(), -1, 1, 100 + i), y.shape)
      local part = ops.sum(ops.mul(y, M.on(device, weight)))
      loss = loss and ops.add(loss, part) or part
    end
  end
  if loss then loss:backward() end
end

--- Outputs and gradients of a case, as lists of numbers. Twice, unless `once`: gradients add up.
local function run(device, case)
  return sppo.scope(function()
    local inputs, result, outputs = {}, {}, nil
    for i, spec in ipairs(case.inputs) do inputs[i] = make_input(device, spec, i) end
    for _ = 1, case.once and 1 or 2 do
      outputs = { case.call(inputs) }
      differentiate(device, outputs)
    end
    for i, y in ipairs(outputs) do result[#result + 1] = { 'output ' .. i, y:tolist() } end
    for i, leaf in ipairs(inputs) do
      local grad = leaf.grad
      if grad then result[#result + 1] = { 'gradient ' .. i, grad:tolist() } end
    end
    return result
  end)
end

local function largest(list)
  local m = 1
  for i = 1, #list do m = math.max(m, math.abs(list[i])) end
  return m
end

--- With one NaN for all: which one an operation makes is not said.
local function one_nan(list)
  for i = 1, #list do
    if list[i] ~= list[i] then list[i] = 0 / 0 end
  end
  return list
end

--- `tolerance` 0: the same bits.
function M.same(what, case)
  local want, got = run('cpu', case), run('cuda', case)
  lu.assertEquals(#got, #want, what .. ': results')
  for i, w in ipairs(want) do
    local name = ('%s: %s'):format(what, w[1])
    if case.tolerance == 0 then compare.same_bits(one_nan(got[i][2]), one_nan(w[2]), name)
    else compare.close(got[i][2], w[2], case.tolerance or 2e-6, name, largest(w[2])) end
  end
end

--- A function each(sizes, name, make) that adds the test `name` of make(n) for each size n.
function M.each(tests)
  return function(sizes, name, make)
    tests['test_' .. name] = function()
      for _, n in ipairs(sizes) do M.same(('%s of %d'):format(name, n), make(n)) end
    end
  end
end

return M
