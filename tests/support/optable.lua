--- The op table: a case is data, and the same checks run on every case.
---
---     local case, fails, tests = require('support.optable').new()
---     case 'rms_norm' {
---       shapes = { { 'R', 'D' }, { 'D' } }, sizes = { R = 3, D = 64 }, args = { 1e-5 },
---       reference = function(inputs, sizes) return values end,
---     }
---     fails 'rms_norm' { shapes = { { 3, 64 }, { 32 } }, args = { 1e-5 }, message = '...' }
---     return tests
---
--- `shapes` are the tensors that the op gets, before `args`. A shape may say more of its tensor:
---   below = 7         i32 values in 0..6; or the name of a size
---   pack = 'bf16'     a weight in panels of this dtype;  to = 'bf16': rows of this dtype
---   low, high         range of the values, -1..1 if absent;  fixed = true: no gradient
--- `at` is a list of segments or function(sizes) -> list; the op gets it after its tensors. `call`
--- replaces the call: function(inputs, at) -> tensors. The reference gets flat lists of numbers
--- (exactly what the engine's tensors hold) and returns one flat list for each output; gradients
--- are checked against central differences of it, in double precision. `values` replaces it for the
--- values alone, where they are rounded in a way that has no gradient.
---
--- Checks: `reference` (values and gradients, on each instruction set), `sizes` (each named axis 0,
--- 1 and odd; `vary` names other sizes), `views` (inputs with gaps: the same bits; not if `views`
--- is false), `threads` (1, 2 and 3, at the sizes `large`: the same bits).

local compare = require 'support.compare'
local lu = require 'luaunit'
local segments = require 'sppo.segments'
local sppo = require 'sppo'

local ops = sppo.ops

local M = {}

local SAMPLE = 40 -- values of an input whose gradient is checked by differences
local STEP = 1e-4
local ODD = { 0, 1, 3, 67 }

-- ---- instruction sets, threads ----

--- Those of 'avx512vnni', 'avx512', 'avx2', 'plain' that this processor has.
local function instruction_sets()
  local was, list = sppo.cpu_name(), {}
  for _, name in ipairs { 'plain', 'avx2', 'avx512', 'avx512vnni' } do
    if pcall(sppo.cpu_use, name) then list[#list + 1] = name end
  end
  sppo.cpu_use(was)
  return list
end

--- Runs fn and puts instruction set and threads back, also after an error.
local function restoring(fn)
  local name, threads = sppo.cpu_name(), sppo.threads()
  local ok, err = pcall(fn)
  sppo.cpu_use(name)
  sppo.threads(threads)
  if not ok then error(err, 0) end
end

-- ---- inputs ----

--- Numbers in low..high, the same on each run.
local function stream(seed)
  local state = seed * 7919 + 12345
  return function(low, high)
    state = (state * 16807) % 2147483647
    return low + (high - low) * state / 2147483647
  end
end

local function count_of(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

--- Numbers for the names in a shape.
local function resolve(spec, sizes)
  local shape = {}
  for i, axis in ipairs(spec) do shape[i] = type(axis) == 'string' and sizes[axis] or axis end
  return shape
end

local function values_for(spec, shape, seed, sizes)
  local draw, list = stream(seed), {}
  local below = type(spec.below) == 'string' and sizes[spec.below] or spec.below
  for i = 1, count_of(shape) do
    if below then list[i] = math.floor(draw(0, below))
    else list[i] = draw(spec.low or -1, spec.high or 1) end
  end
  return list
end

--- The same tensor as a part of a larger one along `axis`: one value before, two after.
local function narrowed(values, shape, axis, dtype)
  local wide, outer, inner, filled = {}, 1, 1, {}
  for i, size in ipairs(shape) do
    wide[i] = i == axis and size + 3 or size
    if i < axis then outer = outer * size end
    if i > axis then inner = inner * size end
  end
  for i = 1, count_of(wide) do filled[i] = 9 end
  for o = 0, outer - 1 do
    for k = 1, shape[axis] * inner do
      filled[o * wide[axis] * inner + inner + k] = values[o * shape[axis] * inner + k]
    end
  end
  return sppo.tensor(filled, wide, dtype), function(t) return t:narrow(axis, 1, shape[axis]) end
end

--- One input: what the op gets, the leaf behind it, and how the leaf is seen by the op.
local function make_input(spec, sizes, seed, view)
  local shape, dtype = resolve(spec, sizes), spec.below and 'i32' or 'f32'
  local values = values_for(spec, shape, seed, sizes)
  local leaf, see = sppo.tensor(values, shape, dtype), nil
  if spec.pack then leaf = ops.pack(leaf, spec.pack)
  elseif spec.to then leaf = leaf:to(spec.to)
  elseif view == 'transposed' and #shape >= 2 and dtype == 'f32' then
    leaf = leaf:transpose(-2, -1):contiguous()
    see = function(t) return t:transpose(-2, -1) end
  elseif view == 'narrowed' and #shape >= 1 then
    leaf, see = narrowed(values, shape, #shape, dtype)
  end
  local wanted = leaf.dtype == 'f32' and not spec.fixed
  if wanted then leaf:requires_grad_() end
  return { tensor = see and see(leaf) or leaf, leaf = leaf, see = see, wanted = wanted }
end

local function sum_of(list)
  local total = 0
  for i = 1, #list do total = total + list[i] end
  return total
end

--- Gradient as the op's input has it; of the rest of a larger leaf it must be 0.
local function gradient_of(input)
  local g = input.leaf.grad
  if not g then return false end
  if not input.see then return g:tolist() end
  local seen = input.see(g):tolist()
  local absolute = {}
  for i, v in ipairs(seen) do absolute[i] = math.abs(v) end
  local all = g:tolist()
  for i, v in ipairs(all) do all[i] = math.abs(v) end
  lu.assertAlmostEquals(sum_of(all), sum_of(absolute), 1e-9 * (1 + sum_of(absolute)),
    'gradient outside of the view')
  return seen
end

-- ---- one run ----

local function call_op(c, tensors, at)
  if c.call then return { c.call(tensors, at) } end
  local arguments = {}
  for i, t in ipairs(tensors) do arguments[i] = t end
  if at then arguments[#arguments + 1] = at end
  for _, value in ipairs(c.args or {}) do arguments[#arguments + 1] = value end
  return { ops[c.op](unpack(arguments)) }
end

local function segments_of(c, sizes)
  if not c.at then return end
  return segments.new(type(c.at) == 'function' and c.at(sizes) or c.at)
end

--- Weights of the outputs in the loss whose gradients are taken.
local function coefficients(output, n) return values_for({}, { n }, 1000 + output) end

--- Values, outputs and gradients of a case at these sizes, as flat lists.
local function run(c, sizes, view)
  return sppo.scope(function()
    local inputs, tensors, values = {}, {}, {}
    for i, spec in ipairs(c.shapes) do
      inputs[i] = make_input(spec, sizes, i, view)
      tensors[i] = inputs[i].tensor
      values[i] = tensors[i]:tolist()
    end
    local outputs = call_op(c, tensors, segments_of(c, sizes))
    local result = { values = values, outputs = {}, shapes = {}, gradients = {} }
    local loss
    for i, y in ipairs(outputs) do
      result.outputs[i], result.shapes[i] = y:tolist(), y.shape
      if y.needs_grad then
        local part = ops.sum(ops.mul(y, sppo.tensor(coefficients(i, y:count()), y.shape)))
        loss = loss and ops.add(loss, part) or part
      end
    end
    if loss then
      loss:backward()
      for i, input in ipairs(inputs) do
        result.gradients[i] = input.wanted and gradient_of(input)
      end
    end
    result.differentiable = loss ~= nil
    return result
  end)
end

-- ---- checks ----

--- What a tolerance is a share of: the largest number, or 0.1, since sums of such inputs cancel.
local function largest(list)
  local m = 0.1
  for i = 1, #list do m = math.max(m, math.abs(list[i])) end
  return m
end

local function reference_outputs(c, values, sizes) return { c.reference(values, sizes) } end

local function wanted_outputs(c, values, sizes)
  return { (c.values or c.reference)(values, sizes) }
end

local function reference_loss(c, values, sizes)
  local total = 0
  for i, list in ipairs(reference_outputs(c, values, sizes)) do
    local weight = coefficients(i, #list)
    for k = 1, #list do total = total + list[k] * weight[k] end
  end
  return total
end

--- Gradient of input i at up to SAMPLE of its values: positions, numbers.
local function differences(c, values, sizes, i)
  local x, at, slopes = values[i], {}, {}
  local stride = math.max(1, math.floor(#x / SAMPLE))
  for k = 1, #x, stride do
    local keep = x[k]
    x[k] = keep + STEP
    local above = reference_loss(c, values, sizes)
    x[k] = keep - STEP
    local below = reference_loss(c, values, sizes)
    x[k] = keep
    at[#at + 1], slopes[#slopes + 1] = k, (above - below) / (2 * STEP)
  end
  return at, slopes
end

local function text_of(sizes)
  local names, parts = {}, {}
  for name in pairs(sizes) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = name .. ' = ' .. sizes[name] end
  return #parts > 0 and ' (' .. table.concat(parts, ', ') .. ')' or ''
end

local function check_reference(c, sizes)
  local what = c.op .. text_of(sizes) .. ' on ' .. sppo.cpu_name()
  local got = run(c, sizes)
  local want = wanted_outputs(c, got.values, sizes)
  lu.assertEquals(#got.outputs, #want, what .. ': outputs')
  for i, list in ipairs(want) do
    compare.close(got.outputs[i], list, c.tolerance or 2e-6,
      ('%s: output %d'):format(what, i), largest(list))
    if c.output then lu.assertEquals(got.shapes[i], resolve(c.output, sizes), what .. ': shape') end
  end
  if c.gradient == false then
    lu.assertFalse(got.differentiable, what .. ': records a gradient')
    return
  end
  for i, input in ipairs(c.shapes) do
    if not input.below and not input.fixed and (input.pack or input.to or 'f32') == 'f32' then
      local at, slopes = differences(c, got.values, sizes, i)
      local sampled = {}
      lu.assertTable(got.gradients[i], ('%s: no gradient of input %d'):format(what, i))
      for k, place in ipairs(at) do sampled[k] = got.gradients[i][place] end
      compare.close(sampled, slopes, c.gradient_tolerance or 1e-5,
        ('%s: gradient of input %d'):format(what, i), largest(slopes))
    end
  end
end

--- The case's sizes with one of them replaced.
local function varied(c)
  local list, names = {}, {}
  for name in pairs(c.sizes or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    for _, size in ipairs(c.vary and c.vary[name] or ODD) do
      local sizes = {}
      for k, v in pairs(c.sizes) do sizes[k] = v end
      sizes[name] = size
      list[#list + 1] = sizes
    end
  end
  return list
end

local function same_run(got, want, what)
  for i, list in ipairs(want.outputs) do
    compare.same_bits(got.outputs[i], list, ('%s: output %d'):format(what, i))
  end
  for i, list in pairs(want.gradients) do
    if list then
      compare.same_bits(got.gradients[i], list, ('%s: gradient of input %d'):format(what, i))
    end
  end
end

local checks = {}

function checks.reference(c)
  for _, name in ipairs(instruction_sets()) do
    sppo.cpu_use(name)
    check_reference(c, c.sizes or {})
  end
end

function checks.sizes(c)
  for _, name in ipairs(instruction_sets()) do
    sppo.cpu_use(name)
    for _, sizes in ipairs(varied(c)) do check_reference(c, sizes) end
  end
end

function checks.views(c)
  local want = run(c, c.sizes or {})
  for _, view in ipairs { 'transposed', 'narrowed' } do
    same_run(run(c, c.sizes or {}, view), want, c.op .. ' of ' .. view .. ' inputs')
  end
end

function checks.threads(c)
  for _, name in ipairs(instruction_sets()) do
    sppo.cpu_use(name)
    local want
    for threads = 1, 3 do
      sppo.threads(threads)
      local got = run(c, c.large)
      if want then same_run(got, want, ('%s with %d threads on %s'):format(c.op, threads, name)) end
      want = want or got
    end
  end
end

--- A table of tests, and the functions that add to it.
function M.new()
  local tests, numbers = {}, {}

  local function name_of(op)
    numbers[op] = (numbers[op] or 0) + 1
    return ('test_%s_%d'):format(op, numbers[op])
  end

  local function case(op)
    return function(c)
      local name = name_of(op)
      c.op = op
      for check, fn in pairs(checks) do
        if (check ~= 'sizes' or c.sizes) and (check ~= 'threads' or c.large)
          and (check ~= 'views' or c.views ~= false) then
          tests[name .. '_' .. check] = function() restoring(function() fn(c) end) end
        end
      end
    end
  end

  --- The op must fail with exactly this text.
  local function fails(op)
    return function(c)
      c.op = op
      tests[name_of(op) .. '_fails'] = function()
        sppo.scope(function()
          local tensors = {}
          for i, spec in ipairs(c.shapes) do
            tensors[i] = spec.tensor and spec.tensor() or make_input(spec, {}, i).tensor
          end
          local at = segments_of(c, {})
          local ok, err = pcall(call_op, c, tensors, at)
          lu.assertFalse(ok, op .. ' did not fail')
          lu.assertEquals(tostring(err), c.message)
        end)
      end
    end
  end

  return case, fails, tests
end

return M
