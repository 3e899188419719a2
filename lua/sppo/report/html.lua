--- Pieces of an HTML page that needs nothing else: no script, no network, every text escaped.

local base64 = require 'sppo.base64'
local escape_of = require 'sppo.escape'
local files = require 'sppo.files'
local plot = require 'sppo.plot'

local M = {}

local escape = escape_of.html

local STYLE = [[
:root { color-scheme: light dark; --ink: #1c1e21; --page: #fff; --line: #d5d7da; --soft: #f3f4f5;
  --faint: #5c6066; --new: #d4efda; --gone: #f8dcd9; --link: #0b62a3; --good: 11, 98, 163;
  --bad: 196, 80, 12 }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e6e8; --page: #16181b;
  --line: #3b3f45; --soft: #202328; --faint: #a4a9b0; --new: #1d4a2b; --gone: #5b2a2a;
  --link: #6cb6f5; --good: 74, 152, 222; --bad: 232, 126, 58 } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 1080px; margin: 0 auto; padding: 1.5rem 1rem 3rem }
h1, h2, p, summary, dd { overflow-wrap: anywhere }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid var(--line) }
.lead { font-size: 1.15rem; margin: .8rem 0 } .soft { color: var(--faint); font-size: .9rem;
  margin: .3rem 0 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem;
  margin: 1rem 0 }
.tiles div { background: var(--soft); border-radius: 8px; padding: .6rem .8rem }
.tiles dt { color: var(--faint); font-size: .85rem }
.tiles dd { margin: 0; font-size: .85rem; color: var(--faint) }
.tiles .big { font-size: 1.55rem; line-height: 1.3; font-weight: 600; color: var(--ink) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: right;
  font-weight: 400 }
thead th { color: var(--faint); font-size: .85rem; white-space: nowrap }
th:first-child, .words th, .words td { text-align: left } .words td { overflow-wrap: anywhere }
caption { text-align: left; font-weight: 600; padding: .2rem .6rem }
@media (min-width: 700px) { caption { white-space: nowrap } }
.scroll { overflow-x: auto; margin: .4rem 0 }
.figures { display: grid; gap: 1.4rem 1.6rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)) }
figure { margin: 0; min-width: 0 } figure > .plot { width: 100% }
summary { cursor: pointer; color: var(--link) } .numbers > summary { font-size: .85rem }
pre, .answer { white-space: pre-wrap; overflow-wrap: anywhere; overflow: hidden;
  background: var(--soft); padding: .6rem; border-radius: 6px; font-size: .88rem; margin: .2rem 0 }
.answer { font-family: inherit; tab-size: 4 } pre { font-family: ui-monospace, monospace }
.sides { display: grid; gap: .8rem; margin: .4rem 0 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 230px), 1fr)) }
.sides > div { min-width: 0 }
ins { background: var(--new); text-decoration: none; border-bottom: 1px solid currentColor }
del { background: var(--gone); text-decoration: line-through; text-decoration-thickness: 1px }
.matrix td { min-width: 3.2em; text-align: center; border: 1px solid var(--line) }
SHADES
@media print { :root { color-scheme: light } body { max-width: none; padding: 0; font-size: 10pt }
  .figures { grid-template-columns: 1fr 1fr } figure, .sides > div, tr { break-inside: avoid }
  h2, summary { break-after: avoid } .scroll { overflow: visible } table { font-size: 7.5pt }
  th, td { padding: .1rem .3rem } thead th { white-space: normal; font-size: 7pt }
  .matrix td { min-width: 0 }
  .tiles div, pre, .answer, .matrix td, ins, del { print-color-adjust: exact }
  details:not(.numbers)::details-content { content-visibility: visible; block-size: auto }
  .numbers { display: none } }
]]

local SHADES = 10

--- Cells of a matrix by how far P is from 1/2, above (w) and below (l). Classes, since the page's
--- policy allows no style attributes.
local function shades()
  local out = {}
  for i = 1, SHADES do
    local alpha = i / SHADES * 0.5
    out[i] = ('.w%d { background: rgba(var(--good), %.2f) } .l%d { background: rgba(var(--bad), ' ..
      '%.2f) }'):format(i, alpha, i, alpha)
  end
  return table.concat(out, '\n')
end

