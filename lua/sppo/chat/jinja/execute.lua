--- Statements as functions (scope, out) that write to `out`, as evaluate.lua has expressions. They
--- return 'break' or 'continue' where a loop's turn ends early.

local evaluate = require 'sppo.chat.jinja.evaluate'
local guard = require 'sppo.chat.jinja.guard'
local loop_value = require 'sppo.chat.jinja.loop'
local text = require 'sppo.chat.jinja.text'
local value = require 'sppo.chat.jinja.value'

local truth = value.truth

local M = {}

local kinds = {}

-- ---- output ----

--- A list of texts: out[1..n], their bytes together.
function M.buffer() return { n = 0, size = 0 } end

local function emit(out, x)
  local n, size = out.n + 1, out.size + #text.bytes(x)
  guard.fits(size)
  out[n], out.n, out.size = x, n, size
end

--- Runs statements with an output of their own; what they wrote.
local function captured(run, scope)
  local out = M.buffer()
  run(scope, out)
  return text.concat(out, out.n)
end

-- ---- statements ----

--- The function of a list of statements.
---@param body table[]
---@param soft boolean  as in evaluate.compile
local function compile(body, soft)
  local list = {}
  for i, node in ipairs(body) do list[i] = kinds[node.kind](node, soft) end
  local n = #list
  return function(scope, out)
    for i = 1, n do
      local signal = list[i](scope, out)
      if signal then return signal end
    end
  end
end
M.compile = compile

function kinds.data(node)
  local words, line = node.text, node.line
  return function(_, out)
    guard.at(line)
    emit(out, words)
  end
end

function kinds.output(node, soft)
  local of, line = evaluate.compile(node.value, soft), node.line
  return function(scope, out)
    guard.at(line)
    emit(out, value.str(of(scope)))
  end
end

kinds['break'] = function() return function() return 'break' end end
kinds['continue'] = function() return function() return 'continue' end end

kinds['if'] = function(node)
  local conditions, bodies, line = {}, {}, node.line
  for i, branch in ipairs(node.branches) do
    conditions[i], bodies[i] = evaluate.compile(branch[1], true), compile(branch[2], true)
  end
  local otherwise = node.otherwise and compile(node.otherwise, true)
  return function(scope, out)
    guard.at(line)
    for i = 1, #conditions do
      if truth(conditions[i](scope)) then return bodies[i](scope, out) end
    end
    if otherwise then return otherwise(scope, out) end
  end
end

