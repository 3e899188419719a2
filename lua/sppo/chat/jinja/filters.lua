--- Filters of one value: (value, args, kwargs) -> value. Those of lists: list_filters.lua.

local access = require 'sppo.chat.jinja.access'
local guard = require 'sppo.chat.jinja.guard'
local json_text = require 'sppo.chat.jinja.json_text'
local methods = require 'sppo.chat.jinja.methods'
local split = require 'sppo.chat.jinja.split'
local text = require 'sppo.chat.jinja.text'
local unicode = require 'sppo.chat.jinja.unicode'
local value = require 'sppo.chat.jinja.value'

local is, NONE, str, take = value.is, value.NONE, value.str, guard.take

local M = {}

function M.string(v) return str(v) end
function M.safe(v) return text.as_markup(str(v), true) end
function M.escape(v) return text.escape(str(v)) end
M.e = M.escape
function M.forceescape(v) return text.escape(text.as_markup(str(v), false)) end

function M.upper(v) return text.map(str(v), unicode.upper) end
function M.lower(v) return text.map(str(v), unicode.lower) end
function M.capitalize(v) return methods.text.capitalize(str(v), { n = 0 }) end

--- Upper case behind white space, brackets and hyphens, lower case elsewhere.
function M.title(v)
  local first = true
  return text.map(str(v), function(s)
    return (s:gsub(unicode.CHAR, function(char)
      if unicode.spaces[char] or char:find('[-({%[<]') then
        first = true
        return char
      end
      local changed = first and unicode.upper_char(char) or unicode.lower_char(char)
      first = false
      return changed
    end))
  end)
end

function M.trim(v, args, kwargs)
  local chars = take('trim', { 'chars' }, args, kwargs)
  if chars == NONE then chars = nil end
  return text.strip(str(v), true, true, chars and str(value.need(chars)))
end

function M.replace(v, args, kwargs)
  local old, new, count = take('replace', { 'old', 'new', 'count' }, args, kwargs)
  if old == nil or new == nil then guard.fail('replace needs two texts') end
  if count == nil or count == NONE or count == -1 then count = math.huge end
  if type(count) ~= 'number' then guard.fail('replace: count is no whole number') end
  return text.replace(text.as_markup(str(v), false), str(old), str(new), count)
end

function M.indent(v, args, kwargs)
  local width, first, blank = take('indent', { 'width', 'first', 'blank' }, args, kwargs)
  if not text.is(v) then guard.failf('indent needs a text, got %s', value.type_name(v)) end
  width = width == nil and 4 or width
  local margin = text.is(width) and width or text.rep(' ', value.number(width) or
    guard.fail('indent: width is no whole number'))
  local lines, n = split.lines(text.concat({ v, '\n' }, 2))
  local parts, k = {}, 0
  local function add(part) k = k + 1; parts[k] = part end
  if first ~= nil and value.truth(first) then add(margin) end
  for i = 1, n do
    if i > 1 then
      add('\n')
      if text.bytes(lines[i]) ~= '' or (blank ~= nil and value.truth(blank)) then add(margin) end
    end
    add(lines[i])
  end
  return text.as_markup(text.concat(parts, k), text.is_markup(v))
end

function M.default(v, args, kwargs)
  local other, of_false = take('default', { 'default_value', 'boolean' }, args, kwargs)
  local missing = is(v, value.Undefined) or
    (of_false ~= nil and value.truth(of_false) and not value.truth(v))
  if not missing then return v end
  if other == nil then return '' end
  return other
end
M.d = M.default

--- The number that a text of Python's int() or float() says; nil if it is none.
local function parse_number(v, whole)
  local s = text.bytes(text.strip(v, true, true)):gsub('(%d)_(%d)', '%1%2')
  if whole then return s:find('^[+-]?%d+$') and tonumber((s:gsub('^%+', ''))) end
  if s:find('^[+-]?%d*%.?%d*[eE]?[+-]?%d*$') then return tonumber((s:gsub('^%+', ''))) end
  local word = s:lower():match('^[+-]?(%a+)$')
  local big = (word == 'inf' or word == 'infinity') and math.huge or word == 'nan' and 0 / 0
  return big and (s:sub(1, 1) == '-' and -big or big)
end

local function truncated(x)
  if x ~= x or math.abs(x) > 2^53 then return nil end
  return x < 0 and math.ceil(x) or math.floor(x)
end

function M.int(v, args, kwargs)
  local default, base = take('int', { 'default', 'base' }, args, kwargs)
  if default == nil then default = 0 end
  if base ~= nil and base ~= 10 then guard.fail('int: only base 10 is read') end
  value.need(v)
  local x = value.number(v)
  if text.is(v) then
    x = parse_number(v, true)
    if not x then x = parse_number(v, false) end
  end
  return x and truncated(x) or default
end

function M.float(v, args, kwargs)
  local default = take('float', { 'default' }, args, kwargs)
  value.need(v)
  local x = value.number(v)
  if text.is(v) then x = parse_number(v, false) end
  if x then return value.float(x) end
  return default == nil and value.float(0) or default
end

function M.abs(v)
  local x = value.number(value.need(v))
  if not x then guard.failf('abs needs a number, got %s', value.type_name(v)) end
  return is(v, value.Float) and value.float(math.abs(x)) or math.abs(x)
end

--- json.dumps as transformers gives it to templates.
function M.tojson(v, args, kwargs)
  local ascii, indent, separators, sort = take('tojson',
    { 'ensure_ascii', 'indent', 'separators', 'sort_keys' }, args, kwargs)
  local options = { ascii = ascii ~= nil and value.truth(ascii),
    sort = sort ~= nil and value.truth(sort) }
  if indent ~= nil and indent ~= NONE then
    local width = text.is(indent) and #text.bytes(indent) or value.number(indent)
    if not width then guard.fail('tojson: indent is no whole number') end
    if width > 100 then guard.fail('tojson: indent is larger than 100') end
    options.indent = text.is(indent) and text.bytes(indent) or (' '):rep(width)
  end
  options.item, options.key = options.indent and ',' or ', ', ': '
  if separators ~= nil and separators ~= NONE then
    local item, key = access.item(separators, 0), access.item(separators, 1)
    if not (text.is(item) and text.is(key)) then guard.fail('tojson: separators are two texts') end
    options.item, options.key = item, key
  end
  return json_text.write(v, options)
end

for name, filter in pairs(require 'sppo.chat.jinja.list_filters') do M[name] = filter end

--- The filter of a name; fails if there is none.
---@param name string
local function find(name)
  return M[name] or guard.failf('there is no filter \'%s\'', name)
end

-- map('name', ..) calls any filter.
local map_list = M.map
function M.map(v, args, kwargs) return map_list(v, args, kwargs, find) end

return { known = M, find = find }
