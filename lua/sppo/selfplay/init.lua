--- Self-play: Algorithm 1 of the paper over a run folder.

local engine = require 'sppo.ffi'
local prompts = require 'sppo.selfplay.prompts'
local report = require 'sppo.report'
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

--- Runs a recipe, or goes on with a run that was begun. Raises on failure.
---@param path string
---@param options? { overrides?: table, only?: string,
---   progress?: fun(label?, done?, total?, parts?),
---   say?: fun(text: string), stop?: fun(): boolean }
---@return 'done'|'stopped' result, sppo.Run run
function M.run(path, options)
  options = options or {}
  local recipe, err = recipe_of.load(path, options.overrides)
  if not recipe then engine.raise('usage', err) end
  local values = recipe.values
  -- Before anything is written: every round has prompts that can be used.
  for round = 1, values.prompts and values.rounds or 0 do
    prompts.list(values.prompts, round, 'prompts')
  end
  for round = 0, values.rounds do
    local held = values[values.evaluate.on]
    if held then prompts.list(held, round, values.evaluate.on) end
  end
  local folder = run_folder.open(values.out)
  local run = stages.new(recipe, folder, options)
  local ok, failure = pcall(values.run or M.algorithm, run)
  run:drop_model()
  if ok then report.write(folder.path) end
  folder:close()
  if not ok then error(failure, 0) end
  return run.stopped and 'stopped' or 'done', run
end

return M
