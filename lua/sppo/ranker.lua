--- Training rankers on pairs of answers, inside a recipe's `run` (recipes/ranker.lua): a scalar
--- reward model (reward.lua) or one that reads both answers side by side, in PairRM's form
--- (pairrm.lua).

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local pairrm = require 'sppo.pairrm'
local pairrm_decoder = require 'sppo.pairrm_decoder'
local pairrm_preference = require 'sppo.preference.pairrm'
local recipe_of = require 'sppo.selfplay.recipe'
local reward = require 'sppo.reward'
local tensor = require 'sppo.tensor'

local M = {}

local function opened(model, err)
  if not model then error(err, 0) end
  return model
end

--- What a form knows: `start` (the model that training begins with), `again` (opens what was
--- trained), `group` (tokens of a pair), `margins` (how much better the first answer is, one a
--- group), `objective`, and the keys of its `limits`.
M.forms = {
  reward = {
    limits = { 'max_prompt', 'max_length' }, objective = reward.objective,
    start = function(run) return reward.from(run:open_model(1, 'f32')) end,
    again = function(run) return run:sampling_model(2) end,
    group = function(model, pair, limits)
      return reward.group(model, { text = pair.prompt, messages = pair.messages },
        { pair.chosen, pair.rejected }, limits)
    end,
    margins = function(model, groups)
      local out, rewards = {}, reward.rewards(model.net, groups, pairrm.BUDGET)
      for i, r in ipairs(rewards) do out[i] = r[1] - r[2] end
      return out
    end,
  },
  pairrm = {
    limits = { 'source_maxlength', 'candidate_maxlength' }, objective = pairrm.objective,
    --- Goes on with a ranker, or begins one on a language model.
    start = function(run, limits)
      local name = run.recipe.values.policy.model
      if type(name) ~= 'string' or not pairrm.is_ranker(name) then
        return pairrm_decoder.from(run:open_model(1, 'f32'), run.recipe.values.seed, limits)
      end
      local model = opened(pairrm.open(name))
      for key, most in pairs(limits) do model.config[key] = most end
      return model
    end,
    again = function(run)
      return opened(pairrm.open(run.folder:file('round-1/weights'),
        { dtype = run.recipe.values.policy.dtype }))
    end,
    group = function(model, pair)
      local source, answers = pairrm_preference.texts(
        { text = pair.prompt, messages = pair.messages }, { pair.chosen, pair.rejected })
      return pairrm.group(model, source, answers)
    end,
    margins = function(model, groups)
      local out = {}
      for i, l in ipairs(pairrm.matrices(model, groups)) do out[i] = (l[1][2] - l[2][1]) / 2 end
      return out
    end,
  },
}

--- Share of margins above 0; half of those that are 0 count.
---@param margins number[]
---@return number
function M.accuracy(margins)
  local right = 0
  for _, d in ipairs(margins) do right = right + (d > 0 and 1 or d == 0 and 0.5 or 0) end
  return right / #margins
end

--- Share of pairs whose first answer is the longer text: what any judge of length reaches.
local function longer(pairs_of)
  local n = 0
  for _, pair in ipairs(pairs_of) do n = n + (#pair.chosen > #pair.rejected and 1 or 0) end
  return n / #pairs_of
end

--- Raises at the first pair that is not one.
local function check_pairs(list, name)
  if type(list) ~= 'table' or #list == 0 then
    engine.raise('argument', ('ranker: %s must be a list of pairs, as data.pairs gives them')
      :format(name))
  end
  for i, pair in ipairs(list) do
    for _, key in ipairs { 'prompt', 'chosen', 'rejected' } do
      local given = pair[key]
      local fine = type(given) == 'string' or key == 'prompt' and type(pair.messages) == 'table'
      if not fine then
        engine.raise('format', ('%s[%d].%s must be a string, got %s'):format(name, i, key,
          type(given)))
      end
    end
  end
end

--- Trains a ranker: one stage to train on pairs, one to measure on held-out pairs how often the
--- chosen answer gets the higher score, beside how often it is the longer one. The model is
--- round-1/weights, a folder for preference.reward or preference.pairrm.
---@param run sppo.Run
---@param options { form: 'reward'|'pairrm', train: table[], held_out: table[], limits: table }
---   pairs as data.pairs gives them; limits in tokens: of reward max_prompt and max_length (both
---   together), of pairrm source_maxlength and candidate_maxlength (each)
function M.run(run, options)
  options = check.options('ranker', options, { 'form', 'train', 'held_out', 'limits' })
  local form = M.forms[options.form]
  if not form then
    engine.raise('argument', 'ranker: ' .. check.unknown('form', options.form,
      { 'reward', 'pairrm' }), 2)
  end
  local limits = check.options('ranker.limits', options.limits, form.limits)
  for _, key in ipairs(form.limits) do check.number(key, limits[key], 'integer', 4, 2^20) end
  check_pairs(options.train, 'train')
  check_pairs(options.held_out, 'held_out')
  local function groups(model, list)
    local out = {}
    for i, pair in ipairs(list) do out[i] = form.group(model, pair, limits) end
    return out
  end
  local t = recipe_of.at_round(run.recipe, 'train', 1)
  local inputs = { 'train', options.form, options.train, limits, t.lr, t.optimizer, t.batch,
    t.epochs, t.schedule, t.warmup, t.clip, run.recipe.values.seed, run:policy_key() }
  run:stage('train', 1, inputs, { 'round-1/weights', 'round-1/checkpoint' }, function()
    local model = form.start(run, limits)
    return run:fit(1, model, groups(model, options.train), t, form.objective)
  end)
  run:stage('measure', 1, { 'measure', options.held_out }, {}, function()
    local model = form.again(run)
    local accuracy = M.accuracy(tensor.on_device(model.device or 'cpu', form.margins, model,
      groups(model, options.held_out)))
    local length = longer(options.held_out)
    run.folder:metrics { round = 1, ['eval/accuracy'] = accuracy, ['eval/longer_wins'] = length }
    run:say(('%d held-out pairs: the chosen answer gets the higher score in %.3f, ' ..
      'it is the longer one in %.3f'):format(#options.held_out, accuracy, length))
  end)
end

return M
