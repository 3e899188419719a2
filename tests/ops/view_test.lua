--- Other shapes over the same storage.

local lu = require 'luaunit'
local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

--- values of a [A, B, C] list with its axes in another order; `of(a, b, c)` gives the new place,
--- and nothing for a value that is not there.
local function placed(inputs, sizes, of)
  local x, y, i = inputs[1], {}, 0
  for a = 0, sizes.A - 1 do
    for b = 0, sizes.B - 1 do
      for c = 0, sizes.C - 1 do
        i = i + 1
        local place = of(a, b, c)
        if place then y[place + 1] = x[i] end
      end
    end
  end
  return y
end

local axes = { { 'A', 'B', 'C' } }
local odd = { A = 2, B = 5, C = 7 }

case 'view' {
  shapes = axes, sizes = odd, vary = { B = { 0, 1, 3 } }, views = false,
  reference = function(inputs) return inputs[1] end,
  call = function(t) return t[1]:view(t[1]:size(2), t[1]:size(1), 1, t[1]:size(3)) end,
  tolerance = 0, output = { 'B', 'A', 1, 'C' },
}
case 'view' {
  shapes = { { 'A', 6 } }, sizes = { A = 4 }, views = false, tolerance = 0,
  call = function(t) return t[1]:view(-1) end,
  reference = function(inputs) return inputs[1] end,
}
case 'narrow' {
  shapes = axes, sizes = odd, vary = { A = { 2, 3 }, B = { 3, 9 }, C = { 0, 1 } }, tolerance = 0,
  call = function(t) return t[1]:narrow(2, 1, 2) end, output = { 'A', 2, 'C' },
  large = { A = 70, B = 9, C = 301 },
  reference = function(inputs, s)
    return placed(inputs, s, function(a, b, c)
      if b == 1 or b == 2 then return (a * 2 + b - 1) * s.C + c end
    end)
  end,
}
case 'narrow' {
  shapes = axes, sizes = odd, vary = { C = { 5, 9 } }, tolerance = 0, output = { 'A', 'B', 3 },
  call = function(t) return t[1]:narrow(-1, 2, 3) end,
  reference = function(inputs, s)
    return placed(inputs, s, function(a, b, c)
      if c >= 2 and c < 5 then return (a * s.B + b) * 3 + c - 2 end
    end)
  end,
}
case 'transpose' {
  shapes = axes, sizes = odd, tolerance = 0, call = function(t) return t[1]:transpose(1, 3) end,
  output = { 'C', 'B', 'A' }, large = { A = 70, B = 9, C = 301 },
  reference = function(inputs, s)
    return placed(inputs, s, function(a, b, c) return (c * s.B + b) * s.A + a end)
  end,
}
case 'contiguous' {
  shapes = axes, sizes = odd, tolerance = 0, output = { 'A', 'C', 'B' },
  call = function(t) return t[1]:transpose(2, 3):contiguous() end,
  reference = function(inputs, s)
    return placed(inputs, s, function(a, b, c) return (a * s.C + c) * s.B + b end)
  end,
}
-- Views of views, and two views of one tensor: their gradients meet.
case 'view' {
  shapes = axes, sizes = { A = 3, B = 4, C = 2 }, tolerance = 0,
  vary = { A = { 3, 5 }, B = { 4, 6 } },
  call = function(t)
    return t[1]:narrow(1, 1, 2):transpose(1, 2):narrow(1, 1, 3), t[1]:narrow(1, 0, 2)
  end,
  reference = function(inputs, s)
    return placed(inputs, s, function(a, b, c)
      if (a == 1 or a == 2) and b < 4 and b >= 1 then return ((b - 1) * 2 + a - 1) * s.C + c end
    end), placed(inputs, s, function(a, b, c)
      if a < 2 then return (a * s.B + b) * s.C + c end
    end)
  end,
}

--- A view sees what is written to its tensor.
function tests.test_views_share()
  local x = sppo.tensor { { 1, 2 }, { 3, 4 } }
  local t = x:transpose(1, 2)
  x:copy_(sppo.tensor { { 5, 6 }, { 7, 8 } })
  lu.assertEquals(t:tolist(), { 5, 7, 6, 8 })
end

local function method(name, ...)
  local arguments = { ... }
  return function(t) return t[1][name](t[1], unpack(arguments)) end
end

fails 'view' {
  shapes = { { 2, 3 } }, call = method('view', 4, 2),
  message = 'view: [2, 3] does not fit into [4, 2]',
}
fails 'view' {
  shapes = { { 2, 3 } }, call = method('view', 4, -1),
  message = 'view: [2, 3] does not fit into [4, -1]',
}
fails 'view' {
  shapes = { { 2, 3 } }, call = method('view', -1, -1), message = 'view: more than one size is -1',
}
fails 'view' {
  shapes = { { 2, 3 } }, call = method('view', -2, -3),
  message = 'view: [2, 3] does not fit into [-2, -3]',
}
fails 'view' {
  shapes = { { 2, 3 } }, call = function(t) return t[1]:transpose(1, 2):view(6) end,
  message = 'view: x has gaps (shape [3, 2]); make it contiguous first',
}
fails 'view' {
  shapes = { { 2, 3, pack = 'f32' } }, call = method('view', 6),
  message = 'view: x is in panels, it must be in rows',
}
fails 'narrow' {
  shapes = { { 2, 3 } }, call = method('narrow', 2, 1, 3),
  message = 'narrow: 1..4 of axis 1, which has 3',
}
fails 'narrow' {
  shapes = { { 2, 3 } }, call = method('narrow', 2, -1, 1),
  message = 'narrow: -1..0 of axis 1, which has 3',
}

return tests
