--- Which answers are trained on.

local lu = require 'luaunit'
local select_of = require 'sppo.select'

local tests = {}

local function answers(...)
  local list = {}
  for i, text in ipairs { ... } do
    list[i] = { tokens = {} }
    for c in text:gmatch('.') do table.insert(list[i].tokens, c:byte()) end
  end
  return list
end

function tests.test_best_and_worst()
  local best = select_of.best_and_worst
  lu.assertEquals(best(answers('a', 'b', 'c'), { 0.4, 0.7, 0.2 }), { 2, 3 })
  lu.assertEquals(best(answers('a', 'b'), { 0.6, 0.4 }), { 1, 2 })
  -- The first of equals, on either side.
  lu.assertEquals(best(answers('a', 'b', 'c', 'd'), { 0.7, 0.7, 0.2, 0.2 }), { 1, 3 })
end

function tests.test_skips()
  lu.assertEquals({ select_of.best_and_worst(answers('a', 'b', 'c'), { 0.5, 0.5, 0.5 }) },
    { nil, 'tie' })
  lu.assertEquals({ select_of.best_and_worst(answers('a', 'a'), { 0.6, 0.4 }) },
    { nil, 'identical' })
  lu.assertEquals({ select_of.best_and_worst(answers('ab', 'a'), { 0.6, 0.4 }) }, { { 1, 2 } })
  lu.assertEquals({ select_of.all(answers('a', 'b'), { 0.5, 0.5 }) }, { nil, 'tie' })
  lu.assertEquals({ select_of.all(answers('a', 'a', 'a'), { 0.6, 0.5, 0.4 }) },
    { nil, 'identical' })
end

function tests.test_all()
  lu.assertEquals(select_of.all(answers('a', 'b', 'c', 'd'), { 0.4, 0.7, 0.2, 0.7 }),
    { 2, 4, 1, 3 })
  -- A repeated answer once.
  lu.assertEquals(select_of.all(answers('a', 'b', 'a', 'c'), { 0.4, 0.7, 0.4, 0.2 }), { 2, 1, 4 })
end

return tests
