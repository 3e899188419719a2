--- Preferences made of others, given ones, and a language model as the judge.

local compare = require 'support.compare'
local ensemble = require 'sppo.preference.ensemble'
local gated = require 'sppo.preference.gated'
local generate = require 'sppo.generate'
local given = require 'sppo.preference.given'
local judge = require 'sppo.preference.judge'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local preference = require 'sppo.preference'
local rules = require 'sppo.preference.rules'
local scope = require 'sppo.scope'
local segments = require 'sppo.segments'
local shell = require 'support.shell'
local small_model = require 'support.small_model'
local tensor = require 'sppo.tensor'

local tests = {}

local function constant(p) return function() return { { 0.5, p }, { 1 - p, 0.5 } } end end

local function fails(text, fn, ...)
  local ok, err = pcall(fn, ...)
  lu.assertFalse(ok)
  lu.assertStrContains(type(err) == 'table' and err.message or err, text)
end

function tests.test_ensemble()
  local e = ensemble.preference { members = { constant(0.9), { prefer = constant(0.3) } },
    weights = { 3, 1 } }
  local p = preference.matrix(e, { id = 1 }, { 'a', 'b' }, {})
  compare.close({ p[1][2], p[2][1], p[1][1] }, { 0.75, 0.25, 0.5 }, 1e-12, 'mean')
  lu.assertNil(e.key)
  lu.assertNil(e.pass)
  local keyed = { prefer = constant(1), key = 'k', pass = function(_, a) return a == 'x' end }
  local also = { prefer = constant(1), key = 'l', pass = function(_, a) return a ~= 'y' end }
  local both = ensemble.preference { members = { keyed, also } }
  lu.assertEquals(both.key, 'ensemble 1 k; 1 l')
  lu.assertTrue(both.pass({}, 'x', {}))
  lu.assertFalse(both.pass({}, 'z', {}))
  fails('members must be a list', ensemble.preference, { members = {} })
  fails('weights[2]', ensemble.preference, { members = { keyed, also }, weights = { 1 } })
  fails('all weights are 0', ensemble.preference, { members = { keyed }, weights = { 0 } })
end

--- What a wrong matrix says names the prompt and what stands there.
function tests.test_wrong_matrix()
  local prompt = { id = 3, text = 'How do I\nmake a cup of tea without any water at all?' }
  local here = 'preference: prompt 3 (How do I make a cup of tea without any w..): '
  local function wrong(p, text)
    fails(here .. text, preference.matrix, { prefer = function() return p end }, prompt,
      { 'a', 'b' }, {})
  end
  wrong({ 0.25, 2 }, 'row 1 must have 2 numbers, got 0.25: P[i][j] is the probability that ' ..
    'answer i beats answer j')
  wrong({ { 0.5, 0.5 }, { 0.5 } }, 'row 2 must have 2 numbers, got 1')
  wrong({ { 0.5, 0.5 } }, 'a matrix of 2 rows was expected, got 1 rows')
  wrong({ { 0.5, -1 }, { 1, 0.5 } }, 'P[1][2] must be in 0..1, got -1')
  fails('prompt 4 (short): true or false is wanted, got 1', preference.passes,
    { pass = function() return 1 end }, { id = 4, text = 'short' }, 'a', {})
end

function tests.test_given()
  local g = given.preference {
    { prompt = 'q', first = 'a', second = 'b', p = 0.9 },
    { prompt = 'q', first = 'b', second = 'a', p = 0.3 },
    { prompt = 'q', first = 'b', second = 'c', p = 1 },
  }
  local p = preference.matrix(g, { id = 1, text = 'q' }, { 'a', 'b', 'c', 'a' }, {})
  compare.close(p[1], { 0.5, 0.8, 0.5, 0.5 }, 1e-12, 'a')
  compare.close(p[2], { 0.2, 0.5, 1, 0.2 }, 1e-12, 'b')
  compare.close(p[3], { 0.5, 0, 0.5, 0.5 }, 1e-12, 'c')
  lu.assertEquals(g.prefer({ text = 'another' }, { 'a', 'b' })[1][2], 0.5)
  lu.assertStrMatches(g.key, 'given %x+')
  fails('[1].second must be a string, got nil', given.preference, { { prompt = '', first = '' } })
  fails('[1].p must be in 0..1, got 2', given.preference,
    { { prompt = '', first = '', second = '', p = 2 } })
