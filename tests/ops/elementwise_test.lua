--- Value by value: each op is a formula.

local compare = require 'support.compare'
local lu = require 'luaunit'
local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

--- One or two inputs, values 0, 1 and odd in number, and enough for several threads.
local function formula(op, fn, more)
  local binary = debug.getinfo(fn).nparams == 2
  local function shapes(low, high, ...)
    local first = { low = low, high = high, ... }
    return binary and { first, { low = low, high = high, ... } } or { first }
  end
  more = more or {}
  local function reference(inputs)
    local y = {}
    for i = 1, #inputs[1] do y[i] = fn(inputs[1][i], binary and inputs[2][i] or nil) end
    return y
  end
  case(op) {
    shapes = shapes(more.low or -3, more.high or 3, 'A', 'B', 'C'),
    sizes = { A = 2, B = 3, C = 37 },
    vary = { B = { 0, 1 }, C = { 0, 1, 5, 16, 33 } }, args = more.args, output = { 'A', 'B', 'C' },
    large = { A = 3, B = 7, C = 5003 }, reference = reference,
    gradient_tolerance = more.gradient_tolerance,
  }
  case(op) {
    shapes = shapes(more.low or -3, more.high or 3), args = more.args, reference = reference,
  }
end

local function gelu_tanh(x)
  return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ^ 3)))
end

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

formula('add', function(a, b) return a + b end)
formula('sub', function(a, b) return a - b end)
formula('mul', function(a, b) return a * b end)
formula('affine', function(x) return 2.5 * x - 0.75 end, { args = { 2.5, -0.75 } })
formula('affine', function(x) return -0.125 * x end, { args = { -0.125 } })
formula('square', function(x) return x * x end)
formula('exp', math.exp)
formula('exp', math.exp, { low = -40, high = 10 })
formula('relu', function(x) return math.max(x, 0) end)
formula('log_sigmoid', function(x) return -math.log(1 + math.exp(-x)) end)
formula('log_sigmoid', function(x) return math.min(x, 0) - math.log(1 + math.exp(-math.abs(x))) end,
  { low = -200, high = 200 })
formula('swiglu', function(gate, up) return gate * sigmoid(gate) * up end)
formula('swiglu', function(gate, up) return gate * sigmoid(gate) * up end, { low = -30, high = 30 })
formula('geglu', function(gate, up) return gelu_tanh(gate) * up end)
formula('geglu', function(gate, up) return gelu_tanh(gate) * up end, { low = -12, high = 12 })
formula('softcap', function(x) return 2 * math.tanh(x / 2) end, { args = { 2 } })
formula('softcap', function(x) return 30 * math.tanh(x / 30) end,
  { low = -200, high = 200, args = { 30 }, gradient_tolerance = 3e-5 })
-- Small values keep their digits: they are not the difference of two numbers near 1.
formula('softcap', function(x) return 50 * math.tanh(x / 50) end,
  { low = 0.001, high = 0.002, args = { 50 } })

--- The complementary error function in double precision, for z >= 0: its series near 0, else its
--- continued fraction.
local function erfc(z)
  if z < 2.5 then
    local term, sum = z, z
    for k = 1, 60 do
      term = -term * z * z / k
      sum = sum + term / (2 * k + 1)
    end
    return 1 - 2 / math.sqrt(math.pi) * sum
  end
  local f = 0
  for k = 120, 1, -1 do f = k / 2 / (z + f) end
  return math.exp(-z * z) / math.sqrt(math.pi) / (z + f)
end

local function gelu(x)
  local tail = erfc(math.abs(x) / math.sqrt(2)) / 2
  return x * (x < 0 and tail or 1 - tail)
end

local function tanh(x)
  local e = math.exp(-2 * math.abs(x))
  return (x < 0 and -1 or 1) * (1 - e) / (1 + e)
end

formula('gelu', gelu)
formula('gelu', gelu, { low = -20, high = 20 })
formula('tanh', tanh)
formula('tanh', tanh, { low = -20, high = 20 })

--- Relative to itself, also where x is far below 0.
function tests.test_gelu_is_exact()
  local x = {}
  for i = 1, 1000 do x[i] = -12 + i * 0.024 end
  local values = sppo.tensor(x):tolist()
  local want = {}
  for i, v in ipairs(values) do want[i] = gelu(v) end
  for _, name in ipairs { 'plain', 'avx2', 'avx512', 'avx512vnni' } do
    local was = sppo.cpu_name()
    if pcall(sppo.cpu_use, name) then
      local got = sppo.ops.gelu(sppo.tensor(values)):tolist()
      sppo.cpu_use(was)
      compare.close(got, want, 6e-6, 'gelu on ' .. name)
    end
  end
