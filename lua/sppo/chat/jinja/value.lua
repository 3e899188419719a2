--- Values of a template, with Python's semantics. Booleans are Lua's; an int is a Lua number, a
--- float a Float, None is NONE, a text as text.lua has it, a callable a Lua function
--- (args, kwargs). Nothing else of the host can be reached.

local guard = require 'sppo.chat.jinja.guard'
local text = require 'sppo.chat.jinja.text'
local unicode = require 'sppo.chat.jinja.unicode'

local fail, failf = guard.fail, guard.failf

local M = {}

local DEPTH = 100 -- lists in lists, for what walks through them

-- ---- classes ----

local function class() local c = {}; c.__index = c; return c end

local Undefined, Float, List, Dict, Namespace = class(), class(), class(), class(), class()
M.Undefined, M.Float, M.List, M.Dict, M.Namespace = Undefined, Float, List, Dict, Namespace

M.NONE = setmetatable({}, { __tostring = function() return 'None' end })
local NONE = M.NONE

--- What a name, attribute or item stands for that is not there; `what` says so in errors.
function M.undefined(what) return setmetatable({ what = what }, Undefined) end

function M.float(v) return setmetatable({ v = v }, Float) end

--- kind: 'list', 'tuple', 'range', 'view' (of a dict), 'generator'.
function M.list(items, n, kind)
  items.n, items.kind = n or #items, kind or 'list'
  return setmetatable(items, List)
end

--- A List that can be read once and whose elements are asked for only then: make() -> List.
function M.generator(make) return setmetatable({ n = 0, kind = 'generator', make = make }, List) end

--- An empty dict, for put; a dict does not change any more once it is a template's.
function M.dict() return setmetatable({ keys = {}, n = 0, map = {} }, Dict) end

function M.namespace(fields) return setmetatable({ fields = fields }, Namespace) end

local function is(v, kind) return type(v) == 'table' and getmetatable(v) == kind end
M.is = is

local names = { [Undefined] = 'Undefined', [Float] = 'float', [Dict] = 'dict',
  [Namespace] = 'Namespace' }

--- Python's name of a value's type, for errors.
function M.type_name(v)
  local t = type(v)
  if t == 'string' then return 'str' end
  if t == 'number' then return 'int' end
  if t == 'boolean' then return 'bool' end
  if t == 'function' then return 'function' end
  if v == NONE then return 'NoneType' end
  if text.is(v) then return 'str' end
  if is(v, List) then return v.kind end
  return names[getmetatable(v)] or 'object'
end

--- Ends the rendering if v is undefined.
function M.need(v)
  if is(v, Undefined) then fail(v.what) end
  return v
end

-- ---- dicts ----

local function key_of(key)
  if text.is(key) then return text.bytes(key) end
  local t = type(key)
  if t == 'number' then return key end
  if t == 'boolean' then return key and 1 or 0 end
  if is(key, Float) then return key.v end
  if key == NONE then return NONE end
  M.need(key)
  failf('a %s can\'t be a key of a dict here', M.type_name(key))
end

--- While a dict is made.
function M.put(dict, key, v)
  local k = key_of(key)
  if dict.map[k] == nil then
    dict.n = dict.n + 1
    dict.keys[dict.n] = key
  end
  dict.map[k] = v
end

--- The value of a key, nil if there is none.
function M.get(dict, key) return dict.map[key_of(key)] end

--- Value number i, in the order they were put.
function M.nth(dict, i) return dict.map[key_of(dict.keys[i])] end

-- ---- truth, order ----

--- A number of bool, int or float; nil for others.
function M.number(v)
  local t = type(v)
  if t == 'number' then return v end
  if t == 'boolean' then return v and 1 or 0 end
  if is(v, Float) then return v.v end
end

