--- `sppo plan`: a recipe run on the meta device. Shapes, FLOPs and bytes of every stage, without
--- data: its peak of memory by kind, its work, and the time that a machine's rates allow.
---
--- What is counted: every answer has `answer_tokens` tokens, every prompt gives a pair. Memory is
--- that of this engine's CPU backend (f32 activations, keys and values) whatever the hardware.
--- Preference functions are not called, so neither their work nor their memory is in a plan.

local cost_of = require 'sppo.plan.cost'
local engine = require 'sppo.ffi'
local fit = require 'sppo.plan.fit'
local gpus_of = require 'sppo.plan.gpus'
local hardware_of = require 'sppo.plan.hardware'
local json = require 'sppo.json'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local optim = require 'sppo.optim'
local plan_model = require 'sppo.plan.model'
local plan_prompts = require 'sppo.plan.prompts'
local recipe_of = require 'sppo.selfplay.recipe'
local sampling = require 'sppo.plan.sampling'
local tensor = require 'sppo.tensor'
local training = require 'sppo.plan.training'

local M = {}

M.stages = { 'evaluate', 'sample', 'prefer', 'score', 'train' }

local DTYPE_BYTES = { f32 = 4, bf16 = 2 }
local RECORD = 60 -- bytes, about: a record's frame, keys and small values

---@class sppo.plan.Options
---@field overrides? table         as recipe.load has them
---@field hardware? string
---@field answer_tokens? integer   counted instead of max_new_tokens
---@field prompts? integer         assumed instead of the recipe's prompts
---@field prompt_tokens? integer
---@field gpus? integer            that share the run, a process for each

---@class sppo.plan.Stage
---@field stage string
---@field runs integer             of all rounds
---@field optional? boolean        not part of this recipe's rounds
---@field memory? table            { peak, kinds, scratch } at its worst round
---@field cost? sppo.plan.Cost     of all its runs
---@field tokens? integer          of all its runs: drawn, or put through a pass
---@field disk integer             bytes that all its runs leave
---@field note? string

--- Bytes of the records of some answers and their prompts.
local function answer_bytes(prompts, k, tokens)
  local text = plan_prompts.CHARACTERS * tokens
  return #prompts.list * (4 * prompts.mean + RECORD + k * (8 * tokens + text + RECORD))
end

local Plan = {}
Plan.__index = Plan

--- Prompts of a round as a plan has them, made once where rounds share them.
function Plan:prompts(name, round)
  local given = self.values[name]
  local key = name .. (type(given) == 'table' and '' or round)
  if not self.made[key] then
    self.made[key] = plan_prompts.of(self.source, given, round, name, self.assumed)
  end
  return self.made[key]
end

--- A function that makes the model, in `dtype`.
function Plan:loader(dtype)
  return function() return plan_model.on_meta(self.source, dtype, self.values.policy.dtype) end
end

--- fn() once for each distinct key.
function Plan:once(key, fn)
  key = json.encode(key)
  if not self.known[key] then self.known[key] = fn() end
  return self.known[key]
end

--- A function among options stands for itself in a key.
local function plain(options)
  local out = {}
  for key, value in pairs(options) do
    out[key] = type(value) == 'function' and tostring(value) or value
  end
  return out
end

local function answer_tokens(self, options)
  return math.min(self.answer_tokens or options.max_new_tokens, options.max_new_tokens)
end

--- Raises if the longest prompt and an answer do not fit into the model's context.
local function check_context(self, prompts, section, options)
  local context = self.config.max_position_embeddings
  if prompts.longest + options.max_new_tokens <= context then return end
  engine.raise('usage', ('plan: the longest prompt has %d tokens; with %s.max_new_tokens = %d ' ..
    'that is more than the context of %d'):format(prompts.longest, section,
    options.max_new_tokens, context))
end

