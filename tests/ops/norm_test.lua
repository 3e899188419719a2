--- Row normalisations.

local case, fails, tests = require('support.optable').new()

local function rms_norm(inputs, sizes, offset)
  local x, weight, D, y = inputs[1], inputs[2], sizes.D, {}
  for row = 0, #x / math.max(D, 1) - 1 do
    local sum = 0
    for d = 1, D do sum = sum + x[row * D + d] ^ 2 end
    local scale = 1 / math.sqrt(sum / D + 1e-5)
    for d = 1, D do y[row * D + d] = x[row * D + d] * scale * ((offset or 0) + weight[d]) end
  end
  return y
end

case 'rms_norm' {
  shapes = { { 'R', 'D' }, { 'D' } }, sizes = { R = 3, D = 64 }, args = { 1e-5 },
  output = { 'R', 'D' }, large = { R = 300, D = 576 }, reference = rms_norm,
}
case 'rms_norm' {
  shapes = { { 2, 'R', 'D' }, { 'D' } }, sizes = { R = 2, D = 17 }, args = { 1e-5 },
  reference = rms_norm,
}
case 'rms_norm' {
  shapes = { { 'D' }, { 'D' } }, sizes = { D = 5 }, args = { 1e-5 }, reference = rms_norm,
}

-- Gemma's: the factor is 1 + weight.
case 'rms_norm' {
  shapes = { { 'R', 'D' }, { 'D' } }, sizes = { R = 3, D = 64 }, args = { 1e-5, { offset = 1 } },
  large = { R = 300, D = 70 }, gradient_tolerance = 3e-5,
  reference = function(inputs, sizes) return rms_norm(inputs, sizes, 1) end,
}

fails 'rms_norm' {
  shapes = { { 3, 4 }, { 4 } }, args = { 1e-6, { offset = math.huge } },
  message = 'rms_norm: offset must be a finite number, got inf',
}
fails 'rms_norm' {
  shapes = { { 3, 64 }, { 32 } }, args = { 1e-5 },
  message = 'rms_norm: weight is [32], x has last size 64',
}
fails 'rms_norm' {
  shapes = { { 3, 64 }, { 64, 1 } }, args = { 1e-5 },
  message = 'rms_norm: weight is [64, 1], x has last size 64',
}
fails 'rms_norm' {
  shapes = { { 3, 4 }, { 4, to = 'bf16' } }, args = { 1e-5 },
  message = 'rms_norm: weight is bf16, it must be f32',
}
fails 'rms_norm' {
  shapes = { { 3, 4 }, { 4 } }, args = { 0 }, message = 'rms_norm: eps must be positive, got 0',
}

return tests
