--- Several runs side by side.

local figures = require 'sppo.report.figures'
local html = require 'sppo.report.html'
local rounds = require 'sppo.report.rounds'
local settings = require 'sppo.report.settings'

local M = {}

local text = figures.text

--- Values that differ between runs, a row each.
local function differences(runs)
  local values, keys = {}, {}
  for i, run in ipairs(runs) do
    for _, entry in ipairs(settings.rows(run.resolved)) do
      if not values[entry[1]] then
        values[entry[1]] = {}
        keys[#keys + 1] = entry[1]
      end
      values[entry[1]][i] = entry[2]
    end
  end
  table.sort(keys)
  local rows = {}
  for _, key in ipairs(keys) do
    local row, differ = { key }, false
    for i = 1, #runs do
      row[i + 1] = values[key][i] or ''
      differ = differ or row[i + 1] ~= row[2]
    end
    if differ then rows[#rows + 1] = row end
  end
  return rows
end

--- The runs' last rounds, a row each.
local function results(runs)
  local head, rows = { 'run', 'round' }, {}
  for i, c in ipairs(rounds.columns) do head[i + 2] = c[1] end
  for _, run in ipairs(runs) do
    local row = { run.label, tostring(run.last) }
    for n, c in ipairs(rounds.columns) do row[n + 2] = text(run.rounds[run.last][c[2]], c[3]) end
    rows[#rows + 1] = row
  end
  return html.table(head, rows, 'The last round of each')
end

--- A figure with a line for each run.
local function figure(runs, longest, title, y_label, key, first, include)
  local series = {}
  for i, run in ipairs(runs) do
    series[i] = { name = run.label, get = function(t)
      local r = run.rounds[t]
      if t < first or not r then return end
      if key == 'eval/win_rate' then return r[key], r[key .. '_low'], r[key .. '_high'] end
      return r[key]
    end }
  end
  return figures.rounds_figure(longest,
    { title = title, y_label = y_label, series = series, include = include })
end

--- Several runs side by side as HTML.
---@param runs sppo.ReportRun[]
---@return string
function M.page(runs)
  local longest, names, taken = runs[1], { 'setting' }, {}
  for i, run in ipairs(runs) do
    run.label = html.cut(run.name, 100)
    taken[run.label] = (taken[run.label] or 0) + 1
    -- Folders of the same name in different places.
    if taken[run.label] > 1 then run.label = ('%s (%d)'):format(run.label, taken[run.label]) end
    longest = run.last > longest.last and run or longest
    names[i + 1] = run.label
  end
  local shown = {
    '<h1>Runs side by side</h1>', results(runs),
    html.figures {
      figure(runs, longest, 'Win rate against the start, 95 % interval', 'win rate',
        'eval/win_rate', 1, 0.5),
      figure(runs, longest, 'Length of held-out answers', 'tokens, mean', 'eval/mean_length', 0),
      figure(runs, longest, 'Pass rate', 'share', 'eval/pass_rate', 0),
      figure(runs, longest, 'Tied pairs', 'share', 'pref/tie_ratio', 1, 0),
      figure(runs, longest, 'Movement of the chosen answers\' log-prob', 'nats an answer',
        'likelihood/chosen', 1, 0),
      figure(runs, longest, 'Movement of the rejected answers\' log-prob', 'nats an answer',
        'likelihood/rejected', 1, 0),
    },
  }
  local differ = differences(runs)
  shown[#shown + 1] = html.section('Settings that differ',
    #differ > 0 and html.table(names, differ, nil, 'words') or html.note('None.'))
  local each = {}
  for i, run in ipairs(runs) do each[i] = html.details(run.label, rounds.table(run)) end
  shown[#shown + 1] = html.section('Rounds of each', table.concat(each, '\n'))
  return html.page('runs side by side – sppo', shown)
end

return M
