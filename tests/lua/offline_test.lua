--- `sppo eval` and `sppo train`: what they say is what a run says of the same weights.

local files = require 'sppo.files'
local given = require 'sppo.data.given'
local json = require 'sppo.json'
local lu = require 'luaunit'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'

local tests = {}

local function tiny() return shell.root() .. '/recipes/tiny.lua' end

local function fails(code, arguments, text)
  local got, out, err = shell.sppo(arguments)
  lu.assertEquals({ got, out }, { code, '' }, err)
  lu.assertStrContains(err, text)
end

--- The numbers of a run's own evaluation, bit for bit, and of a pair of its rounds.
function tests.test_eval_is_the_evaluation_of_the_run()
  shell.in_folder(function(folder)
    local out = folder .. '/run'
    selfplay.run(tiny(), { overrides = { { 'out', out }, { 'rounds', '2' } } })
    local recorded = {}
    for _, line in ipairs(shell.metrics(out)) do
      if line['eval/mean_length'] then recorded[line.round] = line end
    end
    for t, model in ipairs { out .. '/round-1', out .. '/round-2/weights' } do
      local code, said, err = shell.sppo { 'eval', tiny(), model, 'rounds=2', '--json' }
      lu.assertEquals({ code, err }, { 0, '' })
      local got = assert(json.decode(said))
      for key, value in pairs(recorded[t]) do
        if not key:find('against') and key ~= 'round' then lu.assertEquals(got[key], value, key) end
      end
      lu.assertEquals({ got.prompts, got.answers, got.against.model }, { 16, 4, 'the start' })
      lu.assertEquals(got.against['eval/pass_rate'], recorded[0]['eval/pass_rate'])
    end
    local code, said = shell.sppo { 'eval', tiny(), out, '--against', out .. '/round-1' }
    lu.assertEquals(code, 0)
    lu.assertStrContains(said, out .. '/round-2 against ' .. out .. '/round-1: 16 prompts')
    lu.assertStrContains(said,
      ('  win rate     %.3f (95 %%: '):format(recorded[2]['eval/win_rate_against/1']))
    -- A model against itself draws the same answers.
    code, said = shell.sppo { 'eval', tiny(), out .. '/round-0' }
    lu.assertEquals(code, 0)
    lu.assertStrContains(said, '  win rate     0.500 (95 %')
  end)
end

function tests.test_eval_errors()
  shell.in_folder(function(folder)
    fails(6, { 'eval', tiny(), folder .. '/none' }, 'no model there')
    fails(2, { 'eval', folder .. '/none.lua', 'start' }, 'cannot open')
    fails(2, { 'eval', tiny(), 'start', 'evaluate.on=validation' },
      'evaluate.on is \'validation\', and there is no validation')
    files.make_folder(folder .. '/run')
    files.write(folder .. '/run/manifest.json', '{"stages":[]}')
    fails(2, { 'eval', tiny(), folder .. '/run' }, 'no round of this run has weights yet')
    files.write(folder .. '/r.lua', 'return { name = \'x\', run = function() end }')
    fails(2, { 'eval', folder .. '/r.lua', 'start' }, 'has no policy.model to start from')
    files.write(folder .. '/r.lua',
      'return { name = \'x\', policy = { model = \'m\' }, held_out = { \'a\' } }')
    fails(2, { 'eval', folder .. '/r.lua', 'start' },
      'has no preference, which an evaluation needs')
  end)
end

local function pairs_text(n)
  local lines = {}
  for i = 1, n do
    lines[i] = json.encode { prompt = ('ab'):rep(i), chosen = 'aaaa', rejected = 'bb' }
  end
  return table.concat(lines, '\n') .. '\n'
end

--- Training on pairs moves the model towards the chosen answers, goes on where it was, and leaves
--- the folder of the recipe's self-play alone.
function tests.test_train()
  shell.in_folder(function(folder)
    require('support.small_model').write(folder .. '/m', 4)
    files.write(folder .. '/pairs.jsonl', pairs_text(8))
    files.write(folder .. '/r.lua', ([[
return { name = 'offline', out = '%s/run', rounds = 3, policy = { model = '%s/m' },
  train = { lr = 1e-3, eta = 10, batch = 4, epochs = 2, warmup = 0 } }]]):format(folder, folder))
    local train = { 'train', folder .. '/r.lua', folder .. '/pairs.jsonl', '-q' }
    local code, out, err = shell.sppo(train)
    lu.assertEquals({ code, out, err }, { 0, '', '' })
    local run = folder .. '/run-train'
    lu.assertTrue(files.complete(run .. '/round-1/weights'))
    lu.assertFalse(files.is_folder(folder .. '/run'))
    local steps = {}
    for _, line in ipairs(shell.metrics(run)) do
      if line.step then steps[#steps + 1] = line['rewards/margins'] end
    end
    lu.assertEquals(#steps, 4)
    lu.assertAlmostEquals(steps[1], 0, 1e-6)
    lu.assertTrue(steps[4] > 0.01, tostring(steps[4]))
    -- Again: nothing is left to do.
    local bytes = shell.read(run .. '/metrics.jsonl')
    lu.assertEquals(shell.sppo(train), 0)
    lu.assertEquals(shell.read(run .. '/metrics.jsonl'), bytes)

    fails(2, { 'train', folder .. '/r.lua', 'seed=3' }, "'seed=3' stands where the file of pairs")
    fails(6, { 'train', folder .. '/r.lua', folder .. '/none.jsonl' }, 'none.jsonl: no such file')
    fails(2, { 'train', folder .. '/r.lua', folder .. '/pairs.jsonl', 'train.k=1' },
      "unknown key 'train.k'")
  end)
end

function tests.test_given()
  shell.in_folder(function(folder)
    local path = folder .. '/pairs.jsonl'
    files.write(path, pairs_text(2))
    lu.assertEquals(given.read(path)[1], { messages = { { role = 'user', content = 'ab' } },
      chosen = 'aaaa', rejected = 'bb', pair = 1, win = 0.75, lose = 0.25 })
    files.write(path, json.encode { chosen_probs = 0.8, chosen_probs_win = 0.7,
      chosen = { { role = 'user', content = 'q' }, { role = 'assistant', content = 'good' } },
      rejected = { { role = 'user', content = 'q' }, { role = 'assistant', content = 'bad' } } })
    local list = given.read(path)
    lu.assertEquals({ list[1].chosen, list[1].pair, list[1].win }, { 'good', 0.8, 0.7 })
    lu.assertEquals(list[1].messages, { { role = 'user', content = 'q' } })
    lu.assertAlmostEquals(list[1].lose, 0.35, 1e-12)
    local function bad(line, text)
      files.write(path, line)
      lu.assertErrorMsgContains(text, given.read, path)
    end
    bad('', 'has no pairs')
    bad('{"prompt":"a","chosen":"b"}', 'rejected')
    bad('{"prompt":"a","chosen":"b","rejected":" "}', 'pair 1: rejected is empty')
    bad('{"prompt":"a","chosen":"b","rejected":"c","chosen_probs":1.5}',
      'pair 1: chosen_probs must be a number in 0..1, got 1.5')
    bad('{"prompt":"a","chosen":"b","rejected":"c"', 'pairs.jsonl:1')
  end)
end

return tests
