--- A recipe from its file: with overrides and defaults, checked with all errors at once; where its
--- values are from, and those of a round.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local overrides_of = require 'sppo.selfplay.overrides'
local recipe_check = require 'sppo.selfplay.recipe_check'
local recipe_file = require 'sppo.selfplay.recipe_file'
local schema = require 'sppo.selfplay.schema'

local M = {}

local MOST_BASES = 20

-- Recipes that the one being loaded is made from: { path, source }.
local bases = {}

--- Another recipe's table, for a recipe to change and return; raises if it can't be loaded.
---@param path string  as for `sppo run`
---@return sppo.RecipeFile
function M.base(path)
  check.type('base: the recipe', path, 'string')
  if #bases >= MOST_BASES then
    engine.raise('recipe', ('%s: recipes are based on each other in a circle, or more than %d deep'
      ):format(path, MOST_BASES))
  end
  bases[#bases + 1] = { path = path, source = '' }
  local base = bases[#bases]
  local values, source = recipe_file.run(path)
  if not values then error(source, 0) end
  base.source = source
  return values
end

---@class sppo.Recipe
---@field values table      the recipe's table, overridden, with defaults
---@field source string     text of the file
---@field sources string    that, and the texts of the recipes it is made from
---@field path string
---@field origins table<string, string>  where each value is from: 'train.lr' -> 'recipe.lua:12'

--- Where a key, or else its section, is set in the texts of the recipe and its bases:
--- 'recipe.lua:12', line; nil.
local function place_of(texts, name)
  local section, line_of_section
  for _, text in ipairs(texts) do
    text.lines = text.lines or recipe_file.lines(text.source)
    local line, whole = recipe_file.line_of(text.lines, name)
    local order = text == texts[1] and line or 0
    if whole then return ('%s:%d'):format(text.path, line), order end
    if line and not section then
      section, line_of_section = ('%s:%d'):format(text.path, line), order
    end
  end
  return section, line_of_section
end

--- Where every value is from: the file and line, the override, or 'default'. To be called before
--- defaults are filled in.
local function origins_of(values, texts, overrides)
  local origins = {}
  for _, key in ipairs(schema.list()) do
    local value = values
    for part in key.name:gmatch('[^.]+') do
      value = type(value) == 'table' and value[part] or nil
    end
    origins[key.name] = value == nil and 'default' or place_of(texts, key.name) or texts[1].path
    for _, o in ipairs(overrides) do
      if (key.name .. '.'):sub(1, #o[1] + 1) == o[1] .. '.' or
        (o[1] .. '.'):sub(1, #key.name + 1) == key.name .. '.' then
        origins[key.name] = overrides_of.text(o)
      end
    end
  end
  return origins
end

--- Errors that were reported, as texts in the order of the file's lines.
local function collector(path, texts, overrides)
  local errors, wrong = {}, {}
  local function report(name, text)
    local place, line = place_of(texts, name)
    place = (place or path) .. ':'
    for _, o in ipairs(overrides) do
      if (o[1] .. '.'):sub(1, #name + 1) == name .. '.' then
        line, place = math.huge, overrides_of.text(o) .. ':'
      end
    end
    errors[#errors + 1] = { line = line or 0, number = #errors, text = place .. ' ' .. text }
    wrong[name] = true
  end
  local function sorted()
    table.sort(errors, function(a, b)
      if a.line ~= b.line then return a.line < b.line end
      return a.number < b.number
    end)
    local out = {}
    for i, e in ipairs(errors) do out[i] = e.text end
    return out
  end
  return report, sorted, errors, wrong
end

--- Held-out answers are drawn as the training's are, unless the recipe says otherwise.
local function follow_sample(values, origins)
  for _, key in ipairs { 'max_new_tokens', 'temperature', 'top_p', 'top_k', 'min_p' } do
    if origins['evaluate.' .. key] == 'default' then
      values.evaluate[key], origins['evaluate.' .. key] = values.sample[key], 'sample.' .. key
    end
  end
end

--- Loads, overrides and looks at a recipe; nil, err if it gives no table. Beside it all that is
--- wrong with it, a text each with its place; the recipe is to be used only if that is nothing.
---@param path string
---@param overrides? sppo.Override[]
---@param own_run? boolean  something else than self-play runs it, and needs no prompts, preference
---@return sppo.Recipe?, string[]|string errors, table<string, boolean>? wrong  keys of errors
function M.examine(path, overrides, own_run)
  overrides, bases = overrides or {}, {}
  local values, source = recipe_file.run(path)
  if not values then return nil, source end
  local texts, sources = { { path = path, source = source } }, { source }
  for i, base in ipairs(bases) do
    texts[i + 1], sources[i + 1] = base, base.source
  end
  local report, sorted, errors, wrong = collector(path, texts, overrides)
  for _, o in ipairs(overrides) do
    local text = overrides_of.apply(values, o)
    if text then report(o[1], text) end
  end
  local origins = origins_of(values, texts, overrides)
  recipe_check.all(values, path, report, own_run)
  if #errors == 0 then
    if values.out == nil then values.out, origins.out = 'runs/' .. values.name, 'name' end
    follow_sample(values, origins)
  end
  return { values = values, source = source, sources = table.concat(sources, '\n'), path = path,
    origins = origins }, sorted(), wrong
end

--- Loads, overrides and validates a recipe; nil, err with every error on a line of its own.
---@param path string
---@param overrides? sppo.Override[]
---@param own_run? boolean  as for `examine`
---@return sppo.Recipe?
function M.load(path, overrides, own_run)
  local recipe, errors = M.examine(path, overrides, own_run)
  if not recipe then return nil, errors end
  if #errors == 0 then return recipe end
  local err = table.concat(errors, '\n')
  engine.kind('recipe', err)
  return nil, err
end

--- The recipe with some values changed, `changes` being nested as the recipe is; nil, err.
---@param recipe sppo.Recipe
---@param changes table
---@return sppo.Recipe?
function M.changed(recipe, changes)
  local function merged(old, new)
    local out = {}
    for key, value in pairs(old) do out[key] = value end
    for key, value in pairs(new) do
      local both = type(value) == 'table' and type(old[key]) == 'table' and #value == 0
      out[key] = both and merged(old[key], value) or value
    end
    return out
  end
  local values, errors = merged(recipe.values, changes), {}
  recipe_check.all(values, recipe.path, function(_, text) errors[#errors + 1] = text end)
  if #errors == 0 then
    return { values = values, source = recipe.source, sources = recipe.sources, path = recipe.path,
      origins = recipe.origins }
  end
  local err = table.concat(errors, '; ')
  engine.kind('recipe', err)
  return nil, err
end

--- A section with its schedules resolved for a round; round 0, the start's evaluation, is as 1.
---@param recipe sppo.Recipe
---@param section 'sample'|'train'|'evaluate'
---@param round integer
function M.at_round(recipe, section, round)
  local out = {}
  for key, value in pairs(recipe.values[section]) do
    local spec = schema.keys[section].section[key]
    local at = math.max(1, round)
    if spec.schedule and type(value) == 'function' then value = value(at)
    elseif spec.schedule and type(value) == 'table' then value = value[at] end
    out[key] = value
  end
  return out
end

--- What is no error but may not be meant, of the recipe's values alone.
---@param recipe sppo.Recipe
---@param wrong? table<string, boolean>  keys whose errors are known; what needs them is left out
---@return string[]
function M.warnings(recipe, wrong)
  local values, out = recipe.values, {}
  wrong = wrong or {}
  local function add(...) out[#out + 1] = (...):format(select(2, ...)) end
  -- Where held-out answers are drawn otherwise in later rounds, win rates tell of that, too.
  local drawn = { 'temperature', 'top_p', 'top_k', 'min_p', 'max_new_tokens' }
  local start = values.held_out and not next(wrong) and M.at_round(recipe, 'evaluate', 0)
  for _, key in ipairs(start and drawn or {}) do
    for round = 1, values.rounds do
      local value = M.at_round(recipe, 'evaluate', round)[key]
      if value ~= start[key] then
        add('evaluate.%s is %.14g at the start and %.14g in round %d: win rates tell of that, ' ..
          'too; evaluate.%s=%.14g draws all rounds alike', key, start[key], value, round, key,
          start[key])
        break
      end
    end
  end
  if not wrong.train and values.train.label_smoothing ~= 0 and values.train.loss ~= 'dpo' and
    type(values.train.loss) == 'string' then
    add('train.label_smoothing is for dpo; train.loss is \'%s\'', values.train.loss)
  end
  if not values.held_out and not values.run then
    add('there is no held_out: nothing will say whether the model got better')
  end
  return out
end

--- The recipe as plain data: functions as their source's place, prompts as they are.
---@param recipe sppo.Recipe
function M.resolved(recipe)
  local function plain(value, depth)
    if type(value) == 'function' then
      local info = debug.getinfo(value, 'S')
      return ('function (%s:%d)'):format(info.short_src, info.linedefined)
    end
    if type(value) == 'number' and (value ~= value or math.abs(value) == math.huge) then
      return tostring(value)
    end
    local kind = type(value)
    if kind == 'number' or kind == 'string' or kind == 'boolean' then return value end
    if kind ~= 'table' then return kind end -- cdata, a thread
    if depth > 6 then return 'table' end
    local out, count = {}, 0
    for _ in pairs(value) do count = count + 1 end
    for k, v in pairs(value) do
      out[count == #value and k or tostring(k)] = plain(v, depth + 1)
    end
    return out
  end
  local out = {}
  for key, value in pairs(recipe.values) do
    local is_prompts = key == 'prompts' or key == 'held_out' or key == 'validation'
    if not is_prompts then out[key] = plain(value, 1) end
  end
  for _, section in ipairs { 'sample', 'train', 'evaluate' } do
    for key, value in pairs(recipe.values[section]) do
      if schema.keys[section].section[key].schedule and type(value) == 'function' then
        out[section][key] = {}
        for round = 1, recipe.values.rounds do out[section][key][round] = value(round) end
      end
    end
  end
  return out
end

--- Every key with its value and where it is from, in the order of the schema.
---@param recipe sppo.Recipe
---@return { key: string, value: any, from: string }[]
function M.listing(recipe)
  local values, out = M.resolved(recipe), {}
  for _, name in ipairs { 'prompts', 'held_out', 'validation' } do
    local given = recipe.values[name]
    if type(given) == 'table' then values[name] = ('%d prompts'):format(#given)
    elseif type(given) == 'function' then values[name] = 'a function of the round'
    else values[name] = given end
  end
  for i, key in ipairs(schema.list()) do
    local value = values
    for part in key.name:gmatch('[^.]+') do
      if type(value) == 'table' then value = value[part] end
    end
    out[i] = { key = key.name, value = value, from = recipe.origins[key.name] }
  end
  return out
end

return M
