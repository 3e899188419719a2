--- The stages that sample, on the meta device: the very sampler of a run, stopped after each
--- distinct shape of step. All answers are equally long, so they come in waves of a full batch.

local cost_of = require 'sppo.plan.cost'
local sample = require 'sppo.sample'
local tensor = require 'sppo.tensor'

local C = require('sppo.ffi').C

local M = {}

local LENGTHS = 8 -- of the store at which a decode step is run; a step's cost is linear in between
local GROUPS = 8 -- prefills that are run, of all that there are

---@class sppo.plan.Sampling
---@field k integer
---@field max_new_tokens integer  what the store has room for
---@field answer_tokens integer   what is counted
---@field batch integer

local function sampler(model, prompts, options, batch)
  return sample.new(model, prompts.list, {
    k = options.k, max_new_tokens = options.max_new_tokens, batch = batch or options.batch,
    temperature = options.temperature, top_p = options.top_p, top_k = options.top_k,
    min_p = options.min_p, shared = prompts.shared, stop_ids = {},
  }, function() end)
end

--- Gives back what answers hold.
local function finish_all(s)
  for _, a in ipairs(s.active) do s:finish(a) end
  for _, a in pairs(s.waiting) do s:finish(a) end
  s.active, s.waiting, s.first_waiting = {}, {}, 1
end

--- The active answers have n tokens more, without a step.
local function advance(s, n)
  if n == 0 then return end
  for _, a in ipairs(s.active) do
    s.at:add_slot(a.slot, n)
    for _ = 1, n do a.tokens[#a.tokens + 1] = 0 end
  end
  s.at:commit()
  s.at:reset()
end

--- Which prompts are computed together, as Sampler:prefill takes them: { first, tokens }.
local function groups_of(prompts, capacity, k)
  local groups, group = {}, nil
  for i, p in ipairs(prompts.list) do
    local own = #p.tokens - prompts.shared
    if not group or group.tokens + own > sample.PREFILL or (group.count + 1) * k > capacity then
      group = { first = i, tokens = 0, count = 0 }
      groups[#groups + 1] = group
    end
    group.tokens, group.count = group.tokens + own, group.count + 1
  end
  table.sort(groups, function(a, b)
    if a.tokens ~= b.tokens then return a.tokens < b.tokens end
    return a.first < b.first
  end)
  return groups
end

--- Runs group `g` alone and gives its pages back.
local function prefill(s, g)
  finish_all(s)
  s.next_prompt = g.first
  s:prefill()
end

--- The most memory that sampling takes, beside what is there: the first batch, a step that sizes
--- the arena, and the largest later prefill beside the arena.
---@param model sppo.Model  on meta
---@param prompts sppo.plan.Prompts
---@param options sppo.plan.Sampling
function M.touch(model, prompts, options)
  local s = sampler(model, prompts, options)
  s:start()
  s:refill()
  if #s.active > 0 then s:step() end
  if s.next_prompt <= #prompts.list then
    local groups, largest = groups_of(prompts, s.capacity, options.k), nil
    for _, g in ipairs(groups) do
      if g.first >= s.next_prompt then largest = g end
    end
    if largest then prefill(s, largest) end
  end
  finish_all(s)
  s:close()
end

--- A wave of `rows` answers from their second token to their last: all decode steps.
local function wave(model, prompts, options, hardware, rows)
  local total, length = cost_of.new(), options.answer_tokens
  if length < 2 or rows == 0 then return total end
  local made, mean = {}, math.floor(prompts.mean + 0.5)
  for i = 1, mean do made[i] = 0 end
  local alike = { shared = math.min(prompts.shared, mean - 1), list = {} }
  for i = 1, math.ceil(rows / options.k) do alike.list[i] = { id = i, tokens = made } end
  local s = sampler(model, alike, options, rows)
  s:start()
  s:refill()
  local points, costs, at = cost_of.spread(1, length - 1, LENGTHS), {}, 1
  for i, t in ipairs(points) do
    advance(s, t - at)
    costs[i] = cost_of.of(hardware, function() s:step() end)
    at = t + 1
  end
  finish_all(s)
  s:close()
  return total:add(cost_of.sum_between(points, costs))
end

--- All prefills.
local function prefills(model, prompts, options, hardware)
  local s = sampler(model, prompts, options)
  local total = cost_of.of(hardware, function() s:start() end)
  local groups = groups_of(prompts, s.capacity, options.k)
  local sizes, points, costs = {}, {}, {}
  for i, g in ipairs(groups) do sizes[i] = g.tokens end
  for i, n in ipairs(cost_of.spread(1, #groups, GROUPS)) do
    points[i] = groups[n].tokens
    costs[i] = cost_of.of(hardware, function() prefill(s, groups[n]) end)
  end
  finish_all(s)
  s:close()
  return total:add(cost_of.sum_over(sizes, points, costs))
end

--- Cost of sampling all answers.
---@return sppo.plan.Cost cost, integer tokens  drawn
function M.cost(model, prompts, options, hardware)
  local answers = #prompts.list * options.k
  local rows = math.min(options.batch, answers)
  local rest = answers % rows
  local total = prefills(model, prompts, options, hardware)
  total:add(wave(model, prompts, options, hardware, rows), (answers - rest) / rows)
  total:add(wave(model, prompts, options, hardware, rest))
  return total, answers * options.answer_tokens
end

--- Peak of a stage that samples: { peak, kinds, scratch }, and the model.
---@param load fun(): sppo.Model
---@param loaded boolean  the stage before it has the model already; else its loading counts
function M.peak(load, prompts, options, loaded)
  C.sppo_memory_reset_peak(tensor.devices.meta)
  local model = load()
  if loaded then C.sppo_memory_reset_peak(tensor.devices.meta) end
  M.touch(model, prompts, options)
  return tensor.memory_peak('meta'), model
end

return M
