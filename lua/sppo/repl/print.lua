--- How the prompt shows values: tables to a limited depth and width, tensors by their statistics.

local tensor = require 'sppo.tensor'

local M = {}

local DEPTH, ITEMS, LINE = 3, 20, 96
local SHOWN_VALUES, STATISTICS_LIMIT = 8, 2 ^ 24

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
  return then true until while]]):gmatch('%w+') do keywords[word] = true end

local function number(v) return ('%.4g'):format(v) end

--- Two lines: what it is, and minimum, mean, maximum, NaN count and its first values.
local function tensor_text(t)
  local text = tostring(t)
  if not t.h or t.device == 'meta' then return text end
  local count = t:count()
  if count == 0 then return text end
  if count > STATISTICS_LIMIT then return text .. '\n  (too large for statistics)' end
  return require('sppo.scope').run(function()
    local values = t:tolist()
    local low, high, sum, nan, fine = math.huge, -math.huge, 0, 0, 0
    for i = 1, #values do
      local v = values[i]
      if v ~= v then nan = nan + 1
      else
        low, high, sum, fine = math.min(low, v), math.max(high, v), sum + v, fine + 1
      end
    end
    local first = {}
    for i = 1, math.min(#values, SHOWN_VALUES) do first[i] = number(values[i]) end
    if #values > SHOWN_VALUES then first[#first + 1] = '...' end
    local statistics = fine == 0 and '' or
      ('min %s  mean %s  max %s  '):format(number(low), number(sum / fine), number(high))
    return ('%s\n  %sNaN %d\n  %s'):format(text, statistics, nan, table.concat(first, ' '))
  end)
end

local function key_text(key)
  if type(key) == 'string' then
    if key:match('^[%a_][%w_]*$') and not keywords[key] then return key end
    return ('[%q]'):format(key)
  end
  return ('[%s]'):format(tostring(key))
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    if not (type(key) == 'number' and key >= 1 and key <= #t and key % 1 == 0) then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, function(a, b)
    local ta, tb = type(a), type(b)
    if ta ~= tb then return ta < tb end
    if ta == 'number' or ta == 'string' then return a < b end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function text_of(value, depth, seen, indent)
  local kind = type(value)
  if kind == 'string' then
    if #value > 400 then return ('%q... (%d bytes)'):format(value:sub(1, 400), #value) end
    return (('%q'):format(value):gsub('\\\n', '\\n'):gsub('[%z\1-\9\11-\31\127]', function(c)
      return ('\\%d'):format(c:byte())
    end))
  end
  if kind ~= 'table' then return tostring(value) end
  if tensor.is_tensor(value) then return depth == 0 and tensor_text(value) or tostring(value) end
  local meta = getmetatable(value)
  if type(meta) == 'table' and meta.__tostring then return tostring(value) end
  if seen[value] then return '{<cycle>}' end
  if next(value) == nil then return '{}' end
  if depth >= DEPTH then return '{...}' end

  seen[value] = true
  local parts, multi = {}, false
  local n = #value
  for i = 1, math.min(n, ITEMS) do
    parts[#parts + 1] = text_of(value[i], depth + 1, seen, indent .. '  ')
  end
  if n > ITEMS then parts[#parts + 1] = ('... %d more'):format(n - ITEMS) end
  local keys = sorted_keys(value)
  for i = 1, math.min(#keys, ITEMS) do
    parts[#parts + 1] = ('%s = %s'):format(key_text(keys[i]),
      text_of(value[keys[i]], depth + 1, seen, indent .. '  '))
  end
  if #keys > ITEMS then parts[#parts + 1] = ('... %d more fields'):format(#keys - ITEMS) end
  seen[value] = nil

  local length = #indent
  for _, part in ipairs(parts) do
    length = length + #part + 2
    multi = multi or part:find('\n', 1, true)
  end
  if not multi and length <= LINE then return '{ ' .. table.concat(parts, ', ') .. ' }' end
  local inner = indent .. '  '
  return ('{\n%s%s\n%s}'):format(inner, table.concat(parts, ',\n' .. inner), indent)
end

--- The text that shows a value.
---@return string
function M.text(value) return text_of(value, 0, {}, '') end

return M
