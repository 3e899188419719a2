--- Recipes: loading, overrides, validation with all errors at once, schedules, prompts.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local lu = require 'luaunit'
local prompts = require 'sppo.selfplay.prompts'
local recipe_of = require 'sppo.selfplay.recipe'
local schema = require 'sppo.selfplay.schema'
local shell = require 'support.shell'

local tests = {}

local good = [[
return {
  name = 'x',
  policy = { model = 'm' },
  prompts = { 'a', 'b' },
  preference = function() end,
]]

--- fn(recipe, err) for a recipe of this text; `path` in errors is written as FILE.
local function load(text, overrides)
  local recipe, err
  shell.in_folder(function(folder)
    local path = folder .. '/r.lua'
    files.write(path, text)
    recipe, err = recipe_of.load(path, overrides)
    err = err and err:gsub(path:gsub('%W', '%%%0'), 'FILE')
  end)
  return recipe, err
end

local function fails(text, want, overrides)
  local recipe, err = load(text, overrides)
  lu.assertNil(recipe)
  lu.assertEquals(err, want)
end

function tests.test_defaults()
  local recipe = assert(load(good .. '}'))
  local v = recipe.values
  lu.assertEquals({ v.seed, v.rounds, v.select, v.out, v.sample.k },
    { 1, 3, 'best_and_worst', 'runs/x', 5 })
  lu.assertEquals({ v.policy.dtype, v.policy.device }, { 'f32', 'cpu' })
  local t = v.train
  lu.assertEquals({ t.eta, t.lr, t.optimizer, t.clip }, { 1000, 5e-7, 'rmsprop', 1 })
  lu.assertEquals({ t.warmup, t.schedule }, { 0.1, 'linear' })
end

--- Held-out answers are sampled as the training's are, unless the recipe says otherwise.
function tests.test_evaluate_follows_sample()
  local text = good ..
    'sample = { temperature = 0.7, max_new_tokens = 80 }, evaluate = { top_p = 0.5 } }'
  local recipe = assert(load(text))
  local e = recipe_of.at_round(recipe, 'evaluate', 1)
  lu.assertEquals({ e.temperature, e.max_new_tokens, e.top_p, e.k }, { 0.7, 80, 0.5, 2 })
  -- A value that is said counts, be it the default's.
  text = good .. 'sample = { temperature = { 0.9, 0.8, 0.7 }, top_p = 0.9, ' ..
    'max_new_tokens = 80 }, evaluate = { temperature = 1, top_p = 1, max_new_tokens = 256 } }'
  e = recipe_of.at_round(assert(load(text)), 'evaluate', 1)
  lu.assertEquals({ e.temperature, e.max_new_tokens, e.top_p, e.top_k }, { 1, 256, 1, 0 })
end

function tests.test_all_errors_at_once()
  fails([[
-- a comment that says lr = 3
return {
  name = 'bad name!',
  rounds = 2,
  policy = { model = 7, dtype = 'bf61' },
  prompts = {},
  sample = { k = 1, temprature = 0.7,
    max_new_tokens = 12.5 },
  train = {
    loss = 'spo',
    lr = { 1e-3 },
    eta = function(round) return round == 2 and 'x' or 1 end,
    clip = 0 / 0,
    recompute = 'yes',
  },
  evaluate = { k = 0 },
  seeed = 3,
}]], table.concat({
    'FILE: preference is missing',
    'FILE:3: name is \'bad name!\': letters, digits, . _ - only, a letter or digit first',
    'FILE:5: policy.dtype is \'bf61\', it must be one of f32, bf16 (did you mean \'bf16\'?)',
    'FILE:5: policy.model must be a string or table, got number',
    'FILE:6: prompts has no prompts',
    'FILE:7: unknown key \'sample.temprature\' (did you mean \'sample.temperature\'?)',
    'FILE:7: sample.k must be an integer in 2..4096, got 1',
    'FILE:8: sample.max_new_tokens must be an integer in 1..1048576, got 12.5',
    'FILE:10: train.loss is \'spo\', it must be one of ' ..
      'dpo, hinge, ipo, ipo_mean, kto_pair, sppo, sppo_hard, sppo_single (did you mean \'sppo\'?)',
    'FILE:11: train.lr has 1 value for 2 rounds',
    'FILE:12: train.eta(2) must be a number in 1e-09..1000000000, got \'x\'',
    ('FILE:13: train.clip must be a number in 0..1000000000, got %.14g'):format(0 / 0),
    'FILE:14: train.recompute must be a boolean, got string',
    'FILE:16: evaluate.k must be an integer in 1..4096, got 0',
    'FILE:17: unknown key \'seeed\' (did you mean \'seed\'?)',
  }, '\n'))
end

function tests.test_wrong_sections()
  fails(good .. 'train = 3, [1] = 2 }',
    'FILE: unknown key \'1\'\nFILE:6: train must be a table, got number')
end

function tests.test_compat()
  local v = assert(load(good .. '}')).values.compat
  lu.assertEquals({ v.double_bos, v.schedule }, { false, false })
  local uclaml = good .. "compat = 'uclaml' }"
  v = assert(load(uclaml, { { 'compat.double_bos', 'false' } })).values.compat
  lu.assertEquals({ v.double_bos, v.schedule, v.keep_end }, { false, true, true })
  v = assert(load(good .. '}', { { 'compat', 'uclaml' } })).values.compat
  lu.assertTrue(v.double_bos)
  fails(good .. "compat = 'uclam' }",
    "FILE:6: unknown compat 'uclam' (did you mean 'uclaml'?)")
  fails(good .. 'compat = { double_boss = true } }',
    "FILE:6: unknown key 'compat.double_boss' (did you mean 'compat.double_bos'?)")
end

function tests.test_not_a_recipe()
  fails('return 3', 'FILE: a recipe returns a table, this one returned number')
  fails('', 'FILE: a recipe returns a table, this one returned nil; its last line is: ' ..
    'return { .. }')
  local _, err = load 'return {\n  name = \'x\'\n  rounds = 2,\n}'
  lu.assertStrMatches(err, 'FILE:3: .*expected.* near \'rounds\'')
  lu.assertEquals(engine.kind_of(err), 'runtime') -- the text was changed for this test
  _, err = load 'local t = nil\nreturn t.x'
  lu.assertStrMatches(err, 'FILE:2: attempt to index .*nil.*')
  fails(string.dump(function() end), 'FILE: is bytecode; a recipe is text')
  local missing
  missing, err = recipe_of.load('there/is/none.lua')
  lu.assertNil(missing)
  lu.assertStrContains(err, 'there/is/none.lua: ')
  lu.assertEquals(engine.kind_of(err), 'io')
end

function tests.test_usage_errors_are_known()
  shell.in_folder(function(folder)
    files.write(folder .. '/r.lua', 'return {')
    local _, err = recipe_of.load(folder .. '/r.lua')
    lu.assertEquals(engine.kind_of(err), 'recipe')
    files.write(folder .. '/r.lua', 'return {}')
    _, err = recipe_of.load(folder .. '/r.lua')
    lu.assertEquals(engine.kind_of(err), 'recipe')
  end)
end

function tests.test_overrides()
  local recipe = assert(load(good .. 'train = { lr = 1e-3 } }', {
    { 'train.lr', '1e-6' }, { 'sample.k', '8' }, { 'name', 'y' }, { 'train.recompute', 'true' },
    { 'train.eta', '{1000, 500, 2e2}' }, { 'out', 'some/where' }, { 'select', 'all' },
  }))
  local v = recipe.values
  lu.assertEquals({ v.sample.k, v.name, v.out, v.select }, { 8, 'y', 'some/where', 'all' })
  lu.assertEquals({ v.train.lr, v.train.recompute }, { 1e-6, true })
  lu.assertEquals(v.train.eta, { 1000, 500, 200 })
  fails(good .. '}', 'trian.lr=3: unknown key \'trian\' (did you mean \'train\'?)\n' ..
    'sample.k=1: sample.k must be an integer in 2..4096, got 1',
    { { 'sample.k', '1' }, { 'trian.lr', '3' } })
  fails(good .. '}', 'train.lrr=1: unknown key \'train.lrr\' (did you mean \'train.lr\'?)',
    { { 'train.lrr', '1' } })
  fails(good .. '}', 'train=1: train must be a table, got number', { { 'train', '1' } })
end

function tests.test_schedules()
  local recipe = assert(load(good .. [[
    rounds = 3,
    sample = { k = { 2, 4, 6 }, temperature = function(round) return 1 / round end },
    train = { lr = 1e-6, eta = { 1000, 500, 250 } },
    evaluate = { k = { 1, 2, 3 } },
  }]]))
  local sample = recipe_of.at_round(recipe, 'sample', 2)
  local train = recipe_of.at_round(recipe, 'train', 3)
  lu.assertEquals({ sample.k, sample.temperature }, { 4, 0.5 })
  lu.assertEquals({ train.lr, train.eta }, { 1e-6, 250 })
  -- Round 0 has an evaluation only: as round 1.
  lu.assertEquals(recipe_of.at_round(recipe, 'evaluate', 0).k, 1)
  lu.assertEquals(recipe_of.at_round(recipe, 'evaluate', 0).temperature, 1)
  local resolved = recipe_of.resolved(recipe)
  lu.assertEquals(resolved.sample.temperature, { 1, 1 / 2, 1 / 3 })
  lu.assertStrMatches(resolved.preference, 'function %(.*r%.lua:5%)')
  lu.assertNil(resolved.prompts)
