--- A preference of one's own: any function of a prompt and its answers that gives the matrix of
--- P(answer i beats answer j). Here more different tokens win, and 6 tokens must be there.

local base = require('sppo.selfplay.recipe').base 'recipes/tiny.lua'
base.name = 'my-preference'

--- Different tokens of an answer; an answer that is too short has none.
local function variety(answer)
  local seen, different, n = {}, 0, 0
  for id in answer:gmatch('%d+') do
    if not seen[id] then different = different + 1 end
    seen[id], n = true, n + 1
  end
  return n >= 6 and different or 0
end

base.preference = {
  prefer = function(_, answers)
    local p = {}
    for i, a in ipairs(answers) do
      p[i] = {}
      for j, b in ipairs(answers) do p[i][j] = 1 / (1 + math.exp(variety(b) - variety(a))) end
    end
    return p
  end,
  pass = function(_, answer) return variety(answer) >= 6 end, -- for the pass rate
}

return base
