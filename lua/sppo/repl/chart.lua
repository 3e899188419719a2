--- Charts in a terminal: lines and histograms in braille dots, or in plain ASCII where those can't
--- be shown. The SVG of the same lines is sppo.plot's.

local ffi = require 'ffi'

local M = {}

local function finite(v) return type(v) == 'number' and v == v and math.abs(v) < math.huge end

local function label(v) return (('%.4g'):format(v)) end

--- Whether this terminal shows braille: UTF-8, not dumb, and NO_COLOR unset (who asks for plain
--- text gets it).
---@param terminal boolean  whether output goes to one
---@param getenv? fun(name: string): string?
function M.fancy(terminal, getenv)
  getenv = getenv or os.getenv
  local function set(name)
    local value = getenv(name)
    return value ~= '' and value or nil
  end
  local locale = set 'LC_ALL' or set 'LC_CTYPE' or set 'LANG' or ''
  return terminal and set 'TERM' ~= nil and set 'TERM' ~= 'dumb' and not set 'NO_COLOR' and
    locale:upper():find('UTF%-?8') ~= nil
end

local dots = { [0] = { [0] = 0x01, 0x02, 0x04, 0x40 }, { [0] = 0x08, 0x10, 0x20, 0x80 } }

--- A grid of dots, 2 x 4 in a cell in braille, 1 x 1 in ASCII.
local function canvas(columns, rows, fancy)
  local c = { w = fancy and columns * 2 or columns, h = fancy and rows * 4 or rows }
  local cells = ffi.new('uint8_t[?]', columns * rows)
  local wide, high = fancy and 2 or 1, fancy and 4 or 1
  function c.set(x, y, mark) -- from the lower left, 0-based
    x, y = math.floor(x + 0.5), c.h - 1 - math.floor(y + 0.5)
    if x < 0 or y < 0 or x >= c.w or y >= c.h then return end
    local i = math.floor(y / high) * columns + math.floor(x / wide)
    cells[i] = fancy and bit.bor(cells[i], dots[x % 2][y % 4]) or mark or 42
  end
  function c.row(r)
    local out = {}
    for x = 0, columns - 1 do
      local v = cells[r * columns + x]
      if fancy then -- U+2800 + v in UTF-8
        out[x + 1] = string.char(0xe2, 0xa0 + bit.rshift(v, 6), 0x80 + bit.band(v, 63))
      else out[x + 1] = v == 0 and ' ' or string.char(v) end
    end
    return (table.concat(out):gsub('[ ]+$', ''))
  end
  return c
end

