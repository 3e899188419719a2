--- Branches: runs that go on from what another run has done so far, with some values changed. What
--- they share (the start's evaluation, the first round's answers and preferences) is made once.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local recipe_of = require 'sppo.selfplay.recipe'
local report = require 'sppo.report'
local run_folder = require 'sppo.selfplay.run_folder'
local stages = require 'sppo.selfplay.stages'

local Run = stages.Run

--- Copies what `from` has finished into a folder that has nothing yet.
local function copy(from, to)
  for position, name in ipairs(from.finished) do
    for _, output in ipairs(from.outputs[name]) do
      local text, err = files.read(from:file(output))
      if not text then error(err, 0) end
      files.make_folder(to:file(output:match('^(.*)/') or '.'))
      files.write(to:file(output), text)
    end
    to.stages[position] = from.stages[position]
  end
  files.write(to:file('metrics.jsonl'), files.read(from:file('metrics.jsonl')) or '')
  to:save()
end

--- Runs `algorithm` over the folder `out/name`, from this run's state and with `changes` to its
--- recipe. Only before the first training: weights are not copied. A branch that was begun goes on.
---@param name string        a folder's name
---@param changes table      { train = { loss = 'dpo' } }; checked as the recipe is
---@param algorithm fun(run: sppo.Run)
---@return sppo.Run? branch   nil if the run was stopped before
function Run:branch(name, changes, algorithm)
  if self.stopped then return end
  if not name:match('^[%w][%w._-]*$') then
    engine.raise('usage', ('branch: \'%s\' is not a name for a folder'):format(name))
  end
  for _, stage in ipairs(self.folder.finished) do
    if stage:match('/train$') then
      engine.raise('usage', ('branch \'%s\': this run has trained; branch before'):format(name))
    end
  end
  local recipe, err = recipe_of.changed(self.recipe, changes)
  if not recipe then engine.raise('usage', ('branch \'%s\': %s'):format(name, err)) end
  local folder = run_folder.open(self.folder:file(name))
  local ok, failure = pcall(function()
    if #folder.stages == 0 then copy(self.folder, folder) end
    local branch = stages.new(recipe, folder, {
      stop = self.stop,
      progress = function(label, ...)
        self:progress(label and ('%s %s'):format(name, label), ...)
      end,
      say = function(text) self:say(('%s: %s'):format(name, text)) end,
    })
    self:drop_model()
    algorithm(branch)
    branch:drop_model()
    report.write(folder.path)
    self.stopped = branch.stopped
    return branch
  end)
  folder:close()
  if not ok then error(failure, 0) end
  return failure
end