end

for _, op in ipairs { 'add', 'sub', 'mul' } do
  fails(op) { shapes = { { 2, 3 }, { 3, 2 } }, message = op .. ': a is [2, 3], b is [3, 2]' }
  fails(op) { shapes = { { 3 }, { 1, 3 } }, message = op .. ': a is [3], b is [1, 3]' }
  fails(op) { shapes = { { 3 }, { 3, below = 5 } }, message = op .. ': b is i32, it must be f32' }
end
fails 'swiglu' { shapes = { { 2, 3 }, { 2, 4 } }, message = 'swiglu: gate is [2, 3], up is [2, 4]' }
fails 'swiglu' {
  shapes = { { 3, to = 'bf16' }, { 3 } }, message = 'swiglu: gate is bf16, it must be f32',
}
fails 'geglu' { shapes = { { 2, 3 }, { 2, 4 } }, message = 'geglu: gate is [2, 3], up is [2, 4]' }
fails 'softcap' {
  shapes = { { 3, below = 5 } }, args = { 2 }, message = 'softcap: x is i32, it must be f32',
}
for _, cap in ipairs { 0, -1, math.huge } do
  fails 'softcap' {
    shapes = { { 3 } }, args = { cap },
    message = ('softcap: cap must be positive, got %g'):format(cap),
  }
end
for _, op in ipairs { 'square', 'exp', 'relu', 'log_sigmoid', 'gelu', 'tanh' } do
  fails(op) { shapes = { { 3, below = 5 } }, message = op .. ': x is i32, it must be f32' }
  fails(op) {
    shapes = { { 3, 4, pack = 'f32' } }, message = op .. ': x is in panels, it must be in rows',
  }
end
fails 'affine' {
  shapes = { { 3, below = 5 } }, args = { 1, 2 }, message = 'affine: x is i32, it must be f32',
}

local inf, nan = math.huge, 0 / 0

--- Results at the ends of the range, in the body of a vector loop and in its tail.
local function extremes(op, pairs)
  for _, name in ipairs { 'plain', 'avx2', 'avx512', 'avx512vnni' } do
    local was = sppo.cpu_name()
    if pcall(sppo.cpu_use, name) then
      local x, want = {}, {}
      for i = 1, 37 do
        local pair = pairs[(i - 1) % #pairs + 1]
        x[i], want[i] = pair[1], pair[2]
      end
      local got = sppo.ops[op](sppo.tensor(x)):tolist()
      sppo.cpu_use(was)
      for i = 1, #want do
        local same = got[i] == want[i] or (got[i] ~= got[i] and want[i] ~= want[i])
        lu.assertTrue(same,
          ('%s(%g) on %s is %g, expected %g'):format(op, x[i], name, got[i], want[i]))
      end
    end
  end
end

function tests.test_extremes()
  extremes('exp', { { -inf, 0 }, { -1000, 0 }, { 0, 1 }, { 89, inf }, { inf, inf }, { nan, nan } })
  extremes('gelu', { { -inf, 0 }, { -100, 0 }, { 0, 0 }, { 50, 50 }, { inf, inf }, { nan, nan } })
  extremes('tanh', { { -inf, -1 }, { -50, -1 }, { 0, 0 }, { 50, 1 }, { inf, 1 }, { nan, nan } })
  extremes('relu', { { -inf, 0 }, { -1, 0 }, { 2, 2 }, { inf, inf }, { nan, nan } })
  extremes('log_sigmoid', {
    { -inf, -inf }, { -1e30, tonumber(require('ffi').new('float', -1e30)) }, { 500, 0 },
    { inf, 0 }, { nan, nan },
  })
end

--- A tensor that is both factors gets both gradients.
function tests.test_same_tensor_twice()
  for _, op in ipairs { 'add', 'sub', 'mul', 'swiglu', 'geglu' } do
    sppo.scope(function()
      local x, y = sppo.tensor { 0.5, -2, 3 }:requires_grad_(), sppo.tensor { 0.5, -2, 3 }
      local first, second =
        sppo.tensor { 0.5, -2, 3 }:requires_grad_(), sppo.tensor { 0.5, -2, 3 }:requires_grad_()
      sppo.ops.sum(sppo.ops[op](x, x)):backward()
      sppo.ops.sum(sppo.ops[op](first, y)):backward()
      sppo.ops.sum(sppo.ops[op](y, second)):backward()
      compare.close(x.grad:tolist(), sppo.ops.add(first.grad, second.grad):tolist(), 1e-6, op, 1)
    end)
  end
end

return tests
