--- Branches of a run (lua/sppo/selfplay/branch.lua), recipes made from others, comparisons.

local files = require 'sppo.files'
local lu = require 'luaunit'
local recipe_of = require 'sppo.selfplay.recipe'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'

local tests = {}

local TEXT = [[
local compare = require 'sppo.selfplay.compare'
local recipe = require 'sppo.selfplay.recipe'
local base = recipe.base '%s/recipes/tiny.lua'
base.name, base.rounds = 'compare', 2
function base.run(run)
  run:evaluate(0)
  run:sample(1)
  run:prefer(1)
  run:select(1)
  local branches = {}
  for i, loss in ipairs { 'sppo', 'dpo' } do
    branches[i] = run:branch(loss, { train = { loss = loss } }, compare.algorithm)
  end
  if not run.stopped then compare.write(run, branches) end
end
return base
]]

local function recipe(folder, text)
  local path = folder .. '/recipe.lua'
  files.write(path, (text or TEXT):format(shell.root()))
  return path
end

local function run(path, out, stop)
  return selfplay.run(path, { overrides = { { 'out', out } }, stop = stop })
end

function tests.test_branches_share_what_came_before()
  shell.in_folder(function(folder)
    local out = folder .. '/out'
    lu.assertEquals(run(recipe(folder), out), 'done')
    local first = files.read(out .. '/round-1/answers.msgpack')
    for _, loss in ipairs { 'sppo', 'dpo' } do
      local branch = ('%s/%s/'):format(out, loss)
      lu.assertTrue(files.read(branch .. 'round-1/answers.msgpack') == first)
      local resolved = files.json(branch .. 'recipe.resolved.json')
      lu.assertEquals(resolved.train.loss, loss)
      -- The first round was sampled once, by the run itself.
      local perf = files.read(branch .. 'perf.jsonl')
      lu.assertNil(perf:find('"round":1,"seconds":[%d.e-]+,"stage":"sample"'))
      lu.assertNotNil(perf:find('"round":2,"seconds":[%d.e-]+,"stage":"sample"'))
    end
    lu.assertTrue(files.read(out .. '/sppo/round-2/answers.msgpack') ~=
      files.read(out .. '/dpo/round-2/answers.msgpack'))
    -- The branch is what the loss alone, in a run of its own, gives.
    local alone = folder .. '/alone'
    selfplay.run(shell.root() .. '/recipes/tiny.lua', { overrides = {
      { 'out', alone }, { 'rounds', '2' }, { 'train.loss', 'dpo' } } })
    lu.assertTrue(files.read(alone .. '/round-2/weights/model.safetensors') ==
      files.read(out .. '/dpo/round-2/weights/model.safetensors'))

    local csv = files.read(out .. '/compare.csv')
    lu.assertEquals(select(2, csv:gsub('\n', '\n')), 5)
    lu.assertStrContains(csv, 'likelihood/chosen')
    lu.assertStrMatches(csv, '.*\nsppo,1,[%d.]+,.*\ndpo,2,[%d.]+,.*')
  end)
end

function tests.test_a_stopped_run_goes_on_in_its_branch()
  shell.in_folder(function(folder)
    local path, calls = recipe(folder), 0
    lu.assertEquals(run(path, folder .. '/whole'), 'done')
    local want = shell.run_bytes(folder .. '/whole')
    local out, stops = folder .. '/out', 0
    for _ = 1, 200 do
      local result = run(path, out, function()
        calls = calls + 1
        return calls % 37 == 0
      end)
      if result == 'done' then break end
      stops = stops + 1
    end
    lu.assertTrue(stops > 3)
    local got = shell.run_bytes(out)
    for name, bytes in pairs(want) do lu.assertTrue(got[name] == bytes, name) end
  end)
end

function tests.test_likelihood_is_that_of_the_new_weights()
  shell.in_folder(function(folder)
    run(recipe(folder), folder .. '/out')
    local text = files.read(folder .. '/out/dpo/metrics.jsonl')
    local chosen = text:match('"likelihood/chosen":([%d.e+-]+)')
    lu.assertTrue(tonumber(chosen) > 0.1)
    lu.assertTrue(tonumber(text:match('"likelihood/rejected":([%d.e+-]+)')) < -0.1)
  end)
end

function tests.test_errors()
  shell.in_folder(function(folder)
    local function failure(body)
      local text = ([[
        local base = require('sppo.selfplay.recipe').base '%%s/recipes/tiny.lua'
        function base.run(run) %s end
        return base]]):format(body)
      local ok, err = pcall(run, recipe(folder, text), folder .. '/out')
      lu.assertFalse(ok)
      return tostring(type(err) == 'table' and err.message or err)
    end
    lu.assertStrContains(failure [[run:branch('x', { train = { los = 'dpo' } }, print)]],
      "branch 'x': unknown key 'train.los' (did you mean 'train.loss'?)")
    lu.assertStrContains(failure [[run:branch('../x', {}, print)]],
      "branch: '../x' is not a name for a folder")
    lu.assertStrContains(failure [[
      run:evaluate(0) run:sample(1) run:prefer(1) run:select(1) run:train(1)
      run:branch('x', {}, print)]], "branch 'x': this run has trained; branch before")
  end)
end

function tests.test_base_is_part_of_what_a_stage_depends_on()
  shell.in_folder(function(folder)
    local base, path = folder .. '/base.lua', folder .. '/r.lua'
    local text = ('return { name = "b", prompts = { "x" }, policy = { model = "m" }, ' ..
      'preference = function() return %d end }')
    files.write(base, text:format(1))
    files.write(path, ('return require("sppo.selfplay.recipe").base("%s")'):format(base))
    local first = recipe_of.load(path)
    files.write(base, text:format(2))
    local second = recipe_of.load(path)
    lu.assertEquals(first.source, second.source)
    lu.assertTrue(first.sources ~= second.sources)
    files.write(base, 'return 1')
    local none, err = recipe_of.load(path)
    lu.assertNil(none)
    lu.assertStrContains(err, 'base.lua: a recipe returns a table, this one returned number')
  end)
end

return tests
