--- recipes/llama3.lua on 'cuda', unchanged but for sizes: in f32 beside the CPU, and in bf16, as
--- the recipe has it.

local compare = require 'support.compare'
local devices = require 'support.devices'
local files = require 'sppo.files'
local llama3 = require 'support.llama3'
local lu = require 'luaunit'
local shell = require 'support.shell'

local missing = devices.missing()
if missing then return missing end

local tests = {}

--- Runs it in a process of its own, for SPPO_HOME.
local function run(home, name, ...)
  local out = home .. '/' .. name
  local words = { 'run', 'recipes/llama3.lua', 'out=' .. out, '--quiet', ... }
  for _, word in ipairs(llama3.sizes) do words[#words + 1] = word end
  local code, _, err = shell.sppo(words, { SPPO_HOME = home })
  lu.assertEquals(code, 0, err)
  return out
end

local function records(path) return assert(files.read_records(path)) end

function tests.test_f32_beside_the_cpu()
  shell.in_folder(function(home)
    llama3.write(home)
    local cpu = run(home, 'cpu', 'policy.dtype=f32', 'train.lr=1e-5')
    local cuda = run(home, 'cuda', 'policy.dtype=f32', 'train.lr=1e-5', 'policy.device=cuda')
    for round = 1, 3 do
      local want = records(('%s/round-%d/answers.msgpack'):format(cpu, round))
      local got = records(('%s/round-%d/answers.msgpack'):format(cuda, round))
      lu.assertEquals(#got, 3)
      for i, record in ipairs(want) do
        for j, answer in ipairs(record.answers) do
          lu.assertEquals(got[i].answers[j].tokens, answer.tokens, ('round %d'):format(round))
        end
      end
    end
    local want, got = shell.metrics(cpu), shell.metrics(cuda)
    lu.assertEquals(#got, #want)
    for i, line in ipairs(want) do
      if line['eval/win_rate'] then
        compare.close({ got[i]['eval/win_rate'] }, { line['eval/win_rate'] }, 2e-3, 'win rate', 1)
      end
    end
  end)
end

function tests.test_as_it_is()
  shell.in_folder(function(home)
    llama3.write(home)
    local out = run(home, 'out', 'policy.device=cuda', 'train.lr=1e-3')
    local rescored, margins, rounds = {}, {}, {}
    for _, line in ipairs(shell.metrics(out)) do
      rescored[#rescored + 1] = line['select/rescored_difference']
      if line.step and not margins[line.round] then
        margins[line.round] = line['rewards/margins']
      end
      if line['eval/win_rate'] then rounds[line.round] = true end
    end
    lu.assertEquals(#rescored, 3)
    for round = 1, 3 do
      lu.assertTrue(rescored[round] > 0 and rescored[round] < 0.3) -- of an answer's sum
      lu.assertAlmostEquals(margins[round], 0, 1e-4) -- before the first step nothing has moved
      lu.assertTrue(rounds[round])
      local saved = ('%s/round-%d/weights/model.safetensors'):format(out, round)
      lu.assertTrue(files.exists(saved))
    end
  end)
end

return tests
