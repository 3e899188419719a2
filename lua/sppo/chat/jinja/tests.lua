--- What can stand behind `is`: (value, args) -> boolean.

local guard = require 'sppo.chat.jinja.guard'
local operators = require 'sppo.chat.jinja.operators'
local text = require 'sppo.chat.jinja.text'
local unicode = require 'sppo.chat.jinja.unicode'
local value = require 'sppo.chat.jinja.value'

local is = value.is

local M = {}

function M.defined(v) return not is(v, value.Undefined) end
function M.undefined(v) return is(v, value.Undefined) end
function M.none(v) return v == value.NONE end
function M.string(v) return text.is(v) end
function M.mapping(v) return is(v, value.Dict) end
function M.boolean(v) return type(v) == 'boolean' end
function M.number(v) return value.number(v) ~= nil end
function M.integer(v) return type(v) == 'number' end
function M.float(v) return is(v, value.Float) end
function M.callable(v) return type(v) == 'function' end
M['true'] = function(v) return v == true end
M['false'] = function(v) return v == false end

function M.iterable(v)
  return text.is(v) or is(v, value.Dict) or is(v, value.List) or is(v, value.Undefined)
end

function M.sequence(v)
  if is(v, value.List) then return v.kind ~= 'generator' and v.kind ~= 'view' end
  return M.iterable(v)
end

local function whole(v)
  local x = value.number(value.need(v))
  if not x then guard.failf('a %s is neither odd nor even', value.type_name(v)) end
  return x
end

function M.even(v) return whole(v) % 2 == 0 end
function M.odd(v) return whole(v) % 2 == 1 end
function M.divisibleby(v, args) return operators.mod(v, args[1]) == 0 end

--- Whether own(v) is v, and v has letters of which other(v) differs.
local function of_case(own, other)
  return function(v)
    local s = text.bytes(value.str(v))
    guard.walk(#s)
    return own(s) == s and other(s) ~= s
  end
end

M.upper = of_case(unicode.upper, unicode.lower)
M.lower = of_case(unicode.lower, unicode.upper)

M['in'] = function(v, args) return value.contains(args[1], v) end
function M.sameas(v, args) return rawequal(v, args[1]) end

for op, names in pairs {
  ['=='] = { 'eq', 'equalto' }, ['!='] = { 'ne' }, ['<'] = { 'lt', 'lessthan' },
  ['>'] = { 'gt', 'greaterthan' }, ['<='] = { 'le' }, ['>='] = { 'ge' },
} do
  local compare = operators.compare[op]
  M[op] = function(v, args) return compare(v, args[1]) end
  for _, name in ipairs(names) do M[name] = M[op] end
end

--- How many arguments each takes, for a clear error.
local with_argument = { divisibleby = true, sameas = true, ['in'] = true, eq = true, equalto = true,
  ne = true, lt = true, lessthan = true, gt = true, greaterthan = true, le = true, ge = true,
  ['=='] = true, ['!='] = true, ['<'] = true, ['>'] = true, ['<='] = true, ['>='] = true }

--- What the test called `name` says of v; fails if there is none.
---@param name string
---@param args table  { n = .., .. }
return { known = M, run = function(name, v, args)
  local test = M[name]
  if not test then guard.failf('there is no test \'%s\'', name) end
  local wanted = with_argument[name] and 1 or 0
  if args.n ~= wanted then
    guard.failf('test \'%s\' takes %d arguments, got %d', name, wanted, args.n)
  end
  return test(v, args)
end }
