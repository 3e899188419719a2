--- Sums, and numbers about a tensor's values.

local ffi = require 'ffi'
local lu = require 'luaunit'
local sppo = require 'sppo'

local C = require('sppo.ffi').C

local case, fails, tests = require('support.optable').new()

local function sum(inputs)
  local total = 0
  for _, v in ipairs(inputs[1]) do total = total + v end
  return { total }
end

case 'sum' {
  shapes = { { 'A', 'B', 'C' } }, sizes = { A = 2, B = 3, C = 5 }, output = { 1 }, reference = sum,
  large = { A = 3, B = 70, C = 1001 },
}
case 'sum' { shapes = { {} }, reference = sum }

local function segment_sum(inputs)
  local y = { 0, 0, 0, 0, 0 }
  for i, group in ipairs(inputs[2]) do y[group + 1] = y[group + 1] + inputs[1][i] end
  return y
end

case 'segment_sum' {
  shapes = { { 'n' }, { 'n', below = 5 } }, sizes = { n = 40 }, args = { 5 }, output = { 5 },
  large = { n = 5000 }, reference = segment_sum,
}

fails 'sum' { shapes = { { 3, below = 5 } }, message = 'sum: x is i32, it must be f32' }
fails 'segment_sum' {
  shapes = { { 3 }, { 4, below = 2 } }, args = { 2 },
  message = 'segment_sum: x is [3], group is [4]',
}
fails 'segment_sum' {
  shapes = { { 3, 1 }, { 3, 1, below = 2 } }, args = { 2 },
  message = 'segment_sum: x is [3, 1], it must have 1 dimensions',
}
fails 'segment_sum' {
  shapes = { { 3 }, { 3 } }, args = { 2 }, message = 'segment_sum: group is f32, it must be i32',
}
fails 'segment_sum' {
  shapes = { { 3 }, { tensor = function() return sppo.ints { 0, 2, -1 } end } }, args = { 2 },
  message = 'segment_sum: group[1] is 2, it must be in 0..1',
}
fails 'segment_sum' {
  shapes = { { 3 }, { tensor = function() return sppo.ints { 0, 0, -1 } end } }, args = { 2 },
  message = 'segment_sum: group[2] is -1, it must be in 0..1',
}
fails 'segment_sum' {
  shapes = { { 0 }, { 0, below = 1 } }, args = { -1 },
  message = 'segment_sum: groups must be in 0..2147483647, got -1',
}

local number = ffi.new('double[1]')

local function sum_squares(t)
  require('sppo.ffi').try(C.sppo_sum_squares(t.h, number))
  return number[0]
end

--- In f64: two values whose squares f32 can't add; of panels and of a part of a tensor too.
function tests.test_sum_squares()
  lu.assertEquals(sum_squares(sppo.tensor { 4096, 1 / 4096 }), 4096 ^ 2 + 4096 ^ -2)
  lu.assertEquals(sum_squares(sppo.zeros { 0, 3 }), 0)
  local w = sppo.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
  lu.assertEquals(sum_squares(w), 91)
  lu.assertEquals(sum_squares(sppo.ops.pack(w, 'f32')), 91)
  lu.assertEquals(sum_squares(w:narrow(2, 1, 2)), 4 + 9 + 25 + 36)
  lu.assertErrorMsgEquals('sum_squares: x is i32, it must be f32', sum_squares, sppo.ints { 1 })
end

--- The same bits for any number of threads.
function tests.test_sum_squares_threads()
  local was, x, first = sppo.threads(), sppo.zeros { 700001 }:normal_(0, 1, 3), nil
  for threads = 1, 3 do
    sppo.threads(threads)
    first = first or sum_squares(x)
    lu.assertEquals(sum_squares(x), first)
  end
  sppo.threads(was)
  local total = 0
  for _, v in ipairs(x:tolist()) do total = total + v * v end
  lu.assertAlmostEquals(first / total, 1, 1e-12)
end

--- It reads values, records nothing, and leaves no tensor behind.
function tests.test_sum_squares_of_a_parameter()
  local x = sppo.tensor { { 1, 2, 3 }, { 4, 5, 6 } }:requires_grad_()
  local part = x:narrow(2, 0, 2)
  local length, used = tonumber(C.sppo_tape_length()), sppo.memory().used
  sum_squares(part)
  lu.assertEquals(part:nonfinite(), 0)
  lu.assertEquals(tonumber(C.sppo_tape_length()), length)
  lu.assertEquals(sppo.memory().used, used)
end

function tests.test_nonfinite()
  local inf, nan = math.huge, 0 / 0
  local values = {}
  for i = 1, 100003 do values[i] = i end
  lu.assertEquals(sppo.tensor(values):nonfinite(), 0)
  values[1], values[50000], values[100003] = nan, inf, -inf
  lu.assertEquals(sppo.tensor(values):nonfinite(), 3)
  lu.assertEquals(sppo.tensor({ { 1, nan, 3 }, { inf, 5, nan } }):narrow(2, 0, 2):nonfinite(), 2)
  lu.assertErrorMsgEquals('nonfinite: x is i32, it must be f32',
    function() return sppo.ints({ 1 }):nonfinite() end)
end

return tests
