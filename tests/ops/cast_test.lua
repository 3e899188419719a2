--- Other dtypes, and panels and back: exactly the values that the formats have.

local compare = require 'support.compare'
local ffi = require 'ffi'
local lu = require 'luaunit'
local sppo = require 'sppo'

local ops = sppo.ops

local case, fails, tests = require('support.optable').new()

local function f32(x) return tonumber(ffi.new('float', x)) end

--- x to a multiple of `unit`, halves to even.
local function nearest(x, unit)
  local q = x / unit
  local low = math.floor(q)
  local rest = q - low
  if rest > 0.5 or (rest == 0.5 and low % 2 == 1) then low = low + 1 end
  return low * unit
end

--- To `bits` bits of significand, not finer than 2^least.
local function rounded(x, bits, least)
  if x == 0 then return x end
  local _, exponent = math.frexp(x)
  return nearest(x, 2 ^ math.max(exponent - bits, least))
end

local function bf16(x) return rounded(x, 8, -133) end
local function f16(x) return rounded(x, 11, -24) end

--- Blocks of 32: a scale in f16, integers of magnitude up to 127, halves away from 0.
local function q8_0(values)
  local y = {}
  for first = 0, #values - 1, 32 do
    local largest = 0
    for i = 1, 32 do largest = math.max(largest, math.abs(values[first + i])) end
    local scale = f32(largest / 127)
    local inverse = scale > 0 and f32(1 / scale) or 0
    for i = 1, 32 do
      local q = f32(values[first + i] * inverse)
      q = q < 0 and -math.floor(-q + 0.5) or math.floor(q + 0.5)
      y[first + i] = f32(q * f16(scale))
    end
  end
  return y
end

local function each(fn)
  return function(values)
    local y = {}
    for i, v in ipairs(values) do y[i] = fn(v) end
    return y
  end
end

local formats = {
  f32 = each(function(x) return x end), bf16 = each(bf16), f16 = each(f16), q8_0 = q8_0,
}

for dtype, round in pairs(formats) do
  local wide = dtype == 'q8_0'
  case 'cast' {
    shapes = { { 'A', 'B', low = -3, high = 3 } }, sizes = { A = 5, B = wide and 64 or 37 },
    vary = { B = wide and { 0, 32 } or nil }, output = { 'A', 'B' },
    large = { A = 3000, B = 96 }, tolerance = 0,
    call = function(t) return ops.cast(t[1], dtype) end, gradient = false, views = not wide and nil,
    reference = function(inputs) return round(inputs[1]) end,
  }
end

-- Panels of each dtype from rows of each dtype, read back. The rows hold what their dtype has.
for from in pairs(formats) do
  for _, to in ipairs { 'f32', 'bf16', 'q8_0' } do
    local wide = from == 'q8_0' or to == 'q8_0'
    case 'pack' {
      shapes = { { 'N', 'K', to = from ~= 'f32' and from or nil } },
      sizes = { N = 70, K = wide and 64 or 37 },
      vary = { N = { 0, 1, 64, 129 }, K = wide and { 0, 32, 96 } or { 0, 1, 33 } },
      large = { N = 300, K = 160 }, tolerance = 0, gradient = false, output = { 'N', 'K' },
      call = function(t) return ops.pack(t[1], to) end,
      -- Of q8_0, packing keeps the blocks themselves.
      reference = function(inputs) return from == to and inputs[1] or formats[to](inputs[1]) end,
    }
  end
end
for _, dtype in ipairs { 'f32', 'bf16', 'q8_0' } do
  case 'unpack' {
    shapes = { { 'N', 'K', pack = dtype } }, sizes = { N = 70, K = 64 }, vary = { K = { 0, 32 } },
    tolerance = 0, gradient = false, output = { 'N', 'K' },
    call = function(t) return ops.unpack(t[1]) end,
    reference = function(inputs) return inputs[1] end,
  }
end

local inf, nan = math.huge, 0 / 0

--- Ends of the ranges, ties, subnormal numbers, signs of zero.
function tests.test_casts_at_the_ends()
  local function check(dtype, list)
    for _, pair in ipairs(list) do
      local got = sppo.tensor({ pair[1] }):to(dtype):to('f32'):tolist()[1]
      if pair[2] ~= pair[2] then lu.assertTrue(got ~= got, dtype)
      else compare.same_bits({ got }, { pair[2] }, ('%g as %s'):format(pair[1], dtype)) end
    end
  end
  check('bf16', {
    { 1 + 2 ^ -8, 1 }, { 1 + 3 * 2 ^ -8, 1 + 2 ^ -6 }, { 3.4e38, inf }, { -inf, -inf },
    { nan, nan }, { -0.0, -0.0 }, { 2 ^ -133, 2 ^ -133 },
  })
  check('f16', {
    { 1 + 2 ^ -11, 1 }, { 1 + 3 * 2 ^ -11, 1 + 2 ^ -9 }, { 65504, 65504 }, { 65519, 65504 },
    { 65520, inf }, { -1e9, -inf }, { nan, nan }, { 2 ^ -24, 2 ^ -24 }, { 2 ^ -25, 0 },
    { 3 * 2 ^ -25, 2 ^ -23 }, { -0.0, -0.0 }, { 2 ^ -14 - 2 ^ -24, 2 ^ -14 - 2 ^ -24 },
  })
end

--- A block with NaN or infinity in it does not become finite; its neighbours stay as they are.
function tests.test_q8_0_keeps_nonfinite()
  for _, bad in ipairs { nan, inf, -inf } do
    local values = {}
    for i = 1, 64 do values[i] = i == 5 and bad or 1 end
    local got = sppo.tensor(values):to('q8_0'):tolist()
    lu.assertFalse(math.abs(got[5]) < inf)
    for i = 33, 64 do lu.assertAlmostEquals(got[i], 1, 1e-3) end
  end
end

local function to(dtype)
  return function(t) return ops.cast(t[1], dtype) end
end

local function packed(dtype)
  return function(t) return ops.pack(t[1], dtype) end
end

fails 'cast' {
  shapes = { { 3, below = 2 } }, call = to 'f32',
  message = 'cast: x is i32, it must be f32, bf16, f16 or q8_0',
}
fails 'cast' {
  shapes = { { 3 } }, call = to 'i32',
  message = 'cast: dtype is i32, it must be f32, bf16, f16 or q8_0',
}
fails 'cast' {
  shapes = { { 3, 4, pack = 'f32' } }, call = to 'bf16',
  message = 'cast: x is in panels, it must be in rows',
}
fails 'cast' {
  shapes = { { 3, 33 } }, call = to 'q8_0',
  message = 'cast: last size 33 is not a multiple of 32, which q8_0 needs',
}
fails 'pack' {
  shapes = { { 3 } }, call = packed 'f32', message = 'pack: x is [3], it must have 2 dimensions',
}
fails 'pack' {
  shapes = { { 3, 4 } }, call = packed 'f16',
  message = 'pack: dtype is f16, it must be f32, bf16 or q8_0',
}
fails 'pack' {
  shapes = { { 3, 33 } }, call = packed 'q8_0',
  message = 'pack: last size 33 is not a multiple of 32, which q8_0 needs',
}
fails 'pack' {
  shapes = { { 3, 4, pack = 'f32' } }, call = packed 'f32',
  message = 'pack: x is in panels, it must be in rows',
}
fails 'unpack' {
  shapes = { { 3, 4 } }, call = function(t) return ops.unpack(t[1]) end,
  message = 'unpack: x is in rows, it must be in panels',
}

return tests