function M.truth(v)
  local t = type(v)
  if t == 'boolean' then return v end
  if t == 'string' then return v ~= '' end
  if t == 'number' then return v ~= 0 end
  if t == 'function' then return true end
  if v == NONE then return false end
  local c = getmetatable(v)
  if c == Undefined then return false end
  if c == Float then return v.v ~= 0 end
  if c == List then return v.n > 0 or v.kind == 'generator' end
  if c == Dict then return v.n > 0 end
  if c == Namespace then return true end
  return not text.is(v) or v.s ~= ''
end

function M.equals(a, b, depth)
  if a == b then return true end
  if text.is(a) then return text.is(b) and text.bytes(a) == text.bytes(b) end
  local x = M.number(a)
  if x then return x == M.number(b) end
  if is(a, Undefined) then return is(b, Undefined) end
  depth = (depth or 0) + 1
  if depth > DEPTH then fail('lists nest too deeply to be compared') end
  if is(a, List) and is(b, List) then
    if a.kind ~= b.kind or a.n ~= b.n or a.kind == 'generator' then return false end
    guard.spend(a.n)
    for i = 1, a.n do
      if not M.equals(a[i], b[i], depth) then return false end
    end
    return true
  end
  if is(a, Dict) and is(b, Dict) then
    if a.n ~= b.n then return false end
    guard.spend(a.n)
    for k, v in pairs(a.map) do
      local other = b.map[k]
      if other == nil or not M.equals(v, other, depth) then return false end
    end
    return true
  end
  return false
end

