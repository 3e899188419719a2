--- The device 'cuda': memory that is counted, copies, and what is refused. Where there is no such
--- device it says why.

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
local on_cuda = function(t) return devices.on('cuda', t) end

local MIB = 2 ^ 20

local function fails(message, fn, ...)
  local fine, err = pcall(fn, ...)
  lu.assertFalse(fine, 'did not fail: ' .. message)
  lu.assertEquals(tostring(err), message)
end

local function scoped(fn)
  return function() sppo.scope(fn) end
end

function tests.test_memory_is_counted()
  local before = sppo.memory('cuda').used
  C.sppo_memory_reset_peak(1)
  sppo.scope(function()
    local x = sppo.zeros({ 1000 }, 'f32', 'cuda')
    lu.assertEquals(sppo.memory('cuda').used - before, 4000)
    x:affine(1):release()
    lu.assertEquals(sppo.memory('cuda').used - before, 4000)
    lu.assertEquals(sppo.memory('cuda').peak - before, 8000)
  end)
  lu.assertEquals(sppo.memory('cuda').used, before)
end

--- Nothing of 'cuda' is taken from or counted to the CPU's memory.
tests.test_memory_is_its_own = scoped(function()
  local before = sppo.memory('cpu').used
  local x = sppo.zeros({ 100, 1000 }, 'f32', 'cuda')
  ops.softmax(x)
  lu.assertEquals(sppo.memory('cpu').used, before)
end)

tests.test_limit = scoped(function()
  local used = sppo.memory('cuda').used
  C.sppo_memory_limit(1, used + 1000)
  local fine, err = pcall(sppo.zeros, { 500 }, 'f32', 'cuda')
  C.sppo_memory_limit(1, 0)
  lu.assertFalse(fine)
  lu.assertStrContains(tostring(err), 'new: 0.0 MiB more would pass the limit')
end)

--- More than any device has.
tests.test_out_of_memory = scoped(function()
  local small = sppo.zeros({ 10 }, 'f32', 'cuda')
  local fine, err = pcall(sppo.zeros, { 1000000, 1000000 }, 'f32', 'cuda')
  lu.assertFalse(fine)
  lu.assertStrContains(tostring(err), 'new: out of memory: 3814697.3 MiB more wanted')
  lu.assertEquals(sppo.memory('cuda').used, small:count() * 4)
  lu.assertEquals(small:affine(1, 2):tolist()[10], 2)
end)

--- Memory given back is used again in the order of the stream.
tests.test_reuse = scoped(function()
  local x = on_cuda(sppo.tensor { 1, 2, 3 })
  for _ = 1, 200 do
    sppo.scope(function() sppo.zeros({ 1 }, 'f32', 'cuda'):copy_(x:affine(2, 1):sum()) end)
  end
  lu.assertEquals(x:tolist(), { 1, 2, 3 })
end)

tests.test_copies = scoped(function()
  local values = sppo.zeros({ 300, 7 }):normal_(0, 1, 3)
  local there = on_cuda(values)
  local beside = sppo.zeros({ 300, 7 }, 'f32', 'cuda'):copy_(there)
  local back = sppo.zeros({ 300, 7 }):copy_(beside)
  compare.same_bits(back:tolist(), values:tolist(), 'copies')
  lu.assertEquals(there.device, 'cuda')
  lu.assertEquals(tostring(there), 'tensor [300, 7] f32 cuda')
  fails('copy: f32 [300, 7] into f32 [7, 300]', function()
    sppo.zeros({ 7, 300 }, 'f32', 'cuda'):copy_(values)
  end)
  fails("copy: panels lie differently on 'cpu' and 'cuda'; unpack, copy, pack", function()
    ops.pack(there, 'f32'):copy_(ops.pack(values, 'f32'))
  end)
  fails("copy: a tensor on 'meta' has no values", function()
    there:copy_(sppo.zeros({ 300, 7 }, 'f32', 'meta'))
  end)
end)

--- Random values do not depend on the device.
tests.test_random = scoped(function()
  local a, b = sppo.zeros({ 33 }, 'f32', 'cuda'), sppo.zeros { 33 }
  compare.same_bits(a:uniform_(-1, 2, 5):tolist(), b:uniform_(-1, 2, 5):tolist(), 'uniform')
  compare.same_bits(a:normal_(1, 2, 5):tolist(), b:normal_(1, 2, 5):tolist(), 'normal')
end)

tests.test_seed_of_backward = scoped(function()
  local x = on_cuda(sppo.tensor { 3 }):requires_grad_()
  x:square():backward(2)
  lu.assertEquals(x.grad:tolist(), { 12 })
  x:square():backward(1)
  lu.assertEquals(x.grad:tolist(), { 18 })
end)

--- Recomputed values are made anew on their device.
tests.test_recompute = scoped(function()
  local x = on_cuda(sppo.tensor { 1, 2, 3 }):requires_grad_()
  try(C.sppo_recompute_begin())
  local y = x:square():exp()
  try(C.sppo_recompute_end())
  y:sum():backward()
  local want = {}
  for i = 1, 3 do want[i] = 2 * i * math.exp(i * i) end
  compare.close(x.grad:tolist(), want, 1e-6, 'recompute')
end)

