--- Sections and functions that are something else, and a preference that is none.

local function top(text, want) return { 'rounds = 3,', text, want } end
local function preference(text, want)
  return { 'preference = {', ('preference = %s, on_step = {'):format(text), want }
end

return {
  { 'train = {', 'train = 3, plan = {', 'train must be a table, got number' },
  { 'train = {', 'train = \'sppo\', plan = {', 'train must be a table, got string' },
  { 'train = {', 'train = function() end, plan = {', 'train must be a table, got function' },
  { 'sample = {', 'sample = 5, plan = {', 'sample must be a table, got number' },
  { 'sample = {', 'sample = false, plan = {', 'sample must be a table, got boolean' },
  { 'evaluate = {', 'evaluate = true, plan = {', 'evaluate must be a table, got boolean' },
  { 'policy = {', 'policy = \'smollm2-135m-instruct\', plan = {', 'policy must be a table' },
  { 'policy = {', 'plan = {', line = false, want = 'policy.model is missing' },
  { 'policy = {', 'policy = nil, plan = {', line = 26, want = 'policy.model is missing' },
  { 'policy = {', 'policy = {}, plan = {', line = 26, want = 'policy.model is missing' },
  top('plan = 1,', 'plan must be a table, got number'),
  top('compat = 1,', 'compat must be a table, got number'),
  preference('\'pairrm\'', 'preference must be a table or function, got string'),
  preference('0.5', 'preference must be a table or function, got number'),
  preference('true', 'preference must be a table or function, got boolean'),
  preference('nil', 'preference is missing'),
  preference('{}', 'preference has no function \'prefer\''),
  preference('{ function() end }', 'preference has no function \'prefer\''),
  preference('{ preferr = print }', '(\'preferr\' is there)'),
  preference('{ prefer = 3 }', 'preference.prefer must be a function, got number'),
  preference('{ prefer = print, pass = true }', 'preference.pass must be a function, got boolean'),
  preference('{ prefer = print, key = 3 }', 'preference.key must be a string, got number'),
  preference('{ prefer = print, both_orders = 1 }', 'preference.both_orders must be a boolean'),
  preference('require \'sppo.preference.rules\'', 'preference has no function \'prefer\''),
  preference('require(\'sppo.preference.rules\').preference { confidance = 1 }',
    'unknown option \'confidance\' (did you mean \'confidence\'?)'),
  preference('require(\'sppo.preference.rules\').preference(3)', 'options must be a table'),
  { text = 'return {}', line = false, want = 'name is missing', also = { 'prompts is missing',
    'policy.model is missing', 'preference is missing' } },
  { text = 'return { 1, 2, 3 }', want = 'unknown key \'1\'', also = { 'name is missing' } },
  { text = 'return { run = function() end }', want = 'name is missing' },
  -- All at once, in the order of the lines.
  { text = table.concat({ 'return {', '  nmae = \'x\',', '  seed = -1,', '  train = { lr = 2,',
    '    eta = 0 },', '  sample = { k = 1 },', '}' }, '\n'), want = 'name is missing',
    also = { 'r.lua:2: unknown key \'nmae\' (did you mean \'name\'?)', 'r.lua:3: seed must be',
      'r.lua:4: train.lr must be', 'r.lua:5: train.eta must be', 'r.lua:6: sample.k must be',
      'policy.model is missing' } },
  { text = [[
local r = require('sppo.selfplay.recipe').base 'recipes/tiny.lua'
r.train.lr, r.sample.k = -1, 1
r.evaluate = { ['k'] = 0 }
r.prompts[3] = 3
r.sample.k = 1
return r]], line = 2, want = 'train.lr must be a number in 0..1, got -1',
    also = { 'r.lua:2: sample.k must be', 'r.lua:3: evaluate.k must be',
      'prompts[3] must be a string or a table, got number' } },
  { text = [[
local r = require('sppo.selfplay.recipe').base 'recipes/tiny.lua'
r.train = nil
r.policy.model.vocab_size = 0
return r]], want = 'policy.model: vocab_size must be' },
  { text = 'return require(\'sppo.selfplay.recipe\').base \'FOLDER/r.lua\'', want = 'cannot open' },
}
