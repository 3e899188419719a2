--- Held-out evaluation of models that need not be of a run: answers of two of them to a recipe's
--- held-out prompts, and how often the one's beat the other's by the recipe's preference. For a
--- round of a run the answers, and so the numbers, are those that the run's own evaluation gave.

local engine = require 'sppo.ffi'
local evaluate = require 'sppo.evaluate'
local files = require 'sppo.files'
local model_of = require 'sppo.model'
local preference = require 'sppo.preference'
local prompts = require 'sppo.selfplay.prompts'
local recipe_of = require 'sppo.selfplay.recipe'
local sample = require 'sppo.sample'
local stages = require 'sppo.selfplay.stages'

local M = {}

---@class sppo.Contestant
---@field name string    for people
---@field model string|table   what model.open takes; or the config of the recipe's random model
---@field round integer  of a run, 0: a start or any model; draws depend on it

--- What `name` stands for: a model as model.open takes it, a round of a run ('runs/x/round-2', with
--- or without '/weights'; 'runs/x' is its last one), or 'start', which the recipe starts from.
---@param recipe sppo.Recipe
---@param name string
---@return sppo.Contestant?   nil, err
function M.contestant(recipe, name)
  local path = name:gsub('(.)/+$', '%1')
  local start = { name = 'the start', model = recipe.values.policy.model, round = 0 }
  local run, t = path:match('^(.*)/round%-(%d+)$')
  if not run then run, t = path:match('^(.*)/round%-(%d+)/weights$') end
  if not run and files.exists(path .. '/manifest.json') then
    run, t = path, model_of.last_round(path)
    if not t then
      local err = path .. ': no round of this run has weights yet'
      engine.kind('usage', err)
      return nil, err
    end
  end
  t = tonumber(t)
  if name == 'start' or t == 0 then
    if start.model ~= nil then return start end
    local err = recipe.path .. ': has no policy.model to start from; name two models'
    engine.kind('recipe', err)
    return nil, err
  end
  if not run then return { name = path, model = path, round = 0 } end
  return { name = ('%s/round-%d'):format(run, t), round = t,
    model = ('%s/round-%d/weights'):format(run, t) }
end

--- A contestant's answers to the prompts of its round, as evaluate.metrics takes them; nil, err.
---@param recipe sppo.Recipe
---@param who sppo.Contestant
---@param progress fun(done: integer, total: integer, tokens_per_second: number)
---@return table[]? answers, table[] list
local function answers_of(recipe, who, progress)
  local values = recipe.values
  local round = math.min(who.round, values.rounds)
  local options = recipe_of.at_round(recipe, 'evaluate', round)
  local list = prompts.list(values[options.on], round, options.on)
  local kept = { dtype = values.policy.dtype, values = values.policy.dtype }
  local model, err
  if type(who.model) == 'table' then model = model_of.random(who.model, values.seed, kept)
  else model, err = model_of.open(who.model, kept) end
  if not model then return nil, err end
  local ok, out = pcall(function()
    local tokens, records, done, drawn = prompts.tokens(model, list, values.compat), {}, 0, 0
    local started = engine.C.sppo_clock()
    sample.run(model, tokens, {
      k = options.k, temperature = options.temperature, top_p = options.top_p,
      top_k = options.top_k, min_p = options.min_p, max_new_tokens = options.max_new_tokens,
      batch = options.batch, seed = values.seed, round = who.round + 1,
      stop_ids = stages.stop_ids(model), shared = sample.shared(tokens),
      on_step = function(rows)
        drawn = drawn + rows
        progress(done, #list, drawn / math.max(engine.C.sppo_clock() - started, 1e-9))
      end,
    }, function(number, answers)
      for _, a in ipairs(answers) do a.text = prompts.answer_text(model, a) end
      records[number], done = { answers = answers }, done + 1
    end)
    return records
  end)
  model_of.release(model)
  if not ok then error(out, 0) end
  return out, list
end

--- Metrics of one model's held-out answers against another's; nil, err.
---@param recipe sppo.Recipe
---@param one sppo.Contestant
---@param other sppo.Contestant
---@param progress fun(name: string, done: integer, total: integer, tokens_per_second: number)
---@return { prompts: integer, answers: integer, one: table, other: table }?
---   one, other: metrics named as in metrics.jsonl; the win rate is in `one`
function M.run(recipe, one, other, progress)
  local values = recipe.values
  local on = values.evaluate.on
  for _, key in ipairs { on, 'preference' } do
    if values[key] == nil then
      local err = ('%s: has no %s, which an evaluation needs'):format(recipe.path, key)
      engine.kind('recipe', err)
      return nil, err
    end
  end
  local judge = preference.new(values.preference)
  local new, list = answers_of(recipe, one, function(...) progress(one.name, ...) end)
  if not new then return nil, list end
  local old, other_list = answers_of(recipe, other, function(...) progress(other.name, ...) end)
  if not old then return nil, other_list end
  if #other_list ~= #list then
    local err = ('%s: round %d has %d %s prompts, round %d has %d'):format(recipe.path, one.round,
      #list, on, other.round, #other_list)
    engine.kind('recipe', err)
    return nil, err
  end
  return { prompts = #list, answers = #new[1].answers,
    one = evaluate.metrics(judge, list, new, old, values.seed),
    other = evaluate.metrics(judge, list, old, old, values.seed) }
end

return M
