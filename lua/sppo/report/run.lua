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
    err = err or 'not an object'
    local text = ('%s: not a run folder (recipe.resolved.json: %s)'):format(path, err)
    engine.kind('usage', text)
    return nil, text
  end
  local run = {
    path = path, name = path:match('[^/]+$'), resolved = resolved,
    recipe = files.read(path .. '/recipe.lua') or '',
    rounds = { [0] = {} }, last = 0, steps = {}, perf = lines(path .. '/perf.jsonl'),
  }
  for _, values in ipairs(lines(path .. '/metrics.jsonl')) do
    local t = values.round
    if type(t) == 'number' and t >= 0 and t <= 1e6 and t % 1 == 0 then
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

--- Records of a round's file, {} if it is not there (yet).
---@param run sppo.ReportRun
---@param t integer
---@param name string  'evaluation'
function M.records(run, t, name)
  local path = ('%s/round-%d/%s.msgpack'):format(run.path, t, name)
  if not files.exists(path) then return {} end
  local list, err = files.read_records(path)
  if not list then error(err, 0) end
  return list
end

return M
