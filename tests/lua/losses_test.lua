--- Losses and aggregation against tests/golden/sppo_loss.json (tools/golden/sppo_loss.py).

local compare = require 'support.compare'
local log_z = require 'sppo.log_z'
local losses = require 'sppo.losses'
local lu = require 'luaunit'
local preference = require 'sppo.preference'
local scope = require 'sppo.scope'
local select_of = require 'sppo.select'
local shell = require 'support.shell'
local tensor = require 'sppo.tensor'

local pairs_of = pairs -- `pairs` are answers here

local tests = {}

--- A batch of two answers a prompt whose D are `ratios`; pi_t's log-probs are not 0.
local function batch(ratios, wins, pairs, eta, prompts)
  local reference, logprob, share, chosen, rejected = {}, {}, {}, {}, {}
  for i, d in ipairs(ratios) do
    reference[i] = -16 - i
    logprob[i], share[i] = reference[i] + d, 0.5
  end
  for i = 1, #ratios / 2 do chosen[i], rejected[i] = 2 * i - 2, 2 * i - 1 end
  return {
    logprob = tensor.tensor(logprob):requires_grad_(), reference = tensor.tensor(reference),
    win = tensor.tensor(wins), share = tensor.tensor(share), chosen = tensor.ints(chosen),
    rejected = tensor.ints(rejected), pair = tensor.tensor(pairs), prompts = prompts, eta = eta,
    excess = tensor.zeros { #ratios }, normalise = 'none', label_smoothing = 0,
  }
end

--- The loss's value and its derivatives by each answer's log-prob.
local function evaluate(name, b)
  return scope.run(function()
    local value = losses[name](b)
    value:backward()
    return value:item(), b.logprob.grad:tolist()
  end)
end

local golden_names = { 'dpo', 'hinge', 'ipo', 'kto_pair', 'sppo', 'sppo_hard', 'sppo_single' }
local coupled = { kto_pair = true } -- its micro-batches are lua/train_test's

for _, name in ipairs(golden_names) do
  tests['test_' .. name] = function()
    for i, pair in ipairs(shell.golden('sppo_loss.json').pairs) do
      local want = pair.losses[name]
      local what = ('%s of pair %d'):format(name, i)
      local b = batch({ pair.lw, pair.ll }, { pair.p_win, pair.p_lose }, { pair.p }, pair.eta, 1)
      local value, slopes = evaluate(name, b)
      compare.close({ value }, { want.loss }, 2e-6, what, 0.1)
      compare.close(slopes, { want.dlw, want.dll }, 2e-6, what .. ', derivatives', 1e-3)
    end
  end
end

function tests.test_every_loss_is_tested()
  local names = {}
  for name in pairs(losses) do
    if name ~= 'ipo_mean' then names[#names + 1] = name end -- test_trl
  end
  table.sort(names)
  lu.assertEquals(names, golden_names)
end

--- Micro-batches of a step add up: each is divided by the prompts of the whole step.
function tests.test_micro_batches_add_up()
  for _, name in ipairs(golden_names) do
    if coupled[name] then goto continue end
    local ratios, wins, pairs = { 2.5, -7.25, 12, -30 }, { 0.64, 0.31, 0.58, 0.5 }, { 0.7, 0.6 }
    local whole, slopes = evaluate(name, batch(ratios, wins, pairs, 10, 2))
    local first, a = evaluate(name, batch({ 2.5, -7.25 }, { 0.64, 0.31 }, { 0.7 }, 10, 2))
    local second, b = evaluate(name, batch({ 12, -30 }, { 0.58, 0.5 }, { 0.6 }, 10, 2))
    compare.close({ first + second }, { whole }, 1e-6, name)
    compare.close({ a[1], a[2], b[1], b[2] }, slopes, 1e-6, name .. ', derivatives', 1e-6)
    ::continue::
  end
end

--- TRL's own trainer on the same log-probs; it calls dpo 'sigmoid', and ipo_mean 'ipo'.
function tests.test_trl()
  local golden = shell.golden('trl_losses.json')
  local n = #golden.logprobs / 2
  local function interleaved(list)
    local out = {}
    for i = 1, n do out[2 * i - 1], out[2 * i] = list[i], list[n + i] end
    return out
  end
  local per_token = {}
  for i, length in ipairs(interleaved(golden.lengths)) do per_token[i] = 1 / length end
  local halves = {}
  for i = 1, 2 * n do halves[i] = 0.5 end
  for ours, theirs in pairs { sppo_hard = 'sppo_hard', dpo = 'sigmoid', hinge = 'hinge',
    ipo_mean = 'ipo' } do
    local b = batch(halves, halves, { 0.5, 0.5, 0.5 }, 1 / golden.beta, n)
    b.logprob = tensor.tensor(interleaved(golden.logprobs)):requires_grad_()
    b.reference = tensor.tensor(interleaved(golden.reference))
    b.per_token = tensor.tensor(per_token)
    local value, slopes = evaluate(ours, b)
    local want = golden.losses[theirs]
    compare.close({ value }, { want.loss }, 1e-6, ours)
    compare.close(slopes, interleaved(want.derivatives), 1e-6, ours .. ', derivatives', 0.1)
  end
end

function tests.test_options()
  local ratios, wins, pairs, eta = { 3, -1 }, { 0.75, 0.25 }, { 0.9 }, 8
  local function value(name, changes)
    local b = batch(ratios, wins, pairs, eta, 1)
    for key, v in pairs_of(changes) do b[key] = v end
    return (evaluate(name, b))
  end
  -- Label smoothing mixes the two directions.
  local x, s = 4 / eta, 0.1
  compare.close({ value('dpo', { label_smoothing = s }) },
    { (1 - s) * math.log(1 + math.exp(-x)) + s * math.log(1 + math.exp(x)) }, 1e-6, 'smoothed')
  -- Means over tokens.
  local per_token = tensor.tensor { 1 / 4, 1 / 2 }
  compare.close({ value('sppo', { normalise = 'tokens', per_token = per_token }) },
    { 0.5 * ((3 / 4 - 2) ^ 2 + (-1 / 2 + 2) ^ 2) }, 1e-6, 'means')
  -- Another constant for log Z lowers all targets.
  local excess = tensor.tensor { 1.5, 1.5 }
  compare.close({ value('sppo', { excess = excess }) },
    { 0.5 * ((3 - 2 + 1.5) ^ 2 + (-1 + 2 + 1.5) ^ 2) }, 1e-6, 'sppo, log Z')
  compare.close({ value('sppo_single', { excess = excess }) },
    { 0.5 * ((3 - 3.2 + 1.5) ^ 2 + (-1 + 3.2 + 1.5) ^ 2) }, 1e-6, 'sppo_single, log Z')
  compare.close({ value('sppo_hard', { excess = excess }) },
    { (3 - 4 + 1.5) ^ 2 + (-1 + 4 + 1.5) ^ 2 }, 1e-6, 'sppo_hard, log Z')
end

function tests.test_log_z()
  lu.assertEquals(log_z.half(1000), 500)
  lu.assertAlmostEquals(log_z.ordered(1), math.log(math.exp(1) - 1), 1e-12)
  lu.assertAlmostEquals(log_z.ordered(1000), 1000 - math.log(1000), 1e-9)
  lu.assertAlmostEquals(log_z.estimate(2, { 0.5, 0.75, 0.25 }),
    math.log((math.exp(1) + math.exp(1.5) + math.exp(0.5)) / 3), 1e-12)
  lu.assertAlmostEquals(log_z.estimate(1000, { 0.9, 0.1 }), 900 - math.log(2), 1e-9)
end

--- Equation 4.7 over all K answers: the mean of the squares, not half their sum.
function tests.test_sppo_of_three_answers()
  local d, p, eta = { 3, -1, 0.5 }, { 0.75, 0.5, 0.25 }, 8
  local sum, slopes = 0, {}
  for i = 1, 3 do
    local residual = d[i] - eta * (p[i] - 0.5)
    sum, slopes[i] = sum + residual ^ 2, 2 * residual / 3
  end
  local b = batch({ 3, -1, 0.5, 0 }, { 0.75, 0.5, 0.25, 0.5 }, { 0.9, 0.5 }, eta, 1)
  b.logprob, b.reference =
    tensor.tensor({ -14, -19, -18.5 }):requires_grad_(), tensor.tensor { -17, -18, -19 }
  b.win, b.share = tensor.tensor(p), tensor.tensor { 1 / 3, 1 / 3, 1 / 3 }
  b.excess = tensor.zeros { 3 }
  local value, got = evaluate('sppo', b)
  compare.close({ value }, { sum / 3 }, 1e-6, 'sppo')
  compare.close(got, slopes, 1e-6, 'derivatives', 1)
end

function tests.test_from_scores()
  local golden = shell.golden('sppo_loss.json')
  local p, scores = preference.from_scores(golden.logits)
  compare.close(scores, golden.code.scores, 1e-12, 'scores', 1)
  for i, row in ipairs(golden.code.matrix) do compare.close(p[i], row, 1e-12, 'row ' .. i) end
  local wins = preference.wins(p)
  local w, l = golden.code.winner + 1, golden.code.loser + 1
  compare.close({ wins[w], wins[l] },
    { golden.code.chosen_probs_win, golden.code.chosen_probs_lose }, 1e-12, 'wins')
  lu.assertEquals(
    select_of.best_and_worst({ { tokens = { 1 } }, {}, {}, {}, { tokens = { 2 } } }, wins),
    { w, l })
end

--- The estimate from 2 of 4 answers is the paper's (1/2 + P(y_w beats y_l)) / 2.
function tests.test_best_and_worst_by()
  local p = { { 0.5, 0.2, 0.6, 0.3 }, { 0.8, 0.5, 0.7, 0.9 }, { 0.4, 0.3, 0.5, 0.4 },
    { 0.7, 0.1, 0.6, 0.5 } }
  local answers = { { tokens = { 1 } }, { tokens = { 2 } }, { tokens = { 3 } }, { tokens = { 4 } } }
  local wins = preference.wins(p)
  local pair, by2 = select_of.best_and_worst_by(2)(answers, wins, p)
  lu.assertEquals(pair, { 2, 1 })
  lu.assertAlmostEquals(by2[2], (0.5 + 0.8) / 2, 1e-15)
  lu.assertAlmostEquals(by2[1], (0.5 + 0.2) / 2, 1e-15)
  local _, by3 = select_of.best_and_worst_by(3)(answers, wins, p)
  lu.assertAlmostEquals(by3[2], (0.5 + 0.8 + 0.7) / 3, 1e-15)
  local _, by4 = select_of.best_and_worst_by(4)(answers, wins, p)
  for i = 1, 4 do lu.assertAlmostEquals(by4[i], wins[i], 1e-15) end
  lu.assertEquals({ select_of.best_and_worst_by(2)(answers, { 1, 1, 1, 1 }, p) }, { nil, 'tie' })
end

--- The diagonal counts as 1/2 whatever stands there.
function tests.test_wins()
  local paper = shell.golden('sppo_loss.json').paper
  compare.close(preference.wins(paper.matrix), paper.win_rates, 1e-12, 'win rates')
  for i, row in ipairs(paper.matrix) do row[i] = 7 * i end
  compare.close(preference.wins(paper.matrix), paper.win_rates, 1e-12, 'win rates, other diagonal')
end

function tests.test_matrix_of_a_source_is_checked()
  local function fails(matrix, text)
    lu.assertErrorMsgContains(text, preference.matrix,
      { prefer = function() return matrix end }, { id = 7 }, { 'a', 'b' }, { {}, {} })
  end
  fails(nil, 'prompt 7: a matrix of 2 rows was expected, got nil')
  fails({ { 0.5, 1 } }, 'a matrix of 2 rows was expected, got 1 rows')
  fails({ { 0.5, 1 }, { 0.5 } }, 'row 2 must have 2 numbers')
  fails({ { 0.5, 1 }, 3 }, 'row 2 must have 2 numbers')
  fails({ { 0.5, 1.25 }, { 0, 0.5 } }, 'P[1][2] must be in 0..1, got 1.25')
  fails({ { 0.5, 0 / 0 }, { 0, 0.5 } }, 'P[1][2] must be in 0..1, got')
  fails({ { 0.5, 'x' }, { 0, 0.5 } }, 'P[1][2] must be in 0..1, got x')
  fails({ { 0.5, 1 }, { 1, 0.5 } }, 'P[2][1] + P[1][2] is 2, it must be near 1')
  lu.assertEquals(preference.matrix({ both_orders = true, prefer = function()
    return { { 0.5, 1 }, { 1, 0.5 } }
  end }, { id = 7 }, { 'a', 'b' }, { {}, {} })[2][1], 1)
  local good = { { 0.5, 1 }, { 0, 0.5 } }
  lu.assertIs(
    preference.matrix(preference.new(function() return good end), { id = 1 }, { 'a', 'b' }, {}),
    good)
end

return tests
