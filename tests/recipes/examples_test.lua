--- recipes/examples: each runs to its end and does what its head says.

local files = require 'sppo.files'
local lu = require 'luaunit'
local recipe_of = require 'sppo.selfplay.recipe'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'

local tests = {}

local function path(name) return ('%s/recipes/examples/%s.lua'):format(shell.root(), name) end

--- Runs an example; its metrics by line, and its folder's records of round 2.
local function run(name, check)
  shell.in_folder(function(folder)
    -- The examples name their base as the program has it inside.
    local out = folder .. '/out'
    local result = selfplay.run(path(name), { overrides = { { 'out', out } } })
    lu.assertEquals(result, 'done')
    check(shell.metrics(out), out)
  end)
end

function tests.test_preference()
  run('preference', function(metrics)
    lu.assertTrue(metrics[#metrics]['eval/win_rate'] > 0.55)
  end)
end

function tests.test_loss()
  run('loss', function(metrics)
    lu.assertTrue(metrics[#metrics]['eval/win_rate'] > 0.5)
  end)
end

function tests.test_schedule()
  run('schedule', function(_, out)
    for round, k in ipairs { 3, 4, 6 } do
      local list = files.read_records(('%s/round-%d/answers.msgpack'):format(out, round))
      lu.assertEquals(#list[1].answers, k)
    end
    local resolved = files.json(out .. '/recipe.resolved.json')
    lu.assertEquals(resolved.train.lr, { 2e-3, 1e-3, 2e-3 / 3 })
  end)
end

function tests.test_prompts()
  local values = recipe_of.load(path 'prompts').values
  local sides = {}
  for round = 1, 3 do
    for _, p in ipairs(values.prompts(round)) do sides[table.concat(p.tokens, ' ')] = 'training' end
  end
  for _, p in ipairs(values.held_out) do
    local key = table.concat(p.tokens, ' ')
    lu.assertNil(sides[key])
    sides[key] = 'held out'
  end
  local n = 0
  for _ in pairs(sides) do n = n + 1 end
  lu.assertEquals(n, 40)
  run('prompts', function(metrics) lu.assertEquals(metrics[#metrics].round, 3) end)
end

function tests.test_stopping()
  run('stopping', function(metrics, out)
    local rates = {}
    for _, m in ipairs(metrics) do rates[#rates + 1] = m['eval/win_rate'] end
    lu.assertTrue(#rates >= 2 and #rates < 6)
    for i = 2, #rates - 1 do lu.assertTrue(rates[i] >= rates[i - 1] + 0.05) end
    lu.assertTrue(rates[#rates] < rates[#rates - 1] + 0.05)
    lu.assertStrContains(files.read(out .. '/log.txt'), 'nats')
    -- Once more: nothing is left to do, and it ends where it ended.
    local before = shell.run_bytes(out)
    lu.assertEquals(selfplay.run(path 'stopping', { overrides = { { 'out', out } } }), 'done')
    lu.assertEquals(shell.run_bytes(out), before)
  end)
end

return tests
