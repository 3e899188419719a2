--- Methods of texts, lists and dicts that templates call: (self, args, kwargs) -> value.

local format = require 'sppo.chat.jinja.format'
local guard = require 'sppo.chat.jinja.guard'
local split = require 'sppo.chat.jinja.split'
local text = require 'sppo.chat.jinja.text'
local unicode = require 'sppo.chat.jinja.unicode'
local value = require 'sppo.chat.jinja.value'

local take, failf, NONE = guard.take, guard.failf, value.NONE

local M = { text = {}, list = {}, dict = {} }

local function need_text(what, v)
  if text.is(v) then return v end
  if v ~= nil then value.need(v) end
  failf('%s needs a text, got %s', what, v == nil and 'nothing' or value.type_name(v))
end

local function optional_text(what, v)
  if v == nil or v == NONE then return nil end
  return need_text(what, v)
end

local function optional_int(what, v, default)
  if v == nil or v == NONE then return default end
  if type(v) == 'boolean' then return v and 1 or 0 end
  if type(v) ~= 'number' then
    failf('%s needs a whole number, got %s', what, value.type_name(v))
  end
  return v
end

--- A count of at most so many; negative for all.
local function limit_of(what, v)
  local limit = optional_int(what, v, -1)
  return limit < 0 and math.huge or limit
end

local T = M.text

--- self's markup goes to what a method gives, as markupsafe does it.
local function like(self, x)
  return text.is_markup(self) and text.as_markup(x, true) or x
end

local function listed(self, parts, n)
  if text.is_markup(self) then
    for i = 1, n do parts[i] = like(self, parts[i]) end
  end
  return value.list(parts, n)
end

for name, sides in pairs { strip = { true, true }, lstrip = { true, false },
  rstrip = { false, true } } do
  T[name] = function(self, args, kwargs)
    local chars = optional_text(name, take(name, { 'chars' }, args, kwargs))
    return text.strip(self, sides[1], sides[2], chars)
  end
end

for name, from_right in pairs { split = false, rsplit = true } do
  T[name] = function(self, args, kwargs)
    local separator, limit = take(name, { 'sep', 'maxsplit' }, args, kwargs)
    separator, limit = optional_text(name, separator), limit_of(name, limit)
    if not separator then return listed(self, split.words(self, limit, from_right)) end
    if text.bytes(separator) == '' then failf('%s: the separator is empty', name) end
    return listed(self, (from_right and text.rsplit or text.split)(self, separator, limit))
  end
end

function T.splitlines(self, args, kwargs)
  local keep = take('splitlines', { 'keepends' }, args, kwargs)
  return listed(self, split.lines(self, keep ~= nil and value.truth(keep)))
end

for name, last in pairs { partition = false, rpartition = true } do
  T[name] = function(self, args, kwargs)
    local separator = need_text(name, (take(name, { 'sep' }, args, kwargs)))
    if text.bytes(separator) == '' then failf('%s: the separator is empty', name) end
    local parts, n = (last and text.rsplit or text.split)(self, separator, 1)
    if n == 2 then parts = { parts[1], separator, parts[2] }
    else parts = last and { '', '', self } or { self, '', '' } end
    return value.list(parts, 3, 'tuple')
  end
end

--- Whether the bytes at one end are those of `part`, or of any of a tuple.
local function at_end(name, test)
  T[name] = function(self, args, kwargs)
    local parts = take(name, { 'prefix' }, args, kwargs)
    local s = text.bytes(self)
    if value.is(parts, value.List) and parts.kind == 'tuple' then
      for i = 1, parts.n do
        if test(s, text.bytes(need_text(name, parts[i]))) then return true end
      end
      return false
    end
    return test(s, text.bytes(need_text(name, parts)))
  end
end

