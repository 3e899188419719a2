--- Attention over a tree of segments on 'cuda' and on 'cpu', with and without a store of keys and
--- values. A tolerance is a share of the largest number of the result, or of 1.

local compare = require 'support.compare'
local devices = require 'support.devices'
local lu = require 'luaunit'
local segments = require 'sppo.segments'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'

local ops = sppo.ops

local missing = devices.missing()
if missing then return missing end

-- With SPPO_CUDA_ATTENTION=cudnn q, k, v and the weights are rounded to bf16 where cuDNN has an
-- engine: here where the head size is a multiple of 8, and windows of texts without answers only.
local by_cudnn = os.getenv 'SPPO_CUDA_ATTENTION' == 'cudnn'

local tests = {}
local each, numbers, on = devices.each(tests), devices.numbers, devices.on

--- A prompt, two answers that continue it, one that continues the second, one of its own, and one
--- without tokens.
local function tree(n)
  local a, b, c, d = math.floor(n / 3), math.floor(n / 4), math.floor(n / 6), math.floor(n / 8)
  return segments.new {
    { count = a }, { parent = 1, count = b }, { parent = 1, count = c }, { parent = 3, count = d },
    { count = 0 }, { count = n - a - b - c - d },
  }
end

--- n tokens, kv heads, query heads of each, head size.
local function case(n, kv, group, D, options, list)
  local heads = kv * group
  return {
    inputs = {
      { shape = { n, heads, D }, low = -2, high = 2 }, { shape = { n, kv, D }, low = -2, high = 2 },
      { shape = { n, kv, D } },
    },
    tolerance = by_cudnn and D % 8 == 0 and 2e-2 or 4e-6,
    call = function(t)
      return ops.attention(t[1], t[2], t[3], list and segments.new(list) or tree(n), options)
    end,
  }
end

-- Around a block of 8 rows, a tile of 32 keys, and several of them.
each({ 0, 1, 7, 8, 9, 31, 32, 33, 65, 129, 200 }, 'tokens', function(n) return case(n, 1, 1, 8) end)
each({ 1, 2, 3, 5, 8, 9 }, 'group', function(G) return case(23, 2, G, 8) end)
each({ 1, 3, 4, 5 }, 'kv_heads', function(kv) return case(19, kv, 2, 8) end)
each({ 1, 2, 31, 32, 33, 63, 64, 65, 96, 128, 129, 160, 255, 256 }, 'head_size',
  function(D) return case(19, 1, 2, D) end)
each({ 40, 70 }, 'whole_segment', function(n) return case(n, 2, 2, 8, { causal = false }) end)
each({ 0.1, 2 }, 'softcap', function(cap) return case(45, 2, 2, 8, { softcap = cap }) end)
each({ 0.25 }, 'scale', function(scale) return case(12, 1, 1, 7, { scale = scale }) end)
-- Windows that end inside a segment, in an ancestor, at a tile's edge, and one wider than the text.
each({ 1, 3, 9, 20, 31, 32, 33, 64, 2 ^ 31 - 1 }, 'window',
  function(window) return case(150, 1, 2, 8, { window = window }) end)
-- The same of texts that nothing continues.
each({ 1, 7, 33 }, 'window_of_texts', function(window)
  local list = { { count = 40 }, { count = 3 }, { count = 70 } }
  return case(113, 2, 2, 8, { window = window }, list)
end)
-- Around the length of the longest.
each({ 2, 3, 4 }, 'window_of_short_texts', function(window)
  return case(8, 2, 2, 8, { window = window }, { { count = 3 }, { count = 2 }, { count = 3 } })
end)
each({ 7 }, 'gemma', function(window)
  return case(40, 1, 2, 256, { softcap = 3, window = window, scale = 0.1 })
end)
-- One prompt of more than a tile, continued by many short answers.
each({ 1, 9 }, 'shared_prefix', function(answers)
  local list = { { count = 45 } }
  for i = 1, answers do list[i + 1] = { parent = 1, count = 1 + i % 3 } end
  local n = 0
  for _, s in ipairs(list) do n = n + s.count end
  return case(n, 2, 2, 8, nil, list)
end)
-- Texts of their own, so that a block of rows has several trees.
each({ 2, 30 }, 'short_texts', function(count)
  local list = {}
  for i = 1, count do list[i] = { count = 1 + i % 2 } end
  local n = 0
  for _, s in ipairs(list) do n = n + s.count end
  return case(n, 1, 1, 8, nil, list)
end)

