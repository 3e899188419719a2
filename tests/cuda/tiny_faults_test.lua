--- What the device may lack or do wrong, said by the emulation (SPPO_EMU_*, tests/cuda/emu): each
--- is a named error with its exit code, and a run that met it goes on to the bytes of a whole one.

local devices = require 'support.devices'
local lu = require 'luaunit'
local shell = require 'support.shell'

local missing = devices.missing()
if missing then return missing end

-- These tests ask for machines that only the emulation can be.
if shell.sppo({ 'repl', '-e', 'sppo.zeros({ 1 }, "f32", "cuda")' }, { SPPO_EMU_DRIVER = '0' }) == 0
then
  return { test_all = function() lu.skip('a GPU cannot be told to be missing') end }
end

local tests = {}

local function run(folder, environment, ...)
  return shell.sppo({ 'run', shell.root() .. '/recipes/tiny.lua', 'out=' .. folder, 'rounds=1',
    'policy.device=cuda', ... }, environment)
end

--- The run ends with this code and an error that has all of these texts; nothing is left behind
--- that hinders the next.
local function fails(environment, exit, ...)
  local texts = { ... }
  shell.in_folder(function(folder)
    local code, _, err = run(folder .. '/out', environment)
    lu.assertEquals(code, exit, err)
    for _, text in ipairs(texts) do lu.assertStrContains(err, text) end
  end)
end

function tests.test_no_driver()
  fails({ SPPO_EMU_DRIVER = '0' }, 7, 'device \'cuda\': no NVIDIA driver is loaded',
    'policy.device=cpu')
end

function tests.test_driver_too_old()
  fails({ SPPO_EMU_DRIVER = '11040' }, 7, 'the driver knows CUDA 11.4, this build was made with ',
    'update the driver')
end

function tests.test_no_gpu()
  fails({ SPPO_EMU_DEVICES = '0' }, 7, 'sees no GPU, CUDA_VISIBLE_DEVICES is not set')
  fails({ SPPO_EMU_DEVICES = '0', CUDA_VISIBLE_DEVICES = '-1' }, 7,
    'CUDA_VISIBLE_DEVICES is \'-1\'')
end

function tests.test_index_out_of_range()
  fails({ SPPO_CUDA_DEVICE = '3', SPPO_EMU_DEVICES = '2' }, 7,
    'SPPO_CUDA_DEVICE is \'3\', it must be one of 0..1: the driver sees 2 GPUs')
  fails({ SPPO_CUDA_DEVICE = '1' }, 7, 'must be one of 0..0: the driver sees 1 GPU')
  for _, bad in ipairs { '-1', '0x', 'gpu', '99999999999999999999' } do
    fails({ SPPO_CUDA_DEVICE = bad }, 7, 'SPPO_CUDA_DEVICE is \'' .. bad .. '\'')
  end
end

function tests.test_index_in_range()
  shell.in_folder(function(folder)
    local code, _, err = run(folder .. '/out',
      { SPPO_CUDA_DEVICE = '1', SPPO_EMU_DEVICES = '2' }, '--only', 'sample')
    lu.assertEquals(code, 0, err)
  end)
end

function tests.test_capability_too_low()
  fails({ SPPO_EMU_CAPABILITY = '75' }, 7, 'GPU 0 has compute capability 7.5',
    'the kernels need 8.0 or newer')
end

local whole

--- Files of a run that met nothing; batches change none of their bytes here.
local function whole_bytes()
  if whole then return whole end
  shell.in_folder(function(folder)
    local code, _, err = run(folder .. '/out')
    lu.assertEquals(code, 0, err)
    whole = shell.run_bytes(folder .. '/out')
  end)
  return whole
end

