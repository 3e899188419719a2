--- Values from the command line and the environment, where each value is from, and what a recipe's
--- text is run with.

local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local overrides = require 'sppo.selfplay.overrides'
local recipe_file = require 'sppo.selfplay.recipe_file'
local recipe_of = require 'sppo.selfplay.recipe'
local schema = require 'sppo.selfplay.schema'
local shell = require 'support.shell'

local tests = {}

local function tiny() return shell.root() .. '/recipes/tiny.lua' end

function tests.test_environment()
  local list = assert(overrides.environment { 'PATH=/bin', 'SPPO_ARG_TRAIN_LR=1e-4', 'SPPO_HOME=x',
    'SPPO_ARG_SAMPLE_MAX_NEW_TOKENS=7', 'SPPO_ARG_OUT=a=b', 'SPPO_ARG_SEED=' })
  lu.assertEquals(list, { { 'out', 'a=b', text = 'SPPO_ARG_OUT=a=b' },
    { 'sample.max_new_tokens', '7', text = 'SPPO_ARG_SAMPLE_MAX_NEW_TOKENS=7' },
    { 'seed', '', text = 'SPPO_ARG_SEED=' },
    { 'train.lr', '1e-4', text = 'SPPO_ARG_TRAIN_LR=1e-4' } })
  local none, err = overrides.environment { 'SPPO_ARG_TRIAN_LR=1' }
  lu.assertNil(none)
  lu.assertEquals(err, 'SPPO_ARG_TRIAN_LR in the environment names no key of a recipe (did you ' ..
    'mean SPPO_ARG_TRAIN_LR?)')
end

--- Every key has a name of its own in the environment.
function tests.test_names_differ()
  local seen = {}
  for _, key in ipairs(schema.list()) do
    local name = key.name:upper():gsub('%.', '_')
    lu.assertNil(seen[name], name)
    seen[name] = true
  end
end

--- The command line goes before the environment, the environment before the recipe.
function tests.test_precedence()
  local function validate(arguments, environment)
    local code, _, err = shell.sppo({ 'validate', tiny(), unpack(arguments) }, environment)
    return code, err
  end
  local code, err = validate({}, { SPPO_ARG_TRAIN_LR = '2' })
  lu.assertEquals(code, 2)
  lu.assertStrContains(err, 'SPPO_ARG_TRAIN_LR=2: train.lr must be a number in 0..1, got 2')
  lu.assertEquals(validate({ 'train.lr=1' }, { SPPO_ARG_TRAIN_LR = '2' }), 0)
  code, err = validate({}, { SPPO_ARG_LR = '2' })
  lu.assertEquals(code, 2)
  lu.assertStrContains(err, 'SPPO_ARG_LR in the environment names no key of a recipe')
  lu.assertEquals(validate({}, { SPPO_ARG_SEED = '5', SPPO_ARGUMENT = 'x' }), 0)
  lu.assertEquals(overrides.merged({ { 'train.lr', '1' }, { 'seed', '2' } }, { { 'train', '3' } }),
    { { 'seed', '2' }, { 'train', '3' } })
end

--- What is a text stays one, whatever it looks like.
function tests.test_texts()
  local recipe = assert(recipe_of.load(tiny(), { { 'name', '3' }, { 'out', 'true' } }))
  lu.assertEquals({ recipe.values.name, recipe.values.out }, { '3', 'true' })
end

local function resolved(arguments, environment)
  local code, out, err = shell.sppo({ 'cat', '--resolved', unpack(arguments) }, environment)
  lu.assertEquals({ code, err }, { 0, '' })
  local by_key = {}
  for line in out:gmatch('[^\n]+') do
    local entry = assert(json.decode(line))
    by_key[entry.key] = { entry.value, entry.from }
  end
  return by_key
end

