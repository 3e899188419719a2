--- Which attention runs on 'cuda', by SPPO_CUDA_ATTENTION, and what is said of it: a process of its
--- own for each, for the choice is made once.

local devices = require 'support.devices'
local lu = require 'luaunit'
local shell = require 'support.shell'

local missing = devices.missing()
if missing then return missing end

local tests = {}

--- One text of 20 tokens, or `list`, with heads of D values: forward and backward. Prints the sum
--- of the output's squares: who ran it shows in its last digits.
local function attend(D, environment, options, list)
  local code = ([[
    local at = require 'sppo.segments'.new { %s }
    local function values(seed)
      local list = {}
      for i = 1, 20 * 2 * %d do list[i] = math.sin(i * seed) end
      local x = sppo.tensor(list, { 20, 2, %d })
      return sppo.zeros(x.shape, 'f32', 'cuda'):copy_(x):requires_grad_()
    end
    local q, k, v = values(1), values(2), values(3)
    local loss = sppo.ops.sum(sppo.ops.square(sppo.ops.attention(q, k, v, at, { %s })))
    loss:backward()
    print(('%%.9g'):format(loss:item()))
  ]]):format(list or '{ count = 20 }', D, D, options or '')
  return shell.sppo({ 'repl', '-e', code }, environment)
end

--- Skips where no cuDNN is found, or it was built without.
local function need_cudnn()
  local _, _, err = attend(16, { SPPO_CUDA_ATTENTION = 'cudnn' })
  if err:find('no cuDNN', 1, true) then lu.skip(err) end
end

local own_says = "attention on 'cuda': our own kernel"
local cudnn_says = "attention on 'cuda': cuDNN\n"

--- What is printed and said; it ends well.
local function runs(...)
  local code, out, err = attend(...)
  lu.assertEquals(code, 0, err)
  return assert(tonumber(out), out), err
end

function tests.test_own_is_what_runs_unasked()
  local value, err = runs(16, { SPPO_CUDA_ATTENTION = '' })
  lu.assertEquals(err, '')
  local same = runs(16, { SPPO_CUDA_ATTENTION = 'own' })
  lu.assertEquals(value, same)
end

--- bf16 shows: the value is near the own kernel's and not the same.
local function is_cudnn(wanted)
  local own = runs(16, { SPPO_CUDA_ATTENTION = 'own' })
  local value, err = runs(16, { SPPO_CUDA_ATTENTION = wanted })
  lu.assertEquals(err, cudnn_says)
  lu.assertAlmostEquals(value / own, 1, 1e-2)
  lu.assertTrue(math.abs(value / own - 1) > 1e-6)
end

function tests.test_cudnn()
  need_cudnn()
  is_cudnn 'cudnn'
  is_cudnn 'auto'
end

function tests.test_missing_is_an_error_where_it_is_asked_for()
  shell.in_folder(function(folder)
    local code, _, err = shell.sppo({ 'run', shell.root() .. '/recipes/tiny.lua',
      'out=' .. folder .. '/out', 'rounds=1', 'policy.device=cuda' },
      { SPPO_CUDA_ATTENTION = 'cudnn', SPPO_CUDNN = '/nowhere/libcudnn.so.9' })
    lu.assertEquals(code, 7, err)
    lu.assertStrContains(err, 'attention: no cuDNN: ')
    lu.assertStrContains(err, 'SPPO_CUDA_ATTENTION=own')
  end)
end

function tests.test_missing_is_said_once_where_it_is_not()
  local value, err = runs(16, { SPPO_CUDA_ATTENTION = 'auto', SPPO_CUDNN = '/nowhere/libcudnn.so' })
  lu.assertStrContains(err, own_says .. ', no cuDNN: ')
  lu.assertEquals(select(2, err:gsub('\n', '')), 1)
  local own = runs(16, { SPPO_CUDA_ATTENTION = 'own' })
  lu.assertEquals(value, own)
end

