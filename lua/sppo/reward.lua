--- Scalar reward models: r(x, y) from a decoder with a score (models/reward.lua), and their loss on
--- pairs, Bradley-Terry's: P(y beats y') = sigmoid(r(x, y) - r(x, y')). ranker.lua trains them.
---
--- A text is the chat template's prompt, the answer, and the token that ends an answer, which is
--- where the score is read. Answers of one prompt share its computation.

local chat = require 'sppo.chat'
local generate = require 'sppo.generate'
local model_config = require 'sppo.model_config'
local ops = require 'sppo.ops'
local score = require 'sppo.score'
local segments = require 'sppo.segments'
local scope = require 'sppo.scope'
local tensor = require 'sppo.tensor'

local M = {}

--- Tokens of a prompt and of its answers, cut to the last `max_prompt` and the first tokens that
--- fit into `max_length` in all: { prompt, answers = { { tokens } } }.
---@param model sppo.Model
---@param prompt { text?: string, messages?: table[] }
---@param answers string[]
---@param limits { max_prompt: integer, max_length: integer }
function M.group(model, prompt, answers, limits)
  local ids = generate.prompt_tokens(model, prompt.messages or
    { { role = 'user', content = prompt.text } }, { now = chat.STILL })
  local group, cut = { prompt = {}, answers = {} }, math.max(0, #ids - limits.max_prompt)
  for i = cut + 1, #ids do group.prompt[#group.prompt + 1] = ids[i] end
  local room = limits.max_length - #group.prompt - 1
  for k, text in ipairs(answers) do
    local tokens, all = {}, model.tokenizer:encode(text)
    for i = 1, math.min(room, #all) do tokens[i] = all[i] end
    tokens[#tokens + 1] = model.tokenizer.eos_ids[1]
    group.answers[k] = { tokens = tokens }
  end
  return group
end

local function tokens_of(group)
  local n = #group.prompt
  for _, a in ipairs(group.answers) do n = n + #a.tokens end
  return n
end

--- Rewards of all answers of the groups, in order: [answers], differentiable.
---@param net table        of models/reward.lua
---@param groups table[]   of M.group
---@param options? { recompute: boolean }
---@return sppo.Tensor
function M.scores(net, groups, options)
  local ids, list, rows = {}, {}, {}
  for _, g in ipairs(groups) do
    for _, id in ipairs(g.prompt) do ids[#ids + 1] = id end
    list[#list + 1] = { count = #g.prompt }
    local parent = #list
    for _, a in ipairs(g.answers) do
      for _, id in ipairs(a.tokens) do ids[#ids + 1] = id end
      list[#list + 1] = { parent = parent, count = #a.tokens }
      rows[#rows + 1] = #ids - 1
    end
  end
  return net(tensor.ints(ids), segments.new(list), tensor.ints(rows), options)
end

--- Rewards as numbers, for any number of groups: { { r_1, r_2, .. }, .. }.
---@param net table        models/reward.lua
---@param groups table[]   { prompt, answers = { { tokens }, .. } }
---@param budget integer  tokens in a forward pass
---@return number[][]
function M.rewards(net, groups, budget)
  local out = {}
  for _, micro in ipairs(score.micro_batches(groups, budget, tokens_of)) do
    local values, i = scope.run(function() return M.scores(net, micro):tolist() end), 0
    for _, g in ipairs(micro) do
      local row = {}
      for k = 1, #g.answers do row[k] = values[i + k] end
      out[#out + 1], i = row, i + #g.answers
    end
  end
  return out
end

--- Bradley-Terry: -log sigmoid(r_1 - r_2), the first answer being the preferred one.
---@type sppo.Objective
M.objective = { tokens = tokens_of }

function M.objective.loss(run, micro, groups, sums)
  local r = M.scores(run.model.net, micro, { recompute = run.options.recompute })
  local chosen, rejected = {}, {}
  for i = 1, #micro do chosen[i], rejected[i] = 2 * i - 2, 2 * i - 1 end
  local margin = ops.take_rows(r, tensor.ints(chosen)) - ops.take_rows(r, tensor.ints(rejected))
  for _, d in ipairs(margin:tolist()) do
    sums.margin, sums.accuracy = sums.margin + d, sums.accuracy + (d > 0 and 1 or 0)
  end
  return ops.sum(ops.log_sigmoid(margin)) * (-1 / groups)
end

function M.objective.metrics(sums, n)
  return { ['rewards/margins'] = sums.margin / n, ['rewards/accuracies'] = sums.accuracy / n }
end

--- A reward model whose body is a language model's and whose score is 0 everywhere. Takes the
--- model's parameters over.
---@param model sppo.Model
---@return sppo.Model
function M.from(model)
  local config = {}
  for key, value in pairs(model.config) do config[key] = value end
  local name = config.architectures and config.architectures[1] or 'LlamaForCausalLM'
  config.architectures = { (name:gsub('ForCausalLM$', 'ForSequenceClassification')) }
  local net = model_config.net(config)
  net.model = model.net.model
  local zeros = tensor.zeros({ 1, config.hidden_size }, 'f32', model.device)
  net.score.weight = scope.keep(zeros:pack(model.dtype))
  require('sppo.nn').bind(net)
  return { net = net, config = config, tokenizer = model.tokenizer, template = model.template,
    path = model.path, dtype = model.dtype, device = model.device }
end

return M
