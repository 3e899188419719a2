--- Attributes, items and slices of values, as jinja2's sandbox gives them: names that begin with _
--- and methods that change a list or dict are as if they were not there.

local guard = require 'sppo.chat.jinja.guard'
local methods = require 'sppo.chat.jinja.methods'
local text = require 'sppo.chat.jinja.text'
local value = require 'sppo.chat.jinja.value'

local is, NONE = value.is, value.NONE

local M = {}

local changing = {
  [value.Dict] = { clear = true, pop = true, popitem = true, setdefault = true, update = true },
  [value.List] = { append = true, clear = true, extend = true, insert = true, pop = true,
    remove = true, reverse = true, sort = true },
}

--- The unbound method `name` of a value, (self, args, kwargs), or nil.
function M.method(v, name)
  if text.is(v) then return methods.text[name] end
  local c = getmetatable(v)
  if c == value.Dict then return methods.dict[name] end
  if c == value.List and (v.kind == 'list' or v.kind == 'tuple') then return methods.list[name] end
end

local function missing(v, key)
  local shown = text.bytes(value.repr(key))
  return value.undefined(('a %s has no %s'):format(value.type_name(v), shown:sub(1, 80)))
end

--- What a host's object (`loop`) has under a name: its class says so.
local function of_object(v, name)
  if type(v) ~= 'table' then return nil end
  local of = getmetatable(v).attribute
  return of and of(v, name)
end

--- v.name of attributes alone; nil if there is none.
local function attribute(v, name)
  if type(v) ~= 'table' and type(v) ~= 'string' then return nil end
  if is(v, value.Namespace) then return v.fields[name] end
  local method = M.method(v, name)
  if method then return function(args, kwargs) return method(v, args, kwargs) end end
  local forbidden = changing[getmetatable(v)]
  if forbidden and forbidden[name] and v.kind ~= 'generator' then
    return value.undefined(('\'%s\' would change a %s, which templates may not'):format(name,
      value.type_name(v)))
  end
  return of_object(v, name)
end

--- The element of a list or text under an int, the value of a dict's key; nil if there is none.
local function item(v, key)
  if is(v, value.Dict) then
    if is(key, value.List) or is(key, value.Dict) or is(key, value.Undefined) then return nil end
    return value.get(v, key)
  end
  local i = type(key) == 'boolean' and (key and 1 or 0) or key
  if type(i) ~= 'number' then return nil end
  if text.is(v) then return text.char_at(v, i) end
  if not is(v, value.List) or v.kind == 'generator' or v.kind == 'view' then return nil end
  if i < 0 then i = i + v.n end
  if i >= 0 then return v[i + 1] end
end

--- v.name
---@param name string
function M.attribute(v, name)
  value.need(v)
  local found = attribute(v, name)
  if found == nil and is(v, value.Dict) then found = v.map[name] end
  if found == nil then return missing(v, name) end
  return found
end

--- v[key]
function M.item(v, key)
  value.need(v)
  local found = item(v, key)
  if found == nil and text.is(key) then found = attribute(v, text.bytes(key)) end
  if found == nil then return missing(v, key) end
  return found
end

local function bound(v)
  if v == nil or v == NONE then return nil end
  local n = type(v) == 'boolean' and (v and 1 or 0) or v
  if type(n) ~= 'number' then
    value.need(v)
    guard.failf('a slice needs whole numbers, got %s', value.type_name(v))
  end
  return n
end

--- v[first:stop:step]; nil for what is left out.
function M.slice(v, first, stop, step)
  value.need(v)
  local is_text = text.is(v)
  if not is_text and not (is(v, value.List) and v.kind ~= 'generator' and v.kind ~= 'view') then
    guard.failf('a %s can\'t be sliced', value.type_name(v))
  end
  local length = value.length(v)
  first, stop, step = bound(first), bound(stop), bound(step) or 1
  if step == 0 then guard.fail('the step of a slice is 0') end
  local low, high = 0, length -- Python's slice.indices
  if step < 0 then low, high = -1, length - 1 end
  local function clip(n, default)
    if not n then return default end
    if n < 0 then n = n + length end
    return math.max(low, math.min(high, n))
  end
  first = clip(first, step < 0 and high or low)
  stop = clip(stop, step < 0 and low or high)
  if is_text then
    if (step > 0 and first >= stop) or (step < 0 and first <= stop) then return '' end
    return text.slice(v, first, stop, step)
  end
  local list, n = {}, 0
  for i = first, stop - (step > 0 and 1 or -1), step do
    n = n + 1
    list[n] = v[i + 1]
  end
  guard.spend(n)
  return value.list(list, n, v.kind == 'tuple' and 'tuple' or 'list')
end

return M
