--- Rankers of pairs: opening one, and its logits L[i][j], whose sigmoid is P(answer i beats answer
--- j) with i in the first place. PairRM itself is pairrm_encoder.lua, the same head on a decoder is
--- pairrm_decoder.lua; ranker.lua trains them.

local check = require 'sppo.check'
local encoder = require 'sppo.pairrm_encoder'
local decoder = require 'sppo.pairrm_decoder'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local model_config = require 'sppo.model_config'
local model_of = require 'sppo.model'
local ops = require 'sppo.ops'
local score = require 'sppo.score'
local scope = require 'sppo.scope'
local tensor = require 'sppo.tensor'

local M = {}

M.BUDGET = 4096 -- tokens of a forward pass

---@class sppo.PairRM
---@field net table                 models/pairrm.lua, callable
---@field config sppo.deberta.Config
---@field ids? table<string, integer>   of PairRM itself: cls, sep, source, first, second
---@field tokenizer? table          encode(text) -> ids without special tokens
---@field reads table            group, pair_tokens, logits: pairrm_encoder.lua, pairrm_decoder.lua
---@field save fun(model: sppo.PairRM, path: string, dtype: string)
---@field path string
---@field dtype string

---@class sppo.pairrm.Group      a prompt and its answers as token ids, marks not included
---@field source integer[]
---@field answers integer[][]

--- The config of microsoft/deberta-v3-NAME with the four tokens that PairRM adds.
---@param name 'xsmall'|'small'|'base'|'large'
---@return sppo.deberta.Config
function M.published(name) return encoder.published(name) end

--- A random PairRM of a config (M.published, or sizes of one's own), for tests and timing.
---@param config table
---@param seed integer
---@param options? { dtype?: string, tokenizer?: table }
---@return sppo.PairRM
function M.random(config, seed, options) return encoder.random(config, seed, options) end

--- The folder of a name and its config.json; nil, err.
local function read_config(name)
  local path, err = model_of.find(name)
  if not path then return nil, err end
  local text = path .. ': is a file; a ranker is read from a folder of safetensors'
  if files.is_folder(path) then
    local given
    given, err = files.json(path .. '/config.json')
    if type(given) == 'table' then return path, given end
    if err then return nil, err end
    text = path .. '/config.json: not an object'
  end
  engine.kind('format', text)
  return nil, text
end

--- Whether a name is that of a ranker's folder, and not of another model's.
---@param name string
---@return boolean
function M.is_ranker(name)
  local path, given = read_config(name)
  return path ~= nil and (given.ranker_type ~= nil or given.model_type == 'deberta-v2'
    or model_config.ranks_pairs(given))
end

--- Opens a folder (config.json, model.safetensors, the tokenizer's files): llm-blender/PairRM as
--- Hugging Face ships it, or what recipes/ranker.lua made; nil, err.
---@param name string   path, or name of a fetched model
---@param options? { dtype?: string, tokenizer?: table }  tokenizer: instead of the folder's
---@return sppo.PairRM?
function M.open(name, options)
  options = check.options('pairrm.open', options, { 'dtype', 'tokenizer' })
  local path, given = read_config(name)
  if not path then return nil, given end
  if model_config.ranks_pairs(given) then return decoder.open(path, options) end
  return encoder.open(path, given, options)
end

--- Token ids of a source text and its answers, cut to what the ranker reads.
---@param model sppo.PairRM
---@param source string
---@param answers string[]
---@return sppo.pairrm.Group
function M.group(model, source, answers) return model.reads.group(model, source, answers) end

--- Logits of pairs, [pairs], differentiable.
---@param model sppo.PairRM
---@param list { group: sppo.pairrm.Group, i: integer, j: integer }[]
---@param options? { recompute: boolean }
---@return sppo.Tensor
function M.logits(model, list, options) return model.reads.logits(model, list, options) end

--- Logits of any number of pairs as numbers, in their order; longest first inside, in forward
--- passes of at most `budget` tokens. What stands beside a pair does not change its bits.
---@param model sppo.PairRM
---@param list { group: sppo.pairrm.Group, i: integer, j: integer }[]
---@param budget? integer   M.BUDGET
---@return number[]
function M.compare(model, list, budget)
  local order, out = {}, {}
  for k = 1, #list do order[k] = k end
  local length = {}
  for k, pair in ipairs(list) do length[k] = model.reads.pair_tokens(pair) end
  table.sort(order, function(a, b)
    if length[a] ~= length[b] then return length[a] > length[b] end
    return a < b
  end)
  local batches = score.micro_batches(order, budget or M.BUDGET, function(k) return length[k] end)
  require('sppo').no_grad(function()
    for _, batch in ipairs(batches) do
      local pairs_of = {}
      for n, k in ipairs(batch) do pairs_of[n] = list[k] end
      local values = scope.run(function() return M.logits(model, pairs_of):tolist() end)
      for n, k in ipairs(batch) do out[k] = values[n] end
    end
  end)
  return out
end

--- L[i][j] for all ordered pairs of answers of each group, 0 on the diagonal.
---@param model sppo.PairRM
---@param groups sppo.pairrm.Group[]
---@param budget? integer
---@return number[][][]
function M.matrices(model, groups, budget)
  local list = {}
  for _, g in ipairs(groups) do
    for i = 1, #g.answers do
      for j = 1, #g.answers do
        if i ~= j then list[#list + 1] = { group = g, i = i, j = j } end
      end
    end
  end
  local values, at, out = M.compare(model, list, budget), 0, {}
  for n, g in ipairs(groups) do
    out[n] = {}
    for i = 1, #g.answers do
      out[n][i] = {}
      for j = 1, #g.answers do
        if i == j then
          out[n][i][j] = 0
        else
          at = at + 1
          out[n][i][j] = values[at]
        end
      end
    end
  end
  return out
end

-- ---- training ----

--- Logits of groups of two answers in both orders, the second with its sign changed: [2 groups].
local function margins(model, groups, options)
  local list, sign = {}, {}
  for _, g in ipairs(groups) do
    list[#list + 1], list[#list + 2] = { group = g, i = 1, j = 2 }, { group = g, i = 2, j = 1 }
    sign[#sign + 1], sign[#sign + 2] = 1, -1
  end
  return M.logits(model, list, options) * tensor.tensor(sign)
end

--- -log sigmoid(L) of pairs whose first answer is the preferred one, each in both orders: the mean,
--- a [1] tensor (llm-blender's loss "instructgpt").
---@param model sppo.PairRM
---@param groups sppo.pairrm.Group[]   two answers each, the preferred one first
---@param options? { recompute: boolean }
function M.loss(model, groups, options)
  return ops.sum(ops.log_sigmoid(margins(model, groups, options))) * (-1 / (2 * #groups))
end

--- The same loss for train.run.
---@type sppo.Objective
M.objective = {}

function M.objective.tokens(group)
  return 2 * (#group.source + #group.answers[1] + #group.answers[2])
end

function M.objective.loss(run, micro, groups, sums)
  local m = margins(run.model, micro, { recompute = run.options.recompute })
  local values = m:tolist()
  for i = 1, #micro do
    local d = (values[2 * i - 1] + values[2 * i]) / 2
    sums.margin, sums.accuracy = sums.margin + d, sums.accuracy + (d > 0 and 1 or 0)
  end
  return ops.sum(ops.log_sigmoid(m)) * (-1 / (2 * groups))
end

function M.objective.metrics(sums, n)
  return { ['rewards/margins'] = sums.margin / n, ['rewards/accuracies'] = sums.accuracy / n }
end

return M
