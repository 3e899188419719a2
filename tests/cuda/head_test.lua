--- The head of a model on 'cuda' and on 'cpu': log-probs of given tokens, and drawing tokens. Sizes
--- lie around a warp, a block and a part of 1,024 of the vocabulary.

local compare = require 'support.compare'
local devices = require 'support.devices'
local engine = require 'sppo.ffi'
local lu = require 'luaunit'
local sppo = require 'sppo'

local C, ffi, try = engine.C, engine.ffi, engine.try
local ops = sppo.ops

local missing = devices.missing()
if missing then return missing end

local tests = {}
local each, numbers, on = devices.each(tests), devices.numbers, devices.on

-- ---- token_logprob ----

local function logprob_case(n, D, V, form, options)
  return {
    inputs = {
      { shape = { n, D }, low = -2, high = 2 }, { shape = { V, D }, pack = form },
      { shape = { n }, below = V },
    },
    -- The CPU keeps hidden in f32 where this rounds it to bf16: 2^-9 of each product.
    tolerance = form == 'bf16' and 2e-2 or 4e-6,
    call = function(t) return ops.token_logprob(t[1], t[2], t[3], options) end,
  }
end

each({ 0, 1, 3, 4, 5, 33 }, 'logprob_rows', function(n) return logprob_case(n, 24, 130, 'f32') end)
each({ 1, 31, 33, 64, 129 }, 'logprob_width', function(D) return logprob_case(5, D, 70, 'f32') end)
each({ 1, 31, 32, 33, 127, 128, 129, 1023, 1024, 1025, 2050 }, 'logprob_vocabulary',
  function(V) return logprob_case(3, 8, V, 'f32') end)
each({ 1, 65, 1030 }, 'logprob_bf16', function(V) return logprob_case(7, 24, V, 'bf16') end)
--- With q8_0 weights, beside the CPU's of the same weights in f32: up to 64 rows in f32, then bf16.
function tests.test_logprob_q8_0()
  for _, n in ipairs { 1, 8, 9, 64, 65 } do
    for _, V in ipairs { 1, 65, 1030, 2100 } do
      sppo.scope(function()
        local D = 96
        local hidden = sppo.tensor(numbers(n * D, -2, 2, 1), { n, D })
        local ids = {}
        for i = 1, n do ids[i] = (i * 37) % V end
        local q8 = ops.pack(sppo.tensor(numbers(V * D, -1, 1, 2), { V, D }), 'q8_0')
        local w = ops.unpack(q8)
        local want = ops.token_logprob(hidden, ops.pack(w, 'f32'), sppo.ints(ids))
        local got = ops.token_logprob(on('cuda', hidden), ops.pack(on('cuda', w), 'q8_0'),
          on('cuda', sppo.ints(ids)))
        compare.close(got:tolist(), want:tolist(), n > 64 and 2e-2 or 4e-6,
          ('q8_0: %d rows of %d'):format(n, V), 10)
      end)
    end
  end
end
each({ 1, 65, 1030 }, 'logprob_softcap', function(V)
  return logprob_case(7, 24, V, 'f32', { softcap = 1.5 })
end)
-- The CPU's sums over a long vocabulary are in f32, one after the other.
each({ 33000 }, 'logprob_long_vocabulary', function(V)
  local case = logprob_case(3, 8, V, 'f32')
  case.tolerance = 2e-5
  return case
end)
-- More than one group of rows, and of the vocabulary.
for name, size in pairs { row_groups = { 4097, 5 }, vocabulary_groups = { 2049, 1025 } } do
  each({ size[1] }, 'logprob_' .. name, function(n)
    local case = logprob_case(n, 2, size[2], 'f32')
    case.once = true
    return case
  end)
end

function tests.test_logprob_of_one_gradient()
  for wanted = 1, 2 do
    local case = logprob_case(7, 20, 70, 'f32')
    case.inputs[3 - wanted].fixed = true
    devices.same('gradient ' .. wanted, case)
  end
end

-- ---- sample ----

--- ids and log-probs of one draw for each row; `options` are the sampler's.
local function drawn(device, logits, options)
  local n = logits.shape[1]
  local ids, logprobs = ffi.new('int32_t[?]', n + 1), ffi.new('float[?]', n + 1)
  local keys, o = ffi.new('uint32_t[?]', 4 * n + 1), ffi.new 'sppo_sample_options'
  for i = 0, n - 1 do keys[4 * i], keys[4 * i + 3] = i, 5 end
  o.temperature, o.top_p = 1, 1
  for key, value in pairs(options) do o[key] = value end
  ids[n], logprobs[n] = 4711, 4711
  try(C.sppo_sample_tokens(on(device, logits).h, o, 77, keys, ids, logprobs))
  lu.assertEquals({ ids[n], logprobs[n] }, { 4711, 4711 }, 'behind the last row')
  local a, b = {}, {}
  for i = 1, n do a[i], b[i] = ids[i - 1], logprobs[i - 1] end
  return a, b
