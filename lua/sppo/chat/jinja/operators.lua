--- Arithmetic and comparison with Python's semantics; whole numbers up to 2^53.

local format = require 'sppo.chat.jinja.format'
local guard = require 'sppo.chat.jinja.guard'
local text = require 'sppo.chat.jinja.text'
local value = require 'sppo.chat.jinja.value'

local is, number, float = value.is, value.number, value.float
local List = value.List

local M = {}

local function mismatch(op, a, b)
  value.need(a)
  value.need(b)
  guard.failf('\'%s\' between %s and %s', op, value.type_name(a), value.type_name(b))
end

--- x as an int, or as a float if one of the operands was one.
local function result(x, a, b)
  if is(a, value.Float) or is(b, value.Float) then return float(x) end
  if x > 2^53 or x < -2^53 then guard.fail('a whole number is larger than 2^53') end
  return x
end

local function is_sequence(v) return is(v, List) and (v.kind == 'list' or v.kind == 'tuple') end

function M.add(a, b)
  local x, y = number(a), number(b)
  if x and y then return result(x + y, a, b) end
  if text.is(a) and text.is(b) then
    if text.is_markup(a) or text.is_markup(b) then
      return text.as_markup(text.join2(text.escape(a), text.escape(b)), true)
    end
    return text.join2(a, b)
  end
  if is_sequence(a) and is_sequence(b) and a.kind == b.kind then
    local list, n = {}, a.n + b.n
    guard.spend(n)
    for i = 1, a.n do list[i] = a[i] end
    for i = 1, b.n do list[a.n + i] = b[i] end
    return value.list(list, n, a.kind)
  end
  mismatch('+', a, b)
end

function M.sub(a, b)
  local x, y = number(a), number(b)
  if x and y then return result(x - y, a, b) end
  mismatch('-', a, b)
end

function M.mul(a, b)
  local x, y = number(a), number(b)
  if x and y then return result(x * y, a, b) end
  if x then a, b, y = b, a, x end
  if y and not is(b, value.Float) then
    if text.is(a) then return text.rep(a, y) end
    if is_sequence(a) then
      local list, n = {}, math.max(0, a.n * y)
      guard.spend(n)
      for i = 1, n do list[i] = a[(i - 1) % a.n + 1] end
      return value.list(list, n, a.kind)
    end
  end
  mismatch('*', a, b)
end

local function divided(op, a, b)
  local x, y = number(a), number(b)
  if not x or not y then mismatch(op, a, b) end
  if y == 0 then guard.failf('\'%s\' by zero', op) end
  return x, y
end

function M.div(a, b)
  local x, y = divided('/', a, b)
  return float(x / y)
end

function M.floordiv(a, b)
  local x, y = divided('//', a, b)
  return result(math.floor((x - x % y) / y + 0.5), a, b)
end

function M.mod(a, b)
  if text.is(a) then return format.percent(a, b) end
  local x, y = divided('%', a, b)
  return result(x % y, a, b)
end

function M.pow(a, b)
  local x, y = number(a), number(b)
  if not x or not y then mismatch('**', a, b) end
  if x == 0 and y < 0 then guard.fail('0 to a negative power') end
  local z = x ^ y
  if z ~= z then guard.fail('a root of a negative number') end
  if y < 0 then return float(z) end
  return result(z, a, b)
end

function M.negative(a)
  local x = number(a)
  if not x then mismatch('-', a, a) end
  return result(is(a, value.Float) and -x or 0 - x, a, a)
end

function M.positive(a)
  local x = number(a)
  if not x then mismatch('+', a, a) end
  return result(x, a, a)
end

--- list[1..n] as texts, one behind the other: `~`.
function M.tilde(list, n)
  for i = 1, n do list[i] = value.str(list[i]) end
  return text.concat(list, n)
end

M.compare = {
  ['=='] = value.equals,
  ['!='] = function(a, b) return not value.equals(a, b) end,
  ['<'] = function(a, b) return value.less(a, b) end,
  ['>'] = function(a, b) return value.less(b, a) end,
  ['<='] = function(a, b)
    local x, y = number(a), number(b)
    if x and y then return x <= y end
    return value.less(a, b) or value.equals(a, b)
  end,
  ['>='] = function(a, b)
    local x, y = number(a), number(b)
    if x and y then return x >= y end
    return value.less(b, a) or value.equals(a, b)
  end,
  ['in'] = function(a, b) return value.contains(b, a) end,
  ['not in'] = function(a, b) return not value.contains(b, a) end,
}

return M
