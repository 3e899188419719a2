--- `sppo validate`: everything that can be known to be wrong with a recipe before it runs.

local exit = require 'sppo.cli.exit'
local json = require 'sppo.json'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo validate recipes/quickstart.lua',
    'sppo validate --keys | grep train',
  },
}

function M.define(parser)
  parser:argument('recipe', 'The recipe, a Lua file.'):args('?')
  parser:argument('overrides', 'key=value: changes a value of the recipe.'):args('*')
    :argname('key=value')
  parser:flag('--keys', 'Every key a recipe may have: type (* a list or a function of the round ' ..
    'too), default, meaning.')
  parser:flag('--json', 'One JSON object: fine, errors, warnings, facts; or a key a line.')
end

local function keys(as_json)
  for _, key in ipairs(require('sppo.selfplay.schema').list()) do
    if as_json then output.write(json.encode(key), '\n')
    else output.write(('%-26s %-20s %-16s %s\n'):format(key.name, key.type, key.default, key.doc))
    end
  end
end

--- What is checked once the recipe itself is sound: errors stop a run, warnings do not.
---@param recipe sppo.Recipe
---@param wrong? table<string, boolean>  keys whose errors are known; what needs them is left out
---@return string[] errors, string[] warnings, string[] facts
function M.check(recipe, wrong)
  wrong = wrong or {}
  local values = recipe.values
  local errors, warnings, facts = {}, {}, {}
  local function add(list, ...) list[#list + 1] = (...):format(select(2, ...)) end
  --- Adds an error about a key, with the place where the key is set.
  local function wrong_key(key, ...)
    local text, origin = (...):format(select(2, ...)), recipe.origins[key]
    origin = recipe.origins[origin] or origin -- evaluate.top_p is as sample.top_p
    if text:sub(1, #recipe.path + 1) ~= recipe.path .. ':' then
      text = ('%s: %s'):format(origin ~= 'default' and origin or recipe.path, text)
    end
    for _, known in ipairs(errors) do
      if known == text then return end
    end
    errors[#errors + 1] = text
  end
  local model, limit, vocabulary
  local policy = not wrong.policy and not wrong['policy.model'] and values.policy.model
  if policy then
    if type(policy) == 'table' then
      facts[1] = 'model: random, of the recipe\'s own config'
      limit, vocabulary = policy.max_position_embeddings, policy.vocab_size
    else
      local err
      model, err = require('sppo.model').open(policy, { tokenizer_only = true })
      if model then
        add(facts, 'model: %s, %d layers of %d, vocabulary of %d', model.path,
          model.config.num_hidden_layers, model.config.hidden_size, model.config.vocab_size)
        limit, vocabulary = model.config.max_position_embeddings, model.config.vocab_size
      else
        wrong_key('policy.model', 'policy.model: %s', err)
      end
    end
  end

  local selfplay_prompts, training = require 'sppo.selfplay.prompts', {}
  local at_round = require('sppo.selfplay.recipe').at_round
  local function look(source, round, name, options)
    local ok, list = pcall(selfplay_prompts.list, source, round, name, vocabulary)
    if not ok then
      for text in tostring(list):gmatch('[^\n]+') do wrong_key(name, '%s', text) end
      return
    end
    local longest = 0
    for _, p in ipairs(list) do longest = math.max(longest, p.tokens and #p.tokens or 0) end
    if model and model.tokenizer then
      local done, tokens = pcall(selfplay_prompts.tokens, model, list, values.compat)
      if not done then
        wrong_key(name, '%s: %s', name, tostring(tokens))
        return
      end
      for _, p in ipairs(tokens) do longest = math.max(longest, #p.tokens) end
    elseif policy and (type(policy) == 'table' or model) then
      for i, p in ipairs(list) do
        if not p.tokens then
          wrong_key(name, '%s[%d] is a text, and the model has no tokenizer: { tokens = { .. } }' ..
            ' is wanted', name, i)
          return
        end
      end
    end
    if name == 'prompts' and (round == 1 or type(source) ~= 'table') then
      for _, p in ipairs(list) do training[#training + 1] = p end
    end
    local overlap = name == 'prompts' and 0 or selfplay_prompts.shared(training, list)
    add(facts, '%s%s: %d%s', name, name == 'prompts' and ', round ' .. round or '', #list,
      longest > 0 and (', the longest of %d tokens'):format(longest) or '')
    if overlap == #list then
      wrong_key(name, 'all of %s are training prompts too: they would say nothing of other prompts',
        name)
    elseif overlap > 0 then
      add(warnings, '%d of %d %s prompts are training prompts too', overlap, #list, name)
    end
    if not options then return end
    if limit and longest + options.max_new_tokens > limit then
      wrong_key(name == 'prompts' and 'sample.max_new_tokens' or 'evaluate.max_new_tokens',
        '%s: a prompt of %d tokens and max_new_tokens = %d are over the model\'s %d ' ..
        'positions', name, longest, options.max_new_tokens, limit)
    end
    local most = at_round(recipe, 'train', round).max_prompt
    if name == 'prompts' and longest > most then
      add(warnings, 'round %d: the longest prompt has %d tokens, training leaves out those over ' ..
        'train.max_prompt = %d', round, longest, most)
    end
  end
  --- A section's values of a round; nil if some are wrong.
  local function options_of(section, round)
    if next(wrong) then return end
    return at_round(recipe, section, round)
  end
  if values.prompts ~= nil and not wrong.prompts and not wrong.rounds then
    for round = 1, values.rounds do
      look(values.prompts, round, 'prompts', options_of('sample', round))
      if #errors >= 10 then break end
    end
  end
  for _, name in ipairs { 'held_out', 'validation' } do
    if values[name] ~= nil and not wrong[name] then
      look(values[name], 0, name, options_of('evaluate', 0))
    end
  end
  for _, text in ipairs(require('sppo.selfplay.recipe').warnings(recipe, wrong)) do
    warnings[#warnings + 1] = text
  end
  return errors, warnings, facts
end

function M.run(args)
  if args.keys then return keys(args.json) end
  if not args.recipe then exit.usage('validate: which recipe?', 'sppo validate --help') end
  local overrides = require('sppo.cli.run').split(args.overrides, 'validate')
  local recipe, errors, wrong = require('sppo.selfplay.recipe').examine(args.recipe, overrides)
  if not recipe then
    if not args.json then require('sppo.cli.run').bad_recipe(args.recipe, errors) end
    recipe, errors, wrong = nil, { errors }, {}
  end
  local more, warnings, facts = {}, {}, {}
  if recipe then more, warnings, facts = M.check(recipe, wrong) end
  for _, text in ipairs(more) do errors[#errors + 1] = text end
  if args.json then
    output.write(json.encode { recipe = args.recipe, fine = #errors == 0,
      errors = json.array(errors), warnings = json.array(warnings), facts = json.array(facts) },
      '\n')
    return #errors > 0 and exit.codes.recipe or nil
  end
  if #errors > 0 then
    error({ message = table.concat(errors, '\n'), kind = 'recipe' }, 0)
  end
  for _, fact in ipairs(facts) do output.write(fact, '\n') end
  for _, text in ipairs(warnings) do output.write('warning: ', text, '\n') end
  output.write(('%s: fine\n'):format(args.recipe))
end

return M
