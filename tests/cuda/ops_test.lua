--- Every op that has a CUDA kernel, on 'cuda' and on 'cpu': values and gradients. On a GPU, or in a
--- build with SPPO_CUDA=EMULATED; elsewhere it says why not.
---
--- Sizes lie around a warp, a block and the largest block. A tolerance is a share of the largest
--- number of the result, or of 1: both devices compute in f32, in other orders.

local compare = require 'support.compare'
local devices = require 'support.devices'
local engine = require 'sppo.ffi'
local lu = require 'luaunit'
local segments = require 'sppo.segments'
local sppo = require 'sppo'

local C, ffi, try = engine.C, engine.ffi, engine.try
local ops = sppo.ops

local missing = devices.missing()
if missing then return missing end

local tests = {}
local each = devices.each(tests)
local numbers, on, same = devices.numbers, devices.on, devices.same

local EDGES = { 0, 1, 31, 32, 33, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025 }
local FEW = { 0, 1, 31, 32, 33, 257 }

-- ---- elementwise ----

for _, name in ipairs { 'add', 'sub', 'mul', 'swiglu', 'geglu' } do
  each(EDGES, name, function(n)
    return {
      inputs = { { shape = { n }, low = -8, high = 8 }, { shape = { n }, low = -8, high = 8 } },
      call = function(t) return ops[name](t[1], t[2]) end,
    }
  end)
  tests['test_' .. name .. '_of_one_tensor'] = function()
    same(name, {
      inputs = { { shape = { 3, 100 } } }, call = function(t) return ops[name](t[1], t[1]) end,
    })
  end
end
for _, name in ipairs { 'square', 'exp', 'relu', 'log_sigmoid', 'gelu', 'tanh' } do
  each(EDGES, name, function(n)
    return {
      inputs = { { shape = { n }, low = -9, high = 3 } },
      call = function(t) return ops[name](t[1]) end,
    }
  end)
end
each(EDGES, 'affine', function(n)
  return { inputs = { { shape = { n } } }, call = function(t) return ops.affine(t[1], 2.5, -1) end }
end)
each(EDGES, 'softcap', function(n)
  return {
    inputs = { { shape = { n }, low = -90, high = 90 } }, tolerance = 4e-6,
    call = function(t) return ops.softcap(t[1], 30) end,
  }
end)

--- Ends of the range, and NaN, as the CPU has them; of relu the sign of 0 too.
function tests.test_extremes()
  local inf, nan = math.huge, 0 / 0
  local x = sppo.tensor { -inf, -1000, -1, 0, -1 / inf, 1, 89, 1000, inf, nan }
  for _, name in ipairs { 'exp', 'relu', 'log_sigmoid', 'gelu', 'tanh' } do
    local want, got = ops[name](x):tolist(), ops[name](on('cuda', x)):tolist()
    for i = 1, #want do
      local both_nan = want[i] ~= want[i] and got[i] ~= got[i]
      local close = want[i] == got[i] or math.abs(want[i] - got[i]) <= 1e-6 * math.abs(want[i])
      if name == 'relu' and want[i] == 0 then close = 1 / want[i] == 1 / got[i] end
      lu.assertTrue(both_nan or close, ('%s: [%d] %g, %g'):format(name, i, got[i], want[i]))
    end
  end
end

-- ---- views: copy with gaps, accumulate into windows ----

each({ 0, 1, 31, 33, 257 }, 'transpose', function(n)
  return {
    inputs = { { shape = { 3, n, 5 } } }, tolerance = 0,
    call = function(t) return t[1]:transpose(1, 3):contiguous():affine(1) end,
  }
end)
each({ 0, 1, 31, 33, 257 }, 'narrow', function(n)
  return {
    inputs = { { shape = { 4, n + 3 } } }, tolerance = 0,
    call = function(t) return t[1]:narrow(2, 2, n):square(), t[1]:narrow(1, 1, 2):affine(3) end,
  }
end)
tests.test_copy_of_every_dtype = function()
  for _, dtype in ipairs { 'f32', 'bf16', 'f16', 'q8_0' } do
    same('copy of ' .. dtype, {
      inputs = { { shape = { 3, 5, 64 }, to = dtype, fixed = true } }, tolerance = 0,
      call = function(t) return t[1]:narrow(2, 1, 3):contiguous() end,
    })
  end
  same('copy of i32', {
    inputs = { { shape = { 40, 9 }, below = 1000 } }, tolerance = 0,
    call = function(t) return t[1]:transpose(1, 2):contiguous() end,
  })
