--- Reading a recipe: loading the file, overrides from the command line, validation with all errors
--- at once, and the values of a round.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local host = require 'sppo.host'
local schema = require 'sppo.selfplay.schema'

local M = {}

--- Line on which a key such as 'train.lr' is set in the recipe's text, or nil: that of 'lr' from
--- where 'train' is set.
local function line_of(source, path)
  local number, part = 0, path:gmatch('[^.]+')
  local key = part()
  for line in (source .. '\n'):gmatch('(.-)\n') do
    number = number + 1
    local from = 1
    while key do
      local _, stop = line:find('%f[%w_]' .. key:gsub('[^%w_]', '%%%0') .. '%s*=%f[^=]', from)
      if not stop then break end
      key, from = part(), stop + 1
      if not key then return number end
    end
  end
end

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

--- Text of what is wrong with one value, or nil.
local function leaf_text(name, spec, value)
  if spec.type == 'number' or spec.type == 'integer' then
    return check.number_text(name, value, spec.type, spec.low, spec.high)
  end
  if not fits(spec.type, value) then
    return ('%s must be a %s, got %s'):format(name, spec.type, type(value))
  end
  if spec.one_of and type(value) == 'string' then
    for _, allowed in ipairs(spec.one_of) do
      if value == allowed then return end
    end
    local hint = check.suggest(value, spec.one_of)
    return ('%s is \'%s\', it must be one of %s%s'):format(name, value,
      table.concat(spec.one_of, ', '),
      hint and (' (did you mean \'%s\'?)'):format(hint) or '')
  end
  if spec.pattern and not value:match(spec.pattern) then
    return ('%s is \'%s\': letters, digits, . _ - only, a letter or digit first'):format(name,
      value)
  end
end

--- A section that is given by the name of a preset, as a table; another value as it is.
local function preset_of(spec, value)
  local preset = spec and spec.presets and spec.presets[value]
  if not preset then return value end
  local copy = {}
  for key, v in pairs(preset) do copy[key] = v end
  return copy
end