end

function tests.test_overlap()
  lu.assertEquals(gated.overlap('The cat sat', 'the  cat sat'), 1)
  lu.assertEquals(gated.overlap('a b', 'c d'), 0)
  lu.assertEquals(gated.overlap('', ''), 1)
  -- Pairs: ^a ab bc c$ and ^a ab bd d$.
  lu.assertEquals(gated.overlap('a b c', 'a b d'), 0.5)
  lu.assertEquals(gated.overlap('a a a', 'a'), 2 * 2 / (4 + 2))
end

function tests.test_gated()
  local function p12(options, a, b)
    options.of = constant(0.9)
    return preference.matrix(gated.preference(options), { id = 1 }, { a, b }, {})[1][2]
  end
  lu.assertEquals(p12({}, 'x', 'y'), 0.9)
  lu.assertEquals(p12({}, 'x', 'x'), 0.5)
  lu.assertAlmostEquals(p12({}, 'a b c', 'a b d'), 0.5 + 0.4 * 0.5, 1e-12)
  lu.assertEquals(p12({ above = 0.5 }, 'a b c', 'a b d'), 0.9)
  lu.assertAlmostEquals(p12({ above = 0.2 }, 'a b c', 'a b d'), 0.5 + 0.4 * 0.5 / 0.8, 1e-12)
  lu.assertAlmostEquals(p12({ similarity = function() return 0.75 end }, 'x', 'y'), 0.6, 1e-12)
  fails('similarity', p12, { similarity = function() return 2 end }, 'x', 'y')
  local of = rules.preference { confidence = 0.95 }
  lu.assertEquals(gated.preference { of = of }.pass, of.pass)
end

--- Each verdict by hand: the model's next token after the question, in both orders.
function tests.test_judge()
  shell.in_folder(function(folder)
    small_model.write(folder .. '/m', 5)
    local question = '{prompt}{first}b{second}'
    local j = judge.preference { model = folder .. '/m', dtype = 'f32', question = question,
      verdicts = { 'a', 'b' } }
    local answers = { 'aa', 'b', 'ab ' }
    local p = preference.matrix(j, { id = 1, text = 'ab' }, answers, {})
    local model = assert(model_of.open(folder .. '/m', { dtype = 'f32' }))
    local function first(x, y)
      return scope.run(function()
        local ids = generate.prompt_tokens(model,
          { { role = 'user', content = 'ab' .. x .. 'b' .. y } })
        local at = segments.new { { count = #ids } }
        local logits = model.net.lm_head(model.net(tensor.ints(ids), at)):tolist()
        local row = (#ids - 1) * 8
        return 1 / (1 + math.exp(logits[row + 2] - logits[row + 1]))
      end)
    end
    for i = 1, 3 do
      for k = 1, 3 do
        local want = i == k and 0.5
          or (first(answers[i], answers[k]) + 1 - first(answers[k], answers[i])) / 2
        lu.assertAlmostEquals(p[i][k], want, 1e-5)
      end
    end
    lu.assertTrue(math.abs(p[1][2] - 0.5) > 1e-4)
    fails('does not contain {second}', judge.preference, { model = 'x', question = '{first}' })
    local long = judge.preference { model = folder .. '/m', verdicts = { 'a', 'bb' } }
    fails('\'bb\' is 2 tokens', long.prefer, { text = 'a' }, { 'a', 'b' })
    local same = judge.preference { model = folder .. '/m', verdicts = { 'a', 'a' } }
    fails('the same token', same.prefer, { text = 'a' }, { 'a', 'b' })
  end)
end

return tests