function tests.test_resolved()
  local got = resolved({ tiny(), 'sample.k=6' }, { SPPO_ARG_SEED = '9' })
  local path = tiny()
  lu.assertEquals(got['sample.k'], { 6, 'sample.k=6' })
  lu.assertEquals(got.seed, { 9, 'SPPO_ARG_SEED=9' })
  lu.assertEquals(got.rounds, { 3, path .. ':24' })
  lu.assertEquals(got['train.eta'], { 10, path .. ':50' })
  lu.assertEquals(got['train.warmup'], { 0.1, 'default' })
  lu.assertEquals(got['evaluate.max_new_tokens'], { 12, 'sample.max_new_tokens' })
  lu.assertEquals(got.prompts, { '16 prompts', path .. ':32' })
  lu.assertEquals(got.out, { 'runs/tiny', 'name' })
  lu.assertEquals(got['train.recompute'], { false, 'default' })
  local count = 0
  for _ in pairs(got) do count = count + 1 end
  lu.assertEquals(count, #schema.list())
end

--- A recipe made of another: values are from the line of whichever set them. A run says the same.
function tests.test_resolved_of_a_run()
  shell.in_folder(function(folder)
    local path = folder .. '/r.lua'
    files.write(path, ([[
local r = require('sppo.selfplay.recipe').base '%s'
-- seed = 3 stands in a comment
r.train.lr, r.name = function(round) return 1e-3 / round end, 'mine'
r.sample['k'] = 2
local seed = 7
r.seed = seed
r.run = function(run) run:evaluate(0) end
return r]]):format(tiny()))
    local got = resolved { path, 'rounds=2' }
    lu.assertEquals(got['train.lr'], { { 1e-3, 5e-4 }, path .. ':3' })
    lu.assertEquals(got.name, { 'mine', path .. ':3' })
    lu.assertEquals(got['sample.k'], { 2, path .. ':4' })
    lu.assertEquals(got.seed, { 7, path .. ':6' })
    lu.assertEquals(got['train.eta'], { 10, tiny() .. ':50' })
    lu.assertEquals(got.rounds, { 2, 'rounds=2' })
    local out = 'out=' .. folder .. '/run'
    lu.assertEquals(shell.sppo { 'run', path, out, 'rounds=2', '-q' }, 0)
    local of_run = resolved { folder .. '/run' }
    got.out = { folder .. '/run', out }
    lu.assertEquals(of_run, got)
    local code, _, err = shell.sppo { 'cat', '--resolved', folder .. '/run', 'seed=1' }
    lu.assertEquals(code, 2)
    lu.assertStrContains(err, 'is a run, whose values are what they were')
  end)
end

--- Functions of a recipe are compiled again once it is loaded, and the hook is gone.
function tests.test_nothing_is_left_behind()
  local recipe = assert(recipe_of.load(tiny()))
  lu.assertNil((debug.gethook()))
  lu.assertTrue((jit.status()))
  local prefer = recipe.values.preference.prefer
  lu.assertEquals(prefer({}, { '2 4', '1 3' })[1][1], 0.5)
  local fine, text = recipe_file.call('x.lua', function() return 3 end)
  lu.assertEquals({ fine, text }, { true, 3 })
end

--- A run that a recipe of another name left is not written over; more rounds of its own are added.
function tests.test_folder_of_another_recipe()
  shell.in_folder(function(folder)
    local out = 'out=' .. folder .. '/run'
    lu.assertEquals(shell.sppo { 'run', tiny(), out, 'rounds=1', '-q' }, 0)
    local before = shell.run_bytes(folder .. '/run')
    local code, _, err = shell.sppo { 'run', tiny(), out, 'rounds=1', 'name=other', '-q' }
    lu.assertEquals(code, 2)
    lu.assertStrContains(err, 'holds the run of a recipe with the name \'tiny\', this one is ' ..
      '\'other\'; take another folder (out=DIR)')
    lu.assertEquals(shell.run_bytes(folder .. '/run'), before)
  end)
end

return tests
