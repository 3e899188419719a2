--- DeBERTa's attention over texts of different lengths.

local lu = require 'luaunit'
local segments = require 'sppo.segments'
local sppo = require 'sppo'

local case, fails, tests = require('support.optable').new()

--- Two texts, one without tokens between them, and one of a single token.
local function texts(sizes)
  local n = sizes.n
  local first, last = math.ceil(n * 0.6), math.min(1, n)
  first = math.min(first, n - last)
  return { { count = first }, { count = 0 }, { count = n - first - last }, { count = last } }
end

--- The paper's relative position with logarithmic buckets, as a row of the tables.
local function row_of(r, buckets, positions)
  local middle, distance = math.floor(buckets / 2), math.abs(r)
  local bucket = distance
  if distance > middle then
    local share = math.log(distance / middle) / math.log((positions - 1) / middle)
    bucket = math.ceil(share * (middle - 1)) + middle
  end
  return math.max(0, math.min(2 * buckets - 1, buckets + (r < 0 and -bucket or bucket)))
end

local function dot(x, i, y, j, D)
  local sum = 0
  for d = 1, D do sum = sum + x[i * D + d] * y[j * D + d] end
  return sum
end

local function attention(options)
  return function(inputs, sizes)
    local q, k, v, rel_k, rel_q = unpack(inputs)
    local H, D, y, start = sizes.heads, sizes.D, {}, 0
    local scale = options.scale or 1 / math.sqrt(3 * D)
    for _, text in ipairs(texts(sizes)) do
      for i = 0, text.count - 1 do
        for h = 0, H - 1 do
          local share, highest, sum = {}, -math.huge, 0
          local query = (start + i) * H + h
          for j = 0, text.count - 1 do
            local key = (start + j) * H + h
            local row = row_of(i - j, options.buckets, options.max_positions) * H + h
            share[j] = scale * (dot(q, query, k, key, D) + dot(q, query, rel_k, row, D)
              + dot(k, key, rel_q, row, D))
            highest = math.max(highest, share[j])
          end
          for j = 0, text.count - 1 do
            share[j] = math.exp(share[j] - highest)
            sum = sum + share[j]
          end
          for d = 1, D do
            local total = 0
            for j = 0, text.count - 1 do
              total = total + share[j] * v[((start + j) * H + h) * D + d]
            end
            y[query * D + d] = total / sum
          end
        end
      end
      start = start + text.count
    end
    return y
  end
end

local function add(options, sizes, more)
  sizes.rows = 2 * options.buckets
  local c = {
    shapes = {
      { 'n', 'heads', 'D', low = -2, high = 2 }, { 'n', 'heads', 'D', low = -2, high = 2 },
      { 'n', 'heads', 'D' }, { 'rows', 'heads', 'D' }, { 'rows', 'heads', 'D' },
    },
    sizes = sizes, at = texts, output = { 'n', 'heads', 'D' },
    tolerance = 5e-6, gradient_tolerance = 3e-5,
    call = function(t, at)
      return sppo.ops.disentangled_attention(t[1], t[2], t[3], t[4], t[5], at, options)
    end,
    vary = { heads = { 1, 3 }, rows = {}, n = { 0, 1, 3, 67 }, D = { 1, 33, 64 } },
    reference = attention(options),
  }
  for key, value in pairs(more or {}) do c[key] = value end
  case 'disentangled_attention'(c)
end

add({ buckets = 8, max_positions = 16 }, { n = 23, heads = 2, D = 8 },
  { large = { n = 500, heads = 3, D = 64, rows = 16 } })
add({ buckets = 64, max_positions = 512 }, { n = 90, heads = 1, D = 4 }, { vary = {
  heads = {}, rows = {}, n = { 150 }, D = {},
} })
add({ buckets = 2, max_positions = 3, scale = 0.5 }, { n = 12, heads = 1, D = 70 },
  { vary = { heads = {}, rows = {}, n = {}, D = {} } })

