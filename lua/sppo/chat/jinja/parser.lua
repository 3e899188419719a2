--- Statements: a template's tokens as a tree of nodes. Tags: for, if, set, macro, call, filter,
--- with, break, continue, generation; anything else is an error.

local expressions = require 'sppo.chat.jinja.expressions'
local guard = require 'sppo.chat.jinja.guard'
local lexer = require 'sppo.chat.jinja.lexer'

local DEPTH = 60 -- tags in tags

local P = setmetatable({}, { __index = expressions })
P.__index = P

local body_until

--- A name, or several for values that come together: `a`, `a, b`, `(a, b)`.
local function target(self)
  local function one()
    if self:skip('op', '(') then
      local node = target(self)
      self:expect('op', ')')
      return node
    end
    local token = self:expect('name')
    return self:node('name', { name = token.value }, token.line)
  end
  local first = one()
  if not self:is_op(',') then return first end
  local items = { first }
  while self:skip('op', ',') do
    if not self:is('name') and not self:is_op('(') or self:is_name('in') then break end
    items[#items + 1] = one()
  end
  return self:node('tuple', { items = items }, first.line)
end

local tags = {}

tags['for'] = function(self, line)
  local names = target(self)
  self:expect('name', 'in')
  local list = self:tuple { no_if = true, stop = 'recursive' }
  local condition = self:skip('name', 'if') and self:expression() or nil
  if self:is_name('recursive') then self:fail('recursive loops are not supported') end
  self.loops = self.loops + 1
  local body, ended = body_until(self, { 'endfor', 'else' })
  self.loops = self.loops - 1
  local otherwise = ended == 'else' and body_until(self, { 'endfor' }) or nil
  return self:node('for', { target = names, list = list, condition = condition, body = body,
    otherwise = otherwise }, line)
end

tags['if'] = function(self, line)
  local branches, otherwise = {}, nil
  repeat
    local condition = self:tuple { no_if = true }
    local body, ended = body_until(self, { 'elif', 'else', 'endif' })
    branches[#branches + 1] = { condition, body }
    if ended == 'else' then otherwise = body_until(self, { 'endif' }) end
  until ended ~= 'elif'
  return self:node('if', { branches = branches, otherwise = otherwise }, line)
end

--- | a | b behind {% set x %} and in {% filter a | b %}; the innermost has no object.
local function filter_chain(self, node)
  repeat node = self:filter(node) until not self:skip('op', '|')
  return node
end

function tags.set(self, line)
  local names
  local after = self.tokens[self.at + 1]
  if self:is('name') and after.type == 'op' and after.value == '.' then
    local object = self:next()
    self:next()
    names = self:node('field', { object = object.value, name = self:expect('name').value }, line)
  else
    names = target(self)
  end
  if self:skip('op', '=') then
    return self:node('set', { target = names, value = self:tuple() }, line)
  end
  local filter = self:skip('op', '|') and filter_chain(self) or nil
  return self:node('capture', { target = names, filter = filter,
    body = body_until(self, { 'endset' }) }, line)
end

--- (a, b=1) of a macro.
local function parameters(self)
  local list = {}
  self:expect('op', '(')
  while not self:is_op(')') do
    if #list > 0 then self:expect('op', ',') end
    local name = self:expect('name').value
    local default = self:skip('op', '=') and self:expression() or nil
    if not default and list[1] and list[#list].default then
      self:fail(('argument \'%s\' without a default behind one with'):format(name))
    end
    list[#list + 1] = { name = name, default = default }
  end
  self:expect('op', ')')
  return list
end

--- A macro, or the body of a call block, which is one without a name.
local function macro(self, line, name, list, ending)
  local outer, loops = self.macro, self.loops
  self.macro, self.loops = { uses = {} }, 0
  local node = self:node('macro', { name = name, parameters = list, uses = self.macro.uses }, line)
  node.body = body_until(self, { ending })
  self.macro, self.loops = outer, loops
  if outer then
    for used in pairs(node.uses) do outer.uses[used] = true end
  end
  return node
end

function tags.macro(self, line)
  local name = self:expect('name').value
  return macro(self, line, name, parameters(self), 'endmacro')
end

function tags.call(self, line)
  local list = self:is_op('(') and parameters(self) or {}
  local call = self:expression()
  if call.kind ~= 'call' then self:fail('{% call %} needs a call') end
  return self:node('call_block', { call = call,
    caller = macro(self, line, 'caller', list, 'endcall') }, line)
end

function tags.filter(self, line)
  local filter = filter_chain(self)
  return self:node('filter_block', { filter = filter,
    body = body_until(self, { 'endfilter' }) }, line)
end

tags['with'] = function(self, line)
  local values = {}
  while not self:is('%}') do
    if #values > 0 then self:expect('op', ',') end
    local names = target(self)
    self:expect('op', '=')
    values[#values + 1] = { names, self:expression() }
  end
  return self:node('with', { values = values, body = body_until(self, { 'endwith' }) }, line)
end

function tags.generation(self, line)
  return self:node('with', { values = {}, body = body_until(self, { 'endgeneration' }) }, line)
end

for _, name in ipairs { 'break', 'continue' } do
  tags[name] = function(self, line)
    if self.loops == 0 then guard.fail(('\'%s\' outside of a loop'):format(name), line) end
    return self:node(name, {}, line)
  end
end

--- Statements between the %} of a tag and one of the tags `ends`, whose own %} is left; with that
--- tag's name.
---@param ends? string[]  nil: the whole template
function body_until(self, ends)
  self.nesting = self.nesting + 1
  if self.nesting > DEPTH then self:fail('the template nests too deeply') end
  local body, opened = {}, self.token.line
  if ends then self:expect('%}') end
  while true do
    local token = self.token
    if token.type == 'end' then
      if ends then
        guard.fail(('the tag is not closed with {%% %s %%}'):format(ends[#ends]), opened)
      end
      break
    end
    self:next()
    if token.type == 'data' then
      body[#body + 1] = self:node('data', { text = token.value }, token.line)
    elseif token.type == '{{' then
      body[#body + 1] = self:node('output', { value = self:tuple() }, token.line)
      self:expect('}}')
    else
      local name = self:expect('name').value
      for _, wanted in ipairs(ends or {}) do
        if name == wanted then
          self.nesting = self.nesting - 1
          return body, name
        end
      end
      if not tags[name] then
        guard.fail(('there is no tag \'%s\' here'):format(name), token.line)
      end
      body[#body + 1] = tags[name](self, token.line)
      self:expect('%}')
    end
  end
  self.nesting = self.nesting - 1
  return body
end

local M = {}

--- The tree of a template's source; fails where it can't be read.
---@param source string
---@return table[] body
function M.parse(source)
  local tokens = lexer.tokens(source)
  local parser = setmetatable({ tokens = tokens, at = 1, token = tokens[1], depth = 0, nesting = 0,
    loops = 0 }, P)
  return (body_until(parser))
end

return M
