--- Schedules: a value may be a list with an entry for each round, or a function of the round. Here
--- more answers are drawn, at a lower temperature and with a smaller eta, as rounds go on. Held-out
--- answers keep one temperature, so that win rates tell of the models alone.

local base = require('sppo.selfplay.recipe').base 'recipes/tiny.lua'
base.name = 'my-schedule'

base.sample.k = { 3, 4, 6 }
base.sample.temperature = function(round) return 1.2 - 0.2 * round end
base.evaluate.temperature = 1
base.train.eta = { 10, 8, 6 }
base.train.lr = function(round) return 2e-3 / round end

return base
