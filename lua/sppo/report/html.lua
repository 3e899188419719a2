--- Pieces of an HTML page that needs nothing else: no script, no network, every text escaped.

local plot = require 'sppo.plot'

local M = {}

local escape = plot.escape

local STYLE = [[
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #f4f4f2; --new: #d8f0dc; --old: #f7dcdc;
  --link: #0b62a3 }
@media (prefers-color-scheme: dark) { :root { --line: #444; --soft: #222428; --new: #1f4a2b;
  --old: #562a2d; --link: #6cb6f5 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 0 auto;
  padding: 1.5rem 1rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem }
.lead { font-size: 1.15rem; margin: .4rem 0 } .soft { opacity: .75; font-size: .9rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: right }
th:first-child, td:first-child { text-align: left } caption { text-align: left; font-weight: 600 }
.scroll { overflow-x: auto } .figures { display: flex; flex-wrap: wrap; gap: 1.2rem }
figure { margin: 0; max-width: 100% } summary { cursor: pointer; color: var(--link) }
pre, .answer { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft);
  padding: .6rem; border-radius: 6px; font-size: .88rem; margin: .2rem 0 }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: .8rem }
ins { background: var(--new); text-decoration: none } del { background: var(--old) }
.matrix td { min-width: 3.2em; text-align: center; border: 1px solid var(--line) }
@media print { details { display: block } body { max-width: none } .figures { display: block } }
]]

--- A whole page.
---@param title string
---@param parts string[]  HTML
---@return string
function M.page(title, parts)
  return table.concat({
    '<!doctype html>', '<html lang="en">', '<head>', '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; ' ..
      'style-src \'unsafe-inline\'">',
    ('<title>%s</title>'):format(escape(title)),
    '<style>' .. STYLE .. plot.style .. '</style>', '</head>', '<body>',
    table.concat(parts, '\n'), '</body>', '</html>', '',
  }, '\n')
end

--- A table; cells are texts and are escaped.
---@param head string[]
---@param rows string[][]
---@param caption? string
function M.table(head, rows, caption)
  local out = { '<div class="scroll"><table>' }
  if caption then out[#out + 1] = ('<caption>%s</caption>'):format(escape(caption)) end
  local function row(cells, tag)
    local list = {}
    for i = 1, #head do list[i] = ('<%s>%s</%s>'):format(tag, escape(cells[i] or ''), tag) end
    out[#out + 1] = '<tr>' .. table.concat(list) .. '</tr>'
  end
  row(head, 'th')
  for _, cells in ipairs(rows) do row(cells, 'td') end
  out[#out + 1] = '</table></div>'
  return table.concat(out, '\n')
end

--- A picture with its numbers behind it.
---@param svg string
---@param numbers? string  HTML of a table
function M.figure(svg, numbers)
  return ('<figure>%s%s</figure>'):format(svg,
    numbers and ('<details><summary>numbers</summary>%s</details>'):format(numbers) or '')
end

function M.section(title, ...)
  return ('<h2>%s</h2>\n%s'):format(escape(title), table.concat({ ... }, '\n'))
end

function M.details(summary, html)
  return ('<details><summary>%s</summary>%s</details>'):format(escape(summary), html)
end

M.escape = escape

return M
