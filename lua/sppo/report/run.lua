--- What a run folder holds, read for a report.

local files = require 'sppo.files'
local engine = require 'sppo.ffi'
local json = require 'sppo.json'

local M = {}

--- The values of a JSON lines file, {} if there is none; raises where a line is malformed, except
--- for a last line that a killed run left unfinished.
local function lines(path)
  local text, list, number = files.read(path) or '', {}, 0
  for line, ending in text:gmatch('([^\n]*)(\n?)') do
    number = number + 1
    if line ~= '' then
      local value, err = json.decode(line)
      if type(value) == 'table' then list[#list + 1] = value
      elseif ending ~= '' then
        engine.raise('format', ('%s:%d: %s'):format(path, number, err or 'not an object'))
      end
    end
  end
  return list
end

---@class sppo.ReportRun
---@field path string
---@field name string
---@field resolved table        recipe.resolved.json
---@field recipe string         the recipe's text
---@field rounds table[]        metrics of each round from 1 on; rounds[0] is the start
---@field last integer          the last round that has metrics
---@field steps table[]         metrics of each optimizer step, in order
---@field perf table[]

--- Reads a run folder; nil, err if it is none.
---@param path string
---@return sppo.ReportRun?
function M.load(path)
  path = path:gsub('(.)/+$', '%1')
  local resolved, err = files.json(path .. '/recipe.resolved.json')
  if type(resolved) ~= 'table' then
    local hint = files.meant(path)
    if files.exists(('runs/%s/recipe.resolved.json'):format(path)) then
      hint = (' (did you mean \'runs/%s\'?)'):format(path)
    elseif files.exists(path .. '/recipe.resolved.json') then
      hint = (' (recipe.resolved.json: %s)'):format(err or 'not an object')
    elseif hint == '' then
      hint = files.is_folder(path) and ': it has no recipe.resolved.json' or ': there is no folder'
    end
    local text = ('%s: not a run folder%s'):format(path, hint)
    engine.kind('usage', text)
    return nil, text
  end
  local run = {
    path = path, name = path:match('[^/]+$'), resolved = resolved,
    recipe = files.read(path .. '/recipe.lua') or '',
    rounds = { [0] = {} }, last = 0, steps = {}, perf = lines(path .. '/perf.jsonl'),
  }
  -- What is evaluated after round t is sampled, and noted, as round t + 1 is.
  for _, p in ipairs(run.perf) do
    if p.stage == 'evaluate' and type(p.round) == 'number' then p.round = p.round - 1 end
  end
  for _, values in ipairs(lines(path .. '/metrics.jsonl')) do
    local t = values.round
    if type(t) == 'number' and t >= 0 and t <= 1e4 and t % 1 == 0 then
      if values.step then run.steps[#run.steps + 1] = values
      else
        for missing = run.last + 1, t do run.rounds[missing] = run.rounds[missing] or {} end
        run.last = math.max(run.last, t)
        for key, value in pairs(values) do run.rounds[t][key] = value end
      end
    end
  end
  return run
end

-- ---- records ----

local function numbers(list, count)
  if type(list) ~= 'table' or #list ~= count then return false end
  for _, v in ipairs(list) do
    if type(v) ~= 'number' then return false end
  end
  return true
end

--- What is wrong with a record of `name`, nil if it is what stages.lua writes.
local function wrong(name, record)
  if type(record) ~= 'table' then return 'is no map' end
  if name == 'preference' then
    local p = record.matrix
    if type(p) ~= 'table' or #p == 0 then return 'has no matrix' end
    for _, row in ipairs(p) do
      if not numbers(row, #p) then return ('has a matrix that is not %d x %d'):format(#p, #p) end
    end
    if not numbers(record.wins, #p) then return ('has no %d win rates'):format(#p) end
    return
  end
  if type(record.answers) ~= 'table' or #record.answers == 0 then return 'has no answers' end
  for _, a in ipairs(record.answers) do
    if type(a) ~= 'table' or type(a.tokens) ~= 'table' then
      return 'has an answer without tokens'
    end
    if name ~= 'rows' and type(a.text) ~= 'string' then return 'has an answer without text' end
  end
end

---@class sppo.ReportRecords
---@field count integer

--- The records of a round's file, one at a time, since an answers file can be larger than memory:
--- `read(i)` raises with file and record where one is not what a run writes. No records where there
--- is no file (yet).
---@param run sppo.ReportRun
---@param t integer
---@param name 'answers'|'preference'|'rows'|'evaluation'
---@param fn fun(records: sppo.ReportRecords): any
function M.records(run, t, name, fn)
  local path = ('%s/round-%d/%s.msgpack'):format(run.path, t, name)
  if not files.exists(path) then return fn { count = 0 } end
  local file, err = files.records(path)
  if not file then error(err, 0) end
  local ok, result = pcall(fn, { count = file:count(), read = function(i)
    local record = file:read(i)
    local why = wrong(name, record)
    if why then engine.raise('format', ('%s: record %d %s'):format(path, i, why)) end
    return record
  end })
  file:close()
  if not ok then error(result, 0) end
  return result
end

local MOST_ROWS = 1000

--- Mean lengths, in tokens, of the chosen and of the rejected answers that round t trained on;
--- over evenly spaced rows where there are more than 1,000. nil where there are none.
---@param run sppo.ReportRun
---@param t integer
---@return { chosen: number, rejected: number }?
function M.lengths(run, t)
  return M.records(run, t, 'rows', function(rows)
    if rows.count == 0 then return nil end
    local n, chosen, rejected = math.min(rows.count, MOST_ROWS), 0, 0
    for i = 1, n do
      local a = rows.read(1 + math.floor((i - 1) * rows.count / n)).answers
      chosen, rejected = chosen + #a[1].tokens / n, rejected + #a[#a].tokens / n
    end
    return { chosen = chosen, rejected = rejected }
  end)
end

return M