--- One run of a stage that samples.
function Plan:sampled(section, name, round)
  local options = recipe_of.at_round(self.recipe, section, round)
  local prompts = self:prompts(name, round)
  options.answer_tokens = answer_tokens(self, options)
  check_context(self, prompts, section, options)
  return self:once({ section, plain(options), tostring(prompts) }, function()
    -- An evaluation has loaded the weights that the next round samples from.
    local loaded = section == 'sample' and self.values[self.values.evaluate.on] ~= nil
    local memory, model =
      sampling.peak(self:loader(self.values.policy.dtype), prompts, options, loaded)
    local cost, tokens = sampling.cost(model, prompts, options, self.hardware)
    model_of.release(model)
    return { memory = memory, cost = cost, tokens = tokens, options = options, prompts = prompts,
      loaded = loaded, disk = answer_bytes(prompts, options.k, options.answer_tokens) }
  end)
end

--- One run of training, and of rescoring the rows that it uses.
function Plan:trained(round)
  local options = recipe_of.at_round(self.recipe, 'train', round)
  local drawn = recipe_of.at_round(self.recipe, 'sample', round)
  local prompts, seed = self:prompts('prompts', round), self.values.seed
  local k = self.values.select == 'best_and_worst' and 2 or drawn.k
  local length = answer_tokens(self, drawn)
  return self:once({ 'train', plain(options), tostring(prompts), k, length }, function()
    local groups, too_long = training.groups(prompts, options, k, length)
    if #groups == 0 then
      return { too_long = too_long, disk = 0, cost = cost_of.new(), score_cost = cost_of.new(),
        tokens = 0, steps = 0 }
    end
    local out = { options = options, groups = groups, too_long = too_long }
    local model
    out.memory, model = training.peak(self:loader('f32'), groups, options, seed, round)
    out.cost, out.steps, out.tokens, out.micro_batches =
      training.cost(model, groups, options, self.hardware, seed, round)
    model_of.release(model)
    out.score_memory, model = training.score_peak(self:loader(self.values.policy.dtype), groups,
      options, seed, round)
    out.score_cost = training.score_cost(model, groups, options, self.hardware, seed, round)
    model_of.release(model)
    local states = #optim.new(options.optimizer, options.optimizer_options).states
    out.checkpoint = 4 * self.parameters * (1 + states)
    out.disk = self.parameters * DTYPE_BYTES[self.values.policy.dtype]
    return out
  end)
end

--- Adds a run to a stage: work adds up, of memory the worst counts.
local function add_run(stage, run, cost, memory)
  stage.runs = stage.runs + 1
  stage.cost = (stage.cost or cost_of.new()):add(cost)
  stage.tokens = (stage.tokens or 0) + run.tokens
  if memory and (not stage.memory
    or memory.peak + memory.scratch > stage.memory.peak + stage.memory.scratch) then
    stage.memory, stage.worst = memory, run
  end
end

local function new_stage(name) return { stage = name, runs = 0, disk = 0 } end

function Plan:evaluate()
  local stage, on = new_stage 'evaluate', self.values.evaluate.on
  if not self.values[on] then
    stage.note = ('no %s prompts: not run'):format(on)
    return stage
  end
  for round = 0, self.values.rounds do
    local run = self:sampled('evaluate', on, round)
    add_run(stage, run, run.cost, run.memory)
    stage.disk = stage.disk + run.disk
  end
  return stage
end

function Plan:sample()
  local stage = new_stage 'sample'
  for round = 1, self.values.rounds do
    local run = self:sampled('sample', 'prompts', round)
    add_run(stage, run, run.cost, run.memory)
    stage.disk = stage.disk + run.disk
  end
  return stage
end

--- What the preference is asked: nothing of its work is known before it is called.
function Plan:prefer()
  local stage, pairs_asked = new_stage 'prefer', 0
  for round = 1, self.values.rounds do
    local n = #self:prompts('prompts', round).list
    local k = recipe_of.at_round(self.recipe, 'sample', round).k
    pairs_asked = pairs_asked + n * k * (k - 1) / 2
    stage.runs = stage.runs + 1
    stage.disk = stage.disk + n * (RECORD + 9 * k * (k + 1))
  end
  stage.pairs = pairs_asked
  stage.note = 'the preference is not called: its memory, work and time are not in this plan'
  return stage
end

