--- Rows of a table by token, from every form that a table has.

local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

local function embed(inputs, sizes)
  local table_of, y = inputs[1], {}
  for i, token in ipairs(inputs[2]) do
    for k = 1, sizes.K do y[(i - 1) * sizes.K + k] = table_of[token * sizes.K + k] end
  end
  return y
end

-- 70 tokens: more than one panel. Repeated tokens, and a table with a part of a panel.
for _, form in ipairs { {}, { pack = 'f32' }, { to = 'bf16' }, { pack = 'bf16' } } do
  case 'embed' {
    shapes = { { 70, 'K', pack = form.pack, to = form.to }, { 'n', below = 70 } },
    sizes = { n = 90, K = 5 },
    output = { 'n', 'K' }, large = { n = 400, K = 200 }, reference = embed,
    gradient = (form.pack or form.to or 'f32') == 'bf16' and false or nil,
  }
end
for _, form in ipairs { { pack = 'q8_0' }, { to = 'q8_0' } } do
  case 'embed' {
    shapes = { { 70, 'K', pack = form.pack, to = form.to }, { 'n', below = 70 } },
    sizes = { n = 90, K = 64 }, vary = { K = { 0, 32, 96 } }, output = { 'n', 'K' },
    large = { n = 400, K = 256 }, reference = embed, gradient = false,
  }
end

local function ints(...)
  local values = { ... }
  return { tensor = function() return sppo.ints(values) end }
end

fails 'embed' {
  shapes = { { 7, 3 }, ints(6, 7) }, message = 'embed: tokens[1] is 7, it must be in 0..6',
}
fails 'embed' {
  shapes = { { 7, 3, pack = 'f32' }, ints(-2) },
  message = 'embed: tokens[0] is -2, it must be in 0..6',
}
fails 'embed' {
  shapes = { { 7 }, ints(1) }, message = 'embed: weight is [7], it must have 2 dimensions',
}
fails 'embed' { shapes = { { 7, 3 }, { 2 } }, message = 'embed: tokens is f32, it must be i32' }
fails 'embed' {
  shapes = { { 7, 3 }, { 2, 1, below = 2 } },
  message = 'embed: tokens is [2, 1], it must have 1 dimensions',
}
fails 'embed' {
  shapes = { { 7, 3, to = 'f16' }, ints(1) },
  message = 'embed: weight is f16, it must be f32, bf16 or q8_0',
}

return tests
