--- Theorem 4.1 on games small enough to solve: equation 4.1 with exact expectations, eta = c /
--- sqrt(T) for each horizon T, from a start that is not uniform. The duality gap of the average
--- policy stays below the theorem's bound and falls as 1 / sqrt(T); beside it the gap of what a
--- Bradley-Terry reward would choose, greedily and at its best temperature.
---
---     sppo run recipes/games.lua

local play = require 'sppo.game.report'

-- Many, since the average circles the winner and the gap of one horizon depends on where it stops.
local horizons = {}
for i = 0, 60 do horizons[i + 1] = math.floor(100 * 1000 ^ (i / 60) + 0.5) end

--- n answers, each beats the next (n - 1) / 2 ones (for even n one ties) with P = strength.
local function cycle(n, strength)
  local p = {}
  for i = 1, n do
    p[i] = {}
    for j = 1, n do
      local ahead = (j - i) % n
      p[i][j] = 2 * ahead % n == 0 and 0.5 or 2 * ahead < n and strength or 1 - strength
    end
  end
  return p
end

--- Random preferences; their least intransitive are as likely as their most.
local function random(n, seed)
  local uniform = require('sppo.ffi').C.sppo_philox_uniform
  local p = {}
  for i = 1, n do
    p[i] = p[i] or {}
    p[i][i] = 0.5
    for j = i + 1, n do
      p[j] = p[j] or {}
      p[i][j] = uniform(seed, i, j, 0, 0)
      p[j][i] = 1 - p[i][j]
    end
  end
  return p
end

local games = {
  { name = 'rock, paper, scissors', p = cycle(3, 1) },
  { name = 'uneven rock, paper, scissors',
    p = { { 0.5, 0.9, 0.4 }, { 0.1, 0.5, 0.7 }, { 0.6, 0.3, 0.5 } } },
}
for n = 3, 7 do games[#games + 1] = { name = 'cycle of ' .. n, p = cycle(n, 0.8) } end
for i, n in ipairs { 5, 8, 12 } do
  games[#games + 1] = { name = ('random, %d answers'):format(n), p = random(n, i) }
end

return {
  name = 'games',
  run = function(run) play(run, { games = games, horizons = horizons, c = 4 }) end,
}
