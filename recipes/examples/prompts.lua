--- Prompts of one's own: a list, or a function of the round. Here those of a made-up source are
--- split by a hash of their text, so that a prompt stays on its side whatever else is added.

local data = require 'sppo.data'

local base = require('sppo.selfplay.recipe').base 'recipes/tiny.lua'
base.name = 'my-prompts'

local all = {}
for i = 1, 40 do -- from a file: local all = data.prompts 'my.jsonl'
  all[i] = { tokens = { 1, 2 + i, 3 + i * 7 % 40 } }
end
local training, held_out = data.split(all, { held_out = 0.25 })

--- A third of them in each round, in turn.
function base.prompts(round)
  local list = {}
  for i = round, #training, 3 do list[#list + 1] = training[i] end
  return list
end
base.held_out = held_out

return base
