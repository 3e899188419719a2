--- Self-play: Algorithm 1 of the paper over a run folder.

local comm = require 'sppo.comm'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local follower = require 'sppo.selfplay.follower'
local prompts = require 'sppo.selfplay.prompts'
local report = require 'sppo.report'
local recipe_file = require 'sppo.selfplay.recipe_file'
local recipe_of = require 'sppo.selfplay.recipe'
local run_folder = require 'sppo.selfplay.run_folder'
local stages = require 'sppo.selfplay.stages'

require 'sppo.selfplay.branch'

local M = {}

--- Algorithm 1 (arXiv 2405.00675): what a recipe without a `run` of its own does.
---@param run sppo.Run
function M.algorithm(run)
  run:evaluate(0)
  for t = 1, run.rounds do
    run:sample(t) -- y_1 .. y_K ~ pi_t for each prompt
    run:prefer(t) -- P(y_i beats y_j) for all pairs
    run:select(t) -- rows (x, y, P(y beats pi_t), log pi_t(y))
    run:train(t) -- pi_t+1: log(pi/pi_t) towards eta (P - 1/2)
    run:evaluate(t)
    if run:ends_after(t) then break end
  end
end

M.stage_names = { 'sample', 'prefer', 'select', 'train', 'evaluate' }

--- Names that a run writes into its folder.
local written = { 'recipe.lua', 'log.txt', 'metrics.jsonl', 'perf.jsonl', 'report.html', 'round-0',
  'round-1' }

--- Raises if the folder holds what this run must not write over: the run of a recipe of another
--- name, or files that are no run's.
local function check_folder(path, name)
  local resolved = files.json(path .. '/recipe.resolved.json')
  local other = type(resolved) == 'table' and resolved.name
  if type(other) == 'string' and other ~= name and files.exists(path .. '/manifest.json') then
    engine.raise('usage', ('%s: holds the run of a recipe with the name \'%s\', this one is ' ..
      '\'%s\'; take another folder (out=DIR)'):format(path, other, name))
  end
  for _, mark in ipairs { 'LOCK', 'manifest.json', 'recipe.resolved.json' } do
    if files.exists(path .. '/' .. mark) then return end
  end
  for _, file in ipairs(written) do
    if files.exists(path .. '/' .. file) or files.is_folder(path .. '/' .. file) then
      engine.raise('usage', ('%s: is no run folder, and a run would write over its %s; take ' ..
        'another folder (out=DIR)'):format(path, file))
    end
  end
end

--- What a run failed with; what was raised in a file of the user's, a recipe that others are based
--- on or a module, counts as the recipe's mistake, not the program's.
local function blamed(failure)
  local file = failure:match('^([^\n:]+%.lua):%d+: ')
  local own = file and (file:find('^lua/sppo/') or file:find('/lua/sppo/', 1, true) or
    file:find('^models/') or file:find('/models/', 1, true))
  if file and not own and engine.kind_of(failure) == 'runtime' then
    engine.kind('recipe', failure)
  end
  return failure
end

---@class sppo.RunOptions
---@field overrides? table
---@field only? string
---@field algorithm? fun(run: sppo.Run)   instead of the recipe's; it needs no prompts and no
---                                       preference then
---@field suffix? string                  of the run folder, unless the overrides name one
---@field begun? fun(folder: string)
---@field progress? fun(label?, done?, total?, parts?)
---@field say? fun(text: string)
---@field stop? fun(): boolean

--- Loads a recipe, checks its prompts and opens its run folder, which the caller closes. Raises on
--- failure.
---@param path string
---@param options? sppo.RunOptions
---@return sppo.Run
function M.open(path, options)
  options = options or {}
  local recipe, err = recipe_of.load(path, options.overrides, options.algorithm ~= nil)
  if not recipe then engine.raise(engine.kind_of(err) == 'io' and 'usage' or 'recipe', err) end
  local values = recipe.values
  -- Before anything is written: every round has prompts that can be used.
  local config = type(values.policy.model) == 'table' and values.policy.model or {}
  if not options.algorithm then
    for round = 1, values.prompts and values.rounds or 0 do
      prompts.list(values.prompts, round, 'prompts', config.vocab_size)
    end
  end
  for round = 0, values.rounds do
    local held = values[values.evaluate.on]
    if held then prompts.list(held, round, values.evaluate.on, config.vocab_size) end
  end
  local own_out = false
  for _, o in ipairs(options.overrides or {}) do own_out = own_out or o[1] == 'out' end
  if options.suffix and not own_out then values.out = values.out .. options.suffix end
  if comm.size() > 1 and (values.run or options.algorithm) then
    engine.raise('usage', ('%s: mpirun started %d processes, which share rounds of Algorithm 1 ' ..
      'alone, and this has a loop of its own; start it without mpirun'):format(path, comm.size()))
  end
  local folder
  if comm.first() then
    check_folder(values.out, values.name)
    folder = run_folder.open(values.out)
  else
    folder = follower.open(values.out)
  end
  if options.begun then options.begun(folder.path) end
  local run = stages.new(recipe, folder, options)
  for _, text in ipairs(recipe_of.warnings(recipe)) do run:say('warning: ' .. text) end
  return run
end

local function run_recipe(path, options)
  local run = M.open(path, options)
  local ok, failure = xpcall(options.algorithm or run.recipe.values.run or M.algorithm,
    recipe_file.explain(path), run)
  run:drop_model()
  if ok and comm.first() then report.write(run.folder.path) end
  run.folder:close()
  if not ok then error(failure, 0) end
  return run.stopped and 'stopped' or 'done', run
end

--- Runs a recipe, or goes on with a run that was begun. Raises on failure.
---@param path string
---@param options? sppo.RunOptions
---@return 'done'|'stopped' result, sppo.Run run
function M.run(path, options)
  local ok, result, run = pcall(run_recipe, path, options or {})
  if not ok then error(blamed(recipe_file.named(path, result)), 0) end
  return result, run
end

return M
