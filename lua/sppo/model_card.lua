--- README.md of an exported model: what it was made of, by which recipe, with which figures. As
--- Hugging Face's model cards are: YAML between two lines of ---, then text.

local files = require 'sppo.files'
local host = require 'sppo.host'
local json = require 'sppo.json'
local report_run = require 'sppo.report.run'

local M = {}

--- The run that a folder of weights belongs to, and its round; nothing if it is of none.
local function run_of(path)
  local root, round = path:gsub('/+$', ''):match('^(.*)/round%-(%d+)/weights$')
  if not root or not files.exists(root .. '/recipe.resolved.json') then return end
  return report_run.load(root), tonumber(round)
end

local columns = {
  { 'win rate against the start', 'eval/win_rate', '%.3f' },
  { 'low (95 %)', 'eval/win_rate_low', '%.3f' }, { 'high', 'eval/win_rate_high', '%.3f' },
  { 'pass rate', 'eval/pass_rate', '%.3f' }, { 'mean length, tokens', 'eval/mean_length', '%.1f' },
}

local function figures(run, round)
  local head, line = { 'round' }, { '---' }
  for i, c in ipairs(columns) do head[i + 1], line[i + 1] = c[1], '---' end
  local rows = { head, line }
  for t = 0, round do
    local row = { t == 0 and 'start' or tostring(t) }
    for i, c in ipairs(columns) do
      local value = run.rounds[t] and run.rounds[t][c[2]]
      row[i + 1] = type(value) == 'number' and c[3]:format(value) or ''
    end
    rows[#rows + 1] = row
  end
  for i, row in ipairs(rows) do rows[i] = '| ' .. table.concat(row, ' | ') .. ' |' end
  return table.concat(rows, '\n')
end

--- A fence that is longer than any in the text.
local function fenced(text, language)
  local longest = 2
  for ticks in text:gmatch('`+') do longest = math.max(longest, #ticks) end
  local fence = ('`'):rep(longest + 1)
  return ('%s%s\n%s\n%s'):format(fence, language, (text:gsub('\n+$', '')), fence)
end

--- The card's text.
---@param model sppo.Model
---@param dtype 'f32'|'bf16'
---@return string
function M.text(model, dtype)
  local run, round = run_of(model.path)
  local head = { '---', 'library_name: transformers', 'pipeline_tag: text-generation', 'tags:',
    '- sppo' }
  local body = {}
  if run then
    local policy = type(run.resolved.policy) == 'table' and run.resolved.policy.model
    local start = type(policy) == 'string' and policy or 'a random model'
    body[#body + 1] = ('# %s, round %d'):format(run.name, round)
    body[#body + 1] = ('%s after %d round%s of self-play preference optimisation (SPPO, ' ..
      'arXiv:2405.00675) by `sppo` %s; weights in %s.'):format(start, round,
      round == 1 and '' or 's', host.build.version, dtype)
    body[#body + 1] = '## Held-out prompts'
    body[#body + 1] = figures(run, round)
    body[#body + 1] = '## Recipe'
    body[#body + 1] = fenced(run.recipe, 'lua')
    body[#body + 1] = '## Values that it ran with'
    body[#body + 1] = fenced(json.encode(run.resolved, { indent = true }), 'json')
  else
    body[#body + 1] = '# ' .. (model.path:gsub('/+$', ''):match('[^/]+$') or model.path)
    body[#body + 1] = ('Written by `sppo` %s; weights in %s.'):format(host.build.version, dtype)
  end
  head[#head + 1] = '---'
  return ('%s\n\n%s\n'):format(table.concat(head, '\n'), table.concat(body, '\n\n'))
end

return M
