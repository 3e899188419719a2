--- Rules on answers written by hand.

local lu = require 'luaunit'
local rules = require 'sppo.preference.rules'

local tests = {}

local function verdicts(rule, cases)
  for answer, want in pairs(cases) do
    lu.assertEquals(rule.check(answer), want, ('%s: %q'):format(rule.kind, answer))
  end
end

function tests.test_at_most_words()
  local rule = rules.at_most_words(3)
  lu.assertEquals(rule.text, 'Use at most 3 words.')
  verdicts(rule, {
    ['one two three'] = true, ['  one\n\ttwo   three  '] = true, ['one two three four'] = false,
    ['well-known don\'t 3.5'] = true, ['one, two, three'] = true, ['à côté là-bas'] = true,
    ['a - b c'] = false,
  })
end

function tests.test_at_least_words()
  verdicts(rules.at_least_words(3), {
    ['one two'] = false, ['one two three'] = true, ['one\ntwo\nthree four'] = true,
  })
end

function tests.test_no_commas()
  verdicts(rules.no_commas(), {
    ['Bread and salt.'] = true, ['Bread, salt.'] = false, [','] = false, ['1;2'] = true,
  })
end

function tests.test_one_sentence()
  verdicts(rules.one_sentence(), {
    ['The sea is deep.'] = true,
    ['The sea is deep'] = true,
    ['The sea is deep. '] = true,
    ['The sea is deep. It is cold.'] = false,
    ['The sea is deep. It is cold'] = false,
    ['It is 3.5 km deep.'] = true,
    ['It costs 3.50 or 4.'] = true,
    ['Visit example.org now!'] = true,
    ['Really?!'] = true,
    ['Wait... what?'] = false,
    ['Wait...'] = true,
    ['He said "Stop."'] = true,
    ['He said "Stop." Then he left.'] = false,
    ['(It is deep.)'] = true,
    ['Is it? Yes!'] = false,
    ['First line\nsecond line'] = true,
    ['First line.\nSecond line.'] = false,
    ['Deep. "'] = true,
    ['...'] = true,
    [''] = false,
    ['   '] = false,
    ['"'] = false,
  })
end

function tests.test_ends_with_question()
  verdicts(rules.ends_with_question(), {
    ['Is it deep?'] = true, ['It is deep. Is it cold?  \n'] = true, ['He asked "why?"'] = true,
    ['(Why?)'] = true, ['Is it deep? Yes.'] = false, ['Is it deep?!'] = false,
    ['Is it deep'] = false, ['?'] = true, [''] = false,
  })
end

function tests.test_mentions()
  local rule = rules.mentions 'River'
  lu.assertEquals(rule.text, 'Mention the word "River".')
  verdicts(rule, {
    ['A river runs.'] = true, ['River'] = true, ['the RIVER!'] = true, ['"river"'] = true,
    ['riverside'] = false, ['rivers'] = false, ['driver'] = false, ['a river-bed'] = true,
    [''] = false, ['A driver by the river'] = true,
  })
  -- What means something in a Lua pattern stands for itself.
  verdicts(rules.mentions 'a.b', { ['see a.b here'] = true, ['see axb here'] = false })
end

--- An empty or clipped answer fails, whatever the rule.
function tests.test_obeys()
  local prompt = { rule = rules.no_commas() }
  lu.assertTrue(rules.obeys(prompt, 'Salt.', { stopped = true }))
  lu.assertFalse(rules.obeys(prompt, 'Salt.', { stopped = false }))
  lu.assertFalse(rules.obeys(prompt, '', { stopped = true }))
  lu.assertFalse(rules.obeys(prompt, ' \n', { stopped = true }))
  lu.assertFalse(rules.obeys(prompt, 'Salt, bread.', { stopped = true }))
end

function tests.test_preference()
  local p = rules.preference { confidence = 0.9 }
  local prompt = { rule = rules.no_commas() }
  local done, cut = { stopped = true }, { stopped = false }
  local matrix = p.prefer(prompt,
    { 'Salt.', 'Salt, bread.', 'Bread.', 'Bread.' }, { done, done, done, cut })
  local obeys, fails = { 0.5, 0.9, 0.5, 0.9 }, { 0.1, 0.5, 0.1, 0.5 }
  for i, row in ipairs { obeys, fails, obeys, fails } do
    for j, want in ipairs(row) do lu.assertAlmostEquals(matrix[i][j], want, 1e-15) end
  end
  lu.assertTrue(p.pass(prompt, 'Salt.', done))
  lu.assertNotEquals(p.key, rules.preference().key)
  lu.assertEquals(rules.preference().key, rules.preference({ confidence = 0.95 }).key)
  lu.assertErrorMsgContains('confidence must be a number in 0.5..1, got 1.5',
    rules.preference, { confidence = 1.5 })
  lu.assertErrorMsgContains('did you mean \'confidence\'?', rules.preference, { confidance = 0.9 })
end

return tests
