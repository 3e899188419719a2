--- Texts that know which of their bytes came from outside of the template.
---
--- A text is a plain Lua string, all of it the template's own, or a Text: `s` its bytes and `from`
--- the ranges of them that came from a message, { first, last, first, last, .. } in order. Every
--- operation is made of sub, concat and map, which keep the ranges, so nothing else needs to know.
--- markup: what filters `safe` and `escape` return, with `+` as in Python's markupsafe.

local guard = require 'sppo.chat.jinja.guard'
local unicode = require 'sppo.chat.jinja.unicode'

local M = {}

---@class sppo.jinja.Text
---@field s string
---@field from integer[]
---@field markup? boolean
local Text = {}
Text.__index = Text

local NOWHERE = {}

local function new(s, from, markup)
  if not from[1] and not markup then return s end
  return setmetatable({ s = s, from = from, markup = markup }, Text)
end

function M.is(v) return type(v) == 'string' or getmetatable(v) == Text end

--- The bytes of a text.
function M.bytes(x) return type(x) == 'string' and x or x.s end

--- A text all of which is from outside.
function M.outside(s)
  if s == '' then return s end
  return new(s, { 1, #s })
end

function M.is_markup(x) return type(x) == 'table' and x.markup == true end

--- The text as markup, or as none.
function M.as_markup(x, markup)
  if type(x) == 'string' then return new(x, NOWHERE, markup) end
  if (x.markup or false) == markup then return x end
  return new(x.s, x.from, markup or nil)
end

--- Bytes first..last, as string.sub with positive numbers.
function M.sub(x, first, last)
  if type(x) == 'string' then return x:sub(first, last) end
  if first < 1 then first = 1 end
  if last > #x.s then last = #x.s end
  if last < first then return M.as_markup('', x.markup or false) end
  local from, kept = x.from, {}
  if #from > 16 then guard.spend(#from / 32) end
  for i = 1, #from, 2 do
    local a, b = from[i], from[i + 1]
    if a < first then a = first end
    if b > last then b = last end
    if a <= b then
      kept[#kept + 1] = a - first + 1
      kept[#kept + 1] = b - first + 1
    end
  end
  return new(x.s:sub(first, last), kept, x.markup)
end

local sub = M.sub

--- list[1..n] in one text, without markup.
function M.concat(list, n)
  local parts, size, from = {}, 0, NOWHERE
  for i = 1, n do
    local x = list[i]
    if type(x) == 'string' then
      parts[i] = x
      size = size + #x
    else
      parts[i] = x.s
      local ranges = x.from
      if ranges[1] and from == NOWHERE then from = {} end
      for k = 1, #ranges, 2 do
        local a, b, last = ranges[k] + size, ranges[k + 1] + size, #from
        if last > 0 and from[last] == a - 1 then from[last] = b
        else from[last + 1], from[last + 2] = a, b end
      end
      size = size + #x.s
    end
  end
  guard.grow(size)
  guard.spend(#from / 32)
  return new(table.concat(parts), from)
end

--- a and b in one text, without markup.
function M.join2(a, b)
  if type(a) == 'string' and type(b) == 'string' then
    guard.grow(#a + #b)
    return a .. b
  end
  return M.concat({ a, b }, 2)
end

--- Calls fn(bytes, outside) for each stretch of one origin.
function M.each(x, fn)
  if type(x) == 'string' then
    if x ~= '' then fn(x, false) end
    return
  end
  local at, from = 1, x.from
  for i = 1, #from, 2 do
    if from[i] > at then fn(x.s:sub(at, from[i] - 1), false) end
    fn(x.s:sub(from[i], from[i + 1]), true)
    at = from[i + 1] + 1
  end
  if at <= #x.s then fn(x.s:sub(at), false) end
end

--- The text of fn(bytes) of each stretch, from where that was; for functions of single characters.
function M.map(x, fn)
  guard.walk(#M.bytes(x))
  if type(x) == 'string' then
    local result = fn(x)
    guard.grow(#result)
    return result
  end
  local parts, n = {}, 0
  M.each(x, function(bytes, outside)
    n = n + 1
    bytes = fn(bytes)
    parts[n] = outside and M.outside(bytes) or bytes
  end)
  return M.as_markup(M.concat(parts, n), x.markup or false)
end

-- ---- characters ----

function M.length(x)
  guard.search(#M.bytes(x))
  return unicode.length(M.bytes(x))
end

--- Byte ranges of each character: starts[i]..starts[i + 1] - 1.
function M.starts(s)
  local starts, n = {}, 0
  guard.walk(#s)
  for at in s:gmatch('()' .. unicode.CHAR) do
    n = n + 1
    starts[n] = at
  end
  starts[n + 1] = #s + 1
  return starts, n
end

--- Each character as a text.
---@return table chars
---@return integer n
function M.chars(x)
  local starts, n = M.starts(M.bytes(x))
  guard.spend(n)
  local chars = {}
  for i = 1, n do chars[i] = M.as_markup(sub(x, starts[i], starts[i + 1] - 1), false) end
  return chars, n
end

--- Character i, counted from 0 or from the end where negative; nil if there is none.
function M.char_at(x, i)
  local s = M.bytes(x)
  guard.search(#s)
  if not s:find('[\128-\255]') then
    if i < 0 then i = i + #s end
    if i < 0 or i >= #s then return nil end
    return sub(x, i + 1, i + 1)
  end
  local starts, n = M.starts(s)
  if i < 0 then i = i + n end
  if i < 0 or i >= n then return nil end
  return sub(x, starts[i + 1], starts[i + 2] - 1)
end

--- Characters first, first + step, .. before `stop`, counted from 0 and inside of the text.
function M.slice(x, first, stop, step)
  local s = M.bytes(x)
  guard.search(#s)
  if step == 1 and not s:find('[\128-\255]') then return sub(x, first + 1, stop) end
  local starts = M.starts(s)
  if step == 1 then return sub(x, starts[first + 1], (starts[math.max(stop, first) + 1]) - 1) end
  local parts, n = {}, 0
  for i = first, stop - (step > 0 and 1 or -1), step do
    n = n + 1
    parts[n] = sub(x, starts[i + 1], starts[i + 2] - 1)
  end
  return M.as_markup(M.concat(parts, n), M.is_markup(x))
end

--- How many characters stand before byte `at`.
function M.index_of(x, at) return unicode.length(M.bytes(x):sub(1, at - 1)) end

-- ---- searching, by bytes ----

--- Set of a text's characters.
local function set_of(chars)
  local set = {}
  for char in M.bytes(chars):gmatch(unicode.CHAR) do set[char] = true end
  return set
end

--- Without white space, or the characters of `chars`, on the left, on the right.
---@param chars? string|sppo.jinja.Text
function M.strip(x, left, right, chars)
  local s = M.bytes(x)
  local set = chars and set_of(chars) or unicode.spaces
  local first, last = 1, #s
  while left and first <= last do
    local char = s:match('^' .. unicode.CHAR, first)
    if not set[char] then break end
    first = first + #char
  end
  while right and last >= first do
    local at = last
    while s:byte(at) >= 0x80 and s:byte(at) < 0xC0 do at = at - 1 end
    if not set[s:sub(at, last)] then break end
    last = at - 1
  end
  if first == 1 and last == #s then return x end
  guard.walk(#s - (last - first + 1))
  return sub(x, first, last)
end

--- The text between occurrences of `separator`, at most `limit` of them; a Lua list and its length.
function M.split(x, separator, limit)
  local s, sep, parts, n, at = M.bytes(x), M.bytes(separator), {}, 0, 1
  guard.search(#s, #sep)
  while n < limit do
    local first, last = s:find(sep, at, true)
    if not first then break end
    n = n + 1
    parts[n] = sub(x, at, first - 1)
    at = last + 1
  end
  parts[n + 1] = sub(x, at, #s)
  guard.spend(n + 1)
  return parts, n + 1
end

--- As split, from the right.
function M.rsplit(x, separator, limit)
  local all, n = M.split(x, separator, math.huge)
  if n - 1 <= limit then return all, n end
  local s, sep = M.bytes(x), M.bytes(separator)
  local parts, last = {}, #s
  guard.walk(#s)
  for i = limit, 1, -1 do -- occurrences can overlap: search again, from the end
    local at = last - #sep + 1
    while at >= 1 and s:sub(at, at + #sep - 1) ~= sep do at = at - 1 end
    parts[i + 1] = sub(x, at + #sep, last)
    last = at - 1
  end
  parts[1] = sub(x, 1, last)
  return parts, limit + 1
end

--- Every (or the first `limit`) `old` replaced; between all characters where old is ''.
function M.replace(x, old, new_text, limit)
  local s, o = M.bytes(x), M.bytes(old)
  local parts, n = {}, 0
  local function add(part)
    n = n + 1
    parts[n] = part
  end
  if o == '' then
    local chars, count = M.chars(x)
    for i = 1, count + 1 do
      if i <= limit then add(new_text) end
      if i <= count then add(chars[i]) end
    end
  else
    guard.search(#s, #o)
    if not s:find(o, 1, true) then return x end
    local pieces, count = M.split(x, old, limit)
    for i = 1, count do
      if i > 1 then add(new_text) end
      add(pieces[i])
    end
  end
  return M.as_markup(M.concat(parts, n), M.is_markup(x))
end

--- n times the text.
function M.rep(x, n)
  if n <= 0 then return '' end
  local s = M.bytes(x)
  guard.grow(#s * n)
  if type(x) == 'string' then return x:rep(n) end
  guard.spend(n)
  local list = {}
  for i = 1, n do list[i] = x end
  return M.as_markup(M.concat(list, n), M.is_markup(x))
end

local entities = { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ["'"] = '&#39;',
  ['"'] = '&#34;' }

--- HTML's characters as entities, unless it is markup already.
function M.escape(x)
  if M.is_markup(x) then return x end
  local escaped = M.map(x, function(s) return (s:gsub('[&<>\'"]', entities)) end)
  return M.as_markup(escaped, true)
end

return M