--- The function (scope, v) that gives names their values.
local function assigner(target)
  if target.kind == 'name' then
    local name = target.name
    return function(scope, v) scope[name] = v end
  end
  if target.kind == 'field' then
    local object, name = target.object, target.name
    return function(scope, v)
      local namespace = evaluate.lookup(scope, object)
      if not value.is(namespace, value.Namespace) then
        guard.failf('\'%s\' is no namespace: its attributes can\'t be set', object)
      end
      if name:sub(1, 1) == '_' then
        guard.failf('\'%s\': a namespace has no names that begin with _', name)
      end
      namespace.fields[name] = v
    end
  end
  local parts = {}
  for i, item in ipairs(target.items) do parts[i] = assigner(item) end
  return function(scope, v)
    local list = value.elements(v)
    if list.n ~= #parts then
      guard.failf('%d values for %d names', list.n, #parts)
    end
    for i = 1, #parts do parts[i](scope, list[i]) end
  end
end

kinds['for'] = function(node, soft)
  local assign, list_of = assigner(node.target), evaluate.compile(node.list, soft)
  local condition = node.condition and evaluate.compile(node.condition, false)
  local body, line = compile(node.body, false), node.line
  local otherwise = node.otherwise and compile(node.otherwise, false)

  local function filtered(scope, list)
    local kept, n = {}, 0
    for i = 1, list.n do
      local inner = { scope }
      guard.spend(1)
      assign(inner, list[i])
      if truth(condition(inner)) then
        n = n + 1
        kept[n] = list[i]
      end
    end
    return value.list(kept, n)
  end

  return function(scope, out)
    guard.at(line)
    local list = value.elements(list_of(scope))
    if condition then list = filtered(scope, list) end
    local loop = loop_value.new(list)
    for i = 1, list.n do
      guard.at(line)
      loop.i = i
      local inner = { scope, loop = loop }
      assign(inner, list[i])
      if body(inner, out) == 'break' then break end
    end
    if list.n == 0 and otherwise then return otherwise({ scope }, out) end
  end
end

function kinds.set(node, soft)
  local assign, of, line = assigner(node.target), evaluate.compile(node.value, soft), node.line
  return function(scope)
    guard.at(line)
    assign(scope, of(scope))
  end
end

function kinds.capture(node, soft)
  local assign, body, line = assigner(node.target), compile(node.body, false), node.line
  local filter = node.filter and evaluate.compile(node.filter, soft)
  return function(scope)
    guard.at(line)
    local inner = { scope }
    local v = captured(body, inner)
    if filter then v = filter(inner, v) end
    assign(scope, v)
  end
end

function kinds.filter_block(node, soft)
  local body, filter = compile(node.body, false), evaluate.compile(node.filter, soft)
  local line = node.line
  return function(scope, out)
    guard.at(line)
    local inner = { scope }
    emit(out, value.str(filter(inner, captured(body, inner))))
  end
end

kinds['with'] = function(node, soft)
  local assigners, values, body = {}, {}, compile(node.body, false)
  for i, pair in ipairs(node.values) do
    assigners[i], values[i] = assigner(pair[1]), evaluate.compile(pair[2], soft)
  end
  return function(scope, out)
    local inner = { scope }
    for i = 1, #values do assigners[i](inner, values[i](scope)) end
    return body(inner, out)
  end
end

-- ---- macros ----

--- kwargs that no parameter took, as macros that use `kwargs` see them.
local function left_over(name, kwargs, taken, wanted)
  local rest = value.dict()
  for key, v in pairs(kwargs or {}) do
    if not taken[key] then
      if not wanted then guard.failf('macro %s has no argument \'%s\'', name, key) end
      value.put(rest, key, v)
    end
  end
  return rest
end

--- The function (scope) -> macro of a macro's node.
local function compile_macro(node)
  local parameters, defaults, uses, name = node.parameters, {}, node.uses, node.name
  for i, p in ipairs(parameters) do
    if p.default then defaults[i] = evaluate.compile(p.default, false) end
  end
  local body = compile(node.body, false)
  return function(scope)
    return function(args, kwargs)
      guard.enter()
      local inner, taken = { scope }, { caller = uses.caller }
      if args.n > #parameters and not uses.varargs then
        guard.failf('macro %s takes at most %d arguments, got %d', name, #parameters, args.n)
      end
      for i, p in ipairs(parameters) do
        local v, named = args[i], kwargs and kwargs[p.name]
        if v ~= nil and named ~= nil then
          guard.failf('macro %s: argument \'%s\' is given twice', name, p.name)
        end
        if v == nil then v = named end
        if v == nil and defaults[i] then v = defaults[i](inner) end
        if v == nil then v = value.undefined(('parameter \'%s\' is not given'):format(p.name)) end
        inner[p.name], taken[p.name] = v, true
      end
      local rest = left_over(name, kwargs, taken, uses.kwargs)
      if uses.kwargs then inner.kwargs = rest end
      if uses.varargs then
        local more = {}
        for i = #parameters + 1, args.n do more[#more + 1] = args[i] end
        inner.varargs = value.list(more, #more, 'tuple')
      end
      if uses.caller then
        inner.caller = kwargs and kwargs.caller or value.undefined('\'caller\' is undefined')
      end
      local result = captured(body, inner)
      guard.leave()
      return result
    end
  end
end

function kinds.macro(node)
  local make, name = compile_macro(node), node.name
  return function(scope) scope[name] = make(scope) end
end

function kinds.call_block(node, soft)
  node.call.caller = compile_macro(node.caller)
  local of, line = evaluate.compile(node.call, soft), node.line
  return function(scope, out)
    guard.at(line)
    emit(out, value.str(of(scope)))
  end
end

return M
