--- Plots (lua/sppo/plot.lua): well-formed SVG whatever the values are.

local escape = require 'sppo.escape'
local lu = require 'luaunit'
local plot = require 'sppo.plot'

local tests = {}

--- Every element is closed in its turn, and no number is NaN or infinite.
local function assert_well_formed(svg)
  local open = {}
  for closing, name, rest in svg:gmatch('<(/?)(%a+)([^>]*)>') do
    if closing == '/' then lu.assertEquals(table.remove(open), name)
    elseif rest:sub(-1) ~= '/' then open[#open + 1] = name end
  end
  lu.assertEquals(open, {})
  lu.assertNil(svg:lower():find('[^%a]nan[^%a]'))
  lu.assertNil(svg:lower():find('[^%a]inf[^%a]'))
end

local function lines(points, options)
  local o = { title = 't', series = { { name = 's', points = points } } }
  for key, value in pairs(options or {}) do o[key] = value end
  local svg = plot.lines(o)
  assert_well_formed(svg)
  return svg
end

function tests.test_odd_values()
  lines {}
  lines { { 1, 1 } }
  for _, include in ipairs { 0.5, 1, 2 } do lines({ { 1, 1 }, { 2, 1 } }, { include = include }) end
  lines { { 0, 0 }, { 0, 0 } }
  lines { { 1, 0 / 0 }, { 2, 1 / 0 }, { 3, -1 / 0 }, { 4, 1 } }
  lines { { 1, 1e300 }, { 2, -1e300 } }
  lines({ { 0, 0 }, { -1, 5 }, { 10, 0 } }, { x_log = true, y_log = true })
  lines({ { 10, 0.1 }, { 1e5, 1e-4 } }, { x_log = true, y_log = true })
  lu.assertStrContains(lines { { 1, 0.5, 0.4, 0.6 }, { 2, 0.6, 0.5, 0 / 0 } }, 'class="whisker"')
  lu.assertStrContains(lines { { 1, 0.5, 0.4, 0.6 }, { 2, 0.6, 0.5, 0.7 } }, 'c1 band')
end

function tests.test_scale()
  -- A straight line on log-log axes: its middle is the geometric mean.
  local svg = lines({ { 1, 1 }, { 10, 10 }, { 100, 100 } }, { x_log = true, y_log = true })
  local x1, y1, x2, y2, x3, y3 = svg:match(
    'polyline class="c1 line" points="([%d.]+),([%d.]+) ([%d.]+),([%d.]+) ([%d.]+),([%d.]+)"')
  lu.assertAlmostEquals(x2 * 2, x1 + x3, 0.2)
  lu.assertAlmostEquals(y2 * 2, y1 + y3, 0.2)
  lu.assertTrue(tonumber(y1) > tonumber(y3))
end

function tests.test_long_lines_are_thinned()
  local points = {}
  for i = 1, 1e5 do points[i] = { i, i % 7 } end
  lu.assertTrue(#lines(points) < 2e4)
end

function tests.test_bars()
  assert_well_formed(plot.bars { title = 'b', names = { 'x', '<y>' }, series = {
    { name = 'a', values = { 1, 0 / 0 }, low = { 0.5 }, high = { 1.5 } },
    { name = 'b', values = { nil, -1 } } } })
  assert_well_formed(plot.bars { title = 'b', names = {}, series = {} })
end

function tests.test_rows()
  local svg = plot.rows { title = 'r', names = { 'x', '<y>', ('long '):rep(20) }, series = {
    { name = 'a', values = { 1, 0 / 0, 0.5 } }, { name = 'b', values = { nil, -1, 1 / 0 } } } }
  assert_well_formed(svg)
  lu.assertStrContains(svg, '&lt;y&gt;')
  assert_well_formed(plot.rows { title = 'r', names = {}, series = {} })
  assert_well_formed(plot.rows { title = 'r', names = { 'x' }, series = { { values = {} } } })
end

--- A legend that is wider than the picture goes on in another row; names are cut.
function tests.test_legend()
  local series = {}
  for i = 1, 8 do
    series[i] = { name = ('a name of a run %d '):format(i):rep(3), points = { { 1, 1 } } }
  end
  local svg = plot.lines { title = 't', series = series, width = 460, height = 280 }
  assert_well_formed(svg)
  local names = 0
  for x, name in svg:gmatch('<text x="(%d+)" y="%d+">([^<]+)</text>') do
    names = names + 1
    lu.assertTrue(tonumber(x) + 7 * #name < 460)
  end
  lu.assertEquals(names, 8)
end

function tests.test_marks_and_whole_ticks()
  local svg = lines({ { 1, 5 }, { 2, 5 } }, { x_marks = { 1.5 }, x_whole = true })
  lu.assertStrContains(svg, 'class="mark"')
  lu.assertNil(svg:find('>1.2<', 1, true))
  svg = lines({ { 1, 5 }, { 20, 5 } }, { x_ticks = { 0, 10, 20, 30 } })
  lu.assertStrContains(svg, '>20<')
  lu.assertNil(svg:find('>0<', 1, true) or svg:find('>30<', 1, true))
end

function tests.test_nothing_given_is_markup()
  local evil = '</text><script>alert(1)</script>"\'&\0'
  local svg = lines({ { 1, 2 } }, { title = evil, x_label = evil, y_label = evil,
    series = { { name = evil, points = { { 1, 2 } } } } })
  lu.assertNil(svg:find('<script', 1, true))
  lu.assertEquals(escape.html('a<b>&"\'\1'), 'a&lt;b&gt;&amp;&quot;&#39;\239\191\189')
end

function tests.test_standalone()
  local svg = plot.standalone(lines { { 1, 2 } })
  lu.assertStrContains(svg, 'prefers-color-scheme')
  assert_well_formed((svg:gsub('<style>.-</style>', '')))
end

return tests