--- Gradients of some inputs only.
function tests.test_gradients_of_some()
  for wanted = 1, 3 do
    local c = case(37, 2, 2, 8)
    for i, input in ipairs(c.inputs) do input.fixed = i ~= wanted end
    devices.same('gradient ' .. wanted, c)
  end
end

--- What no row sees does no harm: a NaN in a later key, in a value before a window.
function tests.test_unseen_is_not_read()
  local n, D = 40, 4
  local function run(device)
    return sppo.scope(function()
      local q = sppo.tensor(numbers(n * D, -1, 1, 1), { n, 1, D })
      local k, v = numbers(n * D, -1, 1, 2), numbers(n * D, -1, 1, 3)
      for d = 1, D do k[(n - 1) * D + d], v[d] = 0 / 0, 0 / 0 end
      local at = segments.new { { count = n } }
      return ops.attention(on(device, q), on(device, sppo.tensor(k, { n, 1, D })),
        on(device, sppo.tensor(v, { n, 1, D })), at, { window = 8 }):tolist()
    end)
  end
  local want, got = run 'cpu', run 'cuda'
  for i = 8 * D + 1, (n - 1) * D do
    lu.assertTrue(math.abs(got[i] - want[i]) <= 4e-6, ('[%d] %g, %g'):format(i, got[i], want[i]))
  end
end

-- ---- with relative positions ----

--- Two texts, one without tokens between them, and one of a single token.
local function texts(n)
  local last = math.min(1, n)
  local first = math.min(math.ceil(n * 0.6), n - last)
  return segments.new {
    { count = first }, { count = 0 }, { count = n - first - last }, { count = last },
  }
end

local function relative(n, heads, D, options)
  local shape, rows = { n, heads, D }, { 2 * options.buckets, heads, D }
  return {
    inputs = {
      { shape = shape, low = -2, high = 2 }, { shape = shape, low = -2, high = 2 },
      { shape = shape }, { shape = rows }, { shape = rows },
    },
    tolerance = 8e-6,
    call = function(t)
      return ops.disentangled_attention(t[1], t[2], t[3], t[4], t[5], texts(n), options)
    end,
  }
end

-- cuDNN has no part in it.
local each_relative = by_cudnn and function() end or each

each_relative({ 0, 1, 2, 31, 33, 67, 130 }, 'relative', function(n)
  return relative(n, 2, 8, { buckets = 8, max_positions = 16 })
end)
each_relative({ 1, 3 }, 'relative_heads', function(heads)
  return relative(40, heads, 5, { buckets = 16, max_positions = 64 })
end)
each_relative({ 1, 33, 256 }, 'relative_head_size', function(D)
  return relative(20, 1, D, { buckets = 2, max_positions = 3, scale = 0.05 })
end)
each_relative({ 150 }, 'relative_buckets', function(n)
  return relative(n, 1, 4, { buckets = 64, max_positions = 512 })
end)

function tests.test_relative_gradients_of_some()
  if by_cudnn then lu.skip 'the same either way' end
  for wanted = 1, 5 do
    local c = relative(25, 2, 8, { buckets = 4, max_positions = 16 })
    for i, input in ipairs(c.inputs) do input.fixed = i ~= wanted end
    devices.same('gradient ' .. wanted, c)
  end
end

-- ---- with a store ----

local LAYERS, KV, GROUP, SIZE = 2, 2, 3, 8

