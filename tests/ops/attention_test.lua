--- Attention inside a tree of segments, without a store.

local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

--- A prompt, two answers that continue it, one that continues the second, and one of its own.
local function tree(sizes)
  local n = sizes.n
  local a, b, c, d = math.floor(n / 3), math.floor(n / 4), math.floor(n / 6), math.floor(n / 8)
  return {
    { count = a }, { parent = 1, count = b }, { parent = 1, count = c }, { parent = 3, count = d },
    { count = n - a - b - c - d },
  }
end

--- For each token the tokens that it sees: with a window, those less than `window` before it in its
--- text.
local function visible(list, causal, window)
  local first, sees, starts = {}, {}, {}
  local token = 0
  for i, s in ipairs(list) do
    first[i], token = token, token + s.count
  end
  for i, s in ipairs(list) do
    starts[i] = s.parent and starts[s.parent] + list[s.parent].count or 0
    for k = 1, s.count do
      local keys = {}
      local least = window and starts[i] + k - window or 0
      for j = 1, causal and k or s.count do
        if starts[i] + j > least then keys[#keys + 1] = first[i] + j - 1 end
      end
      local p = s.parent
      while p do
        for j = 1, list[p].count do
          if starts[p] + j > least then keys[#keys + 1] = first[p] + j - 1 end
        end
        p = list[p].parent
      end
      sees[first[i] + k] = keys
    end
  end
  return sees
end

local function attention(causal, scale, cap, window)
  return function(inputs, sizes)
    local q, k, v = inputs[1], inputs[2], inputs[3]
    local H, G, D, y = sizes.kv * sizes.group, sizes.group, sizes.D, {}
    for token, keys in ipairs(visible(tree(sizes), causal, window)) do
      for h = 0, H - 1 do
        local row, kv = ((token - 1) * H + h) * D, math.floor(h / G)
        local share, highest, sum = {}, -math.huge, 0
        for j, key in ipairs(keys) do
          local base, dot = (key * sizes.kv + kv) * D, 0
          for d = 1, D do dot = dot + q[row + d] * k[base + d] end
          share[j] = dot * (scale or 1 / math.sqrt(D))
          if cap then share[j] = cap * math.tanh(share[j] / cap) end
          highest = math.max(highest, share[j])
        end
        for j = 1, #keys do
          share[j] = math.exp(share[j] - highest)
          sum = sum + share[j]
        end
        for d = 1, D do
          local total = 0
          for j, key in ipairs(keys) do
            total = total + share[j] * v[(key * sizes.kv + kv) * D + d]
          end
          y[row + d] = total / sum
        end
      end
    end
    return y
  end
end

local function add(op, options, sizes, more)
  sizes.heads = sizes.kv * sizes.group
  local c = {
    shapes = {
      { 'n', 'heads', 'D', low = -2, high = 2 }, { 'n', 'kv', 'D', low = -2, high = 2 },
      { 'n', 'kv', 'D' },
    },
    sizes = sizes, at = tree, output = { 'n', 'heads', 'D' },
    tolerance = 5e-6, gradient_tolerance = 3e-5,
    call = function(t, at) return sppo.ops.attention(t[1], t[2], t[3], at, options) end,
    vary = { heads = {}, kv = {}, group = {}, n = { 0, 1, 3, 37 }, D = { 1, 5, 16, 33, 64 } },
    reference = attention(not options or options.causal ~= false, options and options.scale,
      options and options.softcap, options and options.window),
  }
  for key, value in pairs(more or {}) do c[key] = value end
  case(op)(c)
end

add('attention', nil, { n = 23, kv = 2, group = 1, D = 8 },
  { large = { n = 260, kv = 3, group = 3, heads = 9, D = 64 } })
add('attention', nil, { n = 23, kv = 2, group = 3, D = 16 })
add('attention', { causal = false }, { n = 19, kv = 1, group = 2, D = 8 },
  { large = { n = 200, kv = 1, group = 2, heads = 2, D = 32 } })
add('attention', { scale = 0.25 }, { n = 12, kv = 1, group = 1, D = 7 })

add('attention', { softcap = 2 }, { n = 23, kv = 2, group = 2, D = 8 },
  { large = { n = 260, kv = 2, group = 2, heads = 4, D = 64 } })
-- Windows that end inside of a segment, in an ancestor, and before the page of 64 tokens begins.
for _, window in ipairs { 1, 3, 9 } do
  add('attention', { window = window }, { n = 29, kv = 2, group = 2, D = 8 })
end
for _, window in ipairs { 20, 64, 100 } do
  add('attention', { window = window }, { n = 300, kv = 1, group = 1, D = 4 },
    { large = { n = 900, kv = 2, group = 2, heads = 4, D = 16 }, vary = { heads = {}, kv = {},
      group = {}, n = { 65, 501 }, D = {} } })
end
-- Gemma-2's: grouped heads of 256, softcap and window.
add('attention', { softcap = 3, window = 7, scale = 0.1 }, { n = 19, kv = 1, group = 2, D = 256 },
  { vary = { heads = {}, kv = {}, group = {}, n = { 67 }, D = {} } })

local five = { { count = 5 } }

local function refused(shapes, message, options)
  fails 'attention' {
    shapes = shapes, at = five, message = message,
    call = function(t, at) return sppo.ops.attention(t[1], t[2], t[3], at, options) end,
  }
end

local heads = { 5, 2, 8 }
refused({ { 5, 16 }, heads, heads }, 'attention: q is [5, 16], it must have 3 dimensions')
refused({ heads, heads, { 5, 2, 4 } }, 'attention: k is [5, 2, 8], v is [5, 2, 4]')
refused({ { 5, 2, 4 }, heads, heads }, 'attention: q is [5, 2, 4], k is [5, 2, 8]')
refused({ { 4, 2, 8 }, heads, heads }, 'attention: q is [4, 2, 8], k is [5, 2, 8]')
  refused({ { 4, 2, 8 }, { 4, 2, 8 }, { 4, 2, 8 } },
    'attention: x has 4 rows, the segments have 5 tokens')
refused({ { 5, 3, 8 }, heads, heads }, 'attention: 3 heads do not share 2 kv heads evenly')
refused({ heads, heads, { 5, 2, 8, to = 'bf16' } }, 'attention: v is bf16, it must be f32')
  refused({ { 5, 1, 257 }, { 5, 1, 257 }, { 5, 1, 257 } },
    'attention: head size 257 is not in 1..256')
  refused({ { 5, 1, 0 }, { 5, 1, 0 }, { 5, 1, 0 } },
    'attention: head size 0 is not in 1..256', { scale = 1 })
refused({ heads, heads, heads }, 'attention: scale must be positive, got -1', { scale = -1 })
refused({ heads, heads, heads }, 'attention: softcap must be positive, got -1', { softcap = -1 })
refused({ heads, heads, heads }, 'attention: window must be in 0..2147483647, got -1',
  { window = -1 })
refused({ heads, heads, heads }, 'attention: a window of 3 needs causal attention',
  { window = 3, causal = false })

--- A window that holds the whole text is no window, bit for bit; and so is none at all.
function tests.test_wide_window()
  sppo.scope(function()
    local at, inputs = require('sppo.segments').new(tree { n = 200 }), {}
    for i = 1, 3 do inputs[i] = sppo.zeros { 200, 2, 16 }:uniform_(-2, 2, i) end
    local function run(window)
      return sppo.ops.attention(inputs[1], inputs[2], inputs[3], at, { window = window }):tolist()
    end
    local want = run(nil)
    for _, window in ipairs { 0, 200, 2^31 - 1 } do
      require('support.compare').same_bits(run(window), want, ('a window of %d'):format(window))
    end
  end)
end

return tests
