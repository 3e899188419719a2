--- The model that is planned: its config and, where they are there, its tokenizer and template. No
--- weights are read: of a model that is not there the config is known by name
--- (models/configs/*.json).

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local host = require 'sppo.host'
local json = require 'sppo.json'
local model_of = require 'sppo.model'

local M = {}

--- Names of the configs that are known.
function M.names()
  local names = {}
  for _, name in ipairs(host.embedded_names()) do
    names[#names + 1] = name:match('^models/configs/([^/]+)%.json$')
  end
  table.sort(names)
  return names
end

---@class sppo.plan.Source
---@field config table
---@field where string      where the config is from, for people and for errors
---@field model? sppo.Model its tokenizer and template; nil if they are not there

--- Raises if the model is neither there nor known by name.
---@param wanted string|table  the recipe's policy.model
---@return sppo.plan.Source
function M.find(wanted)
  if type(wanted) == 'table' then return { config = wanted, where = 'policy.model' } end
  if model_of.find(wanted) then
    local model, err = model_of.open(wanted, { tokenizer_only = true })
    if not model then error(err, 0) end
    return { config = model.config, where = model.path, model = model.tokenizer and model }
  end
  local name = wanted:match('([^/]+)/*$') or wanted
  local path = ('models/configs/%s.json'):format(name)
  local text = name:match('^[%w][%w._-]*$') and host.embedded(path)
  if not text then
    engine.raise('io', ('%s: no model there, and %s; known without weights: %s'):format(wanted,
      check.unknown('model', name, M.names()), table.concat(M.names(), ', ')))
  end
  local config, err = json.decode(text)
  if err then engine.raise('format', ('%s: %s'):format(path, err)) end
  return { config = config, where = path }
end

--- The model on the meta device; raises if its config is none of ours.
---@param source sppo.plan.Source
---@param dtype 'f32'|'bf16'
---@param values 'f32'|'bf16'
---@return sppo.Model
function M.on_meta(source, dtype, values)
  local model, err = model_of.on_meta(source.config, source.where,
    { dtype = dtype, values = values })
  if not model then error(err, 0) end
  return model
end

return M
