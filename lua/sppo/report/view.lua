--- A run folder to look at from Lua: its metrics, answers and K x K matrices, as values that print
--- themselves as text.

local answers_of = require 'sppo.report.answers'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local run_of = require 'sppo.report.run'

local M = {}

---@class sppo.RunView
---@field run sppo.ReportRun
local View = {}
View.__index = View

local SHOWN = { 'loss', 'eval/pass_rate', 'eval/win_rate', 'eval/mean_length', 'pref/tie_ratio',
  'select/used' }

--- Opens a finished or unfinished run folder; nil, err.
---@param path string
---@return sppo.RunView?, string?
function M.open(path)
  local run, err = run_of.load(path)
  if not run then return nil, err end
  return setmetatable({ run = run, path = run.path, last = run.last }, View)
end

local function whole(name, value, low, high)
  if type(value) ~= 'number' or value % 1 ~= 0 or value < low or value > high then
    engine.raise('argument', ('%s must be an integer in %d..%d, got %s'):format(name, low, high,
      tostring(value)), 0)
  end
end

--- Record `i` (from 1) of round t's file; raises if there is none.
local function record(view, t, name, i)
  whole('round', t, 0, view.last)
  local path = ('%s/round-%d/%s.msgpack'):format(view.path, t, name)
  if not files.exists(path) then
    engine.raise('argument', ('%s: is not there; the stage was not run yet'):format(path), 0)
  end
  local records, err = files.records(path)
  if not records then error(err, 0) end
  local ok, value = pcall(function()
    if records:count() == 0 then engine.raise('format', path .. ': has no records', 0) end
    whole('prompt', i, 1, records:count())
    return records:read(i)
  end)
  records:close()
  if not ok then error(value, 0) end
  if type(value) ~= 'table' then engine.raise('format', path .. ': a record is no table', 0) end
  return value, path
end

--- The answers of a record; raises if they are malformed.
local function list_of(value, path)
  local list = value.answers
  for _, a in ipairs(type(list) == 'table' and list or { false }) do
    if type(a) ~= 'table' or type(a.text) ~= 'string' or type(a.tokens) ~= 'table' then
      engine.raise('format', path .. ': a record has no list of answers', 0)
    end
  end
  return list
end

local function prompt_of(value)
  if type(value.text) == 'string' then return value.text end
  return ('(prompt of tokens, id %s)'):format(tostring(value.id))
end

local function logprob(a)
  local sum = 0
  for _, v in ipairs(type(a.logprobs) == 'table' and a.logprobs or {}) do sum = sum + v end
  return sum
end

--- Text that can't command the terminal.
local function plain(text) return (text:gsub('[%z\1-\9\11-\31\127]', '?')) end

