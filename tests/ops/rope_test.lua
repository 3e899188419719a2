--- Rotary position embedding: value i of a head is paired with value i + D/2.

local ffi = require 'ffi'
local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

local function f32(x) return tonumber(ffi.new('float', x)) end

--- A prompt, two answers that continue it, and a segment of its own.
local function tree(sizes)
  local n = sizes.n
  local a, b, c = math.floor(n / 3), math.floor(n / 4), math.floor(n / 5)
  return {
    { count = a }, { parent = 1, count = b }, { parent = 1, count = c },
    { count = n - a - b - c },
  }
end

local function positions(list)
  local starts, result = {}, {}
  for i, s in ipairs(list) do
    starts[i] = s.parent and starts[s.parent] + list[s.parent].count or 0
    for k = 0, s.count - 1 do result[#result + 1] = starts[i] + k end
  end
  return result
end

--- Frequencies and angles are rounded to f32 where transformers rounds them.
local function plain(frequency) return frequency end

local function rope(inputs, sizes, scaled)
  local x, D, y = inputs[1], sizes.D, {}
  for token, position in ipairs(positions(tree(sizes))) do
    for head = 0, sizes.heads - 1 do
      local base = ((token - 1) * sizes.heads + head) * D
      for i = 1, D / 2 do
        local frequency = f32(1 / f32(10000 ^ f32((2 * i - 2) / D)))
        local angle = f32(position * (scaled or plain)(frequency))
        local low, high, c, s = x[base + i], x[base + D / 2 + i], math.cos(angle), math.sin(angle)
        y[base + i], y[base + D / 2 + i] = low * c - high * s, high * c + low * s
      end
    end
  end
  return y
end

local function call(t, at) return sppo.ops.rope(t[1], at, { theta = 10000 }) end

case 'rope' {
  shapes = { { 'n', 'heads', 'D' } }, sizes = { n = 11, heads = 3, D = 16 }, call = call, at = tree,
  vary = { n = { 0, 1, 67 }, heads = { 0, 1, 5 }, D = { 2, 6, 64, 70, 256 } },
  output = { 'n', 'heads', 'D' }, large = { n = 300, heads = 9, D = 64 }, reference = rope,
}

local function scaled_case(scaling, formula)
  case 'rope' {
    shapes = { { 'n', 'heads', 'D' } }, sizes = { n = 11, heads = 2, D = 32 }, at = tree,
    call = function(t, at) return sppo.ops.rope(t[1], at, { theta = 10000, scaling = scaling }) end,
    vary = { n = { 67 }, heads = {}, D = { 2, 64 } },
    reference = function(inputs, sizes) return rope(inputs, sizes, formula) end, tolerance = 4e-6,
  }
end

scaled_case({ factor = 4 }, function(f) return f32(f / 4) end)
-- Turns of less than 16 tokens stay, of more than 64 are 8 times as long.
scaled_case({
  factor = 8, low_freq_factor = 1, high_freq_factor = 4, original_max_position_embeddings = 64,
}, function(f)
  local length = 2 * math.pi / f
  if length < 16 then return f end
  if length > 64 then return f32(f / 8) end
  local smooth = (64 / length - 1) / 3
  return f32((1 - smooth) * f / 8 + smooth * f)
end)

local five = { { count = 5 } }

fails 'rope' {
  shapes = { { 5, 2, 7 } }, at = five, call = call,
  message = 'rope: x has last size 7, it must be even and in 2..256',
}
fails 'rope' {
  shapes = { { 5, 2, 258 } }, at = five, call = call,
  message = 'rope: x has last size 258, it must be even and in 2..256',
}
fails 'rope' {
  shapes = { { 4, 2, 8 } }, at = five, call = call,
  message = 'rope: x has 4 rows, the segments have 5 tokens',
}
fails 'rope' {
  shapes = { { 5, 8 } }, at = five, call = call,
  message = 'rope: x is [5, 8], it must have 3 dimensions',
}
fails 'rope' {
  shapes = { { 5, 2, 8, to = 'bf16' } }, at = five, call = call,
  message = 'rope: x is bf16, it must be f32',
}
fails 'rope' {
  shapes = { { 5, 2, 8 } }, at = five,
  call = function(t, at) return sppo.ops.rope(t[1], at, { theta = 0 }) end,
  message = 'rope: theta must be positive, got 0',
}
for _, bad in ipairs {
  { { factor = 0 }, 'factor must be positive, got 0' },
  { { factor = 8, low_freq_factor = 4, high_freq_factor = 4, original_max_position_embeddings = 8 },
    'low_freq_factor 4 and high_freq_factor 4 must be positive, the second larger' },
  { { factor = 8, low_freq_factor = 1, high_freq_factor = 4 },
    'original_positions must be positive, got 0' },
} do
  fails 'rope' {
    shapes = { { 5, 2, 8 } }, at = five,
    call = function(t, at) return sppo.ops.rope(t[1], at, { theta = 1e4, scaling = bad[1] }) end,
    message = 'rope: ' .. bad[2],
  }
end

return tests
