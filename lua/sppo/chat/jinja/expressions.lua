--- Expressions: tokens to a tree of nodes { kind, line, .. }. After jinja2/parser.py, with its
--- precedence: a filter binds to the operand before it, `not a in b` is `not (a in b)`.

local guard = require 'sppo.chat.jinja.guard'
local value = require 'sppo.chat.jinja.value'

local DEPTH = 100 -- brackets in brackets

---@class sppo.jinja.Parser
local P = {}
P.__index = P

function P:fail(text) guard.fail(text, self.token.line) end

--- Goes on to the next token; the one before.
function P:next()
  local token = self.token
  self.at = self.at + 1
  self.token = self.tokens[self.at] or token
  return token
end

function P:is(kind, v) return self.token.type == kind and (v == nil or self.token.value == v) end
function P:is_op(op) return self:is('op', op) end
function P:is_name(name) return self:is('name', name) end

--- Goes on if the token is this one.
function P:skip(kind, v)
  if not self:is(kind, v) then return false end
  self:next()
  return true
end

local function shown(token)
  if token.type == 'end' then return 'the end of the template' end
  return ('\'%s\''):format(tostring(token.value or token.type):sub(1, 40))
end

function P:expect(kind, v)
  if not self:is(kind, v) then
    self:fail(('expected %s, got %s'):format(v and '\'' .. v .. '\'' or kind, shown(self.token)))
  end
  return self:next()
end

function P:node(kind, fields, line)
  fields.kind, fields.line = kind, line or self.token.line
  return fields
end

local function constant(self, v) return self:node('const', { value = v }) end

