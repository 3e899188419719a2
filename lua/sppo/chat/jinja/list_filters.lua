--- Filters of lists and dicts: (value, args, kwargs) -> value.

local access = require 'sppo.chat.jinja.access'
local guard = require 'sppo.chat.jinja.guard'
local operators = require 'sppo.chat.jinja.operators'
local tests = require 'sppo.chat.jinja.tests'
local text = require 'sppo.chat.jinja.text'
local unicode = require 'sppo.chat.jinja.unicode'
local value = require 'sppo.chat.jinja.value'

local is, NONE, take, elements = value.is, value.NONE, guard.take, value.elements

local M = {}

--- args without their first k.
local function rest(args, k)
  local list = { n = math.max(0, args.n - k) }
  for i = 1, list.n do list[i] = args[i + k] end
  return list
end

--- v's attribute, "a.b" for one of an attribute, an int for an element.
local function attribute_of(v, path)
  if not text.is(path) then return access.item(v, path) end
  for name in text.bytes(path):gmatch('[^.]+') do
    v = access.item(v, name:find('^%d+$') and tonumber(name) or name)
  end
  return v
end

function M.length(v) return value.length(v) end
M.count = M.length

function M.list(v)
  local list = elements(v)
  return value.list(value.copy(list, list.n), list.n)
end

function M.first(v)
  local found = elements(v)[1]
  if found == nil then return value.undefined('there is no first element') end
  return found
end

function M.last(v)
  if is(v, value.List) and v.kind == 'generator' then
    guard.fail('last of a generator: put |list before it')
  end
  local list = elements(v)
  if list.n == 0 then return value.undefined('there is no last element') end
  return list[list.n]
end

function M.join(v, args, kwargs)
  local separator, attribute = take('join', { 'd', 'attribute' }, args, kwargs)
  separator = separator == nil and '' or value.str(separator)
  local list, parts, n = elements(v), {}, 0
  guard.spend(list.n)
  for i = 1, list.n do
    if i > 1 then n = n + 1; parts[n] = separator end
    n = n + 1
    local part = list[i]
    if attribute ~= nil and attribute ~= NONE then part = attribute_of(part, attribute) end
    parts[n] = value.str(part)
  end
  return text.concat(parts, n)
end

--- The (key, value) tuples of a dict as a List.
local function items_of(v)
  if is(v, value.Undefined) then return value.list({}, 0) end
  if not is(v, value.Dict) then guard.failf('items needs a dict, got %s', value.type_name(v)) end
  local list = {}
  guard.spend(v.n)
  for i = 1, v.n do list[i] = value.list({ v.keys[i], value.nth(v, i) }, 2, 'tuple') end
  return value.list(list, v.n)
end

function M.items(v) return value.generator(function() return items_of(v) end) end

function M.reverse(v)
  if is(v, value.List) and v.kind == 'generator' then
    guard.fail('reverse of a generator: put |list before it')
  end
  local list, reversed = elements(v), {}
  for i = 1, list.n do reversed[i] = list[list.n + 1 - i] end
  if text.is(v) then return text.concat(reversed, list.n) end
  return value.generator(function() return value.list(reversed, list.n) end)
end

-- ---- order ----

--- list[1..n] in order of key(element), those of one key as they were.
local function sorted(list, n, key, descending)
  local keys, from, to = {}, {}, {}
  for i = 1, n do
    keys[i] = key(list[i])
    from[i] = i
  end
  guard.spend(n * 8)
  local function before(a, b) -- whether b has to come before a
    if descending then return value.less(keys[a], keys[b]) end
    return value.less(keys[b], keys[a])
  end
  local width = 1
  while width < n do
    for low = 1, n, 2 * width do
      local i, j = low, low + width
      local middle, high = math.min(low + width, n + 1), math.min(low + 2 * width, n + 1)
      for k = low, high - 1 do
        if i < middle and (j >= high or not before(from[i], from[j])) then
          to[k], i = from[i], i + 1
        else
          to[k], j = from[j], j + 1
        end
      end
    end
    from, to, width = to, from, 2 * width
  end
  local result = {}
  for i = 1, n do result[i] = list[from[i]] end
  return result
end

