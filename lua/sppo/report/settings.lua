--- Settings of a run, and where it was made, as rows of a table.

local cut = require('sppo.report.html').cut

local M = {}

local MOST = 2000 -- bytes of a value

local function text_of(value)
  if type(value) == 'number' then return ('%.10g'):format(value) end
  return tostring(value)
end

--- recipe.resolved.json as { { 'train.lr', '2e-06, 1.5e-06' }, .. }, sorted by key.
---@param resolved table
---@return string[][]
function M.rows(resolved)
  local flat = {}
  local function walk(value, path)
    if type(value) ~= 'table' then flat[#flat + 1] = { path, cut(text_of(value), MOST) }
    elseif #value > 0 and type(value[1]) ~= 'table' then
      local list = {}
      for i, v in ipairs(value) do list[i] = text_of(v) end
      flat[#flat + 1] = { path, cut(table.concat(list, ', '), MOST) }
    else
      for key, v in pairs(value) do walk(v, path == '' and tostring(key) or path .. '.' .. key) end
    end
  end
  walk(resolved, '')
  table.sort(flat, function(a, b) return a[1] < b[1] end)
  return flat
end

local function date(seconds)
  -- What os.date takes without failing: years up to 9999.
  if type(seconds) ~= 'number' or not (seconds >= 0 and seconds < 253402300800) then return end
  return os.date('!%Y-%m-%d %H:%M UTC', seconds)
end

--- What perf.jsonl says of where and when a run was made, { { 'threads', '2' }, .. }; of the last
--- place, where it went on in several.
---@param run sppo.ReportRun
---@return string[][]
function M.environment(run)
  local starts, first, last = 0, nil, nil
  for _, p in ipairs(run.perf) do
    if p.stage == 'start' then
      starts, first, last = starts + 1, first or p, p
    end
  end
  if not last then return {} end
  local memory = type(last.total_memory) == 'number' and
    ('%.1f GiB'):format(last.total_memory / 2^30)
  local rows = {}
  local function row(name, value)
    if value ~= nil and value ~= false then rows[#rows + 1] = { name, text_of(value) } end
  end
  row('sppo', last.version)
  row('processor', last.processor)
  row('kernels', last.cpu)
  row('threads', last.threads)
  row('memory', memory)
  row('begun', date(first.time))
  row('last line', date(run.perf[#run.perf].time))
  if starts > 1 then row('started', ('%d times'):format(starts)) end
  return rows
end

return M
