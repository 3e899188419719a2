--- Texts cut at white space and at line ends, as Python's str.split() and str.splitlines() do.

local guard = require 'sppo.chat.jinja.guard'
local text = require 'sppo.chat.jinja.text'
local unicode = require 'sppo.chat.jinja.unicode'

local M = {}

--- The words between white space, at most `limit` splits from the left (or the right).
function M.words(x, limit, from_right)
  local s, words, n = text.bytes(x), {}, 0
  local starts, count = text.starts(s)
  local first, last, step = 1, count, 1
  if from_right then first, last, step = count, 1, -1 end
  local i = first
  local function space(k) return unicode.spaces[s:sub(starts[k], starts[k + 1] - 1)] end
  while true do
    while i >= 1 and i <= count and space(i) do i = i + step end
    if i < 1 or i > count then break end
    local k = i
    if n >= limit then k = last + step -- all that is left
    else while k >= 1 and k <= count and not space(k) do k = k + step end end
    n = n + 1
    local a, b = math.min(i, k - step), math.max(i, k - step)
    words[n] = text.sub(x, starts[a], starts[b + 1] - 1)
    i = k
  end
  guard.spend(n)
  if from_right then
    for a = 1, math.floor(n / 2) do words[a], words[n + 1 - a] = words[n + 1 - a], words[a] end
  end
  return words, n
end

--- Lines without (or with) what ends them.
function M.lines(x, keep)
  local s, lines, n, first = text.bytes(x), {}, 0, 1
  local at = 1
  guard.walk(#s)
  while at <= #s do
    local char = s:match('^' .. unicode.CHAR, at)
    local next_at = at + #char
    if unicode.line_ends[char] then
      if char == '\r' and s:sub(next_at, next_at) == '\n' then next_at = next_at + 1 end
      n = n + 1
      lines[n] = text.sub(x, first, keep and next_at - 1 or at - 1)
      first = next_at
    end
    at = next_at
  end
  if first <= #s then
    n = n + 1
    lines[n] = text.sub(x, first, #s)
  end
  guard.spend(n)
  return lines, n
end

return M
