--- Plays games over horizons and says how the duality gap falls: for recipes/games.lua.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local game = require 'sppo.game'
local json = require 'sppo.json'
local plot = require 'sppo.plot'

--- A start that is not uniform: answer i has weight 1 / i.
local function uneven(n)
  local start, sum = {}, 0
  for i = 1, n do sum = sum + 1 / i end
  for i = 1, n do start[i] = 1 / i / sum end
  return start
end

--- Slope of the least-squares line through (log x, log y).
local function slope(points)
  local n, sx, sy, sxx, sxy = #points, 0, 0, 0, 0
  for _, q in ipairs(points) do
    local x, y = math.log(q[1]), math.log(math.max(q[2], 1e-300))
    sx, sy, sxx, sxy = sx + x, sy + y, sxx + x * x, sxy + x * y
  end
  return (n * sxy - sx * sy) / (n * sxx - sx * sx)
end

--- Gaps of what a Bradley-Terry reward leads to: its best answer alone, and the softmax of its
--- rewards at the temperature that does best.
local function bradley_terry(p)
  local r = game.bradley_terry(p)
  local best = 1
  for i = 2, #r do best = r[i] > r[best] + 1e-9 and i or best end
  local greedy = {}
  for i = 1, #r do greedy[i] = i == best and 1 or 0 end
  local least = math.huge
  for step = -40, 40 do
    local policy, sum, beta = {}, 0, 10 ^ (step / 20)
    for i = 1, #r do
      policy[i] = math.exp(beta * (r[i] - r[best]))
      sum = sum + policy[i]
    end
    for i = 1, #r do policy[i] = policy[i] / sum end
    least = math.min(least, game.gap(p, policy))
  end
  return game.gap(p, greedy), least
end

--- Plays, prints a table, writes games.jsonl and gaps.svg into the run's folder; raises if a gap is
--- above the theorem's bound.
---@param run sppo.Run
---@param options { games: { name: string, p: number[][] }[], horizons: integer[], c: number }
return function(run, options)
  local series, lines, above = {}, {}, {}
  run:say(('%-30s %5s %7s %9s %9s %7s %9s %9s'):format('game', 'n', 'cycles', 'gap, T =',
    'gap, T =', 'slope', 'Bradley-', 'its best'))
  run:say(('%-30s %5s %7s %9d %9d %7s %9s %9s'):format('', '', '', options.horizons[1],
    options.horizons[#options.horizons], '', 'Terry', 'softmax'))
  for number, g in ipairs(options.games) do
    local n = game.check(g.p)
    local start, points = uneven(n), {}
    for i, steps in ipairs(options.horizons) do
      local average, last = game.play(g.p, start, options.c / math.sqrt(steps), steps)
      local gap, bound = game.gap(g.p, average), game.bound(start, options.c, steps)
      points[i] = { steps, gap }
      if gap > bound then above[#above + 1] = ('%s at T = %d'):format(g.name, steps) end
      lines[#lines + 1] = json.encode { game = g.name, horizon = steps, gap = gap, bound = bound,
        last_gap = game.gap(g.p, last) }
    end
    local greedy, softmax = bradley_terry(g.p)
    series[number] = { name = g.name, points = points }
    run:say(('%-30s %5d %7d %9.5f %9.5f %7.3f %9.5f %9.5f'):format(g.name, n, game.cycles(g.p),
      points[1][2], points[#points][2], slope(points), greedy, softmax))
    lines[#lines + 1] = json.encode { game = g.name, slope = slope(points), matrix = g.p,
      winner = game.winner(g.p), cycles = game.cycles(g.p), bradley_terry_gap = greedy,
      softmax_gap = softmax }
    run:progress('games', number, #options.games)
  end
  files.write(run.folder:file('games.jsonl'), table.concat(lines, '\n') .. '\n')
  files.write(run.folder:file('gaps.svg'), plot.standalone(plot.lines {
    title = 'Duality gap of the average policy', series = series, x_log = true, y_log = true,
    x_label = 'horizon T', y_label = 'gap', width = 1400, height = 480 }))
  if #above > 0 then
    engine.raise('runtime', 'games: above the bound of Theorem 4.1: ' .. table.concat(above, '; '))
  end
  run:say(('c = %g; every gap is at most the bound 2 (log(1 / min pi_1) / c + c / 8) / sqrt(T)')
    :format(options.c))
end
