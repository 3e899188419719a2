--- A template's text as tokens, with the white space control of transformers: trim_blocks (the line
--- feed behind a block goes) and lstrip_blocks (so does what indents it), `-` and `+` at any end.
---
--- Tokens: { type, value, line }; type 'data', '{{', '}}', '{%', '%}', 'name', 'string', 'int',
--- 'float', 'op' or 'end'. After jinja2/lexer.py.

local guard = require 'sppo.chat.jinja.guard'
local unicode = require 'sppo.chat.jinja.unicode'

local M = {}

local operators = {}
for op in ('+ - / // * % ** ~ [ ] ( ) { } == != > >= < <= = . : | , ;'):gmatch('%S+') do
  operators[op] = true
end
local closes = { ['('] = ')', ['['] = ']', ['{'] = '}' }

local escapes = { n = '\n', t = '\t', r = '\r', a = '\a', b = '\b', f = '\f', v = '\v',
  ['\\'] = '\\', ['\''] = '\'', ['"'] = '"', ['\n'] = '' }

--- A literal's text: what Python's unicode-escape reads.
local function unescape(s, line)
  if not s:find('\\', 1, true) then return s end
  local parts, at = {}, 1
  while true do
    local slash = s:find('\\', at, true)
    parts[#parts + 1] = s:sub(at, (slash or #s + 1) - 1)
    if not slash then return table.concat(parts) end
    local letter = s:sub(slash + 1, slash + 1)
    local width = ({ x = 2, u = 4, U = 8 })[letter]
    if width then
      local hex = s:sub(slash + 2, slash + 1 + width)
      local code = #hex == width and not hex:find('%X') and tonumber(hex, 16)
      if not code or code > 0x10FFFF or (code >= 0xD800 and code < 0xE000) then
        guard.fail(('\'\\%s%s\' is no character'):format(letter, hex), line)
      end
      parts[#parts + 1] = unicode.char(code)
      at = slash + 2 + width
    elseif letter:find('[0-7]') then
      local digits = s:match('^[0-7][0-7]?[0-7]?', slash + 1)
      parts[#parts + 1] = unicode.char(tonumber(digits, 8))
      at = slash + 1 + #digits
    else
      parts[#parts + 1] = escapes[letter] or '\\' .. letter
      at = slash + 1 + #letter
    end
  end
end

local function number_at(s, at)
  local whole = s:match('^%d[%d_]*', at)
  if not whole then return end
  local fraction = s:match('^%.%d[%d_]*', at + #whole) or ''
  local exponent = s:match('^[eE][+-]?%d[%d_]*', at + #whole + #fraction) or ''
  local shown = whole .. fraction .. exponent
  if shown ~= whole then return 'float', shown end
  local hex = s:match('^0[xX]%x+', at)
  return 'int', hex or whole
end

--- The number, and what is wrong with it.
local function read_number(kind, shown, line)
  local x = tonumber((shown:gsub('_', '')))
  if not x then guard.fail(('\'%s\' is no number'):format(shown), line) end
  if kind == 'int' and x > 2^53 then
    guard.fail('a whole number is larger than 2^53', line)
  end
  return x
end

--- Python's line ends as \n; the last one goes.
local function normalise(source)
  return (source:gsub('\r\n?', '\n'):gsub('\n$', ''))
end

local function rstrip(s)
  local last = #s
  while last > 0 do
    local at = last
    while at > 1 and s:byte(at) >= 0x80 and s:byte(at) < 0xC0 do at = at - 1 end
    if not unicode.spaces[s:sub(at, last)] then break end
    last = at - 1
  end
  return s:sub(1, last)
end

--- Where the white space from `at` on ends.
local function skip_space(s, at)
  while true do
    local char = s:match('^' .. unicode.CHAR, at)
    if not char or not unicode.spaces[char] then return at end
    at = at + #char
  end
end

--- The tokens of a template; fails where it can't be read.
---@param source string
---@return table[]
function M.tokens(source)
  local s = normalise(source)
  local tokens, line, at = {}, 1, 1
  local counted = 1 -- up to where line feeds are counted
  local at_line_start = true

  local function count_to(position)
    local n = select(2, s:sub(counted, position - 1):gsub('\n', ''))
    line, counted = line + n, math.max(counted, position)
  end
  local function add(kind, v) tokens[#tokens + 1] = { type = kind, value = v, line = line } end

  --- Text before a tag at `stop`, with its sign and whether it is a block or comment.
  local function data(first, stop, sign, block)
    local text = s:sub(first, stop - 1)
    if sign == '-' then text = rstrip(text)
    elseif sign ~= '+' and block then
      local head, tail = text:match('^(.*\n)([^\n]*)$')
      if not head and at_line_start then head, tail = '', text end
      if head and tail ~= '' and skip_space(tail, 1) > #tail then text = head end
    end
    count_to(first)
    if text ~= '' then add('data', text) end
    count_to(stop)
  end

  --- Goes on behind a tag's end, of which a `-` takes the white space and a block the line feed.
  local function pass(stop, sign, block)
    if sign == '-' then stop = skip_space(s, stop)
    elseif block and sign ~= '+' and s:sub(stop, stop) == '\n' then stop = stop + 1 end
    at, at_line_start = stop, s:sub(stop - 1, stop - 1) == '\n'
  end

  --- The tokens inside of {{ }} or {% %}.
  local function inside(close)
    local open = {}
    while true do
      at = skip_space(s, at)
      count_to(at)
      if at > #s then guard.fail(('the tag is not closed with %s'):format(close), line) end
      local sign = s:match('^[-+]', at)
      if close == '}}' and sign == '+' then sign = nil end
      local ends = #open == 0 and s:sub(at + (sign and 1 or 0), at + (sign and 2 or 1)) == close
      if ends then
        add(close)
        return pass(at + (sign and 3 or 2), sign, close == '%}')
      end
      local kind, shown = number_at(s, at)
      if kind then
        add(kind, read_number(kind, shown, line))
        at = at + #shown
      else
        shown = s:match('^[%a_\128-\255][%w_\128-\255]*', at)
        local quote = not shown and s:match('^[\'"]', at)
        if shown then
          add('name', shown)
          at = at + #shown
        elseif quote then
          local stop = at + 1
          while true do
            local char = s:sub(stop, stop)
            if char == '' then guard.fail('a string is not closed', line) end
            if char == quote then break end
            stop = stop + (char == '\\' and 2 or 1)
          end
          add('string', unescape(s:sub(at + 1, stop - 1), line))
          at = stop + 1
        else
          local op = s:sub(at, at + 1)
          if not operators[op] then op = s:sub(at, at) end
          if not operators[op] then
            guard.fail(('unexpected character \'%s\''):format(s:match('^' .. unicode.CHAR, at)),
              line)
          end
          if closes[op] then open[#open + 1] = closes[op]
          elseif op == ')' or op == ']' or op == '}' then
            if open[#open] ~= op then
              guard.fail(('unexpected \'%s\'%s'):format(op, open[#open] and
                (', expected \'' .. open[#open] .. '\'') or ''), line)
            end
            open[#open] = nil
          end
          add('op', op)
          at = at + #op
        end
      end
    end
  end

  --- {% raw %} ended at `first`: its text, up to {% endraw %}.
  local function raw(first)
    local start, stop, sign, end_sign = s:find('{%%([-+]?)%s*endraw%s*([-+]?)%%}', first)
    if not start then guard.fail('{% raw %} is not closed', line) end
    at_line_start = s:sub(first - 1, first - 1) == '\n'
    data(first, start, sign, true)
    pass(stop + 1, end_sign, true)
  end

  while at <= #s do
    local first, start = at, at
    local kind
    repeat -- the next {{, {% or {#
      start = s:find('{', start, true)
      kind = start and s:sub(start, start + 1)
      local found = kind == '{{' or kind == '{%' or kind == '{#'
      if start and not found then start = start + 1 end
    until not start or found
    if not start then
      count_to(first)
      add('data', s:sub(first))
      break
    end
    local sign = s:match('^[-+]', start + 2) or ''
    data(first, start, sign, kind ~= '{{')
    at = start + 2 + #sign
    local raw_sign, raw_stop = s:match('^%s*raw%s*(%-?)%%}()', at)
    if kind == '{#' then
      local last, stop = s:find('#}', at, true)
      if not last then guard.fail('a comment is not closed', line) end
      pass(stop + 1, last > at and s:sub(last - 1, last - 1):match('[-+]') or '', true)
    elseif kind == '{%' and raw_stop then
      raw(raw_sign == '-' and skip_space(s, raw_stop) or raw_stop)
    else
      add(kind)
      inside(kind == '{{' and '}}' or '%}')
    end
  end
  count_to(#s + 1)
  add('end')
  return tokens
end

return M
