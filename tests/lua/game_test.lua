--- Preference as a game (lua/sppo/game.lua): winners that are known, the theorem's bound, runs.

local files = require 'sppo.files'
local game = require 'sppo.game'
local json = require 'sppo.json'
local lu = require 'luaunit'
local mixture = require 'sppo.mixture'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'
local small_model = require 'support.small_model'

local C = require('sppo.ffi').C

local tests = {}

local rps = { { 0.5, 1, 0 }, { 0, 0.5, 1 }, { 1, 0, 0.5 } }

local function random(n, seed)
  local p = {}
  for i = 1, n do p[i] = { [i] = 0.5 } end
  for i = 1, n do
    for j = i + 1, n do
      p[i][j] = C.sppo_philox_uniform(seed, i, j, 0, 0)
      p[j][i] = 1 - p[i][j]
    end
  end
  return p
end

local function sum(list)
  local total = 0
  for _, x in ipairs(list) do total = total + x end
  return total
end

function tests.test_winners_that_are_known()
  for _, x in ipairs((game.winner(rps))) do lu.assertAlmostEquals(x, 1 / 3, 1e-12) end
  -- Player i is left out of a cycle of three with weight (margin of the other two) / sum.
  local a, b, c = 0.3, 0.1, 0.2 -- 1 beats 2 by a, 2 beats 3 by b, 3 beats 1 by c
  local policy = game.winner { { 0.5, 0.5 + a, 0.5 - c }, { 0.5 - a, 0.5, 0.5 + b },
    { 0.5 + c, 0.5 - b, 0.5 } }
  for i, want in ipairs { b, c, a } do
    lu.assertAlmostEquals(policy[i], want / (a + b + c), 1e-12)
  end
  lu.assertEquals(game.winner { { 0.5, 0.9, 0.6 }, { 0.1, 0.5, 0.9 }, { 0.4, 0.1, 0.5 } },
    { 1, 0, 0 })
  lu.assertEquals(game.winner { { 0.5 } }, { 1 })
  lu.assertEquals(sum((game.winner { { 0.5, 0.5 }, { 0.5, 0.5 } })), 1)
end

function tests.test_winners_leave_no_gap()
  for n = 1, 40 do
    local p = random(n, n)
    local policy, gap = game.winner(p)
    lu.assertTrue(gap <= 1e-9 and gap >= -1e-12, gap)
    lu.assertAlmostEquals(sum(policy), 1, 1e-12)
    for _, x in ipairs(policy) do lu.assertTrue(x >= 0) end
  end
end

function tests.test_gap()
  lu.assertEquals(game.gap(rps, { 1, 0, 0 }), 1)
  lu.assertAlmostEquals(game.gap(rps, { 0.5, 0.5, 0 }), 0.5, 1e-15)
  lu.assertAlmostEquals(game.gap(rps, { 1 / 3, 1 / 3, 1 / 3 }), 0, 1e-15)
  lu.assertEquals(game.against(rps, { 1, 0, 0 }), { 0.5, 0, 1 })
end

function tests.test_cycles_and_condorcet()
  lu.assertEquals(game.cycles(rps), 1)
  lu.assertNil(game.condorcet(rps))
  lu.assertEquals(game.condorcet { { 0.5, 0.4 }, { 0.6, 0.5 } }, 2)
  lu.assertNil(game.condorcet { { 0.5, 0.5 }, { 0.5, 0.5 } })
  -- The regular tournament of n has n (n^2 - 1) / 24 cycles.
  local p = {}
  for i = 1, 7 do
    p[i] = {}
    for j = 1, 7 do
      local ahead = (j - i) % 7
      p[i][j] = ahead == 0 and 0.5 or ahead <= 3 and 0.7 or 0.3
    end
  end
  lu.assertEquals(game.cycles(p), 14)
end

function tests.test_play_stays_below_the_bound()
  for seed = 1, 12 do
    local n = 2 + seed % 6
    local p, start, total = random(n, seed), {}, 0
    for i = 1, n do total = total + i end
    for i = 1, n do start[i] = i / total end
    for _, steps in ipairs { 1, 10, 100, 1000 } do
      for _, c in ipairs { 0.5, 2, 8 } do
        local average, last = game.play(p, start, c / math.sqrt(steps), steps)
        lu.assertAlmostEquals(sum(average), 1, 1e-9)
        lu.assertAlmostEquals(sum(last), 1, 1e-9)
        lu.assertTrue(game.gap(p, average) <= game.bound(start, c, steps))
      end
    end
  end
  -- One step is equation 4.1 as written.
  local _, last = game.play(rps, { 0.5, 0.25, 0.25 }, 2, 1)
  local w = { 0.5 * math.exp(2 * 0.5), 0.25 * math.exp(2 * 0.375), 0.25 * math.exp(2 * 0.625) }
  for i = 1, 3 do lu.assertAlmostEquals(last[i], w[i] / sum(w), 1e-15) end
end

function tests.test_bradley_terry()
  local r, p = { 0.7, -0.2, -0.5 }, {}
  for i = 1, 3 do
    p[i] = {}
    for j = 1, 3 do p[i][j] = 1 / (1 + math.exp(r[j] - r[i])) end
  end
  for i, x in ipairs(game.bradley_terry(p)) do lu.assertAlmostEquals(x, r[i], 1e-8) end
  for _, x in ipairs(game.bradley_terry(rps)) do lu.assertAlmostEquals(x, 0, 1e-8) end
