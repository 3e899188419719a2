--- Log-probs of given tokens, the output projection fused in.

local q8 = require 'support.q8'
local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

local function token_logprob(inputs, sizes)
  local hidden, weight, target, D, V, y = inputs[1], inputs[2], inputs[3], sizes.D, sizes.V, {}
  for i = 1, sizes.n do
    local logits, highest, sum = {}, -math.huge, 0
    for v = 1, V do
      local dot = 0
      for d = 1, D do dot = dot + hidden[(i - 1) * D + d] * weight[(v - 1) * D + d] end
      logits[v], highest = dot, math.max(highest, dot)
    end
    for v = 1, V do sum = sum + math.exp(logits[v] - highest) end
    y[i] = logits[target[i] + 1] - highest - math.log(sum)
  end
  return y
end

for _, form in ipairs {
  { pack = 'f32', D = 24, odd = { 0, 1, 3, 67 } }, { pack = 'bf16', D = 24, odd = { 1, 65 } },
  { pack = 'q8_0', D = 32, odd = { 0, 64 } },
} do
  -- 1030 and 2050 words: more than one chunk of the vocabulary.
  case 'token_logprob' {
    shapes = {
      { 'n', 'D', low = -2, high = 2 }, { 'V', 'D', pack = form.pack }, { 'n', below = 'V' },
    },
    sizes = { n = 7, D = form.D, V = 130 },
    vary = { n = { 0, 1, 3, 17 }, D = form.odd, V = { 1, 63, 65, 1030, 2050 } },
    large = { n = 200, D = 64, V = 2500 }, output = { 'n' },
    reference = token_logprob, tolerance = 3e-6,
    -- The gradient is that of the rounded row's probabilities.
    values = form.pack == 'q8_0' and q8.first_rounded(token_logprob) or nil,
    gradient_tolerance = form.pack == 'q8_0' and 0.05 or nil,
  }
end
-- Only one of the two gradients.
case 'token_logprob' {
  shapes = { { 'n', 'D', fixed = true }, { 'V', 'D', pack = 'f32' }, { 'n', below = 'V' } },
  sizes = { n = 7, D = 20, V = 70 }, vary = { V = { 1, 65 } },
  reference = token_logprob, tolerance = 3e-6,
}

local function ints(...)
  local values = { ... }
  return { tensor = function() return sppo.ints(values) end }
end

local hidden, weight = { 2, 8 }, { 70, 8, pack = 'f32' }
fails 'token_logprob' {
  shapes = { hidden, weight, ints(69, 70) },
  message = 'token_logprob: target[1] is 70, it must be in 0..69',
}
fails 'token_logprob' {
  shapes = { hidden, weight, ints(-1, 0) },
  message = 'token_logprob: target[0] is -1, it must be in 0..69',
}
fails 'token_logprob' {
  shapes = { hidden, { 70, 8 }, ints(1, 2) },
  message = 'token_logprob: weight is in rows, it must be in panels',
}
fails 'token_logprob' {
  shapes = { hidden, { 70, 9, pack = 'f32' }, ints(1, 2) },
  message = 'token_logprob: inner sizes differ: [2, 8] x [70, 9]',
}
fails 'token_logprob' {
  shapes = { hidden, weight, ints(1) }, message = 'token_logprob: hidden is [2, 8], target is [1]',
}
fails 'token_logprob' {
  shapes = { { 1, 2, 8 }, weight, ints(1, 2) },
  message = 'token_logprob: hidden is [1, 2, 8], it must have 2 dimensions',
}
fails 'token_logprob' {
  shapes = { { 2, 8, to = 'bf16' }, weight, ints(1, 2) },
  message = 'token_logprob: hidden is bf16, it must be f32',
}
fails 'token_logprob' {
  shapes = { hidden, weight, { 2 } }, message = 'token_logprob: target is f32, it must be i32',
}

return tests
