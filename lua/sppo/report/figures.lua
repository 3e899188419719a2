--- A run's figures: what came of it round by round, how training went step by step, and what it
--- took. Each has its numbers in a table behind it.

local html = require 'sppo.report.html'
local plot = require 'sppo.plot'
local report_run = require 'sppo.report.run'

local M = {}

local WIDTH, HEIGHT = 460, 280
local MOST_ROWS = 40 -- of the table behind a figure by round or step
local MOST_WORK = 120 -- of the table of stages

local function number(value) return type(value) == 'number' and value == value and value or nil end

--- A value as text, '' if it is no number.
---@param value any
---@param form? string
function M.text(value, form)
  return type(value) == 'number' and (form or '%.4g'):format(value) or ''
end

local text = M.text

--- Ticks for the rounds of a run: whole numbers.
---@param run { last: integer }
function M.round_ticks(run)
  local ticks = {}
  for t = 0, run.last, math.max(1, math.ceil(run.last / 10)) do ticks[#ticks + 1] = t end
  return ticks
end

-- ---- by round ----

--- One figure of values by round; '' if the run has none of them. A series is { name?, get(t) ->
--- value, low?, high? }, and `zero`, the value before the first round.
---@param run { last: integer }
---@param o { title: string, y_label: string, series: table[], include?: number }
function M.rounds_figure(run, o)
  local head, rows, lines = { 'round' }, {}, {}
  for t = 0, run.last do rows[t] = { t == 0 and 'start' or tostring(t) } end
  for _, s in ipairs(o.series) do
    local points, interval = {}, false
    for t = 0, run.last do
      local value, low, high = s.get(t)
      value = number(value) or t == 0 and s.zero
      if value then
        points[#points + 1] = { t, value, number(low), number(high) }
        interval = interval or number(low) ~= nil
      end
    end
    if #points > (s.zero and 1 or 0) then
      lines[#lines + 1] = { name = s.name, points = points, dots = run.last <= 40, dash = s.dash }
      local name = s.name or o.y_label
      local at = #head
      head[at + 1] = name
      if interval then head[at + 2], head[at + 3] = 'low', 'high' end
      for t = 0, run.last do
        for i = at + 1, #head do rows[t][i] = '' end
      end
      for _, p in ipairs(points) do
        for i = at + 1, #head do rows[p[1]][i] = text(p[i - at + 1]) end
      end
    end
  end
  if #lines == 0 then return '' end
  local list, every = {}, math.ceil((run.last + 1) / MOST_ROWS)
  for t = run.last, 0, -every do
    local any = false
    for i = 2, #head do any = any or rows[t][i] ~= '' end
    if any then table.insert(list, 1, rows[t]) end
  end
  return html.figure(plot.lines {
    title = o.title, x_label = 'round', y_label = o.y_label, series = lines, include = o.include,
    x_ticks = M.round_ticks(run), width = WIDTH, height = HEIGHT,
  }, html.table(head, list, o.title .. (every > 1 and (', every %dth'):format(every) or '')))
end

--- Pass rate of each kind of prompt, at the start and in the last round.
local function kinds_figure(run)
  local names, first, last, rows = {}, {}, {}, {}
  for key in pairs(run.rounds[0]) do
    local kind = type(key) == 'string' and key:match('^eval/pass_rate/(.+)$')
    if kind then names[#names + 1] = kind end
  end
  table.sort(names)
  if #names == 0 or #names > 24 or run.last == 0 then return '' end
  local labels = {}
  for i, name in ipairs(names) do
    first[i] = number(run.rounds[0]['eval/pass_rate/' .. name])
    last[i] = number(run.rounds[run.last]['eval/pass_rate/' .. name])
    labels[i] = name:gsub('_', ' ')
    rows[i] = { labels[i], text(first[i]), text(last[i]) }
  end
  local title = 'Pass rate by kind of prompt'
  return html.figure(plot.rows {
    title = title, names = labels, width = WIDTH,
    series = { { name = 'start', values = first },
      { name = 'round ' .. run.last, values = last } },
  }, html.table({ 'kind', 'start', 'round ' .. run.last }, rows, title))
end

--- What came of it.
---@param run sppo.ReportRun
---@return string html
function M.rounds(run)
  local function of(key)
    return function(t) return run.rounds[t][key] end
  end
  local function against(t, old)
    local r = run.rounds[t]
    if old == 0 then return r['eval/win_rate'], r['eval/win_rate_low'], r['eval/win_rate_high'] end
    return r['eval/win_rate_against/' .. old], r['eval/win_rate_against_low/' .. old],
      r['eval/win_rate_against_high/' .. old]
  end
  local lengths = {}
  for t = 1, run.last do lengths[t] = report_run.lengths(run, t) end
  local function trained_on(which)
    return function(t) return lengths[t] and lengths[t][which] end
  end
  return html.figures {
    M.rounds_figure(run, { title = 'Win rate, with 95 % interval', y_label = 'win rate',
      include = 0.5, series = {
        { name = 'against the start', zero = 0.5, get = function(t)
          if t > 0 then return against(t, 0) end
        end },
        { name = 'against the round before', dash = true, get = function(t)
          if t > 1 then return against(t, t - 1) end
        end },
      } }),
    M.rounds_figure(run, { title = 'Length of answers', y_label = 'tokens, mean', series = {
      { name = 'held-out', get = of 'eval/mean_length' },
      { name = 'chosen', dash = true, get = trained_on 'chosen' },
      { name = 'rejected', dash = true, get = trained_on 'rejected' },
    } }),
    M.rounds_figure(run, { title = 'Pass rate of held-out answers', y_label = 'share',
      series = { { get = of 'eval/pass_rate' } } }),
    kinds_figure(run),
    M.rounds_figure(run, { title = 'Ties, cycles, cut answers', y_label = 'share', include = 0,
      series = {
        { name = 'tied pairs', get = of 'pref/tie_ratio' },
        { name = 'cyclic triples', get = of 'pref/cycle_ratio' },
        { name = 'answers cut', get = of 'completions/clipped_ratio' },
      } }),
    M.rounds_figure(run, { title = 'Movement of log-probs by training', y_label = 'nats an answer',
      include = 0, series = {
        { name = 'chosen', get = of 'likelihood/chosen' },
        { name = 'rejected', get = of 'likelihood/rejected' },
      } }),
  }
end

-- ---- by step ----

--- One figure of values by optimizer step; '' if the run has none of them.
local function steps_figure(run, title, y_label, series, options)
  local lines, head, keys, rows, marks = {}, { 'step' }, {}, {}, {}
  for _, s in ipairs(series) do
    local points = {}
    for i, step in ipairs(run.steps) do
      if number(step[s.key]) then points[#points + 1] = { i, step[s.key] } end
    end
    if #points > 0 then
      lines[#lines + 1] = { name = s.name, points = points }
      head[#head + 1], keys[#keys + 1] = s.name or y_label, s.key
    end
  end
  if #lines == 0 then return '' end
  for i = 2, #run.steps do
    if run.steps[i].round ~= run.steps[i - 1].round then marks[#marks + 1] = i - 0.5 end
  end
  local every = math.ceil(#run.steps / MOST_ROWS)
  for i = 1, #run.steps, every do
    local row = { tostring(i) }
    for _, key in ipairs(keys) do row[#row + 1] = text(run.steps[i][key]) end
    rows[#rows + 1] = row
  end
  options = options or {}
  return html.figure(plot.lines {
    title = title, x_label = 'optimizer step, all rounds', y_label = y_label, series = lines,
    y_log = options.y_log, include = options.include, x_whole = true,
    x_marks = #marks <= 40 and marks or nil, width = WIDTH, height = HEIGHT,
  }, html.table(head, rows, title .. (every > 1 and (', every %dth step'):format(every) or '')))
end

--- How training went.
---@param run sppo.ReportRun
---@return string html
function M.steps(run)
  return html.figures {
    steps_figure(run, 'Loss', 'loss', { { key = 'loss' } }),
    steps_figure(run, 'log(pi / pi_t) of the answers trained on', 'nats', {
      { key = 'rewards/chosen', name = 'chosen' },
      { key = 'rewards/rejected', name = 'rejected' },
    }, { include = 0 }),
    steps_figure(run, 'Log-likelihood of answers', 'nats', {
      { key = 'logps/chosen', name = 'chosen' }, { key = 'logps/rejected', name = 'rejected' } }),
    steps_figure(run, 'Residual: log(pi / pi_t) - eta (P - 1/2)', 'nats', {
      { key = 'sppo/residual_w', name = 'chosen' },
      { key = 'sppo/residual_l', name = 'rejected' },
    }, { include = 0 }),
    steps_figure(run, 'Norm of the gradient before clipping', 'norm', { { key = 'grad_norm' } },
      { y_log = true }),
    steps_figure(run, 'Learning rate', 'rate', { { key = 'learning_rate' } }, { include = 0 }),
  }
end

-- ---- time and memory ----

--- Bars of a value of perf.jsonl by round, one for each stage; `add` sums what was done in several
--- goes, the largest is taken otherwise.
local function work_figure(run, title, y_label, add, value)
  local by, stages, rounds, known = {}, {}, {}, {}
  for _, p in ipairs(run.perf) do
    local v, t, stage = value(p), number(p.round), p.stage
    if number(v) and t and type(stage) == 'string' then
      if not by[stage] then
        by[stage] = {}
        stages[#stages + 1] = stage
      end
      if not known[t] then
        known[t] = true
        rounds[#rounds + 1] = t
      end
      local old = by[stage][t]
      by[stage][t] = not old and v or add and old + v or math.max(old, v)
    end
  end
  if #stages == 0 or #stages > 8 or #rounds > 100 then return '' end
  table.sort(rounds)
  local names, series, rows, head = {}, {}, {}, { 'round' }
  for i, t in ipairs(rounds) do
    names[i] = t == 0 and 'start' or ('%d'):format(t)
    rows[i] = { names[i] }
  end
  for n, stage in ipairs(stages) do
    series[n], head[n + 1] = { name = stage, values = {} }, stage
    for i, t in ipairs(rounds) do
      series[n].values[i] = by[stage][t]
      rows[i][n + 1] = text(by[stage][t])
    end
  end
  return html.figure(plot.bars { title = title, x_label = 'round', y_label = y_label,
    names = names, series = series, width = WIDTH, height = HEIGHT },
    html.table(head, rows, title))
end

local memory_kinds = { 'weights', 'gradients', 'optimizer', 'activations', 'kv', 'workspace' }

--- Time, rate and memory of each stage.
---@param run sppo.ReportRun
---@return string html
function M.work(run)
  local rows, total, head = {}, 0, { 'stage', 'round', 'seconds', 'tokens', 'tokens/s', 'peak MiB' }
  for _, kind in ipairs(memory_kinds) do head[#head + 1] = kind .. ' MiB' end
  for _, p in ipairs(run.perf) do
    if number(p.seconds) then
      total = total + p.seconds
      local row = { tostring(p.stage), text(p.round, '%d'), text(p.seconds, '%.1f'),
        text(p.tokens, '%d'), text(p.tokens_per_second, '%.0f'),
        number(p.memory_peak) and ('%.1f'):format(p.memory_peak / 2^20) or '' }
      for _, kind in ipairs(memory_kinds) do
        local bytes = type(p.memory) == 'table' and number(p.memory[kind])
        row[#row + 1] = bytes and ('%.1f'):format(bytes / 2^20) or ''
      end
      rows[#rows + 1] = row
    end
  end
  if #rows == 0 then return '' end
  local caption = 'Stages in the order in which they ran'
  if #rows > MOST_WORK then
    caption = ('The last %d of %d stages'):format(MOST_WORK, #rows)
    for i = 1, MOST_WORK do rows[i] = rows[#rows - MOST_WORK + i] end
    for i = #rows, MOST_WORK + 1, -1 do rows[i] = nil end
  end
  rows[#rows + 1] = { 'all', '', ('%.1f'):format(total) }
  return html.figures {
    work_figure(run, 'Seconds', 'seconds', true, function(p) return p.seconds end),
    work_figure(run, 'Rate', 'tokens/s', false, function(p) return p.tokens_per_second end),
    work_figure(run, 'Most memory in use', 'MiB', false, function(p)
      return number(p.memory_peak) and p.memory_peak / 2^20
    end),
  } .. html.details('each stage', html.table(head, rows, caption))
end

return M
