--- Values as JSON, as Python's json.dumps writes them.

local guard = require 'sppo.chat.jinja.guard'
local text = require 'sppo.chat.jinja.text'
local unicode = require 'sppo.chat.jinja.unicode'
local value = require 'sppo.chat.jinja.value'

local is, NONE = value.is, value.NONE

local DEPTH = 100

local short = { ['"'] = '\\"', ['\\'] = '\\\\', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t',
  ['\b'] = '\\b', ['\f'] = '\\f' }

local function escape(char) return short[char] or ('\\u%04x'):format(char:byte()) end

local function escape_code(char)
  local code = unicode.code(char)
  if code < 0x10000 then return ('\\u%04x'):format(code) end
  code = code - 0x10000
  return ('\\u%04x\\u%04x'):format(0xD800 + math.floor(code / 1024), 0xDC00 + code % 1024)
end

local function to_body(s) return (s:gsub('[%z\1-\31"\\]', escape)) end
local function to_ascii(s)
  return (to_body(s):gsub('[\127\194-\244][\128-\191]*', escape_code))
end

local function number_text(v)
  if v == math.huge then return 'Infinity' end
  if v == -math.huge then return '-Infinity' end
  return v ~= v and 'NaN' or value.float_text(v)
end

--- What a key of an object is written as, without quotes.
local function key_text(key)
  if text.is(key) then return key end
  if key == NONE then return 'null' end
  if type(key) == 'boolean' then return tostring(key) end
  if is(key, value.Float) then return number_text(key.v) end
  return value.str(key)
end

local M = {}

---@param v any
---@param options { ascii: boolean, indent: string?, item: string, key: string, sort: boolean }
---        indent: of one level; item, key: what stands between two entries, behind a key
---@return string|sppo.jinja.Text
function M.write(v, options)
  local parts, n = {}, 0
  local function add(part) n = n + 1; parts[n] = part end
  local function add_text(x)
    add '"'
    add(text.map(text.as_markup(x, false), options.ascii and to_ascii or to_body))
    add '"'
  end
  local function new_line(depth)
    if options.indent then add('\n' .. options.indent:rep(depth)) end
  end
  local write

  local function entries(list, count, depth, open, close, entry)
    guard.spend(count)
    if count == 0 then return add(open .. close) end
    add(open)
    for i = 1, count do
      if i > 1 then add(options.item) end
      new_line(depth)
      entry(list, i)
    end
    new_line(depth - 1)
    add(close)
  end

  function write(x, depth)
    if depth > DEPTH then guard.fail('tojson: lists nest too deeply') end
    if text.is(x) then return add_text(x) end
    if x == NONE then return add 'null' end
    if type(x) == 'boolean' then return add(tostring(x)) end
    if type(x) == 'number' then return add(value.str(x)) end
    if is(x, value.Float) then return add(number_text(x.v)) end
    if is(x, value.List) and (x.kind == 'list' or x.kind == 'tuple') then
      return entries(x, x.n, depth + 1, '[', ']', function(_, i) write(x[i], depth + 1) end)
    end
    if is(x, value.Dict) then
      local keys = value.copy(x.keys, x.n)
      if options.sort then
        table.sort(keys, function(a, b) return value.less(a, b) end)
      end
      return entries(keys, x.n, depth + 1, '{', '}', function(_, i)
        add_text(key_text(keys[i]))
        add(options.key)
        write(value.get(x, keys[i]), depth + 1)
      end)
    end
    guard.failf('tojson: a %s can\'t be written', value.type_name(x))
  end

  write(v, 0)
  return text.concat(parts, n)
end

return M
