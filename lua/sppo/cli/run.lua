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
end

--- What the command line and the environment (SPPO_ARG_TRAIN_LR=1e-6) change in a recipe.
---@param arguments string[]  key=value
---@param verb string
---@return sppo.Override[]
function M.split(arguments, verb)
  local overrides = require 'sppo.selfplay.overrides'
  local environment, given, err
  given, err = overrides.split(arguments)
  if given then environment, err = overrides.environment() end
  if not environment then exit.usage(('%s: %s'):format(verb, err), 'sppo validate --keys') end
  return overrides.merged(environment, given)
end

--- Raises what `recipe.load` said of a recipe: whatever it is, the user's command line names it.
---@param path string
---@param err string
function M.bad_recipe(path, err)
  local io = require('sppo.ffi').kind_of(err) == 'io'
  error({ message = err, kind = io and 'usage' or 'recipe',
    try = not io and ('correct it, then sppo validate %s'):format(path) or nil }, 0)
end

--- Runs a recipe with progress on stderr, until it is done or asked to stop.
---@param path string
---@param options table   as selfplay.run has them, but for progress, say, stop, begun
---@param quiet? boolean
---@return integer?       exit code
function M.execute(path, options, quiet)
  local comm = require 'sppo.comm'
  host.catch_stop() -- before they join: one that a signal ends leaves the others waiting
  comm.start()
  local p = require('sppo.cli.progress').new { quiet = quiet or not comm.first() }
  local begun, smaller
  options.stop = host.stop_requested
  options.begun = function() begun = true end
  options.smaller = function(text) smaller = text end
  options.say = function(text) p:line(text) end
  options.progress = function(label, done, total, parts)
    if label then p:show(label, done, total, parts and table.concat(parts, '  '))
    else p:clear() end
  end
  local ok, result = xpcall(require('sppo.selfplay').run, function(err)
    return type(err) == 'table' and err
      or { message = tostring(err), traceback = debug.traceback('', 2) }
  end, path, options)
  p:clear()
  if not ok then
    local kind = result.kind or require('sppo.ffi').kind_of(result.message)
    if begun and exit.codes[kind] == exit.codes.recipe then
      result.try = result.try or 'correct it; the same command goes on from here'
    end
    if smaller and kind == 'memory' then
      result.try = result.try or
        ('add %s, which needs less; what is done is kept'):format(smaller)
    end
    if begun and kind == 'device' then
      result.try = result.try or 'the same command goes on from here'
    end
    error(result, 0)
  end
  if result == 'stopped' then
    if comm.first() then
      io.stderr:write('sppo: stopped; the same command goes on from here\n')
    end
    return exit.codes.stopped
  end
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
  return M.execute(args.recipe, { overrides = overrides, only = args.only }, args.quiet)
end

return M
