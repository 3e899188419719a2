--- Evaluation: rates and intervals that are known.

local evaluate = require 'sppo.evaluate'
local lu = require 'luaunit'

local tests = {}

function tests.test_bootstrap_of_constants()
  local values = {}
  for i = 1, 20 do values[i] = 0.75 end
  lu.assertEquals({ evaluate.bootstrap(values, 1) }, { 0.75, 0.75, 0.75 })
  lu.assertEquals({ evaluate.bootstrap({ 0.25 }, 1) }, { 0.25, 0.25, 0.25 })
end

--- Of n zeros and ones with mean p the interval is about p +- 1.96 sqrt(p (1 - p) / n).
function tests.test_bootstrap_interval()
  for _, case in ipairs {
    { n = 100, ones = 50 }, { n = 400, ones = 300 }, { n = 90, ones = 30 },
  } do
    local values, p = {}, case.ones / case.n
    for i = 1, case.n do values[i] = i <= case.ones and 1 or 0 end
    local half = 1.96 * math.sqrt(p * (1 - p) / case.n)
    for seed = 1, 5 do
      local mean, low, high = evaluate.bootstrap(values, seed)
      lu.assertAlmostEquals(mean, p, 1e-12)
      lu.assertAlmostEquals(low, p - half, 0.15 * half)
      lu.assertAlmostEquals(high, p + half, 0.15 * half)
    end
  end
end

--- The same seed gives the same interval, another seed another.
function tests.test_bootstrap_seed()
  local values = {}
  for i = 1, 30 do values[i] = (i * 7 % 30) / 30 end
  lu.assertEquals({ evaluate.bootstrap(values, 4) }, { evaluate.bootstrap(values, 4) })
  lu.assertNotEquals({ evaluate.bootstrap(values, 4) }, { evaluate.bootstrap(values, 5) })
end

--- 95 % intervals hold the true mean about 95 times in 100.
function tests.test_bootstrap_coverage()
  local held, state = 0, 12345
  local function uniform()
    state = (state * 1103515245 + 12345) % 2^31
    return state / 2^31
  end
  for seed = 1, 100 do
    local values = {}
    for i = 1, 60 do values[i] = uniform() < 0.6 and 1 or 0 end
    local _, low, high = evaluate.bootstrap(values, seed)
    if low <= 0.6 and 0.6 <= high then held = held + 1 end
  end
  lu.assertTrue(held >= 88 and held <= 100, ('%d of 100'):format(held))
end

local function record(...)
  local answers = {}
  for i, text in ipairs { ... } do
    local tokens = {}
    for j = 1, #text do tokens[j] = 1 end
    answers[i] = { text = text, tokens = tokens, stopped = text ~= 'cut' }
  end
  return { answers = answers }
end

--- Longer wins, by how much the rule says.
local longer = {
  prefer = function(_, answers)
    local p = {}
    for i, a in ipairs(answers) do
      p[i] = {}
      for j, b in ipairs(answers) do p[i][j] = #a > #b and 0.9 or #a < #b and 0.1 or 0.5 end
    end
    return p
  end,
  pass = function(_, answer, detail) return detail.stopped and #answer >= 3 end,
}

function tests.test_metrics()
  local prompts = { { id = 1, kind = 'x' }, { id = 2, kind = 'y' }, { id = 3, kind = 'y' } }
  local old = { record('aa', 'aaaa'), record('aa', 'aa'), record('aaaa', 'aaaa') }
  local new = { record('aaa', 'aaa'), record('cut', 'aaaaaa'), record('a', 'a') }
  local rates = evaluate.win_rates(longer, prompts, new, old)
  for i, want in ipairs { 0.5, 0.9, 0.1 } do lu.assertAlmostEquals(rates[i], want, 1e-12) end
  local m = evaluate.metrics(longer, prompts, new, old, 1)
  lu.assertAlmostEquals(m['eval/win_rate'], 0.5, 1e-12)
  lu.assertTrue(m['eval/win_rate_low'] < 0.5 and m['eval/win_rate_high'] > 0.5)
  lu.assertAlmostEquals(m['eval/pass_rate'], 3 / 6, 1e-12)
  lu.assertAlmostEquals(m['eval/pass_rate/x'], 1, 1e-12)
  lu.assertAlmostEquals(m['eval/pass_rate/y'], 1 / 4, 1e-12)
  lu.assertAlmostEquals(m['eval/mean_length'], 17 / 6, 1e-12)
  lu.assertAlmostEquals(m['eval/clipped_ratio'], 1 / 6, 1e-12)
  local start = evaluate.metrics(longer, prompts, old, old, 1)
  lu.assertNil(start['eval/win_rate'])
  lu.assertAlmostEquals(start['eval/pass_rate'], 3 / 6, 1e-12)
end

return tests
