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

--- For each token the tokens that it sees.
local function visible(list, causal)
  local first, sees = {}, {}
  local token = 0
  for i, s in ipairs(list) do
    first[i], token = token, token + s.count
  end
  for i, s in ipairs(list) do
    for k = 1, s.count do
      local keys = {}
      for j = 1, causal and k or s.count do keys[#keys + 1] = first[i] + j - 1 end
      local p = s.parent
      while p do
        for j = 1, list[p].count do keys[#keys + 1] = first[p] + j - 1 end
        p = list[p].parent
      end
      sees[first[i] + k] = keys
    end
  end
  return sees
end

local function attention(causal, scale)
  return function(inputs, sizes)
    local q, k, v = inputs[1], inputs[2], inputs[3]
    local H, G, D, y = sizes.kv * sizes.group, sizes.group, sizes.D, {}
    for token, keys in ipairs(visible(tree(sizes), causal)) do
      for h = 0, H - 1 do
        local row, kv = ((token - 1) * H + h) * D, math.floor(h / G)
        local share, highest, sum = {}, -math.huge, 0
        for j, key in ipairs(keys) do
          local base, dot = (key * sizes.kv + kv) * D, 0
          for d = 1, D do dot = dot + q[row + d] * k[base + d] end
          share[j] = dot * (scale or 1 / math.sqrt(D))
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
    reference = attention(not options or options.causal ~= false, options and options.scale),
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

return tests
