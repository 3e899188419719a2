--- How the prompt shows values: tables to a limited depth and width, tensors by their statistics.

local tensor = require 'sppo.tensor'

local M = {}

local DEPTH, ITEMS, LINE = 3, 20, 96
local SHOWN_VALUES, STATISTICS_LIMIT, BLOCK = 8, 2 ^ 28, 2 ^ 16

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
  return then true until while]]):gmatch('%w+') do keywords[word] = true end

local function number(v) return ('%.4g'):format(v) end

--- The values of a tensor, some rows at a time: fn(pointer, count), in order.
local function each_block(t, fn)
  local scope = require 'sppo.scope'
  scope.run(function()
    if t.layout == 'panels' then t = t:unpack() end
    local rows = t:dim() > 0 and t:size(1) or 1
    local step = math.max(1, math.floor(BLOCK * rows / t:count()))
    for first = 0, rows - 1, step do
      scope.run(function()
        local part = t:dim() > 0 and t:narrow(1, first, math.min(step, rows - first)) or t
        if part.dtype ~= 'f32' and part.dtype ~= 'i32' then part = part:to('f32') end
        part = part:contiguous()
        fn(part:data(), part:count())
      end)
    end
  end)
end

--- Its statistics: { min, mean, max } of what is finite, { nonfinite } and its first values.
---@param t sppo.Tensor
function M.statistics(t)
  local low, high, sum, fine, count, first = math.huge, -math.huge, 0, 0, 0, {}
  each_block(t, function(values, n)
    for i = 0, n - 1 do
      local v = values[i]
      if v - v == 0 then
        low, high, sum, fine = math.min(low, v), math.max(high, v), sum + v, fine + 1
      end
    end
    for i = 0, math.min(n, SHOWN_VALUES - #first) - 1 do first[#first + 1] = values[i] end
    count = count + n
  end)
  return { min = low, max = high, mean = sum / fine, finite = fine, nonfinite = count - fine,
    first = first }
end

--- Three lines: what it is; minimum, mean and maximum of its finite values, and how many are not;
--- its first values. Never all of it.
local function tensor_text(t)
  local text = tostring(t)
  if not t.h or t.device == 'meta' then return text end
  local count = t:count()
  if count == 0 then return text end
  if t.device ~= 'cpu' then return text end
  if count > STATISTICS_LIMIT then return text .. '\n  (too large for statistics)' end
  local s, first = M.statistics(t), {}
  for i, v in ipairs(s.first) do first[i] = number(v) end
  if count > SHOWN_VALUES then first[#first + 1] = '...' end
  local statistics = s.finite == 0 and '' or
    ('min %s  mean %s  max %s  '):format(number(s.min), number(s.mean), number(s.max))
  return ('%s\n  %snonfinite %d\n  %s'):format(text, statistics, s.nonfinite,
    table.concat(first, ' '))
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
