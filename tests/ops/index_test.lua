--- Rows by index.

local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

local function take_rows(inputs, width)
  local x, index, y = inputs[1], inputs[2], {}
  for i, row in ipairs(index) do
    for d = 1, width do y[(i - 1) * width + d] = x[row * width + d] end
  end
  return y
end

-- 12 indices into 5 rows: some repeat.
case 'take_rows' {
  shapes = { { 5, 'D' }, { 'm', below = 5 } }, sizes = { m = 12, D = 7 }, output = { 'm', 'D' },
  large = { m = 500, D = 300 },
  reference = function(inputs, sizes) return take_rows(inputs, sizes.D) end,
}
case 'take_rows' {
  shapes = { { 4, 2, 'D' }, { 'm', below = 4 } }, sizes = { m = 9, D = 3 },
  output = { 'm', 2, 'D' },
  reference = function(inputs, sizes) return take_rows(inputs, 2 * sizes.D) end,
}
case 'take_rows' {
  shapes = { { 6 }, { 'm', below = 6 } }, sizes = { m = 11 }, output = { 'm' },
  reference = function(inputs) return take_rows(inputs, 1) end,
}

local function ints(...)
  local values = { ... }
  return { tensor = function() return sppo.ints(values) end }
end

fails 'take_rows' {
  shapes = { { 5, 2 }, ints(0, 4, 5) }, message = 'take_rows: index[2] is 5, it must be in 0..4',
}
fails 'take_rows' {
  shapes = { { 5, 2 }, ints(-1) }, message = 'take_rows: index[0] is -1, it must be in 0..4',
}
fails 'take_rows' {
  shapes = { { 5, 2 }, { 3 } }, message = 'take_rows: index is f32, it must be i32',
}
fails 'take_rows' {
  shapes = { { 5, 2 }, { 3, 1, below = 2 } },
  message = 'take_rows: index is [3, 1], it must have 1 dimensions',
}
fails 'take_rows' {
  shapes = { {}, { 3, below = 1 } },
  message = 'take_rows: x is [], it must have at least 1 dimension',
}

return tests
