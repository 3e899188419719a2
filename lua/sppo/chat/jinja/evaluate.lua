--- Expressions as functions of the scope: a tree of nodes is walked once, when a template is
--- compiled, and becomes Lua closures.
---
--- A scope is a table of names, its [1] the scope around it.

local access = require 'sppo.chat.jinja.access'
local filters = require 'sppo.chat.jinja.filters'
local guard = require 'sppo.chat.jinja.guard'
local operators = require 'sppo.chat.jinja.operators'
local tests = require 'sppo.chat.jinja.tests'
local value = require 'sppo.chat.jinja.value'

local truth = value.truth

local DEPTH = 200 -- operators in operators

local M = {}

--- What a name stands for in a scope; nil if nothing.
function M.lookup(scope, name)
  repeat
    local v = scope[name]
    if v ~= nil then return v end
    scope = scope[1]
  until not scope
end

local lookup = M.lookup
local kinds = {}

--- The function (scope) -> value of a node.
---@param node table
---@param soft boolean   inside of an `if`, where an unknown filter or test fails only when reached,
---                      as in jinja2
---@param depth? integer
local function compile(node, soft, depth)
  depth = (depth or 0) + 1
  if depth > DEPTH then guard.fail('the expression nests too deeply', node.line) end
  return kinds[node.kind](node, soft, depth)
end
M.compile = compile

local function compile_all(nodes, soft, depth)
  local list = {}
  for i, node in ipairs(nodes) do list[i] = compile(node, soft, depth) end
  return list
end

function kinds.const(node)
  local v = node.value
  return function() return v end
end

function kinds.name(node)
  local name = node.name
  return function(scope)
    local v = lookup(scope, name)
    if v == nil then return value.undefined(('\'%s\' is undefined'):format(name)) end
    return v
  end
end

local function sequence(kind)
  return function(node, soft, depth)
    local items = compile_all(node.items, soft, depth)
    local n = #items
    return function(scope)
      local list = {}
      guard.spend(n)
      for i = 1, n do list[i] = items[i](scope) end
      return value.list(list, n, kind)
    end
  end
end

kinds.list, kinds.tuple = sequence 'list', sequence 'tuple'

