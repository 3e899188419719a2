--- Memory of each of several GPUs, a process for each (docs/cluster.md): prompts are cut
--- among them, and the micro-batches of a step; weights and gradients are whole in each, the
--- optimizer's state is whole in each or cut by parameter. What is said is of the one that needs
--- most.

local fit = require 'sppo.plan.fit'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local plan_prompts = require 'sppo.plan.prompts'
local sampling = require 'sppo.plan.sampling'
local shards = require 'sppo.shards'
local training = require 'sppo.plan.training'

local M = {}

---@class sppo.plan.Gpus
---@field count integer
---@field stages sppo.plan.GpuStage[]
---@field sent? integer   bytes that the process that sends most sends in a training step

---@class sppo.plan.GpuStage
---@field stage string
---@field name string
---@field memory? table   as sppo.plan.Stage has it
---@field total? integer
---@field sharded? boolean

--- The process with the largest part of the optimizer's state.
local function fullest(bytes)
  local most = 1
  for i = 2, #bytes do
    if bytes[i] > bytes[most] then most = i end
  end
  return most - 1
end

--- Bytes that a training step sends from the process that sends most: gradients to the processes
--- that own them, weights to all others.
local function sent_in_step(load, count)
  local model = load()
  local _, owned = shards.owners(nn.parameters(model.net), count)
  model_of.release(model)
  local whole, most = 0, 0
  for _, bytes in ipairs(owned) do whole = whole + bytes end
  for _, bytes in ipairs(owned) do most = math.max(most, whole - bytes + (count - 1) * bytes) end
  return most
end

local function train_peak(plan, run, count, sharded)
  local owned = sharded and function(parameters)
    local owners, bytes = shards.owners(parameters, count)
    return shards.owned(parameters, owners, fullest(bytes))
  end or nil
  local memory, model = training.peak(plan:loader('f32'), run.groups, run.options,
    plan.values.seed, 1, count, owned)
  model_of.release(model)
  return memory
end

--- What each of `count` GPUs would hold in the stages' worst rounds.
---@param plan table                 the plan in the making
---@param stages sppo.plan.Stage[]
---@param count integer
---@return sppo.plan.Gpus
function M.of(plan, stages, count)
  local out = { count = count, stages = {} }
  local function add(stage, name, memory, sharded)
    out.stages[#out.stages + 1] = { stage = stage.stage, name = name, memory = memory,
      optional = stage.optional, note = stage.note, sharded = sharded,
      total = memory and fit.total(memory) }
  end
  for _, stage in ipairs(stages) do
    local run = stage.worst
    if not stage.memory or stage.optional then
      add(stage, stage.stage, stage.memory)
    elseif stage.stage == 'train' then
      add(stage, 'train', train_peak(plan, run, count, false), false)
      add(stage, 'train, sharded', train_peak(plan, run, count, true), true)
      out.sent = count > 1 and sent_in_step(plan:loader('f32'), count) or nil
    else
      local memory, model = sampling.peak(plan:loader(plan.values.policy.dtype),
        plan_prompts.part(run.prompts, count), run.options, run.loaded)
      model_of.release(model)
      add(stage, stage.stage, memory)
    end
  end
  return out
end

return M
