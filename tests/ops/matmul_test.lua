--- Products with weights in panels.

local lu = require 'luaunit'
local q8 = require 'support.q8'
local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

local function linear(inputs, sizes)
  local x, K, outputs = inputs[1], sizes.K, {}
  local M = sizes.M * (sizes.B or 1)
  for i = 2, #inputs do
    local w, y, N = inputs[i], {}, K > 0 and #inputs[i] / K or sizes.N
    for m = 0, M - 1 do
      for n = 0, N - 1 do
        local sum = 0
        for k = 1, K do sum = sum + x[m * K + k] * w[n * K + k] end
        y[m * N + n + 1] = sum
      end
    end
    outputs[i - 1] = y
  end
  return unpack(outputs)
end

local function call(t)
  local weights = {}
  for i = 2, #t do weights[i - 1] = t[i] end
  return sppo.ops.linear(t[1], weights)
end

case 'linear' {
  shapes = { { 'M', 'K' }, { 'N', 'K', pack = 'f32' } }, sizes = { M = 9, K = 70, N = 130 },
  vary = { M = { 0, 1, 2, 5, 13, 27 }, K = { 0, 1, 3, 67, 1300 }, N = { 0, 1, 63, 64, 65 } },
  large = { M = 150, K = 300, N = 200 }, call = call, reference = linear,
}
-- Weights that take no gradient, in each dtype: only x has one.
for _, dtype in ipairs { 'bf16', 'q8_0' } do
  case 'linear' {
    shapes = { { 'M', 'K' }, { 'N', 'K', pack = dtype } }, sizes = { M = 9, K = 96, N = 130 },
    vary = { M = { 0, 1, 7, 33 }, K = { 0, 32, 1312 }, N = { 0, 1, 65 } },
    large = { M = 150, K = 320, N = 200 }, call = call, reference = linear,
    values = dtype == 'q8_0' and q8.first_rounded(linear) or nil,
  }
end
-- Only the weight has a gradient.
case 'linear' {
  shapes = { { 'M', 'K', fixed = true }, { 'N', 'K', pack = 'f32' } },
  sizes = { M = 9, K = 33, N = 70 }, call = call,
  large = { M = 150, K = 300, N = 200 }, reference = linear,
}
-- Several weights at once, of a batch of three dimensions.
case 'linear' {
  shapes = { { 'B', 'M', 'K' }, { 'N', 'K', pack = 'f32' }, { 'N', 'K', pack = 'f32' } },
  sizes = { B = 2, M = 3, K = 32, N = 65 }, call = call,
  vary = { B = { 0, 1 }, N = { 0, 1, 64 } }, reference = linear,
}
case 'linear' {
  shapes = {
    { 'M', 'K' }, { 96, 'K', pack = 'f32' }, { 32, 'K', pack = 'f32' }, { 1, 'K', pack = 'f32' },
  },
  sizes = { M = 5, K = 20 }, vary = { K = { 1, 7, 65 } }, call = call, large = { M = 150, K = 300 },
  reference = linear,
}
case 'linear' {
  shapes = {
    { 'M', 'K' }, { 5, 'K', pack = 'f32' }, { 65, 'K', pack = 'bf16' }, { 64, 'K', pack = 'f32' },
    { 70, 'K', pack = 'q8_0' },
  },
  sizes = { M = 5, K = 64 }, vary = { K = { 32, 96 } }, call = call, reference = linear,
  values = function(inputs, sizes)
    local y = { linear(inputs, sizes) }
    y[4] = select(4, q8.first_rounded(linear)(inputs, sizes))
    return unpack(y)
  end,
}

fails 'linear' {
  shapes = { { 4, 8 }, { 16, 7, pack = 'f32' } }, call = call,
  message = 'linear: inner sizes differ: [4, 8] x [16, 7]',
}
fails 'linear' {
  shapes = { { 4, 8 }, { 16, 8, pack = 'f32' }, { 2, 9, pack = 'f32' } }, call = call,
  message = 'linear: inner sizes differ: [4, 8] x [2, 9]',
}
fails 'linear' {
  shapes = { { 4, 8 }, { 16, 8 } }, call = call,
  message = 'linear: weight is in rows, it must be in panels',
}
fails 'linear' {
  shapes = { { 4, 8, to = 'bf16' }, { 16, 8, pack = 'f32' } }, call = call,
  message = 'linear: x is bf16, it must be f32',
}
fails 'linear' {
  shapes = { { 4, 8, pack = 'f32' }, { 16, 8, pack = 'f32' } }, call = call,
  message = 'linear: x is in panels, it must be in rows',
}

case 'add_bias' {
  shapes = { { 'B', 'M', 'N' }, { 'N' } }, sizes = { B = 2, M = 3, N = 37 },
  vary = { B = { 0, 1 }, M = { 1, 131 }, N = { 0, 1, 64, 67 } }, output = { 'B', 'M', 'N' },
  large = { B = 3, M = 300, N = 130 },
  reference = function(inputs, sizes)
    local y = {}
    for i = 1, #inputs[1] do y[i] = inputs[1][i] + inputs[2][(i - 1) % sizes.N + 1] end
    return y
  end,
}
fails 'add_bias' {
  shapes = { { 3, 8 }, { 7 } }, message = 'add_bias: bias is [7], x has last size 8',
}
fails 'add_bias' {
  shapes = { { 3, 8 }, { 8, 1 } }, message = 'add_bias: bias is [8, 1], x has last size 8',
}
fails 'add_bias' {
  shapes = { { 3, 8 }, { 8, to = 'bf16' } }, message = 'add_bias: bias is bf16, it must be f32',
}

--- A mistake in Lua: the text begins with the caller's place.
function tests.test_number_of_weights()
  local x, w = sppo.zeros { 4, 8 }, sppo.zeros({ 2, 8 }):pack('f32')
  lu.assertErrorMsgContains('linear: 0 weights, it takes 1..4', sppo.ops.linear, x, {})
  lu.assertErrorMsgContains('linear: 5 weights, it takes 1..4',
    sppo.ops.linear, x, { w, w, w, w, w })
end

return tests
