--- `sppo ls`: models that are there, and runs with how far they are.

local files = require 'sppo.files'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo ls',
    'sppo ls experiments/ --json',
  },
}

function M.define(parser)
  parser:argument('folder', 'Where runs are looked for (default: runs).'):args('?')
  parser:flag('--json', 'A JSON line for each.')
end

--- A run's state in numbers; nil if the folder is no run.
local function run_of(path)
  if not files.exists(path .. '/recipe.resolved.json') then return end
  local run, err = require('sppo.report.run').load(path)
  if not run then return { path = path, state = err } end
  local manifest = files.json(path .. '/manifest.json')
  local stages, done = type(manifest) == 'table' and manifest.stages or {}, 0
  for _, s in ipairs(stages) do done = done + (s.done and 1 or 0) end
  local last = stages[#stages]
  local state = 'not begun'
  if last then state = last.done and 'after ' .. last.name or 'in ' .. last.name end
  local rounds = run.resolved.rounds
  if last and last.done and last.name == ('round-%s/evaluate'):format(tostring(rounds)) then
    state = 'done'
  end
  local metrics = run.rounds[run.last]
  return {
    path = path, state = state, stages = done, rounds = rounds, round = run.last,
    win_rate = metrics['eval/win_rate'], pass_rate = metrics['eval/pass_rate'],
    mean_length = metrics['eval/mean_length'],
  }
end

local function models()
  local folder, list = require('sppo.model').home() .. '/models', {}
  for _, name in ipairs(files.list(folder) or {}) do
    local path = folder .. '/' .. name
    if files.exists(path .. '/config.json') or files.exists(path .. '/model.gguf') or
      name:match('%.gguf$') then
      list[#list + 1] = { name = name, path = path }
    end
  end
  return list
end

local function number(value, form) return value and form:format(value) or '' end

function M.run(args)
  local folder = (args.folder or 'runs'):gsub('(.)/+$', '%1')
  local runs = {}
  for _, name in ipairs(files.list(folder) or {}) do
    runs[#runs + 1] = run_of(folder .. '/' .. name)
  end
  local known = models()
  if args.json then
    local json = require 'sppo.json'
    for _, m in ipairs(known) do
      output.write(json.encode { kind = 'model', name = m.name, path = m.path }, '\n')
    end
    for _, r in ipairs(runs) do
      r.kind = 'run'
      output.write(json.encode(r), '\n')
    end
    return
  end
  output.write('models\n')
  for _, m in ipairs(known) do output.write(('  %-28s %s\n'):format(m.name, m.path)) end
  if #known == 0 then output.write('  none; tools/fetch-model smollm2 fetches one\n') end
  output.write(('runs in %s\n'):format(folder))
  if #runs == 0 then output.write('  none; sppo run recipes/quickstart.lua makes one\n') end
  for _, r in ipairs(runs) do
    output.write(('  %-28s %-22s round %s of %s  %s%s%s\n'):format(r.path:match('[^/]+$'), r.state,
      tostring(r.round), tostring(r.rounds), number(r.win_rate, 'win rate %.3f  '),
      number(r.pass_rate, 'pass rate %.3f  '), number(r.mean_length, '%.0f tokens')))
  end
end

return M