end

-- ---- matmul ----

local function linear_case(R, N, K, form, tolerance)
  return {
    inputs = {
      { shape = { R, K } }, { shape = { N, K }, pack = form }, { shape = { 65, K }, pack = form },
    },
    tolerance = tolerance or 4e-6,
    call = function(t) return ops.linear(t[1], { t[2], t[3] }) end,
  }
end
for _, axis in ipairs { 'R', 'N', 'K' } do
  each({ 0, 1, 8, 9, 31, 64, 65, 129 }, 'linear_' .. axis, function(n)
    local size = { R = 5, N = 7, K = 6 }
    size[axis] = n
    return linear_case(size.R, size.N, size.K, 'f32')
  end)
end
-- The CPU keeps x in f32 where this rounds it to bf16: 2^-9 of each product.
each({ 1, 33, 129 }, 'linear_bf16', function(n) return linear_case(n, 70, 48, 'bf16', 8e-3) end)
-- Not up to 8 rows: only gradients are rounded.
each({ 1, 3, 8 }, 'linear_few_bf16', function(n)
  local case = linear_case(n, 71, 67, 'bf16')
  case.inputs[1].fixed = true
  return case
end)

--- Both devices' product of x with q8_0 weights that lie on the CPU: there unpacked to f32, which x
--- meets as it is; its own q8_0 kernels round x.
local function q8_products(x, a, b)
  local function unpacked(w) return ops.pack(ops.unpack(w), 'f32') end
  local function there(w) return ops.pack(on('cuda', ops.unpack(w)), 'q8_0') end
  local want = { ops.linear(x, { unpacked(a), unpacked(b) }) }
  local got = { ops.linear(on('cuda', x), { there(a), there(b) }) }
  return want, got
end

--- As many weights as one call may have.
tests.test_linear_of_four = function()
  local inputs = { { shape = { 9, 6 } } }
  for i = 2, 5 do inputs[i] = { shape = { 3 + i, 6 }, pack = 'f32' } end
  same('linear of four', {
    inputs = inputs, tolerance = 4e-6,
    call = function(t) return ops.linear(t[1], { t[2], t[3], t[4], t[5] }) end,
  })
end

--- Up to 64 rows our own kernel, x in f32; then bf16.
function tests.test_linear_q8_0()
  for _, K in ipairs { 32, 64, 96, 416 } do
    for _, R in ipairs { 0, 1, 2, 7, 8, 9, 16, 17, 64, 65 } do
      for _, N in ipairs { 1, 7, 8, 9, 70 } do
        sppo.scope(function()
          local x = sppo.tensor(numbers(R * K, -1, 1, 1), { R, K })
          local a = ops.pack(sppo.tensor(numbers(N * K, -1, 1, 2), { N, K }), 'q8_0')
          local b = ops.pack(sppo.tensor(numbers(13 * K, -1, 1, 3), { 13, K }), 'q8_0')
          local want, got = q8_products(x, a, b)
          for i = 1, 2 do
            compare.close(got[i]:tolist(), want[i]:tolist(), R > 64 and 8e-3 or 4e-6,
              ('q8_0: %d rows, %d of %d: product %d'):format(R, N, K, i), math.sqrt(K))
          end
        end)
      end
    end
  end
end