--- Rows of a canvas behind the y axis' labels, and the x axis below.
local function framed(c, rows, low, high, x_low, x_high, columns, fancy)
  local top, bottom = label(high), label(low)
  local margin, bar = math.max(#top, #bottom), fancy and '\226\148\130' or '|'
  local lines = {}
  for r = 0, rows - 1 do
    local text = r == 0 and top or r == rows - 1 and bottom or ''
    lines[r + 1] = ('%' .. margin .. 's %s%s'):format(text, bar, c.row(r))
  end
  local left, right = label(x_low), label(x_high)
  lines[#lines + 1] = (' '):rep(margin + 2) .. left ..
    (' '):rep(math.max(1, columns - #left - #right)) .. right
  return lines
end

--- The points { x, y } of what a user has: a tensor, a list of numbers, a list of points, or two
--- lists of numbers (x, y); nil, err.
---@param first any
---@param second? any
---@return number[][]?, string?
function M.points(first, second)
  local function list(v)
    if require('sppo.tensor').is_tensor(v) then
      if v:count() > 2 ^ 22 then
        return nil, 'more than 4 million values; take a part: x:narrow(1, 0, 1000)'
      end
      return v:tolist()
    end
    if type(v) == 'table' and (type(v[1]) == 'number' or type(v[1]) == 'table') then return v end
    return nil, ('a tensor or a list of numbers, got %s'):format(type(v) == 'table' and
      (next(v) == nil and 'an empty table' or 'another table') or type(v))
  end
  local a, err = list(first)
  if not a then return nil, err end
  local points = {}
  if second ~= nil then
    local b
    b, err = list(second)
    if not b then return nil, err end
    if #a ~= #b then return nil, ('%d values of x and %d of y'):format(#a, #b) end
    for i = 1, #a do points[i] = { a[i], b[i] } end
  else
    for i = 1, #a do points[i] = type(a[i]) == 'table' and a[i] or { i, a[i] } end
  end
  return points
end

--- Widens an empty span.
local function span(low, high)
  if low == high then return low - 0.5, high + 0.5 end
  return low, high
end

--- A line through points, as text; values that are not finite are left out, and counted.
---@param points number[][]  { x, y }
---@param options? { columns?: integer, rows?: integer, fancy?: boolean }
---@return string
function M.lines(points, options)
  options = options or {}
  local columns, rows = options.columns or 60, options.rows or 12
  local kept, x_low, x_high, low, high = {}, math.huge, -math.huge, math.huge, -math.huge
  for _, p in ipairs(points) do
    if finite(p[1]) and finite(p[2]) then
      kept[#kept + 1] = p
      x_low, x_high = math.min(x_low, p[1]), math.max(x_high, p[1])
      low, high = math.min(low, p[2]), math.max(high, p[2])
    end
  end
  if #kept == 0 then return ('nothing finite among %d values'):format(#points) end
  low, high = span(low, high)
  x_low, x_high = span(x_low, x_high)
  local c = canvas(columns, rows, options.fancy)
  local function place(p)
    return (p[1] - x_low) / (x_high - x_low) * (c.w - 1), (p[2] - low) / (high - low) * (c.h - 1)
  end
  local before_x, before_y
  for _, p in ipairs(kept) do
    local x, y = place(p)
    local steps = before_x and math.ceil(math.max(math.abs(x - before_x), math.abs(y - before_y)))
    for s = 1, (steps or 0) - 1 do
      c.set(before_x + (x - before_x) * s / steps, before_y + (y - before_y) * s / steps, 46)
    end
    before_x, before_y = x, y
  end
  for _, p in ipairs(kept) do c.set(place(p)) end
  local lines = framed(c, rows, low, high, x_low, x_high, columns, options.fancy)
  if #kept < #points then
    lines[#lines + 1] = ('  (%d not finite left out)'):format(#points - #kept)
  end
  return table.concat(lines, '\n')
end

--- How often values fall into equal bins, as bars that lie.
---@param values number[]
---@param options? { bins?: integer, columns?: integer, fancy?: boolean }
---@return string
function M.histogram(values, options)
  options = options or {}
  local bins, columns = options.bins or 10, options.columns or 60
  local low, high, n = math.huge, -math.huge, 0
  for _, v in ipairs(values) do
    if finite(v) then low, high, n = math.min(low, v), math.max(high, v), n + 1 end
  end
  if n == 0 then return ('nothing finite among %d values'):format(#values) end
  low, high = span(low, high)
  local counts, most = {}, 0
  for i = 1, bins do counts[i] = 0 end
  for _, v in ipairs(values) do
    if finite(v) then
      local i = math.min(bins, 1 + math.floor((v - low) / (high - low) * bins))
      counts[i] = counts[i] + 1
      most = math.max(most, counts[i])
    end
  end
  local lines = {}
  for i, count in ipairs(counts) do
    local from = low + (i - 1) / bins * (high - low)
    local cells = count / most * (columns - 20)
    local full = math.floor(cells)
    local bar
    if options.fancy then
      bar = ('\226\163\191'):rep(full) .. (cells % 1 >= 0.5 and '\226\161\135' or '')
    else
      bar = ('#'):rep(count > 0 and math.max(1, math.floor(cells + 0.5)) or 0)
    end
    lines[i] = ('%10s %s%s%d'):format(label(from), bar, bar ~= '' and ' ' or '', count)
  end
  lines[#lines + 1] = ('%10s'):format(label(high))
  if n < #values then
    lines[#lines + 1] = ('  (%d not finite left out)'):format(#values - n)
  end
  return table.concat(lines, '\n')
end

return M
