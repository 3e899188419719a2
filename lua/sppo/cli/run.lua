--- `sppo run`

local exit = require 'sppo.cli.exit'
local host = require 'sppo.host'

local M = {
  examples = {
    'sppo run recipes/quickstart.lua',
    'sppo run recipes/quickstart.lua seed=2 train.lr=1e-6 out=runs/two',
  },
}

local stages = { 'sample', 'prefer', 'select', 'train', 'evaluate' }

function M.define(parser)
  parser:argument('recipe', 'The recipe, a Lua file.')
  parser:argument('overrides', 'key=value: changes a value of the recipe.'):args('*')
    :argname('key=value')
  parser:option('--only', 'Run this stage alone: ' .. table.concat(stages, ', ') .. '.')
    :argname('STAGE')
  parser:flag('-q --quiet', 'No progress on stderr.')
end

--- key=value arguments as { key, value } pairs, for `verb`.
function M.split(overrides, verb)
  local list = {}
  for i, text in ipairs(overrides) do
    local key, value = text:match('^([%a_][%w_.]*)=(.*)$')
    if not key then
      exit.usage(('%s: \'%s\' is not key=value'):format(verb, text),
        ('sppo %s --help'):format(verb))
    end
    list[i] = { key, value }
  end
  return list
end

function M.run(args)
  local overrides = M.split(args.overrides, 'run')
  if args.only then
    local known = {}
    for _, stage in ipairs(stages) do known[stage] = true end
    if not known[args.only] then
      exit.usage('run: ' .. require('sppo.check').unknown('stage', args.only, stages),
        'sppo run --help')
    end
  end
  host.catch_stop()
  local p = require('sppo.cli.progress').new { quiet = args.quiet }
  local selfplay = require 'sppo.selfplay'
  local ok, result = xpcall(selfplay.run, function(err)
    return type(err) == 'table' and err
      or { message = tostring(err), traceback = debug.traceback('', 2) }
  end, args.recipe, {
    overrides = overrides,
    only = args.only,
    stop = host.stop_requested,
    say = function(text) p:line(text) end,
    progress = function(label, done, total, parts)
      if label then p:show(label, done, total, parts and table.concat(parts, '  '))
      else p:clear() end
    end,
  })
  p:clear()
  if not ok then error(result, 0) end
  if result == 'stopped' then
    io.stderr:write('sppo: stopped; the same command goes on from here\n')
    return exit.codes.stopped
  end
end

return M