local function starts(s, part) return s:sub(1, #part) == part end
local function ends(s, part) return part == '' or s:sub(-#part) == part end
at_end('startswith', starts)
at_end('endswith', ends)

function T.removeprefix(self, args, kwargs)
  local part = text.bytes(need_text('removeprefix', (take('removeprefix', { 'p' }, args, kwargs))))
  if not starts(text.bytes(self), part) then return self end
  return text.sub(self, #part + 1, #text.bytes(self))
end

function T.removesuffix(self, args, kwargs)
  local part = text.bytes(need_text('removesuffix', (take('removesuffix', { 'p' }, args, kwargs))))
  if not ends(text.bytes(self), part) then return self end
  return text.sub(self, 1, #text.bytes(self) - #part)
end

function T.upper(self, args, kwargs)
  take('upper', {}, args, kwargs)
  return text.map(self, unicode.upper)
end

function T.lower(self, args, kwargs)
  take('lower', {}, args, kwargs)
  return text.map(self, unicode.lower)
end

--- Calls change(char) for every character in its order.
local function by_char(self, change)
  return text.map(self, function(s) return (s:gsub(unicode.CHAR, change)) end)
end

function T.title(self, args, kwargs)
  take('title', {}, args, kwargs)
  local inside = false
  return by_char(self, function(char)
    local changed = inside and unicode.lower_char(char) or unicode.title_char(char)
    inside = unicode.is_cased(char)
    return changed
  end)
end

function T.capitalize(self, args, kwargs)
  take('capitalize', {}, args, kwargs)
  local first = true
  return by_char(self, function(char)
    local changed = first and unicode.title_char(char) or unicode.lower_char(char)
    first = false
    return changed
  end)
end

function T.replace(self, args, kwargs)
  local old, new, count = take('replace', { 'old', 'new', 'count' }, args, kwargs)
  old, new = need_text('replace', old), need_text('replace', new)
  if text.is_markup(self) then new = text.escape(new) end
  return like(self, text.replace(self, old, new, limit_of('replace', count)))
end

function T.join(self, args, kwargs)
  local given = take('join', { 'iterable' }, args, kwargs)
  if given == nil then failf('join needs a list') end
  local list, parts, n = value.elements(given), {}, 0
  for i = 1, list.n do
    if i > 1 then n = n + 1; parts[n] = self end
    n = n + 1
    parts[n] = need_text('join', list[i])
    if text.is_markup(self) then parts[n] = text.escape(parts[n]) end
  end
  guard.spend(list.n)
  return like(self, text.concat(parts, n))
end

--- The byte where `part` is first (or last) found in characters start..stop; nil if nowhere.
local function find(name, self, args, kwargs, last)
  local part, start, stop = take(name, { 'sub', 'start', 'end' }, args, kwargs)
  local p, length = text.bytes(need_text(name, part)), text.length(self)
  local function clip(n, default)
    n = optional_int(name, n, default)
    if n < 0 then n = n + length end
    return math.max(0, math.min(length, n))
  end
  start, stop = clip(start, 0), clip(stop, length)
  if start > stop then return nil end
  local inside = text.bytes(start < stop and text.slice(self, start, stop, 1) or '')
  guard.search(#inside, #p)
  local found = inside:find(p, 1, true)
  if last and p == '' then found = #inside + 1 end -- '' is found behind any end, too
  while last and p ~= '' and found do
    local later = inside:find(p, found + 1, true)
    if not later then break end
    found = later
  end
  return found and start + text.index_of(inside, found), inside, p
end

for name, last in pairs { find = false, rfind = true } do
  T[name] = function(self, args, kwargs) return find(name, self, args, kwargs, last) or -1 end
end

for name, last in pairs { index = false, rindex = true } do
  T[name] = function(self, args, kwargs)
    return find(name, self, args, kwargs, last) or failf('%s: not found', name)
  end
end

function T.count(self, args, kwargs)
  local found, inside, part = find('count', self, args, kwargs)
  if not found then return 0 end
  if part == '' then return text.length(inside) + 1 end
  local _, n = text.split(inside, part, math.huge)
  return n - 1
end

--- Whether all characters (and one at least) pass.
local function all_chars(name, test)
  T[name] = function(self, args, kwargs)
    take(name, {}, args, kwargs)
    local s = text.bytes(self)
    guard.walk(#s)
    for char in s:gmatch(unicode.CHAR) do
      if not test(char) then return false end
    end
    return s ~= ''
  end
end

all_chars('isspace', function(char) return unicode.spaces[char] end)
all_chars('isdigit', unicode.is_decimal)
all_chars('isdecimal', unicode.is_decimal)
all_chars('isalpha', unicode.is_letter)
all_chars('isalnum', function(c) return unicode.is_letter(c) or unicode.is_decimal(c) end)

for name, other in pairs { isupper = unicode.lower, islower = unicode.upper } do
  local own = name == 'isupper' and unicode.upper or unicode.lower
  T[name] = function(self, args, kwargs)
    take(name, {}, args, kwargs)
    local s = text.bytes(self)
    guard.walk(#s)
    return own(s) == s and other(s) ~= s
  end
end

function T.format(self, args, kwargs) return format.braces(self, args, kwargs) end

-- ---- lists ----

function M.list.count(self, args, kwargs)
  local wanted, n = take('count', { 'value' }, args, kwargs), 0
  guard.spend(self.n)
  for i = 1, self.n do n = n + (value.equals(self[i], wanted) and 1 or 0) end
  return n
end

function M.list.index(self, args, kwargs)
  local wanted = take('index', { 'value' }, args, kwargs)
  guard.spend(self.n)
  for i = 1, self.n do
    if value.equals(self[i], wanted) then return i - 1 end
  end
  failf('index: not in the %s', self.kind)
end

function M.list.copy(self) return self end

-- ---- dicts ----

function M.dict.get(self, args, kwargs)
  local key, default = take('get', { 'key', 'default' }, args, kwargs)
  if key == nil or kwargs then failf('get needs a key, without a name') end
  local found = not value.is(key, value.Undefined) and value.get(self, key)
  if found ~= nil and not value.is(key, value.Undefined) then return found end
  if default == nil then return NONE end
  return default
end

--- A view of what of(i) gives for each entry.
local function view(name, of)
  M.dict[name] = function(self, args, kwargs)
    take(name, {}, args, kwargs)
    local list = {}
    guard.spend(self.n)
    for i = 1, self.n do list[i] = of(self, i) end
    return value.list(list, self.n, 'view')
  end
end

view('items', function(d, i) return value.list({ d.keys[i], value.nth(d, i) }, 2, 'tuple') end)
view('keys', function(d, i) return d.keys[i] end)
view('values', value.nth)

function M.dict.copy(self) return self end

return M
