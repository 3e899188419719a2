--- `sppo validate`: everything that can be known to be wrong with a recipe before it runs.

local exit = require 'sppo.cli.exit'
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
end

local function keys()
  for _, key in ipairs(require('sppo.selfplay.schema').list()) do
    output.write(('%-26s %-20s %-16s %s\n'):format(key.name, key.type, key.default, key.doc))
  end
end

--- What is checked once the recipe itself is sound: errors stop a run, warnings do not.
---@param recipe sppo.Recipe
---@return string[] errors, string[] warnings, string[] facts
function M.check(recipe)
  local values = recipe.values
  local errors, warnings, facts = {}, {}, {}
  local function add(list, ...) list[#list + 1] = (...):format(select(2, ...)) end
  local model
  if values.policy.model then
    if type(values.policy.model) == 'table' then
      facts[1] = 'model: random, of the recipe\'s own config'
    else
      local err
      model, err = require('sppo.model').open(values.policy.model, { tokenizer_only = true })
      if model then
        add(facts, 'model: %s, %d layers of %d, vocabulary of %d', model.path,
          model.config.num_hidden_layers, model.config.hidden_size, model.config.vocab_size)
      else
        add(errors, 'policy.model: %s', err)
      end
    end
  end

  local selfplay_prompts, seen = require 'sppo.selfplay.prompts', {}
  local limit = model and model.config.max_position_embeddings
  local function look(source, round, name, options)
    local ok, list = pcall(selfplay_prompts.list, source, round, name)
    if not ok then
      add(errors, '%s', tostring(type(list) == 'table' and list.message or list))
      return
    end
    local longest = 0
    if model and model.tokenizer then
      local done, tokens = pcall(selfplay_prompts.tokens, model, list, values.compat)
      if not done then
        add(errors, '%s: %s', name, tostring(type(tokens) == 'table' and tokens.message or tokens))
        return
      end
      for _, p in ipairs(tokens) do longest = math.max(longest, #p.tokens) end
    end
    local overlap = 0
    for _, p in ipairs(list) do
      if p.text and name == 'prompts' then seen[p.text] = true
      elseif p.text and seen[p.text] then overlap = overlap + 1 end
    end
    add(facts, '%s%s: %d%s', name, name == 'prompts' and ', round ' .. round or '', #list,
      longest > 0 and (', the longest of %d tokens'):format(longest) or '')
    if overlap > 0 then
      add(warnings, '%d of %d %s prompts are training prompts too', overlap, #list, name)
    end
    if limit and longest + options.max_new_tokens > limit then
      add(errors, '%s: a prompt of %d tokens and max_new_tokens = %d are over the model\'s %d ' ..
        'positions', name, longest, options.max_new_tokens, limit)
    end
    if name == 'prompts' and longest > values.train.max_prompt then
      add(warnings, 'round %d: the longest prompt has %d tokens, training leaves out those over ' ..
        'train.max_prompt = %d', round, longest, values.train.max_prompt)
    end
  end
  local at_round = require('sppo.selfplay.recipe').at_round
  for round = 1, values.prompts and values.rounds or 0 do
    look(values.prompts, round, 'prompts', at_round(recipe, 'sample', round))
  end
  for _, name in ipairs { 'held_out', 'validation' } do
    if values[name] then look(values[name], 0, name, at_round(recipe, 'evaluate', 0)) end
  end
  if not values.held_out and not values.run then
    add(warnings, 'there is no held_out: nothing will say whether the model got better')
  end
  return errors, warnings, facts
end

function M.run(args)
  if args.keys then return keys() end
  if not args.recipe then exit.usage('validate: which recipe?', 'sppo validate --help') end
  local overrides = require('sppo.cli.run').split(args.overrides, 'validate')
  local recipe, err = require('sppo.selfplay.recipe').load(args.recipe, overrides)
  if not recipe then exit.usage(err) end
  local errors, warnings, facts = M.check(recipe)
  if #errors > 0 then exit.usage(table.concat(errors, '\n')) end
  for _, fact in ipairs(facts) do output.write(fact, '\n') end
  for _, text in ipairs(warnings) do output.write('warning: ', text, '\n') end
  output.write(('%s: fine\n'):format(args.recipe))
end

return M