--- More than fits into the room for unpacked weights: two pieces.
function tests.test_linear_q8_0_in_pieces()
  sppo.scope(function()
    local K, N = 262144, 33
    local x = sppo.zeros({ 65, K }):uniform_(-1, 1, 1)
    local w = sppo.zeros({ N, K }):uniform_(-1, 1, 2)
    local want, got = q8_products(x, ops.pack(w, 'q8_0'), ops.pack(w:narrow(1, 0, 1), 'q8_0'))
    for i = 1, 2 do
      compare.close(got[i]:tolist(), want[i]:tolist(), 8e-3, 'product ' .. i, math.sqrt(K))
    end
  end)
end

--- Weights of several dtypes in one call; a row of x that begins at an odd float.
function tests.test_linear_of_several_dtypes()
  sppo.scope(function()
    local K = 64
    local x = sppo.tensor(numbers(3 * K + 1, -1, 1, 1))
    local w = sppo.tensor(numbers(9 * K, -1, 1, 2), { 9, K })
    local function products(device)
      local row, weights = on(device, x):narrow(1, 1, K), {}
      for i, dtype in ipairs { 'q8_0', 'bf16', 'f32', 'q8_0' } do
        local kept = ops.unpack(ops.pack(w, dtype))
        weights[i] = ops.pack(on(device, kept), device == 'cpu' and 'f32' or dtype)
      end
      return { ops.linear(row, weights) }
    end
    local want, got = products 'cpu', products 'cuda'
    for i = 1, 4 do compare.close(got[i]:tolist(), want[i]:tolist(), 4e-6, 'product ' .. i, 8) end
  end)
end

each(FEW, 'add_bias', function(n)
  return {
    inputs = { { shape = { 9, n } }, { shape = { n } } },
    call = function(t) return ops.add_bias(t[1], t[2]) end,
  }
end)
each({ 0, 1, 3, 4, 5, 130 }, 'add_bias_rows', function(n)
  return {
    inputs = { { shape = { n, 40 } }, { shape = { 40 } } },
    call = function(t) return ops.add_bias(t[1], t[2]) end,
  }
end)

-- ---- norm, softmax ----

each(EDGES, 'rms_norm', function(n)
  return {
    inputs = { { shape = { 3, n } }, { shape = { n } } }, tolerance = 4e-6,
    call = function(t) return ops.rms_norm(t[1], t[2], 1e-5) end,
  }
end)
each({ 0, 1, 3, 4, 5, 65 }, 'rms_norm_rows', function(n)
  return {
    inputs = { { shape = { n, 33 } }, { shape = { 33 } } }, tolerance = 4e-6,
    call = function(t) return ops.rms_norm(t[1], t[2], 1e-5, { offset = 1 }) end,
  }
end)
each(EDGES, 'layer_norm', function(n)
  return {
    inputs = { { shape = { 3, n }, low = 4, high = 6 }, { shape = { n } }, { shape = { n } } },
    tolerance = 8e-6, call = function(t) return ops.layer_norm(t[1], t[2], t[3], 1e-5) end,
  }
end)
each({ 0, 1, 3, 4, 5, 65 }, 'layer_norm_rows', function(n)
  return {
    inputs = { { shape = { n, 33 } }, { shape = { 33 } }, { shape = { 33 } } }, tolerance = 4e-6,
    call = function(t) return ops.layer_norm(t[1], t[2], t[3], 1e-5) end,
  }
end)
for _, name in ipairs { 'softmax', 'log_softmax' } do
  each(EDGES, name, function(n)
    return {
      inputs = { { shape = { 2, n }, low = -20, high = 20 } },
      call = function(t) return ops[name](t[1]) end,
    }
  end)
end
each({ 5000 }, 'log_softmax_long', function(n)
  return { inputs = { { shape = { 1, n } } }, call = function(t) return ops.log_softmax(t[1]) end }
end)

-- ---- rope ----

--- A prompt, an answer that continues it, and a segment of its own.
local function tree(n)
  local a, b = math.floor(n / 3), math.floor(n / 4)
  return segments.new { { count = a }, { parent = 1, count = b }, { count = n - a - b } }
