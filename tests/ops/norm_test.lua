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
local function layer_norm(inputs, sizes)
  local x, weight, bias, D, y = inputs[1], inputs[2], inputs[3], sizes.D, {}
  for row = 0, #x / math.max(D, 1) - 1 do
    local sum, squares = 0, 0
    for d = 1, D do sum = sum + x[row * D + d] end
    for d = 1, D do squares = squares + (x[row * D + d] - sum / D) ^ 2 end
    local scale = 1 / math.sqrt(squares / D + 1e-3)
    for d = 1, D do
      y[row * D + d] = (x[row * D + d] - sum / D) * scale * weight[d] + bias[d]
    end
  end
  return y
end

case 'layer_norm' {
  shapes = { { 'R', 'D' }, { 'D' }, { 'D' } }, sizes = { R = 3, D = 64 }, args = { 1e-3 },
  output = { 'R', 'D' }, large = { R = 300, D = 576 }, reference = layer_norm,
}
case 'layer_norm' {
  shapes = { { 2, 'R', 'D' }, { 'D' }, { 'D' } }, sizes = { R = 2, D = 17 }, args = { 1e-3 },
  reference = layer_norm,
}
-- Far from 0, where the difference of large squares would be lost; the mean is rounded to 3e-5.
case 'layer_norm' {
  shapes = { { 'R', 'D', low = 999, high = 1001, fixed = true }, { 'D' }, { 'D' } },
  sizes = { R = 2, D = 48 }, vary = { D = { 33 } }, args = { 1e-3 }, reference = layer_norm,
  tolerance = 2e-4, gradient_tolerance = 2e-4,
}

fails 'layer_norm' {
  shapes = { { 3, 64 }, { 64 }, { 32 } }, args = { 1e-5 },
  message = 'layer_norm: bias is [32], x has last size 64',
}
fails 'layer_norm' {
  shapes = { { 3, 64 }, { 64, 1 }, { 64 } }, args = { 1e-5 },
  message = 'layer_norm: weight is [64, 1], x has last size 64',
}
fails 'layer_norm' {
  shapes = { { 3, 4 }, { 4 }, { 4, to = 'bf16' } }, args = { 1e-5 },
  message = 'layer_norm: bias is bf16, it must be f32',
}
fails 'layer_norm' {
  shapes = { { 3, 4 }, { 4 }, { 4 } }, args = { 0 },
  message = 'layer_norm: eps must be positive, got 0',
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