--- Checks a section's keys and fills defaults; errors go to `report(name, text)`, the name being
--- 'train.lr'. A recipe with a `run` of its own may leave out what only self-play needs.
local function check_section(values, section, prefix, rounds, own_run, report)
  for key in pairs(values) do
    if not section[key] then
      local hint = check.suggest(tostring(key), known_keys(section))
      report(prefix .. tostring(key), ('unknown key \'%s%s\'%s'):format(prefix, tostring(key),
        hint and (' (did you mean \'%s\'?)'):format(prefix .. hint) or ''))
    end
  end
  for _, key in ipairs(known_keys(section)) do
    local spec, value, name = section[key], values[key], prefix .. key
    if spec.section then
      value = preset_of(spec, value)
      if spec.presets and type(value) == 'string' then
        report(name, check.unknown(name, value, known_keys(spec.presets)))
      elseif value ~= nil and type(value) ~= 'table' then
        report(name, ('%s must be a table, got %s'):format(name, type(value)))
      else
        values[key] = value or {}
        check_section(values[key], spec.section, name .. '.', rounds, own_run, report)
      end
    elseif value == nil then
      local required = spec.required == 'always' or spec.required and not own_run
      if required then report(name, ('%s is missing'):format(name)) end
      values[key] = spec.default
    elseif spec.schedule and type(value) == 'function' then
      for round = 1, rounds do
        local ok, result = pcall(value, round)
        local text = not ok and ('%s: %s'):format(name, result)
          or leaf_text(('%s(%d)'):format(name, round), spec, result)
        if text then report(name, text) end
      end
    elseif spec.schedule and type(value) == 'table' then
      if #value ~= rounds then
        report(name, ('%s has %d values for %d rounds'):format(name, #value, rounds))
      end
      for round, entry in ipairs(value) do
        local text = leaf_text(('%s[%d]'):format(name, round), spec, entry)
        if text then report(name, text) end
      end
    else
      local text = leaf_text(name, spec, value)
      if text then report(name, text) end
    end
  end
end

--- A value from the command line: a number, true, false, a list in braces, or text.
local function parse_value(text)
  if tonumber(text) then return tonumber(text) end
  if text == 'true' then return true end
  if text == 'false' then return false end
  local inner = text:match('^{(.*)}$')
  if inner then
    local list = {}
    for entry in inner:gmatch('[^,%s]+') do list[#list + 1] = parse_value(entry) end
    return list
  end
  return text
end

--- Sets `a.b` in the recipe; unknown names are left to validation.
local function override(values, path, text)
  local node = values
  local parts = {}
  for part in path:gmatch('[^.]+') do parts[#parts + 1] = part end
  for i = 1, #parts - 1 do
    node[parts[i]] = preset_of(schema.keys[path:match('^[^.]+')], node[parts[i]])
    if type(node[parts[i]]) ~= 'table' then node[parts[i]] = {} end
    node = node[parts[i]]
  end
  node[parts[#parts]] = parse_value(text)
end

-- Texts of the recipes that the one being loaded is made from.
local bases = {}

--- Runs a recipe's text; its value, its text; nil, err.
local function evaluate(path)
  local source, err = files.read(path, 2^24)
  -- The repository's recipes are in the binary too, for a run from anywhere.
  if path:find('^recipes/') then source = source or host.embedded(path) end
  if not source then return nil, err end
  local chunk
  if source:byte(1) == 27 then
    err = path .. ': is bytecode; a recipe is text'
  else
    source = source:gsub('^#![^\n]*', '')
    chunk, err = loadstring(source, '@' .. path)
  end
  if not chunk then
    engine.kind('usage', err)
    return nil, err
  end
  local ok, values = xpcall(chunk, function(e) return e end)
  if not ok then
    engine.kind('usage', tostring(values))
    return nil, tostring(values)
  end
  if type(values) ~= 'table' then
    err = ('%s: a recipe returns a table, this one returned %s'):format(path, type(values))
    engine.kind('usage', err)
    return nil, err
  end
  return values, source
end

--- Another recipe's table, for a recipe to change and return; raises if it can't be loaded.
---@param path string  as for `sppo run`
---@return sppo.RecipeFile
function M.base(path)
  local values, source = evaluate(path)
  if not values then error(source, 0) end
  bases[#bases + 1] = source
  return values
end

---@class sppo.Recipe
---@field values table      the recipe's table, overridden, with defaults
---@field source string     text of the file
---@field sources string    that, and the texts of the recipes it is made from
---@field path string

--- Loads, overrides and validates a recipe; nil, err with every error on a line of its own.
---@param path string
---@param overrides? { [1]: string, [2]: string }[]  key, value
---@return sppo.Recipe?
function M.load(path, overrides)
  bases = {}
  local values, source = evaluate(path)
  if not values then return nil, source end
  local sources = source .. table.concat(bases, '\n')
  for _, o in ipairs(overrides or {}) do override(values, o[1], o[2]) end

  local errors = {}
  local function report(name, text)
    local line, place = line_of(source, name), path .. ':'
    if line then place = ('%s:%d:'):format(path, line) end
    for _, o in ipairs(overrides or {}) do
      if (o[1] .. '.'):sub(1, #name + 1) == name .. '.' then
        line, place = math.huge, ('%s=%s:'):format(o[1], o[2])
      end
    end
    errors[#errors + 1] = { line = line or 0, number = #errors, text = place .. ' ' .. text }
  end
  local rounds = type(values.rounds) == 'number' and values.rounds or schema.keys.rounds.default
  check_section(values, schema.keys, '', rounds, values.run, report)
  for _, key in ipairs { 'prompts', 'held_out', 'validation' } do
    if type(values[key]) == 'table' and #values[key] == 0 then
      report(key, key .. ' has no prompts')
    end
  end
  if #errors > 0 then
    table.sort(errors, function(a, b)
      if a.line ~= b.line then return a.line < b.line end
      return a.number < b.number
    end)
    for i, e in ipairs(errors) do errors[i] = e.text end
    local err = table.concat(errors, '\n')
    engine.kind('usage', err)
    return nil, err
  end
  values.out = values.out or 'runs/' .. values.name
  for _, key in ipairs { 'max_new_tokens', 'temperature', 'top_p', 'top_k', 'min_p' } do
    local default = schema.keys.evaluate.section[key].default
    if values.evaluate[key] == nil or values.evaluate[key] == default then
      values.evaluate[key] = values.sample[key]
    end
  end
  return { values = values, source = source, sources = sources, path = path }
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
  check_section(values, schema.keys, '', values.rounds, values.run, function(_, text)
    errors[#errors + 1] = text
  end)
  if #errors == 0 then
    return { values = values, source = recipe.source, sources = recipe.sources, path = recipe.path }
  end
  local err = table.concat(errors, '; ')
  engine.kind('usage', err)
  return nil, err
end

--- A section with its schedules resolved for a round.
---@param recipe sppo.Recipe
---@param section 'sample'|'train'|'evaluate'
---@param round integer
function M.at_round(recipe, section, round)
  local out = {}
  for key, value in pairs(recipe.values[section]) do
    local spec = schema.keys[section].section[key]
    if spec.schedule and type(value) == 'function' then value = value(round)
    elseif spec.schedule and type(value) == 'table' then value = value[math.max(1, round)] end
    out[key] = value
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
    if type(value) ~= 'table' or depth > 6 then return value end
    local out = {}
    for k, v in pairs(value) do out[k] = plain(v, depth + 1) end
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

return M