end

local function same_tokens(what, logits, options)
  sppo.scope(function()
    local want, want_logprobs = drawn('cpu', logits, options)
    local got, got_logprobs = drawn('cuda', logits, options)
    lu.assertEquals(got, want, what)
    for i = 1, #want do
      lu.assertAlmostEquals(got_logprobs[i], want_logprobs[i],
        2e-6 * math.max(1, math.abs(want_logprobs[i])), what)
    end
  end)
end

local function logits_of(n, V, range, seed)
  return sppo.tensor(numbers(n * V, -range, range, seed), { n, V })
end

local FILTERS = {
  { temperature = 0 }, { temperature = 1 }, { temperature = 0.3 }, { temperature = 1e-30 },
  { temperature = 7 }, { top_k = 1 }, { top_k = 3 }, { top_k = 40 }, { top_p = 0 },
  { top_p = 0.5 }, { top_p = 0.9, temperature = 0.7 }, { top_p = 0.999 }, { min_p = 0.1 },
  { min_p = 1 }, { top_k = 20, top_p = 0.8, min_p = 0.05, temperature = 1.3 },
}

for _, V in ipairs { 1, 2, 31, 32, 33, 127, 129, 1023, 1024, 1025, 2300 } do
  tests['test_sample_' .. V] = function()
    for i, options in ipairs(FILTERS) do
      same_tokens(('V %d, filter %d'):format(V, i), logits_of(V < 100 and 12 or 6, V, 4, V + i),
        options)
    end
  end
end

--- Few different logits: what filters keep ends among equals, and both zeros are equal.
function tests.test_sample_of_equals()
  sppo.scope(function()
    local n, V = 24, 150
    local list = numbers(n * V, -3, 3, 9)
    for i = 1, #list do list[i] = math.floor(list[i]) * (i % 2 == 0 and 1 or -1) end
    local logits = sppo.tensor(list, { n, V })
    for i, options in ipairs(FILTERS) do same_tokens('equals, filter ' .. i, logits, options) end
  end)
end

--- Two tokens of the same weight and not the same logit: half of it is the likelier one's alone.
function tests.test_sample_of_just_the_share()
  sppo.scope(function()
    local n, list = 24, {}
    for i = 1, 2 * n, 2 do list[i], list[i + 1] = 0, 1e-9 end
    local logits = sppo.tensor(list, { n, 2 })
    same_tokens('half', logits, { top_p = 0.5 })
    local ids = drawn('cuda', logits, { top_p = 0.5 })
    for i = 1, n do lu.assertEquals(ids[i], 1) end
  end)
end

function tests.test_sample_with_infinite_logits()
  sppo.scope(function()
    local n, V = 8, 1100
    local list = numbers(n * V, -3, 3, 4)
    for i = 1, #list do if i % 3 ~= 0 then list[i] = -math.huge end end
    local logits = sppo.tensor(list, { n, V })
    for i, options in ipairs(FILTERS) do same_tokens('-inf, filter ' .. i, logits, options) end
  end)
end

function tests.test_sample_nothing()
  sppo.scope(function() lu.assertEquals(drawn('cuda', sppo.zeros { 0, 7 }, {}), {}) end)
end

function tests.test_sample_refusals()
  sppo.scope(function()
    for _, bad in ipairs { 0 / 0, math.huge } do
      local list = numbers(3 * 40, -1, 1, 1)
      list[55] = bad
      local ok, err = pcall(drawn, 'cuda', sppo.tensor(list, { 3, 40 }), {})
      local cpu, want = pcall(drawn, 'cpu', sppo.tensor(list, { 3, 40 }), {})
      lu.assertFalse(ok or cpu)
      lu.assertEquals(tostring(err), tostring(want))
    end
  end)
end

--- From the same logits the sampler and `token_logprob` have the same bits.
function tests.test_recorded_is_rescored()
  sppo.scope(function()
    local n, V = 5, 1100
    local x = on('cuda', sppo.zeros({ n, 32 }):uniform_(-1, 1, 1))
    local w = on('cuda', sppo.zeros({ V, 32 }):uniform_(-1, 1, 2)):pack 'f32'
    local logits = ops.softcap(ops.linear(x, { w }), 3)
    local ids, recorded = drawn('cuda', logits, {})
    local again = ops.token_logprob(x, w, on('cuda', sppo.ints(ids)), { softcap = 3 }):tolist()
    require('support.compare').same_bits(again, recorded, 'log-probs')
  end)
end

return tests