--- a < b; fails where Python has no order.
function M.less(a, b, depth)
  local x, y = M.number(a), M.number(b)
  if x and y then return x < y end
  if text.is(a) and text.is(b) then
    local s, t = text.bytes(a), text.bytes(b)
    guard.search(math.min(#s, #t))
    return s < t
  end
  M.need(a)
  M.need(b)
  if is(a, List) and is(b, List) and a.kind == b.kind and (a.kind == 'list' or a.kind == 'tuple')
  then
    depth = (depth or 0) + 1
    if depth > DEPTH then fail('lists nest too deeply to be compared') end
    guard.spend(math.min(a.n, b.n))
    for i = 1, math.min(a.n, b.n) do
      if not M.equals(a[i], b[i]) then return M.less(a[i], b[i], depth) end
    end
    return a.n < b.n
  end
  failf('\'<\' between %s and %s', M.type_name(a), M.type_name(b))
end

-- ---- walking through ----

--- The first n elements of a table in a new one.
function M.copy(list, n)
  local copied = {}
  guard.spend(n)
  for i = 1, n do copied[i] = list[i] end
  return copied
end

--- The elements as a List: of a list, the keys of a dict, the characters of a text.
function M.elements(v)
  if is(v, List) then
    if v.kind ~= 'generator' then return v end
    if v.spent then return M.list({}, 0) end
    v.spent = true
    return v.make()
  end
  if is(v, Dict) then
    return M.list(M.copy(v.keys, v.n), v.n)
  end
  if text.is(v) then
    local chars, n = text.chars(v)
    return M.list(chars, n)
  end
  if is(v, Undefined) then return M.list({}, 0) end
  failf('a %s can\'t be iterated', M.type_name(v))
end

--- len(v).
function M.length(v)
  if text.is(v) then return text.length(v) end
  if is(v, Dict) then return v.n end
  if is(v, List) and v.kind ~= 'generator' then return v.n end
  if is(v, Undefined) then return 0 end
  failf('a %s has no length', M.type_name(v))
end

--- item in container.
function M.contains(container, item)
  if text.is(container) then
    if not text.is(item) then
      M.need(item)
      failf('\'in\' of a text needs a text, got %s', M.type_name(item))
    end
    local s, part = text.bytes(container), text.bytes(item)
    guard.search(#s, #part)
    return s:find(part, 1, true) ~= nil
  end
  if is(container, Dict) then
    return not is(item, Undefined) and M.get(container, item) ~= nil
  end
  local list = M.elements(container)
  guard.spend(list.n)
  for i = 1, list.n do
    if M.equals(list[i], item) then return true end
  end
  return false
end

-- ---- as text ----

--- repr of a float: the shortest decimals that read back as the same number.
function M.float_text(v)
  if v ~= v then return 'nan' end
  if v == math.huge then return 'inf' end
  if v == -math.huge then return '-inf' end
  local shown
  for digits = 0, 16 do
    shown = ('%.' .. digits .. 'e'):format(v)
    if tonumber(shown) == v then break end
  end
  local sign, first, rest, exponent = shown:match('^(-?)(%d)%.?(%d*)e([+-]%d+)$')
  exponent = tonumber(exponent)
  if exponent < -4 or exponent >= 16 then
    return ('%s%s%s%se%s%02d'):format(sign, first, rest ~= '' and '.' or '', rest,
      exponent < 0 and '-' or '+', math.abs(exponent))
  end
  local digits = first .. rest
  if exponent < 0 then return sign .. '0.' .. ('0'):rep(-exponent - 1) .. digits end
  digits = digits .. ('0'):rep(exponent + 1 - #digits)
  local after = digits:sub(exponent + 2)
  return sign .. digits:sub(1, exponent + 1) .. '.' .. (after ~= '' and after or '0')
end

local shown = { ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t', ['\\'] = '\\\\' }

local function repr_text(x)
  local s = text.bytes(x)
  local quote = s:find('\'', 1, true) and not s:find('"', 1, true) and '"' or '\''
  local body = text.map(text.as_markup(x, false), function(bytes)
    return (bytes:gsub(unicode.CHAR, function(char)
      if shown[char] then return shown[char] end
      if char == quote then return '\\' .. char end
      if unicode.is_printable(char) then return char end
      local code = unicode.code(char)
      return (code < 0x100 and '\\x%02x' or code < 0x10000 and '\\u%04x' or '\\U%08x'):format(code)
    end))
  end)
  return text.concat({ quote, body, quote }, 3)
end

--- repr(v): as Python writes values inside of lists.
function M.repr(v, depth)
  if text.is(v) then
    if text.is_markup(v) then return text.concat({ 'Markup(', repr_text(v), ')' }, 3) end
    return repr_text(v)
  end
  if not is(v, List) and not is(v, Dict) then
    return is(v, Undefined) and 'Undefined' or M.str(v)
  end
  depth = (depth or 0) + 1
  if depth > DEPTH then fail('lists nest too deeply to be written') end
  if v.kind == 'generator' or v.kind == 'view' then return '<' .. v.kind .. ' object>' end
  if v.kind == 'range' then return v.shown end
  local parts, n = {}, 0
  local function add(part) n = n + 1; parts[n] = part end
  guard.spend(v.n)
  local open, close = '[', ']'
  if is(v, Dict) then open, close = '{', '}'
  elseif v.kind == 'tuple' then open, close = '(', ')' end
  add(open)
  for i = 1, v.n do
    if i > 1 then add(', ') end
    if is(v, Dict) then
      add(M.repr(v.keys[i], depth))
      add(': ')
      add(M.repr(M.nth(v, i), depth))
    else
      add(M.repr(v[i], depth))
    end
  end
  add(v.kind == 'tuple' and v.n == 1 and ',)' or close)
  return text.concat(parts, n)
end

--- str(v): as `{{ v }}` writes it; a markup stays one.
function M.str(v)
  local t = type(v)
  if t == 'string' then return v end
  if t == 'number' then return ('%d'):format(v) end
  if t == 'boolean' then return v and 'True' or 'False' end
  if t == 'function' then return '<function>' end
  if v == NONE then return 'None' end
  local c = getmetatable(v)
  if c == Undefined then return '' end
  if c == Float then return M.float_text(v.v) end
  if c == List or c == Dict then return M.repr(v) end
  if text.is(v) then return v end
  if c == Namespace then return '<Namespace>' end
  return '<object>'
end

return M