end

function tests.test_draw()
  local counts, weights = { 0, 0, 0 }, { 0.25, 0, 0.75 }
  for i = 1, 4000 do
    local n = game.draw(weights, 5, i, 0)
    lu.assertEquals(game.draw(weights, 5, i, 0), n)
    counts[n] = counts[n] + 1
  end
  lu.assertEquals(counts[2], 0)
  lu.assertAlmostEquals(counts[1] / 4000, 0.25, 0.03)
end

function tests.test_bad_matrices()
  for text, p in pairs {
    ['the matrix is empty'] = {},
    ['row 2 must have 2 numbers'] = { { 0.5, 0.5 }, { 0.5 } },
    ['P[2][1] + P[1][2] is 1.1, not 1'] = { { 0.5, 0.5 }, { 0.6, 0.5 } },
    ['P[1][1] + P[1][1]'] = { { 0.4 } },
    ['P[1][1] must be'] = { { 0 / 0 } },
  } do
    local ok, err = pcall(game.winner, p)
    lu.assertFalse(ok)
    lu.assertStrContains(type(err) == 'table' and err.message or err, text)
  end
end

--- The recipe at its full size: what Theorem 4.1 says, for every game.
function tests.test_recipe()
  shell.in_folder(function(folder)
    local out = folder .. '/run'
    lu.assertEquals(selfplay.run(shell.root() .. '/recipes/games.lua',
      { overrides = { { 'out', out } } }), 'done')
    local horizons, games = {}, 0
    for line in shell.read(out .. '/games.jsonl'):gmatch('[^\n]+') do
      local v = json.decode(line)
      if v.horizon then
        lu.assertTrue(v.gap <= v.bound, line)
        horizons[v.horizon] = true
      else
        games = games + 1
        lu.assertTrue(v.slope <= -0.4, line)
        if v.game:find('rock') or v.game:find('cycle') then
          lu.assertTrue(v.bradley_terry_gap > 0.1, line)
        end
      end
    end
    local n = 0
    for _ in pairs(horizons) do n = n + 1 end
    lu.assertTrue(n >= 12 and horizons[100] and horizons[100000])
    lu.assertEquals(games, 10)
    lu.assertStrContains(shell.read(out .. '/gaps.svg'), '<svg')
  end)
end

-- ---- rounds of a run ----

local RATES = { [1] = { 0.6 }, [2] = { 0.3, 0.8 } } -- a cycle: 1 beats 0, 2 beats 1, 0 beats 2

local function write_run(folder)
  for t = 0, 2 do
    if t > 0 then files.make_folder(('%s/round-%d'):format(folder, t)) end
    small_model.write(t == 0 and folder .. '/base' or ('%s/round-%d/weights'):format(folder, t), t)
  end
  local lines = { '{"round":0}' }
  for t = 1, 2 do
    local line = { round = t, ['eval/win_rate'] = RATES[t][1] }
    for j = 1, t - 1 do line['eval/win_rate_against/' .. j] = RATES[t][j + 1] end
    lines[#lines + 1] = json.encode(line)
  end
  files.write(folder .. '/metrics.jsonl', table.concat(lines, '\n') .. '\n')
  files.write(folder .. '/recipe.lua', 'return {}')
  files.write(folder .. '/recipe.resolved.json', json.encode {
    name = 'r', policy = { model = folder .. '/base' } })
end

function tests.test_mixture_of_rounds()
  shell.in_folder(function(folder)
    write_run(folder)
    lu.assertEquals(game.of_run(folder),
      { { 0.5, 1 - 0.6, 1 - 0.3 }, { 0.6, 0.5, 1 - 0.8 }, { 0.3, 0.8, 0.5 } })
    local m = assert(mixture.of_run(folder))
    lu.assertEquals(m.names, { 'start', 'round 1', 'round 2' })
    for i, want in ipairs { 0.5, 1 / 3, 1 / 6 } do
      lu.assertAlmostEquals(m.weights[i], want, 1e-12)
    end
    local talks = {}
    for i, text in ipairs { 'a', 'b', 'abab' } do
      talks[i] = { { role = 'user', content = text } }
    end
    local options = { k = 6, max_new_tokens = 8, seed = 3 }
    local answers = assert(mixture.sample(m, talks, options, 'f32'))
    local seen = {}
    for number, name in ipairs(m.names) do
      -- An answer is what its policy alone says.
      local alone = assert(mixture.sample({ names = { name }, models = { m.models[number] },
        weights = { 1 } }, talks, options, 'f32'))
      for i = 1, #talks do
        for j = 1, options.k do
          if answers[i][j].policy == name then
            lu.assertEquals(answers[i][j], alone[i][j])
            seen[name] = true
          end
        end
      end
    end
    lu.assertEquals(seen, { start = true, ['round 1'] = true, ['round 2'] = true })
    local code, out = shell.sppo { 'gen', folder, 'ab', '--mixture', '-k', '4', '--max-new-tokens',
      '5' }
    lu.assertEquals(code, 0)
    lu.assertStrMatches(out:match('^[^\n]*'), '%-%-%- answer 1 of 4 %(%a+ ?%d?%)')
    files.remove(folder .. '/metrics.jsonl')
    local p, err = game.of_run(folder)
    lu.assertNil(p)
    lu.assertStrContains(err, folder)
  end)
end

return tests