end
local function rope_case(n, heads, D, options)
  return {
    inputs = { { shape = { n, heads, D } } }, tolerance = 4e-6,
    call = function(t) return ops.rope(t[1], tree(n), options or { theta = 10000 }) end,
  }
end
each({ 0, 1, 31, 33, 129 }, 'rope', function(n) return rope_case(n, 2, 8) end)
each({ 2, 62, 64, 66, 256 }, 'rope_head_size', function(n) return rope_case(9, 3, n) end)
each({ 0, 1, 33 }, 'rope_heads', function(n) return rope_case(5, n, 16) end)
each({ 67 }, 'rope_scaled', function(n)
  return rope_case(n, 2, 32, { theta = 10000, scaling = {
    factor = 8, low_freq_factor = 1, high_freq_factor = 4, original_max_position_embeddings = 64,
  } })
end)

--- Batches of as many tokens at other positions, one after the other.
function tests.test_rope_of_other_positions()
  local one, two = { { count = 6 } }, { { count = 2 }, { count = 4 } }
  for _, list in ipairs { one, two, one } do
    same('rope', {
      inputs = { { shape = { 6, 2, 8 } } }, tolerance = 4e-6,
      call = function(t) return ops.rope(t[1], segments.new(list), { theta = 100 }) end,
    })
  end
end

-- ---- rows ----

for _, form in ipairs { { 'f32' }, { 'bf16' }, { 'q8_0' }, { 'f32', true }, { 'bf16', true },
  { 'q8_0', true } } do
  local dtype, packed = form[1], form[2]
  each({ 0, 1, 31, 33, 257 }, ('embed_%s%s'):format(dtype, packed and '_packed' or ''), function(n)
    return {
      inputs = {
        { shape = { 70, 32 }, to = not packed and dtype ~= 'f32' and dtype or nil,
          pack = packed and dtype or nil },
        { shape = { n }, below = 70 },
      },
      tolerance = 0, call = function(t) return ops.embed(t[1], t[2]) end,
    }
  end)
end
-- Rows that come up often, and again after more than one chunk of 128: the same order of addition.
each({ 0, 1, 127, 128, 129, 300 }, 'take_rows', function(n)
  return {
    inputs = { { shape = { 7, 3, 11 } }, { shape = { n }, below = 7 } }, tolerance = 0,
    call = function(t) return ops.take_rows(t[1], t[2]) end,
  }
end)
each({ 0, 1, 127, 128, 129, 257 }, 'take_rows_width', function(n)
  return {
    inputs = { { shape = { 5, n } }, { shape = { 20 }, below = 5 } }, tolerance = 0,
    call = function(t) return ops.take_rows(t[1], t[2]) end,
  }
end)

-- ---- reduce ----

local SUMS = { 0, 1, 31, 33, 127, 129, 257, 1025, 16383, 16384, 16385, 50000 }
each(SUMS, 'sum', function(n)
  return { inputs = { { shape = { n } } }, call = function(t) return ops.sum(t[1]) end }
end)
tests.test_sum_squares_and_nonfinite = function()
  local result = ffi.new('double[1]')
  local function sum_squares(t)
    try(C.sppo_sum_squares(t.h, result))
    return result[0]
  end
  for _, n in ipairs(SUMS) do
    sppo.scope(function()
      local list = numbers(n, -1, 1, n + 1)
      if n > 40 then list[7], list[33], list[n] = 0 / 0, math.huge, -math.huge end
      local x = sppo.tensor(list, { n })
      lu.assertEquals(on('cuda', x):nonfinite(), x:nonfinite())
      local clean = sppo.tensor(numbers(n, -1, 1, n + 1), { n })
      local want = sum_squares(clean)
      lu.assertAlmostEquals(sum_squares(on('cuda', clean)), want, 1e-12 * math.max(1, want))
    end)
  end
  -- More parts than the last block has threads.
  sppo.scope(function()
    local x = sppo.zeros({ 129 * 16384 + 5 }):uniform_(-1, 1, 1)
    local want = sum_squares(x)
    lu.assertAlmostEquals(sum_squares(on('cuda', x)), want, 1e-12 * want)
  end)
