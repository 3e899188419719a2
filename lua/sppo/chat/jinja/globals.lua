--- Functions that a template can call: range, dict, namespace, raise_exception, strftime_now.

local guard = require 'sppo.chat.jinja.guard'
local text = require 'sppo.chat.jinja.text'
local value = require 'sppo.chat.jinja.value'

local LONGEST = 100000 -- range, as in jinja2's sandbox
local M = {}

local function whole(what, v)
  if type(v) == 'number' then return v end
  if type(v) == 'boolean' then return v and 1 or 0 end
  value.need(v)
  guard.failf('%s needs whole numbers, got %s', what, value.type_name(v))
end

function M.range(args)
  if args.n < 1 or args.n > 3 then guard.failf('range takes 1 to 3 arguments, got %d', args.n) end
  local first, stop, step = 0, whole('range', args[1]), 1
  if args.n > 1 then first, stop = stop, whole('range', args[2]) end
  if args.n > 2 then step = whole('range', args[3]) end
  if step == 0 then guard.fail('range: the step is 0') end
  local n = math.max(0, math.ceil((stop - first) / step))
  if n > LONGEST then guard.failf('range of %.0f numbers; up to %d are allowed', n, LONGEST) end
  guard.spend(n)
  local list = {}
  for i = 1, n do list[i] = first + (i - 1) * step end
  list = value.list(list, n, 'range')
  list.shown = (step == 1 and 'range(%d, %d)' or 'range(%d, %d, %d)'):format(first, stop, step)
  return list
end

--- The entries of a dict, or of a list of pairs, and of keyword arguments: put(key, v) of each.
local function entries(what, args, kwargs, put)
  if args.n > 1 then guard.failf('%s takes one argument, got %d', what, args.n) end
  local given = args[1]
  if value.is(given, value.Dict) then
    for i = 1, given.n do put(given.keys[i], value.nth(given, i)) end
  elseif given ~= nil then
    local list = value.elements(value.need(given))
    for i = 1, list.n do
      local pair = value.elements(list[i])
      if pair.n ~= 2 then guard.failf('%s needs pairs', what) end
      put(pair[1], pair[2])
    end
  end
  local names = {}
  for name in pairs(kwargs or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do put(name, kwargs[name]) end
end

function M.dict(args, kwargs)
  local dict = value.dict()
  entries('dict', args, kwargs, function(key, v) value.put(dict, key, v) end)
  return dict
end

function M.namespace(args, kwargs)
  local fields = {}
  entries('namespace', args, kwargs, function(key, v)
    local name = text.is(key) and text.bytes(key)
    if not name or name:sub(1, 1) == '_' then
      guard.fail('a namespace has no names that begin with _')
    end
    fields[name] = v
  end)
  return value.namespace(fields)
end

function M.raise_exception(args)
  if args.n ~= 1 then guard.failf('raise_exception takes 1 argument, got %d', args.n) end
  guard.raise(text.bytes(value.str(args[1])))
end

--- strftime_now, for a time in seconds since 1970 (UTC), or the clock's (local) where it is nil.
---@param now? number
function M.clock(now)
  return function(args)
    if not text.is(args[1]) then guard.fail('strftime_now needs a text') end
    return (text.bytes(args[1]):gsub('%%(-?)([%a%%])', function(bare, letter)
      if letter == '%' then return '%' end
      if not letter:find('[aAbBcdDeFHIjmMpRSTuUVwWxXyYZ]') then
        guard.failf('strftime_now: \'%%%s\' is not supported', letter)
      end
      local shown = os.date((now and '!%' or '%') .. letter, now)
      return bare == '-' and (shown:gsub('^[0 ]+(.)', '%1')) or shown
    end))
  end
end

return M
