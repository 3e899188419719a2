--- Opening a model: its architecture, weights, tokenizer and chat template, from a folder as
--- Hugging Face ships it or from a GGUF file; and writing one.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local host = require 'sppo.host'
local hub = require 'sppo.hub'
local json = require 'sppo.json'
local model_config = require 'sppo.model_config'
local nn = require 'sppo.nn'
local tensor = require 'sppo.tensor'
local tokenizer = require 'sppo.tokenizer'
local weights = require 'sppo.weights'

local M = {}

local CONFIG_BYTES = 2^24 -- most that is read of a configuration file

--- Where models are looked for by name.
function M.home()
  local home = os.getenv('SPPO_HOME')
  if home and home ~= '' then return home end
  local data = os.getenv('XDG_DATA_HOME')
  if not data or data == '' then data = (os.getenv('HOME') or '.') .. '/.local/share' end
  return data .. '/sppo'
end

--- The last round of a run folder that has weights; nil if none has.
---@param path string
---@return integer?
function M.last_round(path)
  local last
  for _, name in ipairs(files.list(path) or {}) do
    local t = tonumber(name:match('^round%-(%d+)$'))
    if t and t > (last or 0) and files.exists(('%s/%s/weights/config.json'):format(path, name)) then
      last = t
    end
  end
  return last
end

--- Of a run, or a round of one, where its models are; nil of any other path.
local function of_run(name)
  local path = name:gsub('(.)/+$', '%1')
  if files.exists(path .. '/weights/config.json') then
    return (': is a round of a run, its model is %s/weights'):format(path)
  end
  if files.exists(path .. '/recipe.resolved.json') then
    local t = M.last_round(path)
    return t and (': is a run, its last model is %s/round-%d/weights'):format(path, t)
      or ': is a run that has no weights yet; its recipe and sppo run go on with it'
  end
end

