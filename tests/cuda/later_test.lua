--- Launches that wait for the op behind them (engine/cuda/later.c): what they make has the bits
--- that it has when something else comes between; in emulation the counts say that they did join.

local devices = require 'support.devices'
local lu = require 'luaunit'
local sppo = require 'sppo'
local traffic = require 'support.traffic'

local numbers, on = devices.numbers, devices.on
local ops = sppo.ops

local missing = devices.missing()
if missing then return missing end

local tests = {}

--- Inputs are made once in a scope: a copy to the device would send off what waits.
local made, weights = {}, {}

local function scope(fn)
  made, weights = {}, {}
  sppo.scope(fn)
end

local function values(seed, ...)
  local key = table.concat({ seed, ... }, ' ')
  if made[key] then return made[key] end
  local n = 1
  for _, size in ipairs { ... } do n = n * size end
  made[key] = on('cuda', sppo.tensor(numbers(n, -1, 1, seed), { ... }))
  return made[key]
end

--- Whatever waits is launched: this op takes nothing over and waits for nothing.
local function between() ops.exp(values(99, 3)) end

local function bits(t)
  local list, copy = t:tolist(), {}
  for i, v in ipairs(list) do copy[i] = ('%a'):format(v) end
  return copy
end

--- fn(pause) returns tensors; they are the same with a pause that lets everything be launched.
local function same(what, fn)
  scope(function()
    local apart = { fn(between) } -- makes the inputs as well
    local together = { fn(function() end) }
    for i = 1, #apart do
      lu.assertEquals(bits(together[i]), bits(apart[i]), what .. ': output ' .. i)
    end
  end)
end

for _, D in ipairs { 1, 31, 33, 64, 257 } do
  tests['test_sum_and_norm_' .. D] = function()
    same('rms_norm of a sum', function(pause)
      local x = ops.add(values(1, 9, D), values(2, 9, D))
      pause()
      return x, ops.rms_norm(x, values(3, D), 1e-5)
    end)
  end
end

--- Only what is whole is taken over: not a part of a sum, nor another tensor.
function tests.test_norm_of_a_part()
  same('rms_norm of rows', function(pause)
    local x = ops.add(values(1, 9, 32), values(2, 9, 32))
    pause()
    return ops.rms_norm(x:narrow(1, 0, 4), values(3, 32), 1e-5), x
  end)
  same('rms_norm beside a sum', function(pause)
    local x, z = ops.add(values(1, 9, 32), values(2, 9, 32)), values(4, 9, 32)
    pause()
    return ops.rms_norm(z, values(3, 32), 1e-5), x
  end)
end

--- The inputs of what waits are written anew and given back before it is launched.
function tests.test_inputs_change()
  scope(function()
    local other = values(13, 5, 7)
    local want = ops.add(values(11, 5, 7), values(12, 5, 7)):tolist()
    local a = ops.affine(values(11, 5, 7), 1, 0)
    local x = ops.add(a, values(12, 5, 7))
    a:copy_(other)
    lu.assertEquals(x:tolist(), want)
    local y = sppo.scope(function()
      return ops.add(ops.affine(values(11, 5, 7), 1, 0), values(12, 5, 7))
    end)
    lu.assertEquals(y:tolist(), want)
  end)
end

--- One list of segments for each list of counts: positions stay on the device.
local batches = {}
local function batch(counts)
  local key, list = table.concat(counts, ' '), {}
  if batches[key] then return batches[key] end
  for i, n in ipairs(counts) do list[i] = { count = n } end
  batches[key] = sppo.segments.new(list)
  return batches[key]
end

