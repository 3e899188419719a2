--- Softmax and its logarithm over the last axis.

local lu = require 'luaunit'
local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

local function rows(of_row)
  return function(inputs, sizes)
    local x, D, y = inputs[1], sizes.D, {}
    for row = 0, #x / math.max(D, 1) - 1 do
      local highest, sum = -math.huge, 0
      for d = 1, D do highest = math.max(highest, x[row * D + d]) end
      for d = 1, D do sum = sum + math.exp(x[row * D + d] - highest) end
      for d = 1, D do y[row * D + d] = of_row(x[row * D + d] - highest, sum) end
    end
    return y
  end
end

local softmax = rows(function(x, sum) return math.exp(x) / sum end)
local log_softmax = rows(function(x, sum) return x - math.log(sum) end)

for op, reference in pairs { softmax = softmax, log_softmax = log_softmax } do
  case(op) {
    shapes = { { 'R', 'D', low = -4, high = 4 } }, sizes = { R = 5, D = 37 }, output = { 'R', 'D' },
    large = { R = 130, D = 501 }, reference = reference,
  }
  case(op) {
    shapes = { { 2, 'R', 'D', low = -60, high = 60 } }, sizes = { R = 3, D = 16 },
    reference = reference,
  }
  case(op) { shapes = { { 'D' } }, sizes = { D = 9 }, reference = reference }
  fails(op) { shapes = { { 3, below = 5 } }, message = op .. ': x is i32, it must be f32' }
end

--- Huge values do not overflow, and what is impossible has no share.
function tests.test_extremes()
  local x = sppo.tensor { { 1e30, 0, -1e30 }, { -math.huge, 2, 2 } }
  lu.assertEquals(sppo.ops.softmax(x):tolist(), { 1, 0, 0, 0, 0.5, 0.5 })
  lu.assertEquals(sppo.ops.log_softmax(x):tolist()[4], -math.huge)
end

return tests