--- Of a name without a slash: the fetched model it was meant to be, or all of them; else ''.
local function fetched(name)
  local names = files.list(M.home() .. '/models') or {}
  if name:find('/', 1, true) or #names == 0 then return '' end
  local hint = check.suggest(name, names)
  if hint then return (' (did you mean \'%s\'?)'):format(hint) end
  return '; those fetched: ' .. table.concat(names, ', ', 1, math.min(#names, 8))
end

--- The folder or GGUF file behind what the user wrote: a path, a name under home()/models, or
--- org/name[@revision] in Hugging Face's cache (lua/sppo/hub.lua). nil, err if there is none.
---@param name string
---@return string? path
function M.find(name)
  for _, path in ipairs { name, M.home() .. '/models/' .. name } do
    if files.exists(path) then return path end
    if files.is_folder(path) then
      if files.exists(path .. '/config.json') then return path end
      if files.exists(path .. '/model.gguf') then return path .. '/model.gguf' end
    end
  end
  local path, err = hub.find(name)
  if path or err then return path, err end
  local is_run = of_run(name)
  if is_run then
    engine.kind('usage', name .. is_run)
    return nil, name .. is_run
  end
  local text = name ..
    ': no model there: neither a GGUF file nor a folder with config.json or model.gguf'
  local hint = files.meant(name)
  if hint == '' then hint = fetched(name) end
  if name:find('smollm2', 1, true) and not hint:find('did you mean', 1, true) then
    hint = ' (fetch it with tools/fetch-model smollm2)'
  elseif hint == '' and name:match('^[%w_.-]+/[%w_.-]+$') then
    hint = ', nor a repository in ' .. hub.folder()
  end
  text = text .. hint
  engine.kind('io', text)
  return nil, text
end

--- Raises if the model's parameters do not fit into this machine, before anything is loaded.
local function check_memory(model, path, dtype)
  if tensor.default_device() ~= 'cpu' then return end -- the device says itself what it lacks
  local bytes = nn.count(model) * (dtype == 'f32' and 4 or dtype == 'bf16' and 2 or 1.0625)
  local total = host.total_memory()
  if bytes > total * 0.9 then
    local way_out = dtype == 'f32' and 'set policy.dtype = \'bf16\''
      or 'a smaller model or more memory is needed'
    engine.raise('memory', ('%s: its weights take %.1f GiB in %s, this machine has ' ..
      '%.1f GiB; %s'):format(path, bytes / 2^30, dtype, total / 2^30, way_out))
  end
end

--- An object of the folder's JSON file; nil, err.
local function read_object(path)
  local document, err = files.json(path, CONFIG_BYTES)
  if document == nil then return nil, err end
  if type(document) == 'table' then return document end
  err = path .. ': not an object'
  engine.kind('format', err)
  return nil, err
end

--- A source of weights for what `find` returned; nil, err.
local function open_source(path)
  if not files.is_folder(path) then
    local refused = weights.refusal(path)
    if refused then return nil, refused end
    return require('sppo.gguf').source(path)
  end
  local config, err = read_object(path .. '/config.json')
  if not config then return nil, err end
  return weights.folder(path, config)
end

--- Sets what ends and begins texts; nil, err.
local function read_special_ids(model)
  local generation, err
  local file = model.path .. '/generation_config.json'
  if files.exists(file) then
    generation, err = read_object(file)
    if not generation then return nil, err end
  end
  model.eos_ids, model.bos_id = model_config.special_ids(model.config, model.tokenizer, generation)
  if not model.eos_ids then
    err = model.path .. '/' .. model.bos_id
    engine.kind('format', err)
    return nil, err
  end
  if model.tokenizer then model.tokenizer.eos_ids = model.eos_ids end
  return true
end

---@class sppo.Model
---@field net table                 the architecture (models/*.lua), callable
---@field config table
---@field tokenizer? sppo.Tokenizer
---@field template? string
---@field device 'cpu'|'cuda'|'meta' where its weights are, and so what is computed with them
---@field eos_ids integer[]         what ends an answer: all that the folder's files name
---@field bos_id? integer
---@field path string

--- Opens a model; nil, err if the files are missing or wrong.
---@param name string                    as `find` takes it
---@param options? { dtype: string, values: string, device: string, tokenizer_only: boolean }
---   values: of nn.fill
---@return sppo.Model?
function M.open(name, options)
  options = check.options('model.open', options, { 'dtype', 'values', 'device', 'tokenizer_only' })
  local dtype = options.dtype or 'f32'
  local path, err = M.find(name)
  if not path then return nil, err end
  local source
  source, err = open_source(path)
  if not source then return nil, err end
  local config
  config, err = model_config.check(source.config, source.config_path)
  if not config then return nil, err end

  local device = options.device or tensor.default_device()
  local model = { config = config, path = path, dtype = dtype, device = device }
  if source.gguf then model.tokenizer, err = tokenizer.from_gguf(source.gguf)
  else model.tokenizer, err = tokenizer.from_folder(path) end
  -- A model without a tokenizer can be trained on token ids (recipes/tiny.lua).
  local should_have = source.gguf or tokenizer.in_folder(path)
  if not model.tokenizer and should_have then return nil, err end
  model.template = model.tokenizer and model.tokenizer.chat_template
  local ok
  ok, err = read_special_ids(model)
  if not ok then return nil, err end
  if options.tokenizer_only then
    source.close()
    return model
  end

  -- tokenizer.json as a table is many times the tokenizer.
  collectgarbage()
  collectgarbage()
  ok, err = pcall(tensor.on_device, device, function()
    model.net = model_config.net(config, options.values or dtype)
    check_memory(model.net, path, dtype)
    weights.load(model.net, source, dtype, options.values)
  end)
  source.close()
  if not ok then
    if engine.kind_of(err) == 'memory' then error(err, 0) end
    return nil, err
  end
  return model
end

--- A random model of a config, for tests and recipes/tiny.lua.
---@param config table
---@param seed integer
---@param options? { dtype: string, values: string, device: string, deviation: number }
function M.random(config, seed, options)
  options = check.options('model.random', options, { 'dtype', 'values', 'device', 'deviation' })
  local checked, err = model_config.check(config, 'model.random')
  if not checked then engine.raise('argument', err, 2) end
  local dtype, number = options.dtype or 'f32', 0
  local device = options.device or tensor.default_device()
  local net = tensor.on_device(device, function()
    local made = model_config.net(checked, options.values or dtype)
    check_memory(made, 'model.random', dtype)
    nn.fill(made, function(_, shape, initial)
      number = number + 1
      local t = tensor.zeros(shape)
      if initial then return t + initial end
      return t:normal_(0, options.deviation or 0.05, seed * 1000 + number)
    end, dtype, options.values)
    return made
  end)
  return { config = checked, net = net, path = 'random', dtype = dtype, device = device,
    eos_ids = model_config.special_ids(checked), bos_id = checked.bos_token_id }
end

--- A model of a config without weights, on the meta device: shapes and bytes, for `sppo plan`.
--- nil, err if the config is not one of ours.
---@param config table
---@param where string   for the text of errors
---@param options { dtype: string, values: string }  values: of the file that it is read from, too
function M.on_meta(config, where, options)
  local checked, err = model_config.check(config, where)
  if not checked then return nil, err end
  -- A net that is only declared has constants of its own, which need values.
  local net = tensor.on_device('cpu', model_config.net, checked, options.values)
  nn.fill(net, function(_, shape)
    local t = tensor.zeros(shape, options.values, 'meta')
    return options.values == 'f32' and t or t:to('f32')
  end, options.dtype, options.values)
  return { config = checked, net = net, path = where, dtype = options.dtype, device = 'meta' }
end

--- Drops the weights now.
---@param model sppo.Model
function M.release(model)
  for _, p in ipairs(nn.parameters(model.net)) do p.owner[p.key]:release() end
  model.net = nil
end

--- Writes the model as a folder that `transformers` and `open` read; whole or not at all.
---@param model sppo.Model
---@param path string
---@param dtype 'f32'|'bf16'
---@param card? string  README.md
function M.save(model, path, dtype, card)
  local config, t = model_config.document(model.config, dtype), model.tokenizer
  if t then
    config.eos_token_id, config.bos_token_id = t.eos_ids[1], t.bos_id
  end
  files.atomic_folder(path, function(folder)
    files.write(folder .. '/config.json', model_config.encode(config))
    if card then files.write(folder .. '/README.md', card) end
    if t then
      t:write(folder)
    elseif #model.eos_ids > 0 then
      local generation = { eos_token_id = json.array { unpack(model.eos_ids) },
        bos_token_id = model.bos_id }
      files.write(folder .. '/generation_config.json', json.encode(generation,
        { indent = true }) .. '\n')
    end
    weights.save(model.net, folder .. '/model.safetensors', dtype)
  end)
end

return M
