--- What is wrong with a recipe's values, all of it at once: each by the schema, and those that do
--- not go together.

local check = require 'sppo.check'
local json = require 'sppo.json'
local optim = require 'sppo.optim'
local prompts = require 'sppo.selfplay.prompts'
local recipe_file = require 'sppo.selfplay.recipe_file'
local schema = require 'sppo.selfplay.schema'

local M = {}

local function known_keys(section)
  local keys = {}
  for key in pairs(section) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function fits(kind, value)
  if kind == 'integer' or kind == 'number' then return type(value) == 'number' end
  for name in kind:gmatch('%a+') do
    if name ~= 'or' and type(value) == name then return true end
  end
  return false
end

--- A text of the user's, short and on one line.
local function shown(text)
  text = text:gsub('%c', function(c) return ('\\%d'):format(c:byte()) end)
  return #text > 60 and text:sub(1, 57):gsub('[\192-\255]?[\128-\191]*$', '') .. '...' or text
end

--- Text of what is wrong with one value, or nil.
local function leaf_text(name, spec, value)
  if spec.type == 'number' or spec.type == 'integer' then
    return check.number_text(name, value, spec.type, spec.low, spec.high)
  end
  if not fits(spec.type, value) then
    return ('%s must be a %s, got %s'):format(name, spec.type, type(value))
  end
  if type(value) ~= 'string' then return end
  if spec.one_of then
    for _, allowed in ipairs(spec.one_of) do
      if value == allowed then return end
    end
    local hint = check.suggest(value, spec.one_of)
    return ('%s is \'%s\', it must be one of %s%s'):format(name, shown(value),
      table.concat(spec.one_of, ', '),
      hint and (' (did you mean \'%s\'?)'):format(hint) or '')
  end
  if spec.pattern and not value:match(spec.pattern) then
    return ('%s is \'%s\': %s'):format(name, shown(value), spec.pattern_text)
  end
  if not value:find('%S') then return name .. ' is empty' end
  if value:find('%c') then
    return ('%s is \'%s\': it has a control character'):format(name, shown(value))
  end
  if spec.most and #value > spec.most then
    return ('%s has %d characters, at most %d'):format(name, #value, spec.most)
  end
end

--- A section that is given by the name of a preset, as a table; another value as it is.
function M.preset_of(spec, value)
  local preset = spec and spec.presets and spec.presets[value]
  if not preset then return value end
  local copy = {}
  for key, v in pairs(preset) do copy[key] = v end
  return copy
end

--- Rounds that schedules are checked for: those of the recipe, if it says them rightly.
local function rounds_of(values)
  local spec = schema.keys.rounds
  if leaf_text('rounds', spec, values.rounds) then return spec.default end
  return values.rounds
end

--- A key's list of values, one for each round.
local function check_list(name, spec, list, rounds, report)
  for key in pairs(list) do
    if type(key) ~= 'number' or key % 1 ~= 0 or key < 1 or key > 2^20 then
      report(name, ('%s must be a %s, or a list of them, one a round; it is a table with the ' ..
        'key \'%s\''):format(name, spec.type, shown(tostring(key))))
      return
    end
  end
  local last = 0
  for key in pairs(list) do last = math.max(last, key) end
  if last ~= rounds then
    report(name, ('%s has %d value%s for %d round%s'):format(name, last, last == 1 and '' or 's',
      rounds, rounds == 1 and '' or 's'))
  end
  for round = 1, last do
    local text = leaf_text(('%s[%d]'):format(name, round), spec, list[round])
    if text then
      report(name, text)
      if list[round] == nil then return end
    end
  end
end

--- A key's function of the round. Says the first round at which it is wrong.
local function check_function(name, spec, fn, rounds, path, report)
  for round = 1, rounds do
    local ok, result = recipe_file.call(path, fn, round)
    local text = not ok and ('%s(%d): %s'):format(name, round, result)
      or leaf_text(('%s(%d)'):format(name, round), spec, result)
    if text then return report(name, text) end
  end
end

--- What other programs call keys of ours.
local aliases = {
  learning_rate = 'lr', batch_size = 'batch', train_batch_size = 'batch', beta = 'eta',
  num_train_epochs = 'epochs', num_epochs = 'epochs', warmup_ratio = 'warmup',
  lr_scheduler_type = 'schedule', optim = 'optimizer', loss_type = 'loss',
  max_grad_norm = 'clip', gradient_checkpointing = 'recompute', max_prompt_length = 'max_prompt',
  max_tokens = 'max_new_tokens', max_length = 'max_new_tokens', n = 'k', num_generations = 'k',
  num_return_sequences = 'k', temp = 'temperature', iterations = 'rounds', iters = 'rounds',
  judge = 'preference', ranker = 'preference', reward = 'preference', output_dir = 'out',
  model_name_or_path = 'model', path = 'model', weights = 'model', eval = 'evaluate',
  generation = 'sample', gen = 'sample', dataset = 'prompts', data = 'prompts',
}

--- The key of a section that an unknown one was probably meant to be, or nil: the nearest by
--- letters, the one that it begins with or that begins with it, or what other programs call so.
local function meant(key, section)
  local known = known_keys(section)
  local hint = check.suggest(key, known)
  if hint then return hint end
  for _, name in ipairs(known) do
    if #name >= 4 and #key >= 4 and
      (key:sub(1, #name) == name or name:sub(1, #key) == key) then
      return name
    end
  end
  local alias = aliases[key]
  return alias and section[alias] and alias or nil
end

--- The same, of the recipe's top, where keys of its sections may stand by mistake.
local function meant_at_top(key)
  local hint = meant(key, schema.keys)
  if hint then return hint end
  for _, of in ipairs { 'train', 'sample', 'policy', 'evaluate' } do
    local section = schema.keys[of].section
    local name = section[key] and key or section[aliases[key]] and aliases[key]
    if name then return of .. '.' .. name end
  end
end

--- Checks a section's keys and fills defaults; errors go to `report(name, text)`, the name being
--- 'train.lr'. A recipe with a `run` of its own may leave out what only self-play needs.
local function check_section(values, section, prefix, context, report)
  local unknown = {}
  for key in pairs(values) do
    if not section[key] then
      local plain = type(key) ~= 'table' and type(key) ~= 'function' and type(key) ~= 'userdata'
      unknown[#unknown + 1] = plain and tostring(key) or '(a ' .. type(key) .. ')'
    end
  end
  table.sort(unknown)
  for _, key in ipairs(unknown) do
    local name = prefix .. key
    local hint = prefix == '' and meant_at_top(key) or meant(key, section)
    report(name, ('unknown key \'%s\'%s'):format(shown(name),
      hint and (' (did you mean \'%s\'?)'):format(prefix .. hint) or ''))
  end
  for _, key in ipairs(known_keys(section)) do
    local spec, value, name = section[key], values[key], prefix .. key
    if spec.section then
      value = M.preset_of(spec, value)
      if spec.presets and type(value) == 'string' then
        report(name, check.unknown(name, shown(value), known_keys(spec.presets)))
      elseif value ~= nil and type(value) ~= 'table' then
        report(name, ('%s must be a table, got %s'):format(name, type(value)))
      else
        values[key] = value or {}
        check_section(values[key], spec.section, name .. '.', context, report)
      end
    elseif value == nil then
      local required = spec.required == 'always' or spec.required and not context.own_run
      if required then report(name, ('%s is missing'):format(name)) end
      values[key] = spec.default
    elseif spec.schedule and type(value) == 'function' then
      check_function(name, spec, value, context.rounds, context.path, report)
    elseif spec.schedule and type(value) == 'table' then
      check_list(name, spec, value, context.rounds, report)
    else
      local text = leaf_text(name, spec, value)
      if text then report(name, text) end
    end
  end
end

-- ---- what does not go together ----

--- A table as a source of preference.
local function check_preference(p, report)
  if type(p) ~= 'table' then return end
  local wanted = { { 'prefer', 'function', true }, { 'pass', 'function' }, { 'key', 'string' },
    { 'both_orders', 'boolean' } }
  for _, w in ipairs(wanted) do
    local key, kind, required = unpack(w)
    if p[key] == nil and required then
      local hint
      for name in pairs(p) do hint = hint or check.suggest(tostring(name), { key }) and name end
      report('preference', ('preference has no function \'%s\'%s; a table has prefer = ' ..
        'function(prompt, answers) .. end'):format(key,
        hint and (' (\'%s\' is there)'):format(shown(tostring(hint))) or ''))
    elseif p[key] ~= nil and type(p[key]) ~= kind then
      report('preference', ('preference.%s must be a %s, got %s'):format(key, kind, type(p[key])))
    end
  end
end

--- A random model's config, before a model is made of it.
local function check_config(config, report)
  if type(config) ~= 'table' then return end
  local model_config = require 'sppo.model_config'
  local ok, why = pcall(json.encode, config)
  if not ok then
    return report('policy.model', 'policy.model: ' .. tostring(why):gsub('^.-json%.encode: ', ''))
  end
  local checked, err = model_config.check(config, 'policy.model')
  if not checked then return report('policy.model', err) end
  local ids, text = model_config.special_ids(checked)
  if not ids then report('policy.model', (text:gsub('^[%w_.]+: ', 'policy.model: '))) end
end

--- The value of a section's key at a round, where the key itself is right.
local function at(values, section, key, round)
  local value = values[section][key]
  if type(value) == 'function' then return value(round) end
  if type(value) == 'table' then return value[round] end
  return value
end

--- Values of different keys. `wrong[name]`: what was reported already is left out.
local function check_together(values, context, wrong, report)
  local function fine(...)
    for i = 1, select('#', ...) do
      local name = select(i, ...)
      if wrong[name] or wrong[name:match('^[^.]+')] then return false end
    end
    return true
  end
  local function any_round(test)
    for round = 1, context.rounds do
      local text = test(round)
      if text then return context.rounds > 1 and ('round %d: %s'):format(round, text) or text end
    end
  end

  if fine('train.max_prompt', 'train.max_length') then
    local text = any_round(function(round)
      local prompt = at(values, 'train', 'max_prompt', round)
      local length = at(values, 'train', 'max_length', round)
      if prompt >= length then
        return ('train.max_prompt = %d leaves no room for answers in train.max_length = %d'):format(
          prompt, length)
      end
    end)
    if text then report('train.max_prompt', text) end
  end
  local one_answer = { temperature = 0, top_k = 1, min_p = 1 }
  for key, value in pairs(one_answer) do
    local name = 'sample.' .. key
    if not context.own_run and fine(name) then
      local text = any_round(function(round)
        if at(values, 'sample', key, round) == value then
          return ('%s = %d draws the likeliest token alone: all answers of a prompt are the ' ..
            'same, and nothing can be learned from them'):format(name, value)
        end
      end)
      if text then report(name, text) end
    end
  end
  if fine('evaluate.on') and values.evaluate.on == 'validation' and values.validation == nil then
    report('evaluate.on', 'evaluate.on is \'validation\', and there is no validation')
  end
  if fine('train.optimizer', 'train.optimizer_options') then
    local ok, err = pcall(optim.new, values.train.optimizer, values.train.optimizer_options)
    if not ok then
      report('train.optimizer_options', 'train.optimizer_options: ' .. tostring(err):gsub(
        '^[^\n]-%.lua:%d+: ', ''))
    end
  end
  if fine('preference') then check_preference(values.preference, report) end
  if fine('policy.model') then check_config(values.policy.model, report) end

  local vocabulary = fine('policy.model') and type(values.policy.model) == 'table' and
    values.policy.model.vocab_size
  local lists = {}
  for _, key in ipairs { 'prompts', 'held_out', 'validation' } do
    if fine(key) and type(values[key]) == 'table' then
      local texts = prompts.problems(values[key], key, vocabulary)
      for _, text in ipairs(texts) do report(key, text) end
      if #texts == 0 then lists[key] = values[key] end
    end
  end
  for _, key in ipairs { 'held_out', 'validation' } do
    if lists.prompts and lists[key] and
      prompts.shared(lists.prompts, lists[key]) == #lists[key] then
      report(key, ('all of %s are training prompts too: they would say nothing of other prompts'
        ):format(key))
    end
  end
end

--- Fills defaults, and reports all that is wrong.
---@param values table   the recipe's table, changed
---@param path string    the recipe's file, for what its functions raise
---@param report fun(name: string, text: string)
---@param own_run? boolean  something else than self-play runs it
function M.all(values, path, report, own_run)
  local wrong = {}
  local function note(name, text)
    wrong[name] = true
    report(name, text)
  end
  local context = { rounds = rounds_of(values), path = path,
    own_run = own_run or type(values.run) == 'function' }
  check_section(values, schema.keys, '', context, note)
  for key, spec in pairs(schema.keys) do
    if spec.section and type(values[key]) ~= 'table' then return end
  end
  check_together(values, context, wrong, note)
end

return M
