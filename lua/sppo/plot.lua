--- Line plots and bars as SVG, for reports and docs: no colours of its own but classes c1 .. c8,
--- which `style` sets for light and dark.

local escape = require 'sppo.escape'

local M = {}

--- What the classes look like; a page has it once, `standalone` puts it into the picture.
M.style = [[
.plot { font: 13px system-ui, sans-serif; max-width: 100%; height: auto; color: #222 }
.plot text { fill: currentColor }
.plot .grid { stroke: currentColor; stroke-opacity: .15 }
.plot .mark { stroke: currentColor; stroke-opacity: .45; stroke-dasharray: 2 3 }
.plot .axis { stroke: currentColor; stroke-opacity: .6 }
.plot .line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round }
.plot .dash { stroke-dasharray: 6 4 }
.plot .dot, .plot .bar { fill: var(--c) }
.plot .band { fill: var(--c); fill-opacity: .18 }
.plot .whisker { stroke: currentColor; stroke-width: 1.5 }
.plot .c1 { --c: #0b62a3 } .plot .c2 { --c: #c4500c } .plot .c3 { --c: #16794a }
.plot .c4 { --c: #8d3f8f } .plot .c5 { --c: #8a6d00 } .plot .c6 { --c: #b1203f }
.plot .c7 { --c: #3f6f78 } .plot .c8 { --c: #5b5b5b }
@media screen and (prefers-color-scheme: dark) {
.plot { color: #ddd }
.plot .c1 { --c: #6cb6f5 } .plot .c2 { --c: #f59a5b } .plot .c3 { --c: #62cf96 }
.plot .c4 { --c: #d79be0 } .plot .c5 { --c: #d9c04a } .plot .c6 { --c: #f27d92 }
.plot .c7 { --c: #8fc6d0 } .plot .c8 { --c: #b0b0b0 }
}
]]

local function finite(v) return type(v) == 'number' and v == v and math.abs(v) < math.huge end

--- A number as short as a label wants it.
local function label(v)
  local a = math.abs(v)
  if a < 1e-12 then return '0' end -- also what sums of steps leave of 0
  if a >= 1e5 or a < 1e-3 then
    local short = ('%.1e'):format(v):gsub('%.0e', 'e'):gsub('e([+-])0*(%d)', 'e%1%2')
    return (short:gsub('e%+', 'e'))
  end
  return ('%.6g'):format(v)
end

--- Places for ticks over low..high: 1, 2 or 5 times a power of ten, or powers of ten; `whole`: none
--- between whole numbers.
local function ticks(low, high, log, whole)
  local out = {}
  if log then
    for power = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) do
      out[#out + 1] = 10 ^ power
    end
    if #out >= 2 then return out end
    local function rounded(v) return tonumber(('%.2g'):format(v)) end
    return { rounded(low), rounded(math.sqrt(low * high)), rounded(high) }
  end
  local rough = (high - low) / 5
  local power = 10 ^ math.floor(math.log10(rough))
  local step = power * (rough / power <= 1.5 and 1 or rough / power <= 3.5 and 2 or
    rough / power <= 7.5 and 5 or 10)
  step = whole and math.max(1, step) or step
  for i = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) do
    out[#out + 1] = i * step
  end
  return out
end

--- The span of the values given, never empty.
local function span(values, log, include)
  local low, high = math.huge, -math.huge
  for _, v in ipairs(values) do
    if finite(v) and (not log or v > 0) then low, high = math.min(low, v), math.max(high, v) end
  end
  local floor, ceiling = -math.huge, math.huge
  if include and not log then
    if low >= include then floor = include end
    if high <= include then ceiling = include end
    low, high = math.min(low, include), math.max(high, include)
  end
  if low > high then low, high = log and 1 or 0, log and 10 or 1 end
  if log then
    if low == high then low, high = low / 2, high * 2 end
    return low, high
  end
  if low == high then
    local room = math.max(math.abs(low) * 0.1, 0.5)
    return low - room, high + room
  end
  local room = (high - low) * 0.05
  return math.max(floor, low - room), math.min(ceiling, high + room)
end

local function scale(low, high, log, from, to)
  local f = log and math.log or function(v) return v end
  local a, b = f(low), f(high)
  return function(v) return from + (f(v) - a) / (b - a) * (to - from) end
end

local LETTER = 7 -- width of a letter, in px, at most: what legends are laid out by

--- A name as short as a legend or an axis has room for.
local function short(name, most)
  local head, left = escape.cut(name, most)
  return left == 0 and name or head .. '…'
end

--- Places of the legend's entries: { x, y, name } for each series with a name, in rows.
local function legend(series, left, right)
  local entries, at, y = {}, left, 20
  for i, s in ipairs(series) do
    if s.name then
      y = math.max(y, 36)
      local name = short(s.name, 40)
      local width = 34 + LETTER * #name
      if at > left and at + width > right then at, y = left, y + 17 end
      entries[i] = { x = at, y = y, name = name }
      at = at + width
    end
  end
  return entries, y
end

--- The frame: title, legend, axes with labels. Gives the parts so far, the two scales, and the y of
--- the x axis. `o.names`: the y axis has names, from top to bottom, in place of numbers.
local function frame(o, x_low, x_high, y_low, y_high)
  local w, h = o.width or 640, o.height or 320
  local left, right = o.names_width or 76, w - 16
  local entries, legend_end = legend(o.series, o.names_width and 10 or left, right)
  local top, bottom = legend_end + 16, h - (o.x_label and 44 or 26)
  local x = scale(x_low, x_high, o.x_log, left, right)
  local y = scale(y_low, y_high, o.y_log, bottom, top)
  local parts = {}
  local function add(text, ...) parts[#parts + 1] = text:format(...) end
  add('<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" ' ..
    'height="%d" role="img" aria-label="%s">', w, h, w, h, escape.html(o.title))
  add('<text x="%d" y="16" font-weight="600">%s</text>', o.names_width and 10 or left,
    escape.html(o.title))
  for i, s in ipairs(o.series) do
    local e = entries[i]
    if e then
      add('<line class="c%d line%s" x1="%d" x2="%d" y1="%d" y2="%d"/>' ..
        '<text x="%d" y="%d">%s</text>', (s.colour or i - 1) % 8 + 1, s.dash and ' dash' or '',
        e.x, e.x + 18, e.y - 4, e.y - 4, e.x + 22, e.y, escape.html(e.name))
    end
  end
  if not o.names_width then
    for _, v in ipairs(ticks(y_low, y_high, o.y_log)) do
      add('<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>' ..
        '<text x="%d" y="%.1f" text-anchor="end">%s</text>', left, right, y(v), y(v), left - 6,
        y(v) + 4, label(v))
    end
    add('<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>', left, right, bottom, bottom)
  end
  for _, v in ipairs(o.x_marks or {}) do
    add('<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>', x(v), x(v), top, bottom)
  end
  add('<text x="%d" y="%d" text-anchor="middle">%s</text>', (left + right) / 2, h - 8,
    escape.html(o.x_label or ''))
  add('<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">%s</text>',
    (top + bottom) / 2, escape.html(o.y_label or ''))
  return parts, x, y, bottom, top
end

local MOST = 600 -- points of a line; more are averaged, since no screen shows them

local function thinned(points)
  if #points <= MOST then return points end
  local out, size = {}, math.ceil(#points / MOST)
  for first = 1, #points, size do
    local sum, n = { 0, 0 }, math.min(size, #points - first + 1)
    for i = first, first + n - 1 do
      sum[1], sum[2] = sum[1] + points[i][1] / n, sum[2] + points[i][2] / n
    end
    out[#out + 1] = sum
  end
  return out
end

---@class sppo.PlotSeries
---@field name? string
---@field points number[][]   { x, y } or { x, y, low, high }; what is not finite is left out
---@field dash? boolean
---@field dots? boolean       marks each point
---@field colour? integer     0 .. 7, by default the series' place

---@class sppo.PlotOptions
---@field title string
---@field series sppo.PlotSeries[]
---@field x_label? string
---@field y_label? string
---@field x_log? boolean
---@field y_log? boolean
---@field include? number     a value that the y axis reaches to
---@field x_ticks? number[]
---@field x_whole? boolean    ticks at whole numbers only
---@field x_marks? number[]   where dashed lines stand
---@field width? integer
---@field height? integer

--- Lines over numbers, as SVG text to put into a page.
---@param o sppo.PlotOptions
---@return string
function M.lines(o)
  local xs, ys = {}, {}
  local series = {}
  for i, s in ipairs(o.series) do
    local points = {}
    for _, p in ipairs(s.points) do
      if finite(p[1]) and finite(p[2]) and not (o.x_log and p[1] <= 0) and
        not (o.y_log and p[2] <= 0) then
        points[#points + 1] = p
        xs[#xs + 1], ys[#ys + 1] = p[1], p[2]
        if finite(p[3]) and finite(p[4]) then
          ys[#ys + 1] = p[3]
          ys[#ys + 1] = p[4]
        end
      end
    end
    series[i] = thinned(points)
  end
  local x_low, x_high = span(xs, o.x_log)
  local y_low, y_high = span(ys, o.y_log, o.include)
  local parts, x, y, bottom = frame(o, x_low, x_high, y_low, y_high)
  for _, v in ipairs(o.x_ticks or ticks(x_low, x_high, o.x_log, o.x_whole)) do
    if v >= x_low and v <= x_high then
      parts[#parts + 1] = ('<text x="%.1f" y="%d" text-anchor="middle">%s</text>'):format(x(v),
        bottom + 18, label(v))
    end
  end
  for i, points in ipairs(series) do
    local s, class = o.series[i], ('c%d'):format((o.series[i].colour or i - 1) % 8 + 1)
    local path, upper, lower = {}, {}, {}
    for n, p in ipairs(points) do
      path[n] = ('%.1f,%.1f'):format(x(p[1]), y(p[2]))
      if finite(p[3]) and finite(p[4]) then
        upper[#upper + 1] = ('%.1f,%.1f'):format(x(p[1]), y(p[4]))
        table.insert(lower, 1, ('%.1f,%.1f'):format(x(p[1]), y(p[3])))
      end
    end
    if #upper == 1 then -- an interval without neighbours has no area
      local at = upper[1]:match('^[^,]+')
      parts[#parts + 1] = ('<line class="whisker" x1="%s" x2="%s" y1="%s" y2="%s"/>'):format(at, at,
        upper[1]:match('[^,]+$'), lower[1]:match('[^,]+$'))
    elseif #upper > 1 then
      parts[#parts + 1] = ('<polygon class="%s band" points="%s %s"/>'):format(class,
        table.concat(upper, ' '), table.concat(lower, ' '))
    end
    parts[#parts + 1] = ('<polyline class="%s line%s" points="%s"/>'):format(class,
      s.dash and ' dash' or '', table.concat(path, ' '))
    if s.dots or #points == 1 then
      for _, p in ipairs(points) do
        parts[#parts + 1] = ('<circle class="%s dot" cx="%.1f" cy="%.1f" r="3.5"/>'):format(class,
          x(p[1]), y(p[2]))
      end
    end
  end
  parts[#parts + 1] = '</svg>'
  return table.concat(parts, '\n')
end

local function bar_values(o)
  local values = {}
  for _, s in ipairs(o.series) do
    for i = 1, #o.names do
      values[#values + 1] = s.values[i]
      values[#values + 1] = s.high and s.high[i]
    end
  end
  return values
end

---@class sppo.BarsOptions
---@field title string
---@field names string[]
---@field series { name?: string, values: (number?)[], low?: number[], high?: number[] }[]
---@field x_label? string
---@field y_label? string
---@field width? integer
---@field height? integer

--- Bars over names, one for each series side by side; y from 0.
---@param o sppo.BarsOptions
---@return string
function M.bars(o)
  local y_low, y_high = span(bar_values(o), false, 0)
  local parts, x, y, bottom = frame(o, 0, #o.names, y_low, y_high)
  local wide = (x(1) - x(0)) * 0.8 / math.max(1, #o.series)
  local longest = 1
  for _, name in ipairs(o.names) do longest = math.max(longest, math.min(#name, 12)) end
  local every = math.ceil((longest + 1) * LETTER / (x(1) - x(0))) -- names that have room
  for i, name in ipairs(o.names) do
    if (i - 1) % every == 0 then
      parts[#parts + 1] = ('<text x="%.1f" y="%d" text-anchor="middle">%s</text>'):format(
        x(i - 0.5), bottom + 18, escape.html(short(name, 12)))
    end
    for n, s in ipairs(o.series) do
      local v = s.values[i]
      if finite(v) then
        local at = x(i - 0.9) + (n - 1) * wide
        parts[#parts + 1] = ('<rect class="c%d bar" x="%.1f" y="%.1f" width="%.1f" ' ..
          'height="%.1f"/>'):format((n - 1) % 8 + 1, at, math.min(y(v), y(0)), wide * 0.92,
          math.abs(y(v) - y(0)))
        local low, high = s.low and s.low[i], s.high and s.high[i]
        if finite(low) and finite(high) then
          parts[#parts + 1] = ('<line class="whisker" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>')
            :format(at + wide * 0.46, at + wide * 0.46, y(low), y(high))
        end
      end
    end
  end
  parts[#parts + 1] = '</svg>'
  return table.concat(parts, '\n')
end

--- Bars that lie beside their names, which may be long; x from 0. As high as its names want.
---@param o sppo.BarsOptions
---@return string
function M.rows(o)
  local longest = 1
  for _, name in ipairs(o.names) do longest = math.max(longest, math.min(#name, 24)) end
  local thick = math.max(5, 18 / math.max(1, #o.series))
  local each = thick * #o.series + 10
  local copy = { names_width = 20 + LETTER * longest, height = 0 }
  for key, value in pairs(o) do copy[key] = value end
  local _, legend_end = legend(o.series, 10, (o.width or 640) - 16)
  copy.height = legend_end + 16 + each * #o.names + (o.x_label and 44 or 26)
  local x_low, x_high = span(bar_values(o), false, 0)
  local parts, x, _, bottom, top = frame(copy, x_low, x_high, 0, 1)
  for _, v in ipairs(ticks(x_low, x_high)) do
    parts[#parts + 1] = ('<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>' ..
      '<text x="%.1f" y="%d" text-anchor="middle">%s</text>'):format(x(v), x(v), top, bottom, x(v),
      bottom + 16, label(v))
  end
  for i, name in ipairs(o.names) do
    local at = top + (i - 1) * each + 4
    parts[#parts + 1] = ('<text x="%d" y="%.1f" text-anchor="end">%s</text>'):format(
      copy.names_width - 8, at + (each - 8) / 2 + 4, escape.html(short(name, 24)))
    for n, s in ipairs(o.series) do
      local v = s.values[i]
      if finite(v) then
        parts[#parts + 1] = ('<rect class="c%d bar" x="%.1f" y="%.1f" width="%.1f" ' ..
          'height="%.1f"/>'):format((n - 1) % 8 + 1, math.min(x(v), x(0)), at + (n - 1) * thick,
          math.abs(x(v) - x(0)), thick * 0.9)
      end
    end
  end
  parts[#parts + 1] = '</svg>'
  return table.concat(parts, '\n')
end

--- A picture as a file of its own.
---@param svg string  of `lines`, `bars` or `rows`
function M.standalone(svg)
  return (svg:gsub('>', '>\n<style>\n' .. M.style:gsub('%%', '%%%%') .. '</style>', 1)) .. '\n'
end

return M