--- The rows that make_log_bucket_position gives for deberta-v3, transformers 5.23 (distance, row).
function tests.test_buckets()
  local golden = {
    { 0, 256 }, { 1, 257 }, { -1, 255 }, { 128, 384 }, { 129, 385 }, { 135, 389 }, { 150, 399 },
    { 200, 425 }, { 256, 448 }, { 300, 463 }, { 400, 489 }, { 500, 510 }, { 511, 511 },
    { 512, 511 }, { 1000, 511 }, { -129, 127 }, { -300, 49 }, { -510, 1 }, { -512, 0 },
    { -1000, 0 },
  }
  for _, pair in ipairs(golden) do lu.assertEquals(row_of(pair[1], 256, 512), pair[2], pair[1]) end
  -- The engine's: keys that tell their positions' rows apart through rel_k.
  sppo.scope(function()
    local n, rows = 1025, {}
    local zeros = function(a) return sppo.zeros { a, 1, 1 } end
    local at = segments.new { { count = n } }
    for _, pair in ipairs(golden) do
      for i = 0, 511 do rows[i + 1] = i == pair[2] and 1 or 0 end
      local table_ = sppo.tensor(rows, { 512, 1, 1 })
      -- exp(score) is e at the keys in that row and 1 elsewhere; v picks the key at this distance.
      local i = pair[1] > 0 and n - 1 or 0
      local v = {}
      for j = 0, n - 1 do v[j + 1] = j == i - pair[1] and 1 or 0 end
      local y = sppo.ops.disentangled_attention(zeros(n) + 1, zeros(n), sppo.tensor(v, { n, 1, 1 }),
        table_, zeros(512), at, { buckets = 256, max_positions = 512, scale = 1 }):tolist()
      local same = 0
      for j = 0, n - 1 do same = same + (row_of(i - j, 256, 512) == pair[2] and 1 or 0) end
      local e = math.exp(1)
      lu.assertAlmostEquals(y[i + 1], e / (same * e + n - same), 1e-7, 'distance ' .. pair[1])
    end
  end)
end

local five = { { count = 5 } }
local fine = { buckets = 4, max_positions = 8 }

local function refused(shapes, message, options, list)
  fails 'disentangled_attention' {
    shapes = shapes, at = list or five, message = message,
    call = function(t, at)
      return sppo.ops.disentangled_attention(t[1], t[2], t[3], t[4], t[5], at, options or fine)
    end,
  }
end

local x, rel, name = { 5, 2, 8 }, { 8, 2, 8 }, 'disentangled_attention: '
refused({ { 5, 16 }, x, x, rel, rel }, name .. 'q is [5, 16], it must have 3 dimensions')
refused({ x, { 5, 1, 8 }, x, rel, rel }, name .. 'q is [5, 2, 8], k is [5, 1, 8]')
refused({ x, x, { 4, 2, 8 }, rel, rel }, name .. 'q is [5, 2, 8], v is [4, 2, 8]')
refused({ x, x, x, { 7, 2, 8 }, rel }, name .. 'rel_k is [7, 2, 8], it must be [8, 2, 8]')
refused({ x, x, x, rel, { 8, 1, 8 } }, name .. 'rel_q is [8, 1, 8], it must be [8, 2, 8]')
refused({ { 5, 2, 8, to = 'bf16' }, x, x, rel, rel }, name .. 'q is bf16, it must be f32')
refused({ { 4, 2, 8 }, { 4, 2, 8 }, { 4, 2, 8 }, rel, rel },
  name .. 'x has 4 rows, the segments have 5 tokens')
refused({ { 5, 1, 257 }, { 5, 1, 257 }, { 5, 1, 257 }, { 8, 1, 257 }, { 8, 1, 257 } },
  name .. 'head size 257 is not in 1..256')
refused({ x, x, x, rel, rel }, name .. 'segment 1 continues another; here every segment is a ' ..
  'text of its own', nil, { { count = 3 }, { parent = 1, count = 2 } })
refused({ x, x, x, { 2, 2, 8 }, { 2, 2, 8 } }, name .. 'buckets must be in 2..16384, got 1',
  { buckets = 1, max_positions = 8 })
refused({ x, x, x, rel, rel }, name .. 'max_positions must be in 4..16777216, got 3',
  { buckets = 4, max_positions = 3 })
refused({ x, x, x, rel, rel }, name .. 'scale must be positive, got -1',
  { buckets = 4, max_positions = 8, scale = -1 })

function tests.test_store_is_refused()
  sppo.scope(function()
    local sizes = { num_hidden_layers = 1, num_key_value_heads = 2, head_dim = 8 }
    local kv = segments.kv_cache(sizes, 2)
    local at = kv:segments()
    at:add_slot(kv:open(nil, 5), 5)
    local t, r = sppo.zeros(x), sppo.zeros(rel)
    lu.assertErrorMsgContains('these segments have a store', sppo.ops.disentangled_attention, t, t,
      t, r, r, at, fine)
  end)
end

return tests