--- The class of a matrix's cell with probability p.
---@param p number
---@return string class  '' at 1/2
function M.shade(p)
  local i = math.min(SHADES, math.floor(math.abs(p - 0.5) * 2 * SHADES + 0.5))
  if i ~= i or i == 0 then return '' end
  return (' class="%s%d"'):format(p > 0.5 and 'w' or 'l', i)
end

--- The page's one style sheet, and the only source of style that it allows: its own hash.
local function style()
  local text = STYLE:gsub('SHADES', (shades():gsub('%%', '%%%%'))) .. plot.style
  local hash = files.sha256(text):gsub('%x%x', function(byte)
    return string.char(tonumber(byte, 16))
  end)
  return text, ('default-src \'none\'; style-src \'sha256-%s\'; base-uri \'none\'; ' ..
    'form-action \'none\''):format(base64.encode(hash))
end

--- A whole page.
---@param title string
---@param parts string[]  HTML
---@return string
function M.page(title, parts)
  local sheet, policy = style()
  return table.concat({
    '<!doctype html>', '<html lang="en">', '<head>', '<meta charset="utf-8">',
    ('<meta http-equiv="Content-Security-Policy" content="%s">'):format(policy),
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="referrer" content="no-referrer">',
    ('<title>%s</title>'):format(escape((escape_of.cut(title, 200)))),
    '<style>' .. sheet .. '</style>', '</head>', '<body>', '<main>',
    table.concat(parts, '\n'), '</main>', '</body>', '</html>', '',
  }, '\n')
end

--- A table; cells are texts and are escaped. The first cell of a row is its heading.
---@param head string[]
---@param rows string[][]
---@param caption? string
---@param class? string   'words': the cells are text
function M.table(head, rows, caption, class)
  local out = { ('<div class="scroll"><table%s>'):format(
    class and (' class="%s"'):format(class) or '') }
  if caption then out[#out + 1] = ('<caption>%s</caption>'):format(escape(caption)) end
  local cells = {}
  for i, name in ipairs(head) do cells[i] = ('<th scope="col">%s</th>'):format(escape(name)) end
  out[#out + 1] = '<thead><tr>' .. table.concat(cells) .. '</tr></thead><tbody>'
  for _, row in ipairs(rows) do
    cells = {}
    for i = 1, #head do
      local form = i == 1 and '<th scope="row">%s</th>' or '<td>%s</td>'
      cells[i] = form:format(escape(row[i] or ''))
    end
    out[#out + 1] = '<tr>' .. table.concat(cells) .. '</tr>'
  end
  out[#out + 1] = '</tbody></table></div>'
  return table.concat(out, '\n')
end

--- A picture with its numbers behind it.
---@param svg string
---@param numbers string  HTML of a table
function M.figure(svg, numbers)
  return ('<figure>%s<details class="numbers"><summary>numbers</summary>%s</details></figure>')
    :format(svg, numbers)
end

--- Figures beside each other, as many as the page is wide; '' if there are none.
---@param list string[]
function M.figures(list)
  local body = table.concat(list, '\n')
  return body == '' and '' or ('<div class="figures">%s</div>'):format(body)
end

--- The few numbers that matter most: { name, big, small? }.
---@param list string[][]
function M.tiles(list)
  local out = {}
  for i, tile in ipairs(list) do
    out[i] = ('<div><dt>%s</dt><dd class="big">%s</dd>%s</div>'):format(escape(tile[1]),
      escape(tile[2]), tile[3] and ('<dd>%s</dd>'):format(escape(tile[3])) or '')
  end
  return #out == 0 and '' or ('<dl class="tiles">%s</dl>'):format(table.concat(out))
end

function M.section(title, ...)
  return ('<h2>%s</h2>\n%s'):format(escape(title), table.concat({ ... }, '\n'))
end

--- What opens with a click.
---@param summary string
---@param html string
---@param open? boolean
function M.details(summary, html, open)
  return ('<details%s><summary>%s</summary>%s</details>'):format(open and ' open=""' or '',
    escape(summary), html)
end

--- A paragraph beside the point.
function M.note(text) return ('<p class="soft">%s</p>'):format(escape(text)) end

--- A text cut to `most` bytes, with how much is left out.
---@param text string
---@param most integer
function M.cut(text, most)
  local head, left = escape_of.cut(text, most)
  return left == 0 and head or ('%s … (%d more characters)'):format(head, left)
end

M.escape = escape

return M