--- A run with these overrides that fails in `environment` says all of the texts, then goes on to a
--- whole one's bytes: without that environment, or within it with the overrides of `relief`.
local function goes_on(environment, overrides, exit, texts, relief)
  shell.in_folder(function(folder)
    local code, _, err = run(folder .. '/out', environment, unpack(overrides))
    lu.assertEquals(code, exit, err)
    for _, text in ipairs(texts) do lu.assertStrContains(err, text) end
    local again = { unpack(overrides) }
    for _, value in ipairs(relief or {}) do again[#again + 1] = value end
    code, _, err = run(folder .. '/out', relief and environment, unpack(again))
    lu.assertEquals(code, 0, err)
    local got = shell.run_bytes(folder .. '/out')
    for name, bytes in pairs(whole_bytes()) do
      lu.assertTrue(got[name] == bytes, name)
    end
  end)
end

function tests.test_out_of_memory_for_weights()
  local none = { 'pack: out of memory: ', 'largest: ', ' MiB by pack' }
  goes_on({ SPPO_EMU_MEMORY_KIB = '100' }, {}, 4, none)
end

function tests.test_out_of_memory_in_sampling()
  goes_on({ SPPO_EMU_MEMORY_KIB = '34268' }, { 'evaluate.batch=1' }, 4,
    { 'out of memory: ', 'largest: ', ' MiB by ',
      'try: add sample.batch=8, which needs less; what is done is kept' }, { 'sample.batch=8' })
end

function tests.test_out_of_memory_in_evaluation()
  goes_on({ SPPO_EMU_MEMORY_KIB = '35768' }, {}, 4, { 'try: add evaluate.batch=32, which needs' })
end

function tests.test_out_of_memory_in_training()
  goes_on({ SPPO_EMU_MEMORY_KIB = '33468' }, { 'evaluate.batch=1', 'sample.batch=1' }, 4,
    { 'out of memory: ', 'largest: ', ' MiB by ',
      'try: add train.micro_tokens=32 train.recompute=true, which needs less' })
end

--- A kernel's fault arrives at whatever waits next; with SPPO_SYNC=1 at its own op.
function tests.test_fault_of_a_kernel()
  goes_on({ SPPO_EMU_FAULT = 'rmsprop' }, {}, 7, { 'an illegal memory access was encountered',
    'in a kernel of this op or an earlier one; SPPO_SYNC=1 names which',
    'try: the same command goes on from here' })
  goes_on({ SPPO_EMU_FAULT = 'rmsprop', SPPO_SYNC = '1' }, {}, 7,
    { 'rmsprop: CUDA says: an illegal memory access was encountered, in this op\'s kernel' })
end

function tests.test_fault_names_its_op()
  local script = 'local y = sppo.zeros({ 8 }, "f32", "cuda"):affine(2):exp():softmax(); ' ..
    'sppo.zeros({ 8 }, "f32", "cpu"):copy_(y)'
  local text = ': CUDA says: an illegal memory access was encountered, in '
  for fault, op in ipairs { 'affine', 'exp', 'softmax' } do
    local environment = { SPPO_EMU_FAULT = tostring(fault), SPPO_SYNC = '1' }
    local code, _, err = shell.sppo({ 'repl', '-e', script }, environment)
    lu.assertEquals(code, 1, err)
    lu.assertStrContains(err, op .. text .. 'this op\'s kernel')
    environment.SPPO_SYNC = nil
    code, _, err = shell.sppo({ 'repl', '-e', script }, environment)
    lu.assertEquals(code, 1, err)
    lu.assertStrContains(err, 'copy' .. text .. 'a kernel of this op or an earlier one')
  end
end

--- Nothing works after a fault, and what asks for memory next does not say that memory is short.
function tests.test_memory_after_a_fault()
  local script = 'local y = sppo.zeros({ 8 }, "f32", "cuda"):affine(2); ' ..
    'print(pcall(function() return y:tolist() end)); sppo.zeros({ 8 }, "f32", "cuda")'
  local code, out, err = shell.sppo({ 'repl', '-e', script }, { SPPO_EMU_FAULT = '1' })
  lu.assertEquals(code, 1, err)
  lu.assertStrContains(out, 'false')
  lu.assertStrContains(err, 'new: CUDA says: an illegal memory access was encountered')
end

return tests
