--- What does not fit into the memory of the hardware, and which settings would: a few are tried on
--- the meta device, in the order of what they cost a run.

local model_of = require 'sppo.model'
local sampling = require 'sppo.plan.sampling'
local training = require 'sppo.plan.training'

local M = {}

local function with(options, changes)
  local out = {}
  for key, value in pairs(options) do out[key] = value end
  for key, value in pairs(changes) do out[key] = value end
  return out
end

--- What the program itself has beside tensors (Lua, its compiler, a tokenizer of 49,152 tokens,
--- answers in the making): 5 to 41 MiB were seen, the most while training (docs/plan.md).
M.PROGRAM = 12 * 2^20

--- Bytes of a stage in all.
---@param memory { peak: number, scratch: number }
function M.total(memory) return memory.peak + memory.scratch + M.PROGRAM end

--- Settings of training that take less memory, as { text, changes }.
local function train_ways(o)
  local ways = {}
  local function way(changes, ...) ways[#ways + 1] = { table.concat({ ... }, ' '), changes } end
  local micro = math.min(o.micro_tokens, 128)
  local small = micro < o.micro_tokens and ('train.micro_tokens=%d'):format(micro) or nil
  local again = not o.recompute and 'train.recompute=true' or nil
  local plain = o.optimizer ~= 'sgd' and 'train.optimizer=sgd' or nil
  if small then way({ micro_tokens = micro }, small) end
  if again then way({ recompute = true }, again) end
  if small and again then way({ recompute = true, micro_tokens = micro }, again, small) end
  if plain then
    way({ optimizer = 'sgd', optimizer_options = {} }, plain)
    local parts = { plain }
    parts[#parts + 1], parts[#parts + 2] = again, nil
    if small then parts[#parts + 1] = small end
    if #parts > 1 then
      way({ optimizer = 'sgd', optimizer_options = {}, recompute = true, micro_tokens = micro },
        unpack(parts))
    end
  end
  return ways
end

--- Settings of sampling: fewer answers at once, then bf16 weights, then both.
local function sample_ways(section, options, dtype)
  local ways, sizes = {}, {}
  local n = options.batch
  while n > 1 do
    n = math.max(1, math.floor(n / 4))
    sizes[#sizes + 1] = n
  end
  for _, d in ipairs(dtype == 'f32' and { 'f32', 'bf16' } or { dtype }) do
    local prefix = d ~= dtype and 'policy.dtype=bf16' or nil
    if prefix then ways[#ways + 1] = { prefix, {}, d } end
    for _, size in ipairs(sizes) do
      local text = ('%s.batch=%d'):format(section, size)
      ways[#ways + 1] = { prefix and prefix .. ' ' .. text or text, { batch = size }, d }
    end
  end
  return ways
end

--- Bytes that a stage would take with a way's changes.
local function bytes_with(plan, stage, way)
  local run = stage.worst
  local memory, model
  if stage.stage == 'train' then
    memory, model = training.peak(plan:loader('f32'), run.groups, with(run.options, way[2]),
      plan.values.seed, 1)
  else
    memory, model = sampling.peak(plan:loader(way[3]), run.prompts, with(run.options, way[2]),
      run.loaded)
  end
  model_of.release(model)
  return M.total(memory)
end

---@class sppo.plan.TooLarge
---@field stage string
---@field needs integer    bytes
---@field has integer      bytes
---@field way? string      settings that fit, 'key=value ...'; nil if none of those tried does
---@field with? integer    bytes with them
---@field least? integer   bytes with the best of those tried, where none fits
---@field tried string[]

--- The stages that need more than the hardware has.
---@param plan table                 the plan in the making
---@param stages sppo.plan.Stage[]
---@return sppo.plan.TooLarge[]
function M.check(plan, stages)
  local list, has = {}, plan.hardware.memory
  for _, stage in ipairs(stages) do
    if stage.memory and not stage.optional and M.total(stage.memory) > has then
      local entry = { stage = stage.stage, needs = M.total(stage.memory), has = has, tried = {} }
      local ways = stage.stage == 'train' and train_ways(stage.worst.options)
        or sample_ways(stage.stage, stage.worst.options, plan.values.policy.dtype)
      for _, way in ipairs(ways) do
        local bytes = bytes_with(plan, stage, way)
        entry.tried[#entry.tried + 1] = way[1]
        entry.least = math.min(entry.least or math.huge, bytes)
        if bytes <= has then
          entry.way, entry.with = way[1], bytes
          break
        end
      end
      list[#list + 1] = entry
    end
  end
  return list
end

return M