--- In an arena of the CPU the device's memory comes from the device all the same.
tests.test_arena = scoped(function()
  local x = on_cuda(sppo.tensor { 1, 2, 3 })
  for _ = 1, 3 do
    try(C.sppo_arena_begin(3))
    local y = x:affine(2)
    local values = y:tolist()
    y:release()
    try(C.sppo_arena_end(3))
    lu.assertEquals(values, { 2, 4, 6 })
  end
  C.sppo_arena_free(3)
end)

tests.test_refusals = scoped(function()
  local x, y = sppo.zeros({ 4, 64 }, 'f32', 'cuda'), sppo.zeros { 4, 64 }
  fails('add: inputs 0 and 1 are on different devices, cuda and cpu', ops.add, x, y)
  fails('take_rows: index[1] is 4, it must be in 0..3', ops.take_rows, x,
    on_cuda(sppo.ints { 0, 4 }))
  fails('embed: tokens[0] is -1, it must be in 0..3', ops.embed, x, on_cuda(sppo.ints { -1 }))
  local target = on_cuda(sppo.ints { 0, 1, 2, 3 })
  local hidden = sppo.zeros({ 4, 64 }, 'f32', 'cuda'):requires_grad_()
  fails('linear_backward: a weight in q8_0 is not read on \'cuda\' yet; use f32 or bf16',
    function() ops.linear(hidden, { ops.pack(x, 'q8_0') }):sum():backward() end)
  fails('token_logprob_backward: a weight in q8_0 is not read on \'cuda\' yet; use f32 or bf16',
    function() ops.token_logprob(hidden, ops.pack(x, 'q8_0'), target):sum():backward() end)
  fails('token_logprob: target[0] is 9, it must be in 0..3', ops.token_logprob, x,
    ops.pack(x, 'f32'), on_cuda(sppo.ints { 9, 0, 0, 0 }))
end)

--- What the host knows of indices holds for all ways in which they can change.
tests.test_indices_change = scoped(function()
  local x = sppo.zeros({ 4, 2 }, 'f32', 'cuda')
  local index = on_cuda(sppo.ints { 0, 1 })
  lu.assertEquals(ops.take_rows(x, index).shape, { 2, 2 })
  local function refused(text) fails('take_rows: ' .. text, ops.take_rows, x, index) end
  index:copy_(on_cuda(sppo.ints { 1, 7 })) -- on the device
  refused 'index[1] is 7, it must be in 0..3'
  index:copy_(sppo.ints { 3, 3 })
  lu.assertEquals(ops.take_rows(x, index).shape, { 2, 2 })
  index:narrow(1, 0, 1):copy_(sppo.ints { -2 })
  refused 'index[0] is -2, it must be in 0..3'
  index:copy_(sppo.ints { 2, 4 })
  refused 'index[1] is 4, it must be in 0..3'
  index:narrow(1, 0, 1):copy_(sppo.ints { 0 }) -- fine itself
  refused 'index[1] is 4, it must be in 0..3'
  lu.assertEquals(ops.take_rows(x, index:narrow(1, 0, 1)).shape, { 1, 2 })
end)

--- More than the room where values wait on their way up; each is what it was when it was sent.
tests.test_many_small_copies = scoped(function()
  local there = {}
  for i = 1, 40 do
    there[i] = on_cuda(sppo.zeros { 16000 } + i) -- 64,000 bytes each, 2.4 MiB in all
  end
  for i, t in ipairs(there) do
    lu.assertEquals({ t:narrow(1, 0, 1):item(), t:narrow(1, 15999, 1):item() }, { i, i })
  end
end)

tests.test_no_pointer_to_values = scoped(function()
  lu.assertTrue(C.sppo_tensor_data(sppo.zeros({ 1 }, 'f32', 'cuda').h) == ffi.NULL)
end)

--- Two layers of a perceptron with a norm: the same loss and gradients as on the CPU, a step later.
tests.test_small_network = scoped(function()
  local function train(device)
    local function put(t) return device == 'cpu' and t or on_cuda(t) end
    local function made(shape, seed) return put(sppo.zeros(shape):normal_(0, 0.3, seed)) end
    local x, gain = made({ 50, 48 }, 1), made({ 48 }, 2):requires_grad_()
    local gate = ops.pack(made({ 96, 48 }, 3), 'f32'):requires_grad_()
    local up = ops.pack(made({ 96, 48 }, 4), 'f32'):requires_grad_()
    local down = ops.pack(made({ 10, 96 }, 5), 'f32'):requires_grad_()
    local losses = {}
    for step = 1, 3 do
      local h = ops.rms_norm(x, gain, 1e-5, { offset = 1 })
      local y = ops.linear(ops.swiglu(ops.linear(h, { gate, up })), { down })
      local loss = ops.mean(y:log_softmax():narrow(2, 3, 1))
      losses[step] = loss:item()
      loss:backward(-1)
      for _, p in ipairs { gain, gate, up, down } do
        try(C.sppo_sgd_step(p.h, p.grad.h, 0.5, 0, 1))
        p:clear_grad_()
      end
    end
    return losses
  end
  local want = train('cpu')
  compare.close(train('cuda'), want, 2e-6, 'losses', 1)
  lu.assertTrue(want[3] > want[1])
end)

function tests.test_no_leaks()
  lu.assertTrue(sppo.memory('cuda').used < MIB)
end

return tests
