--- `sppo plan` with policy.device = 'cuda': its peaks are those that the device counts in a run.

local devices = require 'support.devices'
local lu = require 'luaunit'
local plan_runs = require 'support.plan_runs'

local missing = devices.missing()
if missing then return missing end

local tests = {}

local function compare(dtype, recompute)
  local found = plan_runs.compare({ vocabulary = 1024, hidden = 48 }, {
    ['policy.device'] = 'cuda', ['policy.dtype'] = dtype, ['train.recompute'] = recompute })
  lu.assertEquals(found, { evaluate = true, sample = true, train = true })
end

function tests.test_f32() compare('f32', 'false') end

function tests.test_bf16_and_recompute() compare('bf16', 'true') end

return tests
