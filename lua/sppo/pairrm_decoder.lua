--- Pairs as a decoder reads them (models/pairrm_decoder.lua): the prompt in the model's own chat
--- template, an answer and the token that ends it, the other answer and that token again.
---
--- The pairs of a prompt share its computation, and those with the same first answer that one's.

local chat = require 'sppo.chat'
local engine = require 'sppo.ffi'
local generate = require 'sppo.generate'
local model_config = require 'sppo.model_config'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local scope = require 'sppo.scope'
local segments = require 'sppo.segments'
local tensor = require 'sppo.tensor'

local M = {}

--- Tokens of a source and of an answer that are read where the config says nothing.
M.limits = { source_maxlength = 1224, candidate_maxlength = 412 }

--- Token ids of a source text (its last source_maxlength) and of its answers (their first
--- candidate_maxlength, the ending token among them).
---@param model sppo.PairRM
---@param source string
---@param answers string[]
---@return sppo.pairrm.Group
function M.group(model, source, answers)
  local ids = generate.prompt_tokens(model, { { role = 'user', content = source } },
    { now = chat.STILL })
  local c, group = model.config, { source = {}, answers = {} }
  for i = math.max(0, #ids - c.source_maxlength) + 1, #ids do
    group.source[#group.source + 1] = ids[i]
  end
  for k, text in ipairs(answers) do
    local tokens, all = {}, model.tokenizer:encode(text)
    for i = 1, math.min(#all, c.candidate_maxlength - 1) do tokens[i] = all[i] end
    tokens[#tokens + 1] = model.eos_ids[1]
    group.answers[k] = tokens
  end
  return group
end

--- Tokens of the pair (i, j) of a group, alone.
---@param pair { group: sppo.pairrm.Group, i: integer, j: integer }
---@return integer
function M.pair_tokens(pair)
  local g = pair.group
  return #g.source + #g.answers[pair.i] + #g.answers[pair.j]
end

--- Logits of pairs, [pairs], differentiable.
---@param model sppo.PairRM
---@param list { group: sppo.pairrm.Group, i: integer, j: integer }[]
---@param options? { recompute: boolean }
---@return sppo.Tensor
function M.logits(model, list, options)
  local ids, tree, rows = {}, {}, {}
  local function add(parent, tokens)
    for _, id in ipairs(tokens) do ids[#ids + 1] = id end
    tree[#tree + 1] = { parent = parent, count = #tokens }
    return { number = #tree, last = #ids - 1 }
  end
  local sources, firsts = {}, {}
  for n, pair in ipairs(list) do
    local g = pair.group
    if not sources[g] then sources[g], firsts[g] = add(nil, g.source), {} end
    local source, first = sources[g], firsts[g][pair.i]
    if not first then
      first = add(source.number, g.answers[pair.i])
      firsts[g][pair.i] = first
    end
    local second = add(first.number, g.answers[pair.j])
    rows[4 * n - 3], rows[4 * n - 2] = source.last, first.last
    rows[4 * n - 1], rows[4 * n] = source.last, second.last
  end
  return model.net(tensor.ints(ids), segments.new(tree), tensor.ints(rows), options)
end

--- A ranker of an open model with that head.
---@param model sppo.Model
---@return sppo.PairRM
local function ranker(model)
  for key, most in pairs(M.limits) do model.config[key] = model.config[key] or most end
  model.reads, model.save = M, model_of.save
  return model
end

--- Opens a folder whose config.json has an architecture `...ForPairRanking`; nil, err.
---@param path string
---@param options { dtype?: string }
---@return sppo.PairRM?
function M.open(path, options)
  local model, err = model_of.open(path, { dtype = options.dtype })
  if not model then return nil, err end
  if not model.tokenizer then
    err = path .. ': has no tokenizer, so texts cannot be compared'
    engine.kind('format', err)
    return nil, err
  end
  return ranker(model)
end

--- A ranker whose body is a language model's. Its head's first layer is random (deviation 0.02, as
--- PairRM's), the last is 0: all logits begin at 0. Takes the model's parameters over.
---@param model sppo.Model   with a tokenizer
---@param seed integer
---@param limits? { source_maxlength: integer, candidate_maxlength: integer }
---@return sppo.PairRM
function M.from(model, seed, limits)
  local config = {}
  for key, value in pairs(model.config) do config[key] = value end
  for key, value in pairs(limits or {}) do config[key] = value end
  local name = config.architectures and config.architectures[1] or 'LlamaForCausalLM'
  config.architectures = { (name:gsub('For%w+$', 'ForPairRanking')) }
  local net = model_config.net(config)
  net.model = model.net.model
  for place, layer in pairs(net.head_layer) do
    local shape = layer.weight.shape
    local weight = tensor.zeros(shape, 'f32', model.device)
    if place == 2 then weight:normal_(0, 0.02, seed) end
    layer.weight = scope.keep(weight:pack(model.dtype))
    layer.bias = scope.keep(tensor.zeros({ shape[1] }, 'f32', model.device))
  end
  nn.bind(net)
  return ranker { net = net, config = config, tokenizer = model.tokenizer, path = model.path,
    template = model.template, eos_ids = model.eos_ids, bos_id = model.bos_id,
    dtype = model.dtype, device = model.device }
end

return M