--- A list between brackets, up to `close`; of(self) reads an element.
local function listed(self, close, of)
  local items = {}
  while not self:is_op(close) do
    if #items > 0 then self:expect('op', ',') end
    if self:is_op(close) then break end
    items[#items + 1] = of(self)
  end
  self:expect('op', close)
  return items
end

local function dict_entry(self)
  local key = self:expression()
  self:expect('op', ':')
  return { key, self:expression() }
end

local constants = { ['true'] = true, ['True'] = true, ['false'] = false, ['False'] = false,
  none = value.NONE, None = value.NONE }

function P:primary()
  local token = self.token
  local line = token.line
  if token.type == 'name' then
    self:next()
    local known = constants[token.value]
    if known ~= nil then return self:node('const', { value = known }, line) end
    if self.macro then self.macro.uses[token.value] = true end
    return self:node('name', { name = token.value }, line)
  elseif token.type == 'string' then
    local parts = {}
    while self:is('string') do parts[#parts + 1] = self:next().value end
    return constant(self, table.concat(parts))
  elseif token.type == 'int' or token.type == 'float' then
    self:next()
    return constant(self, token.type == 'int' and token.value or value.float(token.value))
  elseif self:skip('op', '(') then
    local node = self:tuple { brackets = true }
    self:expect('op', ')')
    return node
  elseif self:skip('op', '[') then
    return self:node('list', { items = listed(self, ']', P.expression) }, line)
  elseif self:skip('op', '{') then
    return self:node('dict', { entries = listed(self, '}', dict_entry) }, line)
  end
  self:fail('unexpected ' .. shown(token))
end

--- What a tuple may end with.
local function at_tuple_end(self, stop)
  return self:is('}}') or self:is('%}') or self:is_op(')') or (stop and self:is_name(stop))
end

--- An expression, or several with commas as a tuple.
---@param options? { no_if: boolean, brackets: boolean, stop: string }
function P:tuple(options)
  options = options or {}
  local items, is_tuple = {}, false
  local line = self.token.line
  while true do
    if #items > 0 then self:expect('op', ',') end
    if at_tuple_end(self, options.stop) then break end
    items[#items + 1] = options.no_if and self:alternatives() or self:expression()
    if not self:is_op(',') then break end
    is_tuple = true
  end
  if not is_tuple then
    if items[1] then return items[1] end
    if not options.brackets then self:fail('expected an expression, got ' .. shown(self.token)) end
  end
  return self:node('tuple', { items = items }, line)
end

--- One index or slice between [ and ].
local function subscribed(self)
  local line, bounds = self.token.line, {}
  if not self:is_op(':') then
    bounds[1] = self:expression()
    if not self:is_op(':') then return bounds[1] end
  end
  for i = 2, 3 do
    if not self:skip('op', ':') then break end
    if not self:is_op(':') and not self:is_op(']') then bounds[i] = self:expression() end
  end
  return self:node('slice', { first = bounds[1], stop = bounds[2], step = bounds[3] }, line)
end

--- (a, b, key=c) as positional and keyword arguments.
function P:arguments()
  self:expect('op', '(')
  local args, kwargs = {}, {}
  while not self:is_op(')') do
    if #args + #kwargs > 0 then
      self:expect('op', ',')
      if self:is_op(')') then break end
    end
    local after = self.tokens[self.at + 1]
    if self:is_op('*') or self:is_op('**') then
      self:fail('\'*\' and \'**\' in a call are not supported')
    elseif self:is('name') and after.type == 'op' and after.value == '=' then
      local key = self:next().value
      self:next()
      kwargs[#kwargs + 1] = { key, self:expression() }
    else
      if #kwargs > 0 then self:fail('a positional argument behind one with a name') end
      args[#args + 1] = self:expression()
    end
  end
  self:expect('op', ')')
  return args, kwargs
end

--- .name, [index] and (..) behind an operand.
function P:postfix(node)
  while true do
    local line = self.token.line
    if self:skip('op', '.') then
      if self:is('int') then
        node = self:node('item', { object = node, key = constant(self, self:next().value) }, line)
      else
        node = self:node('attribute', { object = node, name = self:expect('name').value }, line)
      end
    elseif self:skip('op', '[') then
      local keys = listed(self, ']', subscribed)
      if #keys ~= 1 then self:fail('one index is needed') end
      node = self:node('item', { object = node, key = keys[1] }, line)
    elseif self:is_op('(') then
      local args, kwargs = self:arguments()
      node = self:node('call', { callee = node, args = args, kwargs = kwargs }, line)
    else
      return node
    end
  end
end

--- | name(..), once.
function P:filter(node)
  local line, name = self.token.line, self:expect('name').value
  local args, kwargs = {}, {}
  if self:is_op('(') then args, kwargs = self:arguments() end
  return self:node('filter', { object = node, name = name, args = args, kwargs = kwargs }, line)
end

local starts_argument = { name = true, string = true, int = true, float = true }

local function test(self, node)
  local negated = self:skip('name', 'not')
  local line, name = self.token.line, self:expect('name').value
  local args, kwargs = {}, {}
  if self:is_op('(') then args, kwargs = self:arguments()
  elseif (starts_argument[self.token.type] or self:is_op('[') or self:is_op('{')) and
    not (self:is_name('else') or self:is_name('or') or self:is_name('and')) then
    if self:is_name('is') then self:fail('tests can\'t be chained with \'is\'') end
    args = { self:postfix(self:primary()) }
  end
  node = self:node('test', { object = node, name = name, args = args, kwargs = kwargs }, line)
  return negated and self:node('not', { object = node }, line) or node
end

--- |filter, is test and (..) behind an operand.
function P:filters_of(node)
  while true do
    if self:skip('op', '|') then node = self:filter(node)
    elseif self:skip('name', 'is') then node = test(self, node)
    elseif self:is_op('(') then
      local line = self.token.line
      local args, kwargs = self:arguments()
      node = self:node('call', { callee = node, args = args, kwargs = kwargs }, line)
    else return node end
  end
end

--- Runs read(self) one level deeper.
local function deeper(self, read)
  self.depth = self.depth + 1
  if self.depth > DEPTH then self:fail('the template nests too deeply') end
  local node = read(self)
  self.depth = self.depth - 1
  return node
end

local signs = { ['-'] = 'negative', ['+'] = 'positive' }

function P:unary(without_filters)
  local line, node = self.token.line, nil
  local sign = self:is('op') and signs[self.token.value]
  if sign then
    self:next()
    node = self:node(sign, { object = deeper(self, function() return self:unary(true) end) }, line)
  end
  node = self:postfix(node or self:primary())
  return without_filters and node or self:filters_of(node)
end

--- A level of left-associative operators over `operand`.
local function binary(ops, operand)
  return function(self)
    local left = operand(self)
    while self:is('op') and ops[self.token.value] do
      local token = self:next()
      left = self:node('binary', { op = ops[token.value], left = left, right = operand(self) },
        token.line)
    end
    return left
  end
end

P.power = binary({ ['**'] = 'pow' }, P.unary)
P.product = binary({ ['*'] = 'mul', ['/'] = 'div', ['//'] = 'floordiv', ['%'] = 'mod' }, P.power)

function P:tilde()
  local line, items = self.token.line, { self:product() }
  while self:skip('op', '~') do items[#items + 1] = self:product() end
  return items[2] and self:node('tilde', { items = items }, line) or items[1]
end

P.sum = binary({ ['+'] = 'add', ['-'] = 'sub' }, P.tilde)

local comparisons = { ['=='] = true, ['!='] = true, ['<'] = true, ['<='] = true, ['>'] = true,
  ['>='] = true }

function P:comparison()
  local line, first, rest = self.token.line, self:sum(), {}
  while true do
    local after, op = self.tokens[self.at + 1]
    if self:is('op') and comparisons[self.token.value] then op = self:next().value
    elseif self:skip('name', 'in') then op = 'in'
    elseif self:is_name('not') and after.type == 'name' and after.value == 'in' then
      self:next()
      self:next()
      op = 'not in'
    else break end
    rest[#rest + 1] = { op, self:sum() }
  end
  return rest[1] and self:node('compare', { first = first, rest = rest }, line) or first
end

function P:negation()
  local line = self.token.line
  if not self:skip('name', 'not') then return self:comparison() end
  return self:node('not', { object = deeper(self, P.negation) }, line)
end

--- Operands between the words `and` or `or`.
local function logical(word, operand)
  return function(self)
    local left = operand(self)
    while self:is_name(word) do
      local token = self:next()
      left = self:node(word, { left = left, right = operand(self) }, token.line)
    end
    return left
  end
end

P.conjunction = logical('and', P.negation)
P.alternatives = logical('or', P.conjunction)

local function conditional(self)
  local line = self.token.line
  local node = self:alternatives()
  while self:skip('name', 'if') do
    local condition = self:alternatives()
    local other = self:skip('name', 'else') and self:expression() or nil
    node = self:node('choice', { condition = condition, object = node, other = other }, line)
  end
  return node
end

--- Any expression, but for a tuple without brackets.
function P:expression() return deeper(self, conditional) end

return P
