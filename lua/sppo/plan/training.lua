--- Training and rescoring on the meta device: micro-batches as a run cuts them, the forward and
--- backward pass of a few of them, and one step of the optimizer.

local cost_of = require 'sppo.plan.cost'
local losses = require 'sppo.losses'
local nn = require 'sppo.nn'
local optim = require 'sppo.optim'
local scope = require 'sppo.scope'
local score = require 'sppo.score'
local shards = require 'sppo.shards'
local tensor = require 'sppo.tensor'
local train = require 'sppo.train'

local C = require('sppo.ffi').C

local M = {}

local SHAPES = 8 -- micro-batches that are run, of all that there are

--- What a run would train on, if every prompt gave a pair: groups as select writes them.
---@param prompts sppo.plan.Prompts
---@param options table  the recipe's `train` of the round
---@param answers integer  of a prompt
---@param answer_tokens integer
---@return table[] groups, integer too_long
function M.groups(prompts, options, answers, answer_tokens)
  local of_length, of_prompt, groups = {}, {}, {}
  for _, p in ipairs(prompts.list) do
    local n = math.min(answer_tokens, options.max_length - #p.tokens)
    if #p.tokens <= options.max_prompt and n > 0 then
      if not of_length[n] then
        local tokens, list = {}, {}
        for i = 1, n do tokens[i] = 0 end
        for k = 1, answers do list[k] = { tokens = tokens, win = 1 / k, logprob = -1 } end
        of_length[n] = list
      end
      -- Prompts that are assumed have their tokens in common.
      of_prompt[p.tokens] = of_prompt[p.tokens]
        or { prompt = p.tokens, shared = prompts.shared, answers = of_length[n], pair = 1 }
      groups[#groups + 1] = of_prompt[p.tokens]
    end
  end
  return groups, #prompts.list - #groups
end

--- Tokens of a micro-batch, and the rows whose log-probs are wanted.
local function size_of(micro)
  local n, rows = 0, 0
  for _, g in ipairs(micro) do
    n = n + score.tokens(g)
    for _, a in ipairs(g.answers) do rows = rows + #a.tokens end
  end
  return n, rows
end

---@class sppo.plan.Micro
---@field groups table[]
---@field tokens integer
---@field first boolean  of its process in its optimizer step
---@field alone boolean

--- The micro-batches of an epoch, by size, and the number of its steps.
local function micros_of(groups, options, seed, round, processes)
  local order, list, steps = train.shuffled(groups, seed, round, 0), {}, 0
  for from = 1, #order, options.batch do
    local batch = {}
    for i = from, math.min(#order, from + options.batch - 1) do batch[#batch + 1] = order[i] end
    local cut = score.micro_batches(batch, options.micro_tokens)
    for process = 0, (processes or 1) - 1 do
      local first, last = shards.part(#cut, process, processes or 1)
      for i = first, last do
        list[#list + 1] = { groups = cut[i], tokens = size_of(cut[i]), prompts = #batch,
          number = #list + 1, alone = first == last, first = i == first }
      end
    end
    steps = steps + 1
  end
  table.sort(list, function(a, b)
    if a.tokens ~= b.tokens then return a.tokens < b.tokens end
    return a.number < b.number
  end)
  return list, steps
end

--- The largest micro-batch, and whether gradients of another are there before it.
local function worst_of(micros)
  local worst = micros[#micros]
  for _, m in ipairs(micros) do
    if m.tokens == worst.tokens and not m.first then worst = m end
  end
  return worst
end

local function pass(run, micro)
  local _, value = train.forward(run, micro.groups, micro.prompts)
  value:backward()
end

local function update(run)
  optim.step(run.optimizer, run.owned, run.state, run.options.lr, 1, run.options.clip)
end

--- A run of training on meta, ready for its first step. `owned` picks the parameters whose
--- optimizer state is there; all, if it is left out.
local function begin(model, options, owned)
  local run = {
    model = model, options = options,
    loss = type(options.loss) == 'function' and options.loss or losses[options.loss],
    optimizer = optim.new(options.optimizer, options.optimizer_options),
    parameters = nn.parameters(model.net),
  }
  for _, p in ipairs(run.parameters) do p.owner[p.key]:requires_grad_() end
  run.owned = owned and owned(run.parameters) or run.parameters
  run.state = optim.state(run.optimizer, run.owned)
  return run
end

local function finish(run)
  for _, p in ipairs(run.parameters) do
    p.owner[p.key]:clear_grad_()
    p.owner[p.key]:requires_grad_(false)
  end
  for _, state in pairs(run.state) do
    for _, s in pairs(state) do s:release() end
  end
end

--- Peak of training: the weights' loading, the state, and the largest micro-batch of a step.
---@param load fun(): sppo.Model  f32, on meta
---@param groups table[]
---@param options table  the recipe's `train` of the round
---@param seed integer
---@param round integer
---@param processes? integer  that share the micro-batches of a step: the one that needs most
---@param owned? fun(parameters: table[]): table[]  whose optimizer state it keeps
---@return table peak, sppo.Model model
function M.peak(load, groups, options, seed, round, processes, owned)
  C.sppo_memory_reset_peak(tensor.devices.meta)
  local model = load()
  local run = begin(model, options, owned)
  local worst = worst_of((micros_of(groups, options, seed, round, processes)))
  -- A second pass meets the gradients of the first.
  for _ = 1, worst.alone and 1 or 2 do scope.run(pass, run, worst) end
  update(run)
  finish(run)
  return tensor.memory_peak('meta'), model
end

--- Sum over micro-batches of what fn(micro) costs, from a few of them.
local function over(micros, hardware, fn)
  local sizes, points, costs = {}, {}, {}
  for i, m in ipairs(micros) do sizes[i] = m.tokens end
  for i, n in ipairs(cost_of.spread(1, #micros, SHAPES)) do
    points[i] = micros[n].tokens
    costs[i] = cost_of.of(hardware, function() fn(micros[n]) end)
  end
  return cost_of.sum_over(sizes, points, costs)
end

--- Cost of all epochs of a round.
---@return sppo.plan.Cost cost, integer steps, integer tokens, integer micro_batches
function M.cost(model, groups, options, hardware, seed, round)
  local run = begin(model, options)
  local micros, steps = micros_of(groups, options, seed, round)
  local total = over(micros, hardware, function(m) pass(run, m) end)
  -- The last pass left gradients, so all parameters are updated.
  total:add(cost_of.of(hardware, function() update(run) end), steps)
  finish(run)
  local tokens = 0
  for _, m in ipairs(micros) do tokens = tokens + m.tokens end
  return cost_of.new():add(total, options.epochs), steps * options.epochs,
    tokens * options.epochs, #micros
end

--- Rescoring: the log-probs of the rows that training uses, once, without gradients.
---@return sppo.plan.Cost
function M.score_cost(model, groups, options, hardware, seed, round)
  local micros = micros_of(groups, options, seed, round)
  return over(micros, hardware, function(m) score.logprobs(model.net, m.groups) end)
end

--- Peak of rescoring beside the sampling model.
function M.score_peak(load, groups, options, seed, round)
  C.sppo_memory_reset_peak(tensor.devices.meta)
  local model, micros = load(), micros_of(groups, options, seed, round)
  scope.run(function() score.logprobs(model.net, micros[#micros].groups) end)
  return tensor.memory_peak('meta'), model
end

return M
