--- Values of a recipe that are changed from outside: `train.lr=1e-6` on the command line, and
--- SPPO_ARG_TRAIN_LR=1e-6 in the environment, which the command line goes before.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local recipe_check = require 'sppo.selfplay.recipe_check'
local schema = require 'sppo.selfplay.schema'

local ffi = engine.ffi

ffi.cdef 'extern char **environ;'

local M = {}

local PREFIX = 'SPPO_ARG_'

---@class sppo.Override
---@field [1] string     key: 'train.lr'
---@field [2] string     value, as it was written
---@field text? string   what was written, for errors: 'SPPO_ARG_TRAIN_LR=1e-6'

--- What was written.
---@param o sppo.Override
function M.text(o) return o.text or ('%s=%s'):format(o[1], o[2]) end

local function problem(...) return nil, (...):format(select(2, ...)) end

--- `key=value` arguments as overrides; nil and what is wrong with the first that is none.
---@param arguments string[]
---@return sppo.Override[]?, string?
function M.split(arguments)
  local list, seen = {}, {}
  for i, text in ipairs(arguments) do
    local key, value = text:match('^([^=]*)=(.*)$')
    if not key then return problem('\'%s\' is not key=value', text) end
    if not ('.' .. key):match('^%.[%a_][%w_]*') or not key:match('^[%w_.]+$') or
      key:find('..', 1, true) or key:match('%.$') then
      return problem('\'%s\' is not the name of a key: they look like seed or train.lr', key)
    end
    if seen[key] then
      return problem('%s is given twice: %s and %s', key, seen[key], text)
    end
    seen[key], list[i] = text, { key, value }
  end
  for key, text in pairs(seen) do
    for other, of in pairs(seen) do
      if other:sub(1, #key + 1) == key .. '.' then
        return problem('%s and %s: the one sets what the other is part of', text, of)
      end
    end
  end
  return list
end

--- Keys by the names that they have in the environment: { TRAIN_LR = 'train.lr' }.
local function names()
  local out = {}
  for _, key in ipairs(schema.list()) do out[key.name:upper():gsub('%.', '_')] = key.name end
  return out
end

--- Overrides from the environment, sorted by key; nil and what is wrong with a name.
---@param environment? string[]   'NAME=value' each; the process's if left out
---@return sppo.Override[]?, string?
function M.environment(environment)
  if not environment then
    environment = {}
    local i = 0
    while ffi.C.environ ~= nil and ffi.C.environ[i] ~= nil do
      environment[i + 1] = ffi.string(ffi.C.environ[i])
      i = i + 1
    end
  end
  local known, list = nil, {}
  for _, text in ipairs(environment) do
    local name, value = text:match('^' .. PREFIX .. '([^=]*)=(.*)$')
    if name then
      known = known or names()
      if not known[name] then
        local all = {}
        for other in pairs(known) do all[#all + 1] = other end
        table.sort(all)
        local hint = check.suggest(name, all)
        return problem('%s%s in the environment names no key of a recipe%s', PREFIX, name,
          hint and (' (did you mean %s%s?)'):format(PREFIX, hint) or '')
      end
      list[#list + 1] = { known[name], value, text = text }
    end
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

--- Those of the environment that the command line does not set, then those of the command line.
---@param environment sppo.Override[]
---@param given sppo.Override[]
---@return sppo.Override[]
function M.merged(environment, given)
  local out = {}
  for _, e in ipairs(environment) do
    local set = false
    for _, g in ipairs(given) do
      set = set or (e[1] .. '.'):sub(1, #g[1] + 1) == g[1] .. '.'
    end
    if not set then out[#out + 1] = e end
  end
  for _, g in ipairs(given) do out[#out + 1] = g end
  return out
end

--- A value as it was written: a number, true, false, a list in braces, or text. A key that is a
--- text stays one.
local function parse(text, spec)
  if spec and spec.type == 'string' then return text end
  if tonumber(text) then return tonumber(text) end
  if text == 'true' then return true end
  if text == 'false' then return false end
  local inner = text:match('^{(.*)}$')
  if inner then
    local list = {}
    for entry in inner:gmatch('[^,%s]+') do list[#list + 1] = parse(entry) end
    return list
  end
  return text
end

--- Sets a key in the recipe's table; nil, or why it can't be. Unknown names are left to the schema.
---@param values table
---@param o sppo.Override
---@return string?
function M.apply(values, o)
  local parts = {}
  for part in o[1]:gmatch('[^.]+') do parts[#parts + 1] = part end
  local node, spec = values, { section = schema.keys }
  for i = 1, #parts - 1 do
    local part = parts[i]
    spec = spec and spec.section and spec.section[part]
    local name = table.concat(parts, '.', 1, i)
    if spec and spec.type and not spec.type:find('table', 1, true) then
      return ('%s is a %s and has no keys of its own'):format(name, spec.type)
    end
    node[part] = recipe_check.preset_of(spec, node[part])
    if type(node[part]) ~= 'table' then
      if node[part] ~= nil and not (spec and spec.section) then
        return ('%s is a %s in the recipe and has no keys to set'):format(name, type(node[part]))
      end
      node[part] = {}
    end
    node = node[part]
  end
  spec = spec and spec.section and spec.section[parts[#parts]]
  node[parts[#parts]] = parse(o[2], spec)
end

return M
