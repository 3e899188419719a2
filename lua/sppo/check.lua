--- Argument checks and the texts they fail with.

local engine = require 'sppo.ffi'

local M = {}

--- Number of edits (insert, delete, replace, swap of neighbours) between two short words.
local function distance(a, b)
  local previous, row = {}, {}
  local before
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    before, previous, row = previous, row, { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      row[j] = math.min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
  end
  return row[#b]
end

--- The known word that `word` was probably meant to be, or nil.
---@param word string
---@param known string[]
---@return string?
function M.suggest(word, known)
  local best, best_distance
  for _, candidate in ipairs(known) do
    local d = distance(word:lower(), candidate:lower())
    -- Of two that are as near, the one that begins alike.
    if best and d == best_distance and candidate:sub(1, 1) == word:sub(1, 1) and
      best:sub(1, 1) ~= word:sub(1, 1) then
      best = candidate
    end
    if not best or d < best_distance then best, best_distance = candidate, d end
  end
  if best and best_distance <= math.max(1, math.floor(#word / 3)) then return best end
end

--- "unknown option 'temprature' (did you mean 'temperature'?)"
function M.unknown(what, word, known)
  local hint = M.suggest(tostring(word), known)
  return ('unknown %s \'%s\'%s'):format(what, tostring(word),
    hint and (' (did you mean \'%s\'?)'):format(hint) or '')
end

--- Raises unless every key of `options` is known; `name` begins the text.
function M.options(name, options, known)
  if options == nil then return {} end
  if type(options) ~= 'table' then
    engine.raise('argument', ('%s: options must be a table, got %s'):format(name, type(options)), 3)
  end
  for key in pairs(options) do
    local found = false
    for _, k in ipairs(known) do found = found or k == key end
    if not found then
      engine.raise('argument', name .. ': ' .. M.unknown('option', key, known), 3)
    end
  end
  return options
end

--- nil, or what is wrong with a number: "sample.k must be an integer in 2..64, got 1".
function M.number_text(name, value, kind, low, high)
  local fine = type(value) == 'number' and value == value and math.abs(value) < math.huge and
    (kind ~= 'integer' or value == math.floor(value)) and
    (not low or value >= low) and (not high or value <= high)
  if fine then return end
  local range = ''
  if low and high then range = (' in %.16g..%.16g'):format(low, high)
  elseif low then range = (' of at least %.16g'):format(low)
  elseif high then range = (' of at most %.16g'):format(high) end
  local got = type(value) == 'number' and ('%.14g'):format(value) or
    (type(value) == 'string' and ('\'%s\''):format(value) or type(value))
  return ('%s must be %s%s, got %s'):format(name, kind == 'integer' and 'an integer' or 'a number',
    range, got)
end

--- Raises unless `value` is a number of this kind in low..high.
---@param name string
---@param kind 'integer'|'number'
function M.number(name, value, kind, low, high)
  local text = M.number_text(name, value, kind, low, high)
  if text then engine.raise('argument', text, 3) end
  return value
end

--- 'recipe.lua:12: ' for a function of the user's, '' for one of sppo's own or of C: what it gives
--- is wrong, and that is where it stands.
---@param fn function
---@return string
function M.place(fn)
  local info = debug.getinfo(fn, 'S')
  local path = info.source:match('^@(.*)$')
  if not path or path:find('^lua/sppo/') or path:find('/lua/sppo/', 1, true) then return '' end
  return ('%s:%d: '):format(path, info.linedefined)
end

--- Raises unless type(value) == wanted.
function M.type(name, value, wanted)
  if type(value) ~= wanted then
    engine.raise('argument', ('%s must be a %s, got %s'):format(name, wanted, type(value)), 3)
  end
  return value
end

return M
