--- report.html: what happened in a run, or in several side by side, as one file that needs nothing
--- else. Drawn from the run folder's files alone.

local answers = require 'sppo.report.answers'
local figures = require 'sppo.report.figures'
local files = require 'sppo.files'
local html = require 'sppo.report.html'
local plot = require 'sppo.plot'
local report_run = require 'sppo.report.run'

local M = {}

local text = figures.text

--- The result in a sentence or two.
local function headline(run)
  local start, last = run.rounds[0], run.rounds[run.last]
  local parts = {}
  if type(last['eval/win_rate']) == 'number' then
    parts[#parts + 1] = ('Round %d beats the start in %s of held-out comparisons (95 %%: %s..%s).')
      :format(run.last, text(last['eval/win_rate'], '%.3f'),
        text(last['eval/win_rate_low'], '%.3f'), text(last['eval/win_rate_high'], '%.3f'))
  end
  if start['eval/pass_rate'] and last['eval/pass_rate'] then
    parts[#parts + 1] = ('The pass rate went from %.3f to %.3f.'):format(start['eval/pass_rate'],
      last['eval/pass_rate'])
  end
  if start['eval/mean_length'] and last['eval/mean_length'] then
    parts[#parts + 1] = ('Answers went from %.1f to %.1f tokens.'):format(
      start['eval/mean_length'], last['eval/mean_length'])
  end
  if #parts == 0 then parts[1] = 'No round has been evaluated yet.' end
  return table.concat(parts, ' ')
end

local columns = {
  { 'win rate', 'eval/win_rate', '%.3f' }, { 'low', 'eval/win_rate_low', '%.3f' },
  { 'high', 'eval/win_rate_high', '%.3f' }, { 'pass rate', 'eval/pass_rate', '%.3f' },
  { 'mean length', 'eval/mean_length', '%.1f' }, { 'pairs used', 'select/used', '%d' },
  { 'tied', 'pref/tie_ratio', '%.2f' }, { 'cycles', 'pref/cycle_ratio', '%.3f' },
  { 'cut', 'completions/clipped_ratio', '%.2f' },
}

local function rounds_table(run)
  local head, rows = { 'round' }, {}
  for i, c in ipairs(columns) do head[i + 1] = c[1] end
  for t = 0, run.last do
    local row = { t == 0 and 'start' or tostring(t) }
    for i, c in ipairs(columns) do row[i + 1] = text(run.rounds[t][c[2]], c[3]) end
    rows[#rows + 1] = row
  end
  return html.table(head, rows)
end

--- P(round's answers beat an earlier round's), where evaluation wrote it.
local function against_table(run)
  local head, rows, any = { 'beats' }, {}, false
  for t = 0, run.last - 1 do head[t + 2] = t == 0 and 'start' or 'round ' .. t end
  for t = 1, run.last do
    local row = { 'round ' .. t }
    for old = 0, t - 1 do
      local key = old == 0 and 'eval/win_rate' or 'eval/win_rate_against/' .. old
      row[old + 2] = text(run.rounds[t][key], '%.3f')
      any = any or (old > 0 and row[old + 2] ~= '')
    end
    rows[t] = row
  end
  return any and html.table(head, rows, 'Win rate against each earlier round') or ''
end

--- Settings as 'train.lr' = '2e-06, 1.5e-06'.
local function settings(resolved)
  local flat = {}
  local function walk(value, path)
    if type(value) ~= 'table' then
      flat[#flat + 1] = { path, type(value) == 'number' and ('%.10g'):format(value) or
        tostring(value) }
    elseif #value > 0 and type(value[1]) ~= 'table' then
      local list = {}
      for i, v in ipairs(value) do list[i] = tostring(v) end
      flat[#flat + 1] = { path, table.concat(list, ', ') }
    else
      for key, v in pairs(value) do walk(v, path == '' and tostring(key) or path .. '.' .. key) end
    end
  end
  walk(resolved, '')
  table.sort(flat, function(a, b) return a[1] < b[1] end)
  return flat
end

local function environment(run)
  for i = #run.perf, 1, -1 do
    local p = run.perf[i]
    if p.stage == 'start' then
      return ('sppo %s, %s, %s threads, %s'):format(tostring(p.version), tostring(p.cpu),
        tostring(p.threads), os.date('!%Y-%m-%d %H:%M UTC', tonumber(p.time) or 0))
    end
  end
end

--- The report of one run as HTML.
---@param run sppo.ReportRun
function M.page(run)
  local name = tostring(run.resolved.name or run.name)
  local where = environment(run)
  local parts = {
    ('<h1>%s</h1>'):format(html.escape(name)),
    ('<p class="lead">%s</p>'):format(html.escape(headline(run))),
    rounds_table(run), against_table(run), figures.rounds(run),
  }
  local function section(title, body)
    if body ~= '' then parts[#parts + 1] = html.section(title, body) end
  end
  if #run.steps > 0 then section('Training', figures.steps(run)) end
  section('The same prompts across rounds', answers.across(run, 12))
  section('Preferences', answers.matrices(run, 6))
  section('Time and memory', figures.work(run))
  section('Settings', html.details('values', html.table({ 'key', 'value' },
    settings(run.resolved))) .. html.details('recipe',
    ('<pre>%s</pre>'):format(html.escape(run.recipe))))
  if where then parts[#parts + 1] = ('<p class="soft">%s</p>'):format(html.escape(where)) end
  return html.page(name .. ' – sppo', parts)
end

local function curve(runs, key, first)
  local series = {}
  for i, run in ipairs(runs) do
    local points = {}
    for t = first, run.last do
      local r = run.rounds[t]
      if type(r[key]) == 'number' then points[#points + 1] = { t, r[key] } end
    end
    series[i] = { name = run.label, points = points, dots = true }
  end
  return series
end

--- Values that differ between runs, a row each.
local function differences(runs)
  local values, keys = {}, {}
  for i, run in ipairs(runs) do
    for _, entry in ipairs(settings(run.resolved)) do
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

--- Several runs side by side as HTML.
---@param runs sppo.ReportRun[]
function M.compare_page(runs)
  local head, rows, names = { 'run', 'round' }, {}, { 'setting' }
  for i, c in ipairs(columns) do head[i + 2] = c[1] end
  local most = runs[1]
  for i, run in ipairs(runs) do
    run.label = run.name
    most = run.last > most.last and run or most
    names[i + 1] = run.label
    for t = run.last == 0 and 0 or 1, run.last do
      local row = { run.label, tostring(t) }
      for n, c in ipairs(columns) do row[n + 2] = text(run.rounds[t][c[2]], c[3]) end
      rows[#rows + 1] = row
    end
  end
  local shown = { '<h1>Runs side by side</h1>', html.table(head, rows), '<div class="figures">' }
  for _, f in ipairs {
    { 'Win rate against the start', 'eval/win_rate', 1 }, { 'Pass rate', 'eval/pass_rate', 0 },
    { 'Length of held-out answers', 'eval/mean_length', 0 },
    { 'Movement of the chosen answers\' log-prob', 'likelihood/chosen', 1 },
    { 'Movement of the rejected answers\' log-prob', 'likelihood/rejected', 1 },
  } do
    local series, any = curve(runs, f[2], f[3]), false
    for _, s in ipairs(series) do any = any or #s.points > 0 end
    if any then
      shown[#shown + 1] = html.figure(plot.lines { title = f[1], x_label = 'round',
        series = series, x_ticks = figures.round_ticks(most), width = 500, height = 280 })
    end
  end
  shown[#shown + 1] = '</div>'
  shown[#shown + 1] = html.section('Settings that differ', html.table(names, differences(runs)))
  return html.page('runs side by side – sppo', shown)
end

--- Draws a run folder's report.html; nil, err if the folder is no run.
---@param path string   the run folder
---@param out? string   another place for the page
---@return string? path of the page
function M.write(path, out)
  local run, err = report_run.load(path)
  if not run then return nil, err end
  out = out or run.path .. '/report.html'
  files.write(out, M.page(run))
  return out
end

--- Draws several runs into one page; nil, err.
---@param paths string[]
---@param out string
function M.compare(paths, out)
  local runs = {}
  for i, path in ipairs(paths) do
    local run, err = report_run.load(path)
    if not run then return nil, err end
    runs[i] = run
  end
  files.write(out, M.compare_page(runs))
  return out
end

return M