function kinds.dict(node, soft, depth)
  local keys, values = {}, {}
  for i, entry in ipairs(node.entries) do
    keys[i], values[i] = compile(entry[1], soft, depth), compile(entry[2], soft, depth)
  end
  return function(scope)
    local dict = value.dict()
    guard.spend(#keys)
    for i = 1, #keys do value.put(dict, keys[i](scope), values[i](scope)) end
    return dict
  end
end

function kinds.attribute(node, soft, depth)
  local object, name = compile(node.object, soft, depth), node.name
  return function(scope) return access.attribute(object(scope), name) end
end

function kinds.item(node, soft, depth)
  local object, key = compile(node.object, soft, depth), node.key
  if key.kind == 'slice' then
    local function bound(b) return b and compile(b, soft, depth) or function() end end
    local first, stop, step = bound(key.first), bound(key.stop), bound(key.step)
    return function(scope)
      return access.slice(object(scope), first(scope), stop(scope), step(scope))
    end
  end
  key = compile(key, soft, depth)
  return function(scope) return access.item(object(scope), key(scope)) end
end

--- The function (scope) -> args, kwargs of a call's arguments.
local function arguments(node, soft, depth)
  local args, n = compile_all(node.args, soft, depth), #node.args
  local kwargs
  for _, pair in ipairs(node.kwargs) do
    kwargs = kwargs or {}
    kwargs[#kwargs + 1] = { pair[1], compile(pair[2], soft, depth) }
  end
  return function(scope)
    local list, named = { n = n }, nil
    for i = 1, n do list[i] = args[i](scope) end
    if kwargs then
      named = {}
      for i = 1, #kwargs do named[kwargs[i][1]] = kwargs[i][2](scope) end
    end
    return list, named
  end
end

local function need_callable(f)
  if type(f) == 'function' then return f end
  value.need(f)
  guard.failf('a %s can\'t be called', value.type_name(f))
end

function kinds.call(node, soft, depth)
  local given, callee = arguments(node, soft, depth), node.callee
  local caller = node.caller -- of a call block: (scope) -> what `caller` is inside
  local function all(scope)
    local args, kwargs = given(scope)
    if caller then
      kwargs = kwargs or {}
      kwargs.caller = caller(scope)
    end
    return args, kwargs
  end
  if callee.kind == 'attribute' then
    local object, name = compile(callee.object, soft, depth), callee.name
    return function(scope)
      local v = object(scope)
      local method = access.method(v, name)
      guard.spend(1)
      if method then return method(v, all(scope)) end
      return need_callable(access.attribute(v, name))(all(scope))
    end
  end
  local f = compile(callee, soft, depth)
  return function(scope)
    guard.spend(1)
    return need_callable(f(scope))(all(scope))
  end
end

local function check_known(what, node, known, soft)
  if not known[node.name] and not soft then
    guard.fail(('there is no %s \'%s\''):format(what, node.name), node.line)
  end
end

--- A filter; without an object it filters what is given to it: (scope, v).
function kinds.filter(node, soft, depth)
  check_known('filter', node, filters.known, soft)
  local object = node.object and compile(node.object, soft, depth)
  local given, name = arguments(node, soft, depth), node.name
  return function(scope, v)
    if object then v = object(scope, v) end
    guard.spend(1)
    return filters.find(name)(v, given(scope))
  end
end

function kinds.test(node, soft, depth)
  check_known('test', node, tests.known, soft)
  local object = compile(node.object, soft, depth)
  local given, name = arguments(node, soft, depth), node.name
  return function(scope) return tests.run(name, object(scope), (given(scope))) end
end

function kinds.binary(node, soft, depth)
  local left, right = compile(node.left, soft, depth), compile(node.right, soft, depth)
  local operate = operators[node.op]
  return function(scope)
    local a = left(scope)
    return operate(a, right(scope))
  end
end

for _, sign in ipairs { 'negative', 'positive' } do
  kinds[sign] = function(node, soft, depth)
    local object, operate = compile(node.object, soft, depth), operators[sign]
    return function(scope) return operate(object(scope)) end
  end
end

function kinds.tilde(node, soft, depth)
  local items = compile_all(node.items, soft, depth)
  local n = #items
  return function(scope)
    local list = {}
    for i = 1, n do list[i] = items[i](scope) end
    return operators.tilde(list, n)
  end
end

kinds['and'] = function(node, soft, depth)
  local left, right = compile(node.left, soft, depth), compile(node.right, soft, depth)
  return function(scope)
    local v = left(scope)
    if not truth(v) then return v end
    return right(scope)
  end
end

kinds['or'] = function(node, soft, depth)
  local left, right = compile(node.left, soft, depth), compile(node.right, soft, depth)
  return function(scope)
    local v = left(scope)
    if truth(v) then return v end
    return right(scope)
  end
end

kinds['not'] = function(node, soft, depth)
  local object = compile(node.object, soft, depth)
  return function(scope) return not truth(object(scope)) end
end

--- a < b <= c: every pair, up to the first that does not hold.
function kinds.compare(node, soft, depth)
  local first, rest = compile(node.first, soft, depth), {}
  for i, pair in ipairs(node.rest) do
    rest[i] = { operators.compare[pair[1]], compile(pair[2], soft, depth) }
  end
  return function(scope)
    local left = first(scope)
    for i = 1, #rest do
      local right = rest[i][2](scope)
      if not rest[i][1](left, right) then return false end
      left = right
    end
    return true
  end
end

function kinds.choice(node, _, depth)
  local condition, object = compile(node.condition, true, depth), compile(node.object, true, depth)
  local other = node.other and compile(node.other, true, depth)
  return function(scope)
    if truth(condition(scope)) then return object(scope) end
    if other then return other(scope) end
    return value.undefined('an inline if without else was false')
  end
end

return M