function tests.test_rope()
  local theta, other = { theta = 10000 }, { theta = 500 }
  same('queries and keys', function(pause)
    local at = batch { 3, 4 }
    local q = ops.rope(values(1, 7, 4, 16), at, theta)
    pause()
    return q, ops.rope(values(2, 7, 2, 16), at, theta)
  end)
  same('keys before queries', function(pause)
    local at = batch { 3, 4 }
    local k = ops.rope(values(2, 7, 1, 64), at, theta)
    pause()
    return k, ops.rope(values(1, 7, 9, 64), at, theta)
  end)
  same('other frequencies', function(pause)
    local at = batch { 7 }
    local q = ops.rope(values(1, 7, 4, 16), at, theta)
    pause()
    return q, ops.rope(values(2, 7, 2, 16), at, other)
  end)
  same('other positions', function(pause)
    local q = ops.rope(values(1, 7, 4, 16), batch { 7 }, theta)
    pause()
    return q, ops.rope(values(2, 7, 2, 16), batch { 3, 4 }, theta)
  end)
  same('turned twice, and a third', function(pause)
    local at = batch { 7 }
    local x = ops.rope(values(1, 7, 4, 16), at, theta)
    pause()
    local y = ops.rope(x, at, theta)
    pause()
    return x, y, ops.rope(values(2, 7, 2, 16), at, theta), ops.rope(values(3, 7, 2, 16), at, theta)
  end)
end

--- Before products of more than 8 rows with bf16 weights: the values are also written in bf16.
local makers = {
  rms_norm = function() return ops.rms_norm(values(1, 9, 64), values(3, 64), 1e-5) end,
  sum_and_norm = function()
    return ops.rms_norm(ops.add(values(1, 9, 64), values(2, 9, 64)), values(3, 64), 1e-5)
  end,
  swiglu = function() return ops.swiglu(values(1, 9, 64), values(2, 9, 64)) end,
  geglu = function() return ops.geglu(values(1, 9, 64), values(2, 9, 64)) end,
  attention = function()
    local y = ops.attention(values(1, 9, 4, 16), values(2, 9, 2, 16), values(3, 9, 2, 16),
      batch { 4, 5 }, {})
    return y:view(-1, 64)
  end,
  add = function() return ops.add(values(1, 9, 64), values(2, 9, 64)) end,
  rope = function()
    return ops.rope(values(1, 9, 4, 16), batch { 9 }, { theta = 10000 }):view(-1, 64)
  end,
}

local function weight(seed)
  weights[seed] = weights[seed] or ops.pack(values(seed, 33, 64), 'bf16')
  return weights[seed]
end

for name, make in pairs(makers) do
  tests['test_rounded_' .. name] = function()
    same(name, function(pause)
      local v, w = weight(5), weight(6)
      local x = make()
      pause()
      local a, b = ops.linear(x, { v, w })
      return x, a, b
    end)
  end
end

--- Launches of fn after what waited.
local function launches(fn)
  between()
  local out = traffic.counted(function()
    fn()
    between()
  end)
  return out.launches + out.products - 1
end

--- What a product reads is neither a part of what waits nor something else.
function tests.test_rounded_for_others()
  same('some rows', function(pause)
    local w, x = weight(5), ops.rms_norm(values(1, 12, 64), values(3, 64), 1e-5)
    pause()
    return (ops.linear(x:narrow(1, 0, 9), { w })), x
  end)
  same('another tensor', function(pause)
    local w, z = weight(5), values(4, 9, 64)
    local x = ops.rms_norm(values(1, 9, 64), values(3, 64), 1e-5)
    pause()
    return (ops.linear(z, { w })), x
  end)
end

function tests.test_they_join()
  if os.getenv 'SPPO_SYNC' == '1' then lu.skip 'with SPPO_SYNC=1 nothing waits' end
  if traffic.missing() then lu.skip(traffic.missing()) end
  scope(function()
    local a, b, w = values(1, 9, 64), values(2, 9, 64), values(3, 64)
    local q, k, at = values(1, 9, 4, 16), values(2, 9, 2, 16), batch { 9 }
    local p = weight(5)
    lu.assertEquals(launches(function() ops.rms_norm(ops.add(a, b), w, 1e-5) end), 1)
    lu.assertEquals(launches(function()
      ops.rope(q, at, { theta = 10000 })
      ops.rope(k, at, { theta = 10000 })
    end), 1)
    lu.assertEquals(launches(function() ops.linear(ops.swiglu(a, b), { p }) end), 2)
    lu.assertEquals(launches(function()
      ops.linear(ops.rms_norm(ops.add(a, b), w, 1e-5), { p })
    end), 2)
    lu.assertEquals(launches(function() ops.linear(ops.add(a, b), { p }) end), 3)
  end)
end

return tests
