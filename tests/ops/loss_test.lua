--- Log-probs of given tokens, the output projection fused in.

local q8 = require 'support.q8'
local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

local function token_logprob(inputs, sizes, cap)
  local hidden, weight, target, D, V, y = inputs[1], inputs[2], inputs[3], sizes.D, sizes.V, {}
  for i = 1, sizes.n do
    local logits, highest, sum = {}, -math.huge, 0
    for v = 1, V do
      local dot = 0
      for d = 1, D do dot = dot + hidden[(i - 1) * D + d] * weight[(v - 1) * D + d] end
      if cap then dot = cap * math.tanh(dot / cap) end
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
-- Logits kept in -1.5..1.5.
for _, pack in ipairs { 'f32', 'bf16' } do
  case 'token_logprob' {
    shapes = { { 'n', 'D', low = -2, high = 2 }, { 'V', 'D', pack = pack }, { 'n', below = 'V' } },
    sizes = { n = 7, D = 24, V = 130 },
    vary = { n = { 0, 1, 17 }, D = { 1, 67 }, V = { 1, 65, 1030, 2050 } },
    large = { n = 200, D = 64, V = 2500 }, output = { 'n' },
    call = function(t) return sppo.ops.token_logprob(t[1], t[2], t[3], { softcap = 1.5 }) end,
    reference = function(inputs, sizes) return token_logprob(inputs, sizes, 1.5) end,
    tolerance = 3e-6,
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
fails 'token_logprob' {
  shapes = { hidden, weight, ints(1, 2) },
  call = function(t) return sppo.ops.token_logprob(t[1], t[2], t[3], { softcap = -2 }) end,
  message = 'token_logprob: softcap must be positive, got -2',
}

--- What sampling records (capped logits, then the draw) and what training computes: the same bits.
function tests.test_softcap_as_sampled()
  local engine = require 'sppo.ffi'
  sppo.scope(function()
    local n, V = 5, 1100
    local x = sppo.zeros({ n, 32 }):uniform_(-1, 1, 1)
    local w = sppo.zeros({ V, 32 }):uniform_(-1, 1, 2):pack 'f32'
    local ids, logprobs = engine.ffi.new('int32_t[?]', n), engine.ffi.new('float[?]', n)
    local keys, options = engine.ffi.new('uint32_t[?]', 4 * n), engine.ffi.new 'sppo_sample_options'
    for i = 0, n - 1 do keys[4 * i] = i end
    options.temperature, options.top_p = 1, 1
    local logits = sppo.ops.softcap(sppo.ops.linear(x, { w }), 3)
    engine.try(engine.C.sppo_sample_tokens(logits.h, options, 7, keys, ids, logprobs))
    local drawn, recorded = {}, {}
    for i = 1, n do drawn[i], recorded[i] = ids[i - 1], logprobs[i - 1] end
    local again = sppo.ops.token_logprob(x, w, sppo.ints(drawn), { softcap = 3 }):tolist()
    require('support.compare').same_bits(again, recorded, 'log-probs')
  end)
end

return tests