local function folded(v)
  if text.is(v) then guard.walk(#text.bytes(v)) end
  return text.is(v) and unicode.lower(text.bytes(v)) or v
end

local function is_given(v) return v ~= nil and v ~= NONE end

--- The key of an element by `attribute` (none: itself), without case unless case_sensitive.
local function key_by(attribute, case_sensitive)
  local fold = (case_sensitive ~= nil and value.truth(case_sensitive)) and
    function(v) return v end or folded
  if not is_given(attribute) then return fold end
  if not text.is(attribute) or not text.bytes(attribute):find(',', 1, true) then
    return function(v) return fold(attribute_of(v, attribute)) end
  end
  return function(v)
    local keys = {}
    for name in text.bytes(attribute):gmatch('[^,]+') do
      keys[#keys + 1] = fold(attribute_of(v, name))
    end
    return value.list(keys)
  end
end

function M.sort(v, args, kwargs)
  local descending, case, attribute = take('sort', { 'reverse', 'case_sensitive', 'attribute' },
    args, kwargs)
  local list = elements(v)
  return value.list(sorted(list, list.n, key_by(attribute, case),
    is_given(descending) and value.truth(descending)), list.n)
end

function M.dictsort(v, args, kwargs)
  local case, by, descending = take('dictsort', { 'case_sensitive', 'by', 'reverse' }, args, kwargs)
  local at = by == nil and 'key' or text.is(by) and text.bytes(by)
  if at ~= 'key' and at ~= 'value' then
    guard.fail('dictsort: by must be \'key\' or \'value\'')
  end
  value.need(v)
  local pairs_of = items_of(v)
  return value.list(sorted(pairs_of, pairs_of.n, key_by(at == 'key' and 0 or 1, case),
    is_given(descending) and value.truth(descending)), pairs_of.n)
end

function M.unique(v, args, kwargs)
  local case, attribute = take('unique', { 'case_sensitive', 'attribute' }, args, kwargs)
  return value.generator(function()
    local list, key, seen, kept, n = elements(v), key_by(attribute, case), value.dict(), {}, 0
    guard.spend(list.n)
    for i = 1, list.n do
      local k = key(list[i])
      if value.get(seen, k) == nil then
        value.put(seen, k, true)
        n = n + 1
        kept[n] = list[i]
      end
    end
    return value.list(kept, n)
  end)
end

for name, smaller in pairs { min = true, max = false } do
  M[name] = function(v, args, kwargs)
    local case, attribute = take(name, { 'case_sensitive', 'attribute' }, args, kwargs)
    local list, key = elements(v), key_by(attribute, case)
    if list.n == 0 then return value.undefined('an empty list has no ' .. name) end
    local best, best_key = list[1], key(list[1])
    guard.spend(list.n)
    for i = 2, list.n do
      local k = key(list[i])
      local better = smaller and value.less(k, best_key) or
        not smaller and value.less(best_key, k)
      if better then best, best_key = list[i], k end
    end
    return best
  end
end

function M.sum(v, args, kwargs)
  local attribute, total = take('sum', { 'attribute', 'start' }, args, kwargs)
  total = total == nil and 0 or total
  local list = elements(v)
  guard.spend(list.n)
  for i = 1, list.n do
    local part = list[i]
    if is_given(attribute) then part = attribute_of(part, attribute) end
    total = operators.add(total, part)
  end
  return total
end

-- ---- choosing ----

--- A generator of make(v); of nothing where v is false, which jinja2 does not look into.
local function lazily(v, make)
  return value.generator(function()
    if not value.truth(v) then return value.list({}, 0) end
    return make(v)
  end)
end

--- Elements for which of(element) is what `wanted` says.
local function chosen(v, wanted, of)
  local list, kept, n = elements(v), {}, 0
  guard.spend(list.n)
  for i = 1, list.n do
    if of(list[i]) == wanted then
      n = n + 1
      kept[n] = list[i]
    end
  end
  return value.list(kept, n)
end

--- A test by the first of args, truth if there is none.
local function test_by(what, args)
  if args.n == 0 then return value.truth end
  if not text.is(args[1]) then guard.failf('%s needs the name of a test', what) end
  local name, others = text.bytes(args[1]), rest(args, 1)
  return function(v) return tests.run(name, v, others) end
end

for name, wanted in pairs { select = true, reject = false } do
  M[name] = function(given, args)
    return lazily(given, function(v) return chosen(v, wanted, test_by(name, args)) end)
  end
  M[name .. 'attr'] = function(given, args)
    return lazily(given, function(v)
      if args.n == 0 then guard.failf('%sattr needs an attribute', name) end
      local test = test_by(name .. 'attr', rest(args, 1))
      return chosen(v, wanted, function(x) return test(attribute_of(x, args[1])) end)
    end)
  end
end

local function mapped_list(v, args, kwargs, find)
  local list, mapped = elements(v), {}
  local attribute = kwargs and kwargs.attribute
  if args.n == 0 and attribute == nil then guard.fail('map needs a filter or attribute=') end
  local filter = attribute == nil and
    (text.is(args[1]) and find(text.bytes(args[1])) or guard.fail('map needs a filter\'s name'))
  local others = rest(args, 1)
  guard.spend(list.n)
  for i = 1, list.n do
    if filter then mapped[i] = filter(list[i], others, kwargs)
    else
      local found = attribute_of(list[i], attribute)
      if is(found, value.Undefined) and kwargs.default ~= nil then found = kwargs.default end
      mapped[i] = found
    end
  end
  return value.list(mapped, list.n)
end

--- map(attribute=, default=) or map('filter', ..); `find` gives a filter of its name.
function M.map(given, args, kwargs, find)
  return lazily(given, function(v) return mapped_list(v, args, kwargs, find) end)
end

return M
