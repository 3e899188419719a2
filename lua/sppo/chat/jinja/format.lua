--- Python's str.format and `%` for texts: what chat templates write with them.

local guard = require 'sppo.chat.jinja.guard'
local text = require 'sppo.chat.jinja.text'
local value = require 'sppo.chat.jinja.value'

local failf = guard.failf

local M = {}

--- template.format(..): {}, {0} and {name}, without a format after a colon.
---@param self string|sppo.jinja.Text
function M.braces(self, args, kwargs)
  local s, parts, n, at, next_arg = text.bytes(self), {}, 0, 1, 1
  local function add(part) n = n + 1; parts[n] = part end
  while true do
    local brace = s:find('[{}]', at)
    add(text.sub(self, at, (brace or #s + 1) - 1))
    if not brace then break end
    if s:sub(brace, brace) == s:sub(brace + 1, brace + 1) then
      add(text.sub(self, brace, brace))
      at = brace + 2
    else
      local name, stop = s:match('^{([%w_]*)}()', brace)
      if not name then
        failf('format reads {}, {0} and {name}, got \'%s\'', s:sub(brace, brace + 20))
      end
      local given
      if name == '' then
        given, next_arg = args[next_arg], next_arg + 1
      elseif name:find('^%d+$') then given = args[tonumber(name) + 1]
      else given = kwargs and kwargs[name] end
      if given == nil then failf('format: nothing is given for {%s}', name) end
      given = value.str(given)
      if text.is_markup(self) then given = text.escape(given) end
      add(given)
      at = stop
    end
  end
  local result = text.concat(parts, n)
  return text.is_markup(self) and text.as_markup(result, true) or result
end

local function number_of(letter, v)
  local x = value.number(v)
  if not x then
    value.need(v)
    failf('%%%s needs a number, got %s', letter, value.type_name(v))
  end
  return x
end

--- One value as %letter with flags writes it.
local function written(flags, letter, v)
  if letter == 's' or letter == 'r' then
    local shown = letter == 's' and value.str(v) or value.repr(v)
    if flags == '' then return shown end
    local left, width = flags:match('^(%-?)(%d+)$')
    if not width then failf('%%%s%s: only a width is read', flags, letter) end
    local pad = (' '):rep(tonumber(width) - text.length(shown))
    return left == '-' and text.join2(shown, pad) or text.join2(pad, shown)
  end
  local x = number_of(letter, v)
  if letter == 'd' or letter == 'i' then
    if x ~= x or math.abs(x) == math.huge then failf('%%d of a number that is not finite') end
    x = x < 0 and math.ceil(x) or math.floor(x)
    return ('%' .. flags .. 'd'):format(x)
  end
  return ('%' .. flags .. letter):format(x)
end

--- template % v, for %s %r %d %i %x %X %o %f %e %g and %%.
function M.percent(self, v)
  local s, parts, n, at, used = text.bytes(self), {}, 0, 1, 0
  local list = value.is(v, value.List) and v.kind == 'tuple' and v or { v, n = 1 }
  local function add(part) n = n + 1; parts[n] = part end
  while true do
    local percent = s:find('%', at, true)
    add(text.sub(self, at, (percent or #s + 1) - 1))
    if not percent then break end
    local flags, letter, stop = s:match('^%%([%-+ 0#]*%d?%d?%.?%d?%d?)([srdixXofeg%%])()', percent)
    if not flags then
      failf('%% reads %%s, %%r, %%d, %%x, %%o, %%f, %%e and %%g, got \'%s\'',
        s:sub(percent, percent + 20))
    end
    if letter == '%' then add('%')
    else
      used = used + 1
      if used > list.n then failf('%%: %d values for \'%s\'', list.n, s:sub(1, 80)) end
      add(written(flags, letter, list[used]))
    end
    at = stop
  end
  if used < list.n and not value.is(v, value.Dict) then
    failf('%%: %d values for \'%s\'', list.n, s:sub(1, 80))
  end
  return text.concat(parts, n)
end

return M
