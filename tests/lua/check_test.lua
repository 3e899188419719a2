--- Argument checks: what they take, and their texts.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local lu = require 'luaunit'

local tests = {}

local known = { 'temperature', 'top_p', 'top_k', 'min_p', 'seed' }

function tests.test_suggest()
  for word, want in pairs {
    temprature = 'temperature', Temperature = 'temperature', topp = 'top_p', top_q = 'top_p',
    sede = 'seed', ['top-k'] = 'top_k',
  } do
    lu.assertEquals(check.suggest(word, known), want, word)
  end
  for _, word in ipairs { 'xyz', '', 'learning_rate', 'p' } do
    lu.assertNil(check.suggest(word, known), word)
  end
  lu.assertNil(check.suggest('seed', {}))
  -- Of two one edit away, the one that begins alike.
  lu.assertEquals(check.suggest('spo', { 'dpo', 'ipo', 'sppo' }), 'sppo')
end

function tests.test_unknown()
  lu.assertEquals(check.unknown('option', 'sede', known),
    'unknown option \'sede\' (did you mean \'seed\'?)')
  lu.assertEquals(check.unknown('option', 'nothing_like_it', known),
    'unknown option \'nothing_like_it\'')
  lu.assertEquals(check.unknown('option', 12, known), 'unknown option \'12\'')
end

function tests.test_options()
  local given = { seed = 3 }
  lu.assertIs(check.options('f', given, known), given)
  lu.assertEquals(check.options('f', nil, known), {})
  lu.assertErrorMsgContains('f: unknown option \'sede\' (did you mean \'seed\'?)',
    check.options, 'f', { sede = 1 }, known)
  lu.assertErrorMsgContains('f: options must be a table, got number', check.options, 'f', 3, known)
end

function tests.test_number()
  local text = check.number_text
  lu.assertNil(text('k', 2, 'integer', 2, 64))
  lu.assertNil(text('k', 64, 'integer', 2, 64))
  lu.assertNil(text('lr', 1e-9, 'number', 0, 1))
  lu.assertNil(text('n', -2^40, 'integer'))
  lu.assertEquals(text('sample.k', 1, 'integer', 2, 64),
    'sample.k must be an integer in 2..64, got 1')
  lu.assertEquals(text('k', 2.5, 'integer', 2, 2^20), 'k must be an integer in 2..1048576, got 2.5')
  lu.assertEquals(text('lr', 0 / 0, 'number', 0, 1):gsub('%-?nan', 'NaN'),
    'lr must be a number in 0..1, got NaN')
  lu.assertEquals(text('lr', math.huge, 'number', 0, 1), 'lr must be a number in 0..1, got inf')
  lu.assertEquals(text('k', math.huge, 'integer', 0), 'k must be an integer of at least 0, got inf')
  lu.assertEquals(text('k', 'two', 'integer', 2), 'k must be an integer of at least 2, got \'two\'')
  lu.assertEquals(text('k', {}, 'integer', nil, 2), 'k must be an integer of at most 2, got table')
  lu.assertEquals(text('k', nil, 'number'), 'k must be a number, got nil')
end

--- What is raised says where the caller is, and is known as a wrong argument.
function tests.test_raised()
  local function caller(value) return check.number('k', value, 'integer', 1, 3) end
  lu.assertEquals(caller(3), 3)
  local ok, err = pcall(function() return (caller(4)) end)
  lu.assertFalse(ok)
  lu.assertStrContains(err, 'k must be an integer in 1..3, got 4')
  lu.assertEquals(engine.kind_of(err), 'argument')
  lu.assertEquals(engine.kind_of('another error'), 'runtime')
  lu.assertErrorMsgContains('name must be a string, got number', check.type, 'name', 3, 'string')
  lu.assertEquals(check.type('name', 'x', 'string'), 'x')
end

return tests
