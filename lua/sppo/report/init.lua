--- report.html: what happened in a run, or in several side by side (compare.lua), as one file that
--- needs nothing else. Drawn from the run folder's files alone.

local answers = require 'sppo.report.answers'
local compare = require 'sppo.report.compare'
local figures = require 'sppo.report.figures'
local files = require 'sppo.files'
local html = require 'sppo.report.html'
local report_run = require 'sppo.report.run'
local rounds = require 'sppo.report.rounds'
local settings = require 'sppo.report.settings'

local M = {}

local PROMPTS, MATRICES = 12, 6 -- that are shown with their answers
local RECIPE = 64 * 1024        -- bytes of the recipe's text

--- What the run is, in a line: "3 rounds of sppo (eta 1000) from smollm2-135m-instruct, seed 1".
local function subject(run)
  local r = run.resolved
  local train = type(r.train) == 'table' and r.train or {}
  local policy = type(r.policy) == 'table' and r.policy or {}
  local parts = {}
  if run.last > 0 then
    parts[1] = ('%d round%s'):format(run.last, run.last == 1 and '' or 's')
    if type(train.loss) == 'string' then parts[1] = parts[1] .. ' of ' .. train.loss end
  end
  if type(policy.model) == 'string' then parts[#parts + 1] = 'from ' .. policy.model end
  if type(r.seed) == 'number' then parts[#parts + 1] = ('seed %.10g'):format(r.seed) end
  return html.cut(table.concat(parts, ', '), 400)
end

--- The report of one run as HTML.
---@param run sppo.ReportRun
---@return string
function M.page(run)
  local name = html.cut(tostring(run.resolved.name or run.name), 200)
  local parts = {
    ('<h1>%s</h1>'):format(html.escape(name)), html.note(subject(run)),
    ('<p class="lead">%s</p>'):format(html.escape(rounds.headline(run))), rounds.tiles(run),
    figures.rounds(run),
  }
  local function section(title, ...)
    local body = table.concat { ... }
    if body ~= '' then parts[#parts + 1] = html.section(title, body) end
  end
  section('Rounds', rounds.table(run), rounds.against(run))
  section('Training', figures.steps(run))
  section('The same prompts across rounds', answers.across(run, PROMPTS))
  section('Preferences', answers.matrices(run, MATRICES))
  section('Time and memory', figures.work(run))
  local where = settings.environment(run)
  section('Settings and environment',
    #where > 0 and html.table({ 'where', '' }, where, nil, 'words') or '',
    html.details('settings', html.table({ 'key', 'value' }, settings.rows(run.resolved), nil,
      'words')),
    html.details('recipe', ('<pre>%s</pre>'):format(html.escape(html.cut(run.recipe, RECIPE)))))
  return html.page(name .. ' – sppo', parts)
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
---@return string? path of the page
function M.compare(paths, out)
  local runs = {}
  for i, path in ipairs(paths) do
    local run, err = report_run.load(path)
    if not run then return nil, err end
    runs[i] = run
  end
  files.write(out, compare.page(runs))
  return out
end

return M
