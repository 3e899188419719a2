--- A recipe one stage at a time: for the prompt, and for programs that look at each stage.
---
---     local steps = step.open('recipes/tiny.lua', { overrides = { { 'seed', '2' } } })
---     for done in steps.next, steps do print(done.stage, done.round) end

local report = require 'sppo.report'
local selfplay = require 'sppo.selfplay'
local stages = require 'sppo.selfplay.stages'

local M = {}

---@class sppo.Steps
---@field run sppo.Run
---@field finished boolean   the recipe has no stage left
local Steps = {}
Steps.__index = Steps

---@class sppo.StepDone
---@field stage string
---@field round integer
---@field worked boolean   false: it was done before, with the same inputs

--- Opens a recipe's run folder and locks it; nothing is run yet. Raises on failure.
---@param path string
---@param options? sppo.RunOptions
---@return sppo.Steps
function M.open(path, options)
  local run = selfplay.open(path, options)
  -- Branches of a recipe are runs of their own: they are part of the step that makes them.
  function run:stage(stage, t, inputs, outputs, work)
    local worked = false
    stages.Run.stage(self, stage, t, inputs, outputs, function(fresh)
      worked = true
      return work(fresh)
    end)
    if not self.stopped then coroutine.yield { stage = stage, round = t, worked = worked } end
  end
  return setmetatable({
    run = run, finished = false,
    thread = coroutine.create(run.recipe.values.run or selfplay.algorithm),
  }, Steps)
end

--- Runs up to the end of the next stage; nil when there is none. After an error the folder is
--- closed: `open` goes on from what is done.
---@return sppo.StepDone?
function Steps:next()
  if not self.thread then return nil end
  local ok, result = coroutine.resume(self.thread, self.run)
  if not ok then
    self:close()
    error(result, 0)
  end
  if coroutine.status(self.thread) ~= 'dead' then return result end
  self.finished = not self.run.stopped
  local path = self.run.folder.path
  self:close()
  report.write(path)
end

--- Gives the folder back; what was done stays.
function Steps:close()
  if not self.thread then return end
  self.thread = nil
  self.run:drop_model()
  self.run.folder:close()
end

return M
