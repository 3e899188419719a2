--- What came of a run's rounds in words and tables: the headline, and who beats whom.

local figures = require 'sppo.report.figures'
local html = require 'sppo.report.html'

local M = {}

local text = figures.text

local MOST_ROUNDS = 200 -- rows of a table
local MOST_AGAINST = 10 -- rounds that are set against each other

local function number(value) return type(value) == 'number' and value == value and value or nil end

--- "-25 %", the change from a to b.
local function change(a, b)
  return ('%+.0f\194\160%%'):format((b / a - 1) * 100) -- a space that does not break
end

--- The result in a sentence or two. Where answers won and grew, it says so: preferences often like
--- length for its own sake.
---@param run sppo.ReportRun
---@return string
function M.headline(run)
  local start, last = run.rounds[0], run.rounds[run.last]
  local parts = {}
  local function say(form, ...) parts[#parts + 1] = form:format(...) end
  local win = number(last['eval/win_rate'])
  if win then
    say('Round %d beats the start in %.3f of held-out comparisons (95 %%: %s..%s).', run.last, win,
      text(last['eval/win_rate_low'], '%.3f'), text(last['eval/win_rate_high'], '%.3f'))
  end
  local a, b = number(start['eval/pass_rate']), number(last['eval/pass_rate'])
  if a and b and run.last > 0 then say('The pass rate went from %.3f to %.3f.', a, b) end
  a, b = number(start['eval/mean_length']), number(last['eval/mean_length'])
  if a and b and run.last > 0 then
    say('Answers went from %.1f to %.1f tokens (%s).', a, b, change(a, b))
    if win and win > 0.5 and b > 1.1 * a then
      say('They win and are longer: look at whether length alone is what was preferred.')
    end
  end
  if #parts == 0 then parts[1] = 'No round has been evaluated yet.' end
  return table.concat(parts, ' ')
end

--- The headline's numbers.
---@param run sppo.ReportRun
---@return string html
function M.tiles(run)
  local start, last, list = run.rounds[0], run.rounds[run.last], {}
  local win = number(last['eval/win_rate'])
  if win then
    list[#list + 1] = { 'Win rate', ('%.3f'):format(win),
      ('round %d against the start, 95 %%: %s..%s'):format(run.last,
        text(last['eval/win_rate_low'], '%.3f'), text(last['eval/win_rate_high'], '%.3f')) }
  end
  local a, b = number(start['eval/pass_rate']), number(last['eval/pass_rate'])
  if b then
    list[#list + 1] = { 'Pass rate', ('%.3f'):format(b), a and ('start %.3f'):format(a) }
  end
  a, b = number(start['eval/mean_length']), number(last['eval/mean_length'])
  if b then
    list[#list + 1] = { 'Length', ('%.1f'):format(b), a and ('tokens an answer, start %.1f (%s)')
      :format(a, change(a, b)) or 'tokens an answer' }
  end
  local seconds, peak = 0, 0
  for _, p in ipairs(run.perf) do
    seconds = seconds + (number(p.seconds) or 0)
    peak = math.max(peak, number(p.memory_peak) or 0)
  end
  if seconds > 0 then
    list[#list + 1] = { 'Time', seconds < 100 and ('%.1f s'):format(seconds) or
      seconds < 6000 and ('%.1f min'):format(seconds / 60) or ('%.1f h'):format(seconds / 3600),
      peak >= 2^30 and ('at most %.2f GiB of tensors'):format(peak / 2^30) or
        ('at most %.1f MiB of tensors'):format(peak / 2^20) }
  end
  return html.tiles(list)
end

--- Columns of the table of rounds: name, metric, form.
M.columns = {
  { 'win rate', 'eval/win_rate', '%.3f' }, { 'low', 'eval/win_rate_low', '%.3f' },
  { 'high', 'eval/win_rate_high', '%.3f' }, { 'pass rate', 'eval/pass_rate', '%.3f' },
  { 'mean length', 'eval/mean_length', '%.1f' }, { 'pairs used', 'select/used', '%d' },
  { 'tied', 'pref/tie_ratio', '%.2f' }, { 'cycles', 'pref/cycle_ratio', '%.3f' },
  { 'cut', 'completions/clipped_ratio', '%.2f' },
}

--- A row for each round that has metrics.
---@param run sppo.ReportRun
---@return string html
function M.table(run)
  local head, rows = { 'round' }, {}
  for i, c in ipairs(M.columns) do head[i + 1] = c[1] end
  for t = 0, run.last do
    if next(run.rounds[t]) then
      local row = { t == 0 and 'start' or tostring(t) }
      for i, c in ipairs(M.columns) do row[i + 1] = text(run.rounds[t][c[2]], c[3]) end
      rows[#rows + 1] = row
    end
  end
  if #rows == 0 then return '' end
  local caption = 'Held-out answers against the start, and the pairs trained on'
  while #rows > MOST_ROUNDS do table.remove(rows, 2) end
  if run.last >= MOST_ROUNDS then
    caption = ('%s; the first and the last %d rounds'):format(caption, MOST_ROUNDS - 1)
  end
  return html.table(head, rows, caption)
end

--- P(a round's answers beat an earlier round's) with its interval, where evaluation wrote it.
---@param run sppo.ReportRun
---@return string html
function M.against(run)
  local every = math.max(1, math.ceil(run.last / MOST_AGAINST))
  local head, rows, any = { 'beats' }, {}, false
  for old = 0, run.last - 1, every do head[#head + 1] = old == 0 and 'start' or 'round ' .. old end
  for t = run.last, 1, -every do
    local row, r = { 'round ' .. t }, run.rounds[t]
    for old = 0, run.last - 1, every do
      local of = old == 0 and '' or '/' .. old
      local key = old == 0 and 'eval/win_rate' or 'eval/win_rate_against'
      local low, high = r[key .. '_low' .. of], r[key .. '_high' .. of]
      local cell = old < t and text(r[key .. of], '%.3f') or ''
      any = any or (old > 0 and cell ~= '')
      if cell ~= '' and number(low) and number(high) then
        cell = ('%s (%.3f..%.3f)'):format(cell, low, high)
      end
      row[#row + 1] = cell
    end
    table.insert(rows, 1, row)
  end
  local caption = 'Win rate against each earlier round, with 95 % interval'
  if every > 1 then caption = ('%s; every %dth round'):format(caption, every) end
  return any and html.table(head, rows, caption) or ''
end

return M