local Answers = { __tostring = function(list)
  local out = { plain(list.prompt) }
  for k, a in ipairs(list) do
    out[#out + 1] = ('[%d] %s%d tokens%s, log-prob %.2f'):format(k,
      a.win and ('win rate %.3f, '):format(a.win) or '', a.tokens, a.stopped and '' or ', cut',
      a.logprob)
    out[#out + 1] = '    ' .. plain(a.text):gsub('\n', '\n    ')
  end
  return table.concat(out, '\n')
end }

--- Prompt i's answers in round t: { text, tokens (their number), stopped, logprob, win }, win being
--- the mean of P(it beats answer j) over j, where the matrix is there. Round 0 and `held` are the
--- held-out prompts.
---@param t integer
---@param i integer   from 1
---@param held? boolean
function View:answers(t, i, held)
  local name = (held or t == 0) and 'evaluation' or 'answers'
  local value, path = record(self, t, name, i)
  local out = setmetatable({ prompt = prompt_of(value) }, Answers)
  local matrix = ('%s/round-%d/preference.msgpack'):format(self.path, t)
  local wins = name == 'answers' and files.exists(matrix) and self:matrix(t, i).wins or {}
  for k, a in ipairs(list_of(value, path)) do
    out[k] = { text = a.text, tokens = #a.tokens, stopped = a.stopped, logprob = logprob(a),
      win = wins[k] }
  end
  return out
end

local Matrix = { __tostring = function(p)
  local head = { 'P(row beats column)' }
  for j = 1, #p do head[#head + 1] = ('%7d'):format(j) end
  local lines = { table.concat(head) .. '     mean' }
  for i, row in ipairs(p) do
    local cells = { ('%19d'):format(i) }
    for j, v in ipairs(row) do cells[#cells + 1] = i == j and '      -' or ('%7.3f'):format(v) end
    lines[#lines + 1] = table.concat(cells) .. ('  %7.3f'):format(p.wins[i])
  end
  return table.concat(lines, '\n')
end }

--- Prompt i's K x K matrix in round t: p[a][b] is P(answer a beats answer b), p.wins the means of
--- its rows.
---@param t integer
---@param i integer
function View:matrix(t, i)
  local value, path = record(self, t, 'preference', i)
  local p, wins = value.matrix, value.wins
  local fine = type(p) == 'table' and type(wins) == 'table' and #wins == #p
  for a = 1, fine and #p or 0 do
    fine = fine and type(p[a]) == 'table' and #p[a] == #p and type(wins[a]) == 'number'
    for b = 1, fine and #p or 0 do fine = fine and type(p[a][b]) == 'number' end
  end
  if not fine then engine.raise('format', path .. ': a record has no K x K matrix', 0) end
  p.wins = wins
  return setmetatable(p, Matrix)
end

local Text = { __tostring = function(t) return t.text end }

--- The first held-out answer of prompt i in rounds t and u, with {+ +} around the words of the
--- second that the first has not.
---@param t integer
---@param u integer
---@param i integer
function View:compare(t, u, i)
  local old, new = self:answers(t, i, true), self:answers(u, i, true)
  if not old[1] or not new[1] then
    engine.raise('argument', 'there is no answer to compare', 0)
  end
  local marked = answers_of.marked(old[1].text, new[1].text,
    { open = '{+', close = '+}', escape = plain })
  return setmetatable({ text = ('%s\nround %d: %s\nround %d: %s'):format(plain(old.prompt), t,
    plain(old[1].text), u, marked) }, Text)
end

--- Points { x, value } of a metric: by round, or by optimizer step for those of training.
---@param key string  'loss', 'eval/win_rate'
---@return number[][]
function View:metric(key)
  local points, known = {}, {}
  for n, values in ipairs(self.run.steps) do
    for name in pairs(values) do known[name] = true end
    if type(values[key]) == 'number' then points[#points + 1] = { n, values[key] } end
  end
  for t = 0, #points == 0 and self.last or -1 do
    for name in pairs(self.run.rounds[t]) do known[name] = true end
    local v = self.run.rounds[t][key]
    if type(v) == 'number' then points[#points + 1] = { t, v } end
  end
  if #points == 0 then
    local names = {}
    for name in pairs(known) do names[#names + 1] = name end
    table.sort(names)
    engine.raise('argument', require('sppo.check').unknown('metric', key, names) ..
      '; there are ' .. table.concat(names, ', '), 0)
  end
  return points
end

--- What a metric was in round t: the round's value, or the mean over the round's steps.
local function at_round(view, key, t)
  local v = view.run.rounds[t] and view.run.rounds[t][key]
  if type(v) == 'number' then return v end
  local sum, n = 0, 0
  for _, values in ipairs(view.run.steps) do
    local x = values.round == t and values[key]
    if type(x) == 'number' then sum, n = sum + x, n + 1 end
  end
  return n > 0 and sum / n or nil
end

--- Every metric of a run: those of `table` first, then the others by name.
local function all_keys(view)
  local keys, known, rest = { unpack(SHOWN) }, { round = true, step = true }, {}
  for _, key in ipairs(SHOWN) do known[key] = true end
  local function note(values)
    for key, value in pairs(values) do
      if not known[key] and type(value) == 'number' then rest[#rest + 1] = key end
      known[key] = true
    end
  end
  for t = 0, view.last do note(view.run.rounds[t]) end
  for _, values in ipairs(view.run.steps) do note(values) end
  table.sort(rest)
  for _, key in ipairs(rest) do keys[#keys + 1] = key end
  return keys
end

--- A table of the runs' metrics by round: this run's, and another's beside it. What is noted at
--- each optimizer step stands there as its mean over the round.
---@param others? sppo.RunView[]
---@param all? boolean  every metric of this run, not just those that say most
function View:table(others, all)
  local views, lines = { self, unpack(others or {}) }, {}
  local keys, last, width = all and all_keys(self) or SHOWN, 0, 16
  for _, v in ipairs(views) do last = math.max(last, v.last) end
  for _, key in ipairs(keys) do width = math.max(width, #key) end
  local function name(text) return plain(text) .. (' '):rep(width - #text) end
  lines[1] = name 'metric'
  for t = 0, last do lines[1] = lines[1] .. ('%10s'):format(t == 0 and 'start' or 'round ' .. t) end
  for _, key in ipairs(keys) do
    for n, v in ipairs(views) do
      local row, any = { name(n == 1 and key or '  ' .. v.run.name:sub(1, 14)) }, false
      for t = 0, last do
        local value = at_round(v, key, t)
        row[#row + 1] = ('%10s'):format(value and ('%.4g'):format(value) or '')
        any = any or value
      end
      if any then lines[#lines + 1] = (table.concat(row):gsub('%s+$', '')) end
    end
  end
  return setmetatable({ text = table.concat(lines, '\n') }, Text)
end

function View.__tostring(view)
  return ('run %s, %d round%s\n%s'):format(view.path, view.last, view.last == 1 and '' or 's',
    tostring(view:table()))
end

return M
