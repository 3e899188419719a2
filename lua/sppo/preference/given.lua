--- Preferences that are there already: a table of comparisons, by people or by another program.

local engine = require 'sppo.ffi'

local M = {}

local function quoted(text)
  return ('\'%s\''):format(#text > 40 and text:sub(1, 37) .. '...' or text)
end

--- A preference for recipes: P of a pair as it is given for the same prompt and the same two texts,
--- in either order; 1/2 for pairs that are not there. Several comparisons of a pair are averaged.
---@param list { prompt: string, first: string, second: string, p: number }[]
---   p: P(first beats second)
---@return sppo.Preference
function M.preference(list)
  local known, parts = {}, {}
  local function at(prompt, first, second)
    known[prompt] = known[prompt] or {}
    known[prompt][first] = known[prompt][first] or {}
    known[prompt][first][second] = known[prompt][first][second] or { sum = 0, count = 0 }
    return known[prompt][first][second]
  end
  for i, c in ipairs(list) do
    for _, key in ipairs { 'prompt', 'first', 'second' } do
      if type(c[key]) ~= 'string' then
        engine.raise('argument', ('given.preference: [%d].%s must be a string, got %s'):format(i,
          key, type(c[key])), 2)
      end
    end
    if type(c.p) ~= 'number' or not (c.p >= 0 and c.p <= 1) then
      engine.raise('argument', ('given.preference: [%d].p must be in 0..1, got %s (prompt %s)')
        :format(i, tostring(c.p), quoted(c.prompt)), 2)
    end
    for _, way in ipairs { { c.first, c.second, c.p }, { c.second, c.first, 1 - c.p } } do
      local entry = at(c.prompt, way[1], way[2])
      entry.sum, entry.count = entry.sum + way[3], entry.count + 1
    end
    parts[#parts + 1] = ('%d %s %d %s %s %.17g'):format(#c.prompt, c.prompt, #c.first, c.first,
      c.second, c.p)
  end
  return {
    key = 'given ' .. require('sppo.files').sha256(table.concat(parts, '\n')),
    prefer = function(prompt, answers)
      local of, p = known[prompt.text] or {}, {}
      for i, a in ipairs(answers) do
        p[i] = {}
        for j, b in ipairs(answers) do
          local entry = i ~= j and of[a] and of[a][b]
          p[i][j] = entry and entry.sum / entry.count or 0.5
        end
      end
      return p
    end,
  }
end

return M
