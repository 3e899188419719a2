--- A run's figures: what came of it round by round, and how training went step by step.

local html = require 'sppo.report.html'
local plot = require 'sppo.plot'

local M = {}

local function text(value, form)
  return type(value) == 'number' and (form or '%.4g'):format(value) or ''
end

--- Points { round, rounds[round][key] } from round `first` on.
local function by_round(run, key, first, low, high)
  local points = {}
  for t = first, run.last do
    local r = run.rounds[t]
    if type(r[key]) == 'number' then points[#points + 1] = { t, r[key], r[low], r[high] } end
  end
  return points
end

local function numbers(run, keys, first)
  local head, rows = { 'round' }, {}
  for _, key in ipairs(keys) do head[#head + 1] = key end
  for t = first, run.last do
    local row = { tostring(t) }
    for _, key in ipairs(keys) do row[#row + 1] = text(run.rounds[t][key]) end
    rows[#rows + 1] = row
  end
  return html.table(head, rows)
end

--- Ticks for the rounds of a run: whole numbers.
---@param run sppo.ReportRun
function M.round_ticks(run)
  local ticks = {}
  for t = 0, run.last, math.max(1, math.ceil(run.last / 10)) do ticks[#ticks + 1] = t end
  return ticks
end

--- One figure of values by round; '' if the run has none of them.
local function rounds_figure(run, title, y_label, series, include)
  local keys, lines = {}, {}
  for _, s in ipairs(series) do
    local points = by_round(run, s.key, s.first or 0, s.low, s.high)
    if s.zero then table.insert(points, 1, { 0, s.zero }) end
    if #points > (s.zero and 1 or 0) then
      lines[#lines + 1] = { name = s.name, points = points, dots = true, dash = s.dash }
    end
    for _, key in ipairs { s.key, s.low, s.high } do keys[#keys + 1] = key end
  end
  if #lines == 0 then return '' end
  return html.figure(plot.lines {
    title = title, x_label = 'round', y_label = y_label, series = lines, include = include,
    x_ticks = M.round_ticks(run), width = 500, height = 280,
  }, numbers(run, keys, 0))
end

--- Pass rate of each kind of prompt, at the start and in the last round.
local function kinds_figure(run)
  local names, first, last, rows = {}, {}, {}, {}
  for key in pairs(run.rounds[0]) do
    local kind = type(key) == 'string' and key:match('^eval/pass_rate/(.+)$')
    if kind then names[#names + 1] = kind end
  end
  table.sort(names)
  if #names == 0 or #names > 12 or run.last == 0 then return '' end
  local labels = {}
  for i, name in ipairs(names) do
    first[i] = run.rounds[0]['eval/pass_rate/' .. name]
    last[i] = run.rounds[run.last]['eval/pass_rate/' .. name]
    labels[i] = name:gsub('_', ' ')
    rows[i] = { labels[i], text(first[i]), text(last[i]) }
  end
  return html.figure(plot.bars {
    title = 'Pass rate by kind of prompt', names = labels, width = 1040,
    series = { { name = 'start', values = first },
      { name = 'round ' .. run.last, values = last } },
  }, html.table({ 'kind', 'start', 'round ' .. run.last }, rows))
end

--- One figure of values by optimizer step.
local function steps_figure(run, title, y_label, series, options)
  local lines, head, rows = {}, { 'step' }, {}
  for _, s in ipairs(series) do
    local points = {}
    for i, step in ipairs(run.steps) do
      if type(step[s.key]) == 'number' then points[#points + 1] = { i, step[s.key] } end
    end
    if #points > 0 then lines[#lines + 1] = { name = s.name, points = points } end
    head[#head + 1] = s.key
  end
  if #lines == 0 then return '' end
  local every = math.ceil(#run.steps / 40)
  for i = 1, #run.steps, every do
    local row = { tostring(i) }
    for _, s in ipairs(series) do row[#row + 1] = text(run.steps[i][s.key]) end
    rows[#rows + 1] = row
  end
  options = options or {}
  return html.figure(plot.lines {
    title = title, x_label = 'optimizer step, all rounds', y_label = y_label, series = lines,
    y_log = options.y_log, include = options.include, width = 500, height = 280,
  }, html.table(head, rows, every > 1 and ('every %dth step'):format(every) or nil))
end

--- What came of it.
---@param run sppo.ReportRun
---@return string html
function M.rounds(run)
  return '<div class="figures">' .. table.concat {
    rounds_figure(run, 'Win rate against the start, with 95 % interval', 'win rate', {
      { key = 'eval/win_rate', low = 'eval/win_rate_low', high = 'eval/win_rate_high', first = 1,
        zero = 0.5 } }),
    rounds_figure(run, 'Length of held-out answers', 'tokens', {
      { key = 'eval/mean_length' } }, 0),
    rounds_figure(run, 'Pass rate of held-out answers', 'share', {
      { key = 'eval/pass_rate' } }, 0),
    rounds_figure(run, 'Ties, cycles, cut answers', 'share', {
      { key = 'pref/tie_ratio', name = 'tied pairs', first = 1 },
      { key = 'pref/cycle_ratio', name = 'cyclic triples', first = 1 },
      { key = 'completions/clipped_ratio', name = 'answers cut', first = 1 },
    }, 0),
    rounds_figure(run, 'Movement of log-probs by training', 'nats an answer', {
      { key = 'likelihood/chosen', name = 'chosen', first = 1 },
      { key = 'likelihood/rejected', name = 'rejected', first = 1 },
    }, 0),
    kinds_figure(run),
  } .. '</div>'
end

--- How training went.
---@param run sppo.ReportRun
---@return string html
function M.steps(run)
  return '<div class="figures">' .. table.concat {
    steps_figure(run, 'Loss', 'loss', { { key = 'loss' } }),
    steps_figure(run, 'log(pi / pi_t) / eta of unseen answers', 'reward', {
      { key = 'rewards/chosen', name = 'chosen' },
      { key = 'rewards/rejected', name = 'rejected' },
    }, { include = 0 }),
    steps_figure(run, 'Log-probability of answers', 'nats', {
      { key = 'logps/chosen', name = 'chosen' }, { key = 'logps/rejected', name = 'rejected' } }),
    steps_figure(run, 'Distance from the target: log(pi / pi_t) - eta (P - 1/2)', 'nats', {
      { key = 'sppo/residual_w', name = 'chosen' },
      { key = 'sppo/residual_l', name = 'rejected' },
    }, { include = 0 }),
    steps_figure(run, 'Norm of the gradient before clipping', 'norm', { { key = 'grad_norm' } },
      { y_log = true }),
    steps_figure(run, 'Learning rate', 'rate', { { key = 'learning_rate' } }, { include = 0 }),
  } .. '</div>'
end

--- Time, rate and memory of each stage.
---@param run sppo.ReportRun
---@return string html
function M.work(run)
  local rows, total = {}, 0
  for _, p in ipairs(run.perf) do
    if type(p.seconds) == 'number' then
      total = total + p.seconds
      rows[#rows + 1] = { tostring(p.stage), text(p.round, '%d'), text(p.seconds, '%.1f'),
        text(p.tokens, '%d'), text(p.tokens_per_second, '%.0f'),
        type(p.memory_peak) == 'number' and ('%.2f'):format(p.memory_peak / 2^30) or '' }
    end
  end
  if #rows == 0 then return '' end
  rows[#rows + 1] = { 'all', '', ('%.1f'):format(total) }
  return html.table({ 'stage', 'round', 'seconds', 'tokens', 'tokens/s', 'peak GiB so far' }, rows)
end

M.text = text

return M