function tests.test_unknown_name()
  local code, _, err = attend(16, { SPPO_CUDA_ATTENTION = 'fast' })
  lu.assertNotEquals(code, 0)
  lu.assertStrContains(err, "SPPO_CUDA_ATTENTION is 'fast', it must be own, cudnn or auto")
end

--- cuDNN's reason is passed on: heads that nothing runs, and heads whose backward nothing runs.
function tests.test_no_engine()
  need_cudnn()
  local value, err = runs(12, { SPPO_CUDA_ATTENTION = 'cudnn' })
  lu.assertStrContains(err, own_says .. ', cuDNN has no engine for heads of 12: ')
  lu.assertStrContains(err, own_says .. ' backward, cuDNN has no engine for heads of 12: ')
  local own = runs(12, { SPPO_CUDA_ATTENTION = 'own' })
  lu.assertEquals(value, own)
end

function tests.test_no_engine_backward()
  need_cudnn()
  if attend(16, { SPPO_EMU_DRIVER = '0' }) == 0 then
    lu.skip 'a GPU cannot be told to be of another kind'
  end
  local _, err = runs(256, { SPPO_CUDA_ATTENTION = 'cudnn', SPPO_EMU_CAPABILITY = '80' })
  lu.assertStrContains(err, cudnn_says)
  lu.assertStrContains(err, own_says .. ' backward, cuDNN has no engine for heads of 256: ')
  lu.assertStrContains(err, '128')
  _, err = runs(256, { SPPO_CUDA_ATTENTION = 'cudnn', SPPO_EMU_CAPABILITY = '90' })
  lu.assertEquals(err, cudnn_says)
end

--- A window that cuts what an answer sees of its prompt is the own kernel's; one that cuts nothing,
--- or a text alone, is cuDNN's.
function tests.test_window()
  need_cudnn()
  local list = '{ count = 12 }, { parent = 1, count = 4 }, { parent = 1, count = 4 }'
  local cudnn = { SPPO_CUDA_ATTENTION = 'cudnn' }
  local value, err = runs(16, cudnn, 'window = 14', list)
  lu.assertStrContains(err, own_says .. ' where a sliding window cuts')
  local own = runs(16, { SPPO_CUDA_ATTENTION = 'own' }, 'window = 14', list)
  lu.assertEquals(value, own)
  lu.assertEquals(select(2, runs(16, cudnn, 'window = 16', list)), cudnn_says)
  lu.assertEquals(select(2, runs(16, cudnn, 'window = 14')), cudnn_says)
end

--- Texts of one padded size are one run of cuDNN's, roots and what continues them each: two prompts
--- with two answers take as many launches as one.
function tests.test_texts_of_one_size_are_one_part()
  need_cudnn()
  local code = [[
    package.path = package.path .. ';tests/?.lua'
    local traffic, at = require 'support.traffic', require 'sppo.segments'.new { %s }
    if traffic.missing() then print 'skip' return end
    local x = sppo.zeros({ 20, 2, 16 }, 'f32', 'cuda')
    print(traffic.counted(function() sppo.ops.attention(x, x, x, at) end).launches)
  ]]
  local one = '{ count = 6 }, { parent = 1, count = 7 }, { parent = 1, count = 7 }'
  local two = [[{ count = 4 }, { parent = 1, count = 3 }, { parent = 1, count = 3 },
    { count = 4 }, { parent = 4, count = 3 }, { parent = 4, count = 3 }]]
  local launches = {}
  for i, list in ipairs { one, two } do
    local exit, out, err = shell.sppo({ 'repl', '-e', code:format(list) },
      { SPPO_CUDA_ATTENTION = 'cudnn' })
    lu.assertEquals(exit, 0, err)
    if out:find 'skip' then lu.skip 'a real device counts nothing' end
    launches[i] = tonumber(out)
  end
  -- Two parts: three gathers, cuDNN and a merge each.
  lu.assertEquals(launches, { 10, 10 })
end

return tests