end
each(EDGES, 'segment_sum', function(n)
  return {
    inputs = { { shape = { n } }, { shape = { n }, below = 5 } },
    call = function(t) return ops.segment_sum(t[1], t[2], 5) end,
  }
end)
tests.test_segment_sum_without_values = function()
  same('segment_sum', {
    inputs = { { shape = { 0 } }, { shape = { 0 }, below = 5 } }, tolerance = 0,
    call = function(t) return ops.segment_sum(t[1], t[2], 0), ops.segment_sum(t[1], t[2], 3) end,
  })
end

-- ---- cast, pack ----

for _, from in ipairs { 'f32', 'bf16', 'f16', 'q8_0' } do
  for _, to in ipairs { 'f32', 'bf16', 'f16', 'q8_0' } do
    each({ 0, 32, 64, 256, 288, 1056 }, ('cast_%s_%s'):format(from, to), function(n)
      return {
        inputs = { { shape = { 3, n }, low = -70000, high = 70000,
          to = from ~= 'f32' and from or nil, fixed = true } },
        tolerance = 0, call = function(t) return t[1]:to(to) end,
      }
    end)
  end
end
for _, dtype in ipairs { 'f32', 'bf16', 'q8_0' } do
  each({ 0, 1, 63, 64, 65 }, 'pack_' .. dtype, function(n)
    return {
      inputs = { { shape = { n, 64 }, fixed = true } }, tolerance = 0,
      call = function(t) return ops.unpack(ops.pack(t[1], dtype)) end,
    }
  end)
end

--- Behind the last row of a packed weight are zeros: sums for the norm of gradients read them.
function tests.test_padding_of_packed()
  local function sum_squares(t)
    local result = ffi.new('double[1]')
    try(C.sppo_sum_squares(t.h, result))
    return result[0]
  end
  for _, n in ipairs { 1, 63, 64, 65 } do
    sppo.scope(function()
      local x = on('cuda', sppo.tensor(numbers(n * 32, -1, 1, n), { n, 32 }))
      lu.assertAlmostEquals(sum_squares(ops.pack(x, 'f32')), sum_squares(x), 1e-9)
    end)
  end
end

-- ---- optimizers ----

local steps = {
  rmsprop = function(p, g, v, _, number)
    try(C.sppo_rmsprop_step(p, g, v, 1e-2, 0.99, 1e-8, number == 2 and 0.1 or 0, 0.5))
  end,
  adamw = function(p, g, m, v, number)
    try(C.sppo_adamw_step(p, g, m, v, 1e-2, 0.9, 0.999, 1e-8, 0.01, 0.5, number))
  end,
  sgd = function(p, g) try(C.sppo_sgd_step(p, g, 1e-2, 0.1, 0.5)) end,
}
for name, step in pairs(steps) do
  local function stepped(device, n, packed)
    return sppo.scope(function()
      local function matrix(low, seed)
        local t = on(device, sppo.tensor(numbers(n * 3, low, 1, seed), { n, 3 }))
        return packed and ops.pack(t, 'f32') or t
      end
      local p, first, second = matrix(-1, 1), matrix(0, 2), matrix(0, 3)
      for number = 1, 3 do step(p.h, matrix(-1, 3 + number).h, first.h, second.h, number) end
      return { p:tolist(), first:tolist(), second:tolist() }
    end)
  end
  tests['test_' .. name] = function()
    for _, n in ipairs { 0, 1, 31, 85, 86, 342 } do
      for _, packed in ipairs { false, true } do
        local want, got = stepped('cpu', n, packed), stepped('cuda', n, packed)
        for i = 1, 3 do compare.close(got[i], want[i], 2e-6, name, 1) end
      end
    end
  end
end

return tests