--- q, k, v of `count` tokens of `text` from `first` on, for a layer; the same whatever the batch.
local function rows_of(text, first, count, layer, which)
  local heads = which == 1 and KV * GROUP or KV
  local list = {}
  for i = 0, count - 1 do
    local seed = ((text * 512 + first + i) * 4 + which) * 2 + layer
    for _, x in ipairs(numbers(heads * SIZE, -2, 2, seed)) do list[#list + 1] = x end
  end
  return list
end

--- One batch of { text, first, count } parts: each layer's output, as lists.
local function attend(device, at, parts, options)
  local out = {}
  for layer = 0, LAYERS - 1 do
    local inputs = {}
    for which = 1, 3 do
      local list, n = {}, 0
      for _, p in ipairs(parts) do
        for _, x in ipairs(rows_of(p[1], p[2], p[3], layer, which)) do list[#list + 1] = x end
        n = n + p[3]
      end
      local heads = which == 1 and KV * GROUP or KV
      inputs[which] = on(device, sppo.tensor(list, { n, heads, SIZE }))
    end
    local o = { layer = layer }
    for key, value in pairs(options or {}) do o[key] = value end
    out[layer + 1] = ops.attention(inputs[1], inputs[2], inputs[3], at, o):tolist()
  end
  return out
end

--- A prompt in two steps, three answers that continue it token by token; one of them ends early.
local function sampled(device, options)
  local config = { num_hidden_layers = LAYERS, num_key_value_heads = KV, head_dim = SIZE }
  return tensor.on_device(device, function()
    local kv, result = segments.kv_cache(config, 16), {}
    local prompt = kv:open(nil, 90)
    for _, step in ipairs { { 0, 70 }, { 70, 5 } } do
      local at = kv:segments()
      at:add_slot(prompt, step[2])
      result[#result + 1] = attend(device, at, { { 1, step[1], step[2] } }, options)
      at:commit()
    end
    local answers = {}
    for i = 1, 3 do answers[i] = kv:open(prompt, 70) end
    for token = 0, 66 do
      local at, parts = kv:segments(), {}
      for i = 1, token < 3 and 3 or 2 do
        at:add_slot(answers[i], 1)
        parts[#parts + 1] = { 1 + i, token, 1 }
      end
      result[#result + 1] = attend(device, at, parts, options)
      at:commit()
    end
    kv:free()
    return result
  end)
end

local function compare_steps(options)
  local want, got = sampled('cpu', options), sampled('cuda', options)
  for step = 1, #want do
    for layer = 1, LAYERS do
      compare.close(got[step][layer], want[step][layer], 4e-6, 'step ' .. step, 1)
    end
  end
end

function tests.test_store() compare_steps() end
function tests.test_store_window() compare_steps { window = 68, softcap = 4 } end

--- A row's bits are the same from the store and from a batch of the whole tree.
local function same_bits_as_a_batch(options)
  if by_cudnn then lu.skip 'a store is the own kernel\'s, a batch cuDNN\'s, rounded to bf16' end
  local steps = sampled('cuda', options)
  local at = segments.new {
    { count = 75 }, { parent = 1, count = 67 }, { parent = 1, count = 67 },
    { parent = 1, count = 3 },
  }
  local whole = attend('cuda', at, { { 1, 0, 75 }, { 2, 0, 67 }, { 3, 0, 67 }, { 4, 0, 3 } },
    options)
  local width = KV * GROUP * SIZE
  for layer = 1, LAYERS do
    local want, got = {}, {}
    local function take(list, from, row)
      for i = 1, width do want[#want + 1] = list[from * width + i] end
      for i = 1, width do got[#got + 1] = whole[layer][row * width + i] end
    end
    for row = 0, 69 do take(steps[1][layer], row, row) end
    for row = 0, 4 do take(steps[2][layer], row, 70 + row) end
    for token = 0, 66 do
      take(steps[3 + token][layer], 0, 75 + token)
      take(steps[3 + token][layer], 1, 142 + token)
      if token < 3 then take(steps[3 + token][layer], 2, 209 + token) end
    end
    compare.same_bits(got, want, 'layer ' .. layer)
  end
end

function tests.test_store_gives_the_bits_of_a_batch() same_bits_as_a_batch() end
function tests.test_store_gives_the_bits_of_a_batch_with_a_window()
  same_bits_as_a_batch { window = 41 }
end

function tests.test_store_on_another_device()
  local config = { num_hidden_layers = 1, num_key_value_heads = 1, head_dim = 8 }
  local kv = tensor.on_device('cpu', function() return segments.kv_cache(config, 2) end)
  local at = kv:segments()
  at:add_slot(kv:open(nil, 4), 4)
  local x = sppo.zeros({ 4, 1, 8 }, 'f32', 'cuda')
  local ok, err = pcall(ops.attention, x, x, x, at, { layer = 0 })
  lu.assertFalse(ok)
  lu.assertEquals(tostring(err), "attention: the store is on 'cpu', q is on 'cuda'")
  kv:free()
end

return tests