end

function tests.test_every_default_is_valid()
  local function walk(section)
    for key, spec in pairs(section) do
      if spec.section then walk(spec.section)
      elseif spec.default ~= nil and (spec.type == 'number' or spec.type == 'integer') then
        lu.assertTrue(spec.default >= spec.low and spec.default <= spec.high, key)
      end
    end
  end
  walk(schema.keys)
end

function tests.test_prompts()
  local list = prompts.list(
    { 'one', { text = 'two', kind = 'k' }, { tokens = { 1 } } }, 1, 'prompts')
  lu.assertEquals(list,
    { { id = 0, text = 'one' }, { id = 1, text = 'two', kind = 'k' }, { id = 2, tokens = { 1 } } })
  local other = prompts.list(function(round) return { 'round ' .. round } end, 2, 'held_out')
  lu.assertEquals(other[1].text, 'round 2')
  lu.assertTrue(other[1].id >= 2^31, 'held-out prompts have draws of their own')
  local function bad(source, text)
    lu.assertErrorMsgContains(text, prompts.list, source, 1, 'prompts')
  end
  bad({}, 'prompts: round 1 has no prompts')
  bad(function() end, 'prompts: round 1 has no prompts')
  bad({ 'a', ' \n' }, 'prompts[2] is empty')
  bad({ { tokens = {} } }, 'prompts[1] is empty')
  bad({ { messages = {} } }, 'prompts[1] is empty')
  bad({ 3 }, 'prompts[1] must be a string or a table, got number')
  bad({ { text = 3 } }, 'prompts[1].text must be a string, got number')
  bad({ { tokens = 3 } }, 'prompts[1].tokens must be a table, got number')
  bad({ { kind = 'x' } }, 'prompts[1] has none of text, messages, tokens')
end

return tests