function Plan:score_and_train()
  local score, train = new_stage 'score', new_stage 'train'
  score.optional = true
  score.note = 'only where log-probs are approximate; a run on the CPU records them exactly'
  for round = 1, self.values.rounds do
    local run = self:trained(round)
    add_run(train, run, run.cost, run.memory)
    add_run(score, { tokens = run.tokens / math.max(1, run.options and run.options.epochs or 1),
      options = run.options, groups = run.groups }, run.score_cost, run.score_memory)
    train.steps = (train.steps or 0) + run.steps
    train.too_long = (train.too_long or 0) + run.too_long
    train.disk = train.disk + run.disk
    train.checkpoint = math.max(train.checkpoint or 0, run.checkpoint or 0)
  end
  if train.steps == 0 then
    train.note = 'no prompt is short enough for train.max_prompt and train.max_length'
    score.memory, train.memory = nil, nil
  end
  return score, train
end

--- What is said once of prompts and answers.
function Plan:describe()
  local drawn = recipe_of.at_round(self.recipe, 'sample', 1)
  local about = { k = drawn.k, answer_tokens = answer_tokens(self, drawn),
    max_new_tokens = drawn.max_new_tokens, rounds = self.values.rounds }
  for _, name in ipairs { 'prompts', self.values.evaluate.on } do
    if self.values[name] then
      local p = self:prompts(name, 1)
      about[name == 'prompts' and 'prompts' or 'held_out'] =
        { count = #p.list, mean = p.mean, longest = p.longest, shared = p.shared, note = p.note }
    end
  end
  return about
end

--- Sums over the stages that a recipe runs, and what dominates.
local function totals(stages)
  local sum, worst, slowest = cost_of.new(), nil, nil
  local disk, checkpoint = 0, 0
  for _, s in ipairs(stages) do
    disk, checkpoint = disk + s.disk, math.max(checkpoint, s.checkpoint or 0)
    if not s.optional then
      if s.cost then
        sum:add(s.cost)
        if not slowest or s.cost.seconds > slowest.cost.seconds then slowest = s end
      end
      if s.memory and (not worst or s.total > worst.total) then worst = s end
    end
  end
  return { cost = sum, disk = disk, checkpoint = checkpoint, slowest = slowest, worst = worst }
end

--- A plan; raises what is wrong with the recipe, its model or its prompts.
---@param path string
---@param options? sppo.plan.Options
function M.of(path, options)
  options = options or {}
  local recipe, err = recipe_of.load(path, options.overrides)
  if not recipe then engine.raise(engine.kind_of(err) == 'io' and 'usage' or 'recipe', err) end
  local hint = recipe.values.plan
  if not recipe.values.prompts then
    engine.raise('usage', ('%s: has no prompts: a plan is of the stages of self-play, not of ' ..
      'what a recipe\'s own `run` does'):format(path))
  end
  local self = setmetatable({
    recipe = recipe, values = recipe.values, made = {}, known = {},
    answer_tokens = options.answer_tokens or hint.answer_tokens,
    assumed = { prompts = options.prompts, prompt_tokens = options.prompt_tokens, hint = hint,
      compat = recipe.values.compat },
  }, Plan)
  self.hardware = hardware_of.get(options.hardware)
  self.source = plan_model.find(self.values.policy.model)
  return tensor.meta_as(self.values.policy.device, tensor.on_device, 'meta', function()
    local model = self:loader(self.values.policy.dtype)()
    self.parameters, self.config = nn.count(model.net), model.config
    model_of.release(model)
    local stages = { self:evaluate(), self:sample(), self:prefer(), self:score_and_train() }
    for _, s in ipairs(stages) do
      if s.memory then s.total = fit.total(s.memory) end
    end
    local plan = {
      recipe = path, name = self.values.name, model = self.values.policy.model,
      config = self.source.where, parameters = self.parameters,
      dtype = self.values.policy.dtype, hardware = self.hardware, about = self:describe(),
      stages = stages, total = totals(stages), tokenizer = self.source.model ~= nil,
      own_run = self.values.run ~= nil,
    }
    plan.too_large = fit.check(self, stages)
    if options.gpus then plan.gpus = gpus_of.of(self, stages, options.gpus) end
    return plan
  end)
end

return M
