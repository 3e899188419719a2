--- Opening a model: its architecture, weights, tokenizer and chat template, from a folder as
--- Hugging Face ships it or from a GGUF file; and writing one.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local host = require 'sppo.host'
local json = require 'sppo.json'
local nn = require 'sppo.nn'
local tokenizer = require 'sppo.tokenizer'
local weights = require 'sppo.weights'

local M = {}

local architectures = { llama = 'models.llama' }

--- Where models are looked for by name.
function M.home()
  local home = os.getenv('SPPO_HOME')
  if home and home ~= '' then return home end
  local data = os.getenv('XDG_DATA_HOME')
  if not data or data == '' then data = (os.getenv('HOME') or '.') .. '/.local/share' end
  return data .. '/sppo'
end

--- The folder or GGUF file behind what the user wrote: a path, or a name under home()/models.
--- nil, err if there is none.
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
  local text = name ..
    ': no model there: neither a GGUF file nor a folder with config.json or model.gguf'
  if name:find('smollm2', 1, true) then
    text = text .. ' (fetch it with tools/fetch-model smollm2)'
  end
  engine.kind('io', text)
  return nil, text
end

--- Sizes that must be there, and the most of each that is read.
local required = {
  { 'vocab_size', 2^24 }, { 'hidden_size', 2^20 }, { 'intermediate_size', 2^24 },
  { 'num_hidden_layers', 4096 }, { 'num_attention_heads', 4096 },
}

--- Checks a config before anything is allocated from its numbers; a copy with what may be left out.
local function check_config(given, path)
  local config = {}
  for key, value in pairs(given) do
    if value ~= json.null then config[key] = value end
  end
  local function bad(...)
    local text = path .. ': ' .. (...):format(select(2, ...))
    engine.kind('format', text)
    return nil, text
  end
  if not architectures[config.model_type] then
    local known = {}
    for key in pairs(architectures) do known[#known + 1] = key end
    return bad('%s', check.unknown('model_type', config.model_type, known))
  end
  config.num_key_value_heads = config.num_key_value_heads or config.num_attention_heads
  for _, size in ipairs(required) do
    local text = check.number_text(size[1], config[size[1]], 'integer', 1, size[2])
    if text then return bad('%s', text) end
  end
  local heads, kv = config.num_attention_heads, config.num_key_value_heads
  config.head_dim = type(config.head_dim) == 'number' and config.head_dim or
    config.hidden_size / heads
  local text = check.number_text('head_dim', config.head_dim, 'integer', 2, 256)
    or check.number_text('num_key_value_heads', kv, 'integer', 1, heads)
  if text then return bad('%s', text) end
  if heads % kv ~= 0 then return bad('%d attention heads for %d key/value heads', heads, kv) end
  if type(config.rope_parameters) == 'table' then
    config.rope_theta = config.rope_theta or config.rope_parameters.rope_theta
  end
  config.rope_theta = config.rope_theta or 10000
  config.rms_norm_eps = config.rms_norm_eps or 1e-6
  config.max_position_embeddings = config.max_position_embeddings or 2048
  text = check.number_text('rope_theta', config.rope_theta, 'number', 1, 1e12)
    or check.number_text('rms_norm_eps', config.rms_norm_eps, 'number', 1e-12, 1)
    or check.number_text('max_position_embeddings', config.max_position_embeddings, 'integer', 1,
      2^30)
  if text then return bad('%s', text) end
  local scaling = config.rope_scaling
  if type(scaling) == 'table' and next(scaling) then
    return bad('rope_scaling is not supported by this version')
  end
  for _, key in ipairs { 'attention_bias', 'mlp_bias' } do
    if config[key] == true then return bad('%s is not supported by this version', key) end
  end
  return config
end

local function scores(config)
  local name = type(config.architectures) == 'table' and config.architectures[1]
  return type(name) == 'string' and name:match('ForSequenceClassification$') ~= nil
end

--- The network of a checked config, its parameters declared: a language model, or a reward model
--- where config.architectures says so.
---@param config table
function M.network(config)
  local class = require(architectures[config.model_type])
  if scores(config) then class = require('models.reward').class(class) end
  return class(config)
end

--- The model's parameters in bytes, before anything is loaded.
local function parameter_bytes(model, dtype)
  local total = 0
  for _, p in ipairs(nn.parameters(model)) do
    local count = 1
    for _, size in ipairs(p.owner[p.key].shape) do count = count * size end
    total = total + count * (dtype == 'f32' and 4 or dtype == 'bf16' and 2 or 1.0625)
  end
  return total
end

local function check_memory(model, path, dtype)
  local bytes, total = parameter_bytes(model, dtype), host.total_memory()
  if bytes > total * 0.9 then
    local way_out = dtype == 'f32' and 'set policy.dtype = \'bf16\''
      or 'a smaller model or more memory is needed'
    engine.raise('memory', ('%s: its weights take %.1f GiB in %s, this machine has ' ..
      '%.1f GiB; %s'):format(path, bytes / 2^30, dtype, total / 2^30, way_out))
  end
end

--- A source of weights for what `find` returned; nil, err.
local function open_source(path)
  if path:match('%.gguf$') or not files.is_folder(path) then return weights.gguf(path) end
  local config, err = files.json(path .. '/config.json')
  if not config then return nil, err end
  if type(config) ~= 'table' then
    err = path .. '/config.json: not an object'
    engine.kind('format', err)
    return nil, err
  end
  return weights.folder(path, config)
end

---@class sppo.Model
---@field net table                 the architecture (models/*.lua), callable
---@field config table
---@field tokenizer? sppo.Tokenizer
---@field template? string
---@field path string

--- Opens a model; nil, err if the files are missing or wrong.
---@param name string                    path, or name under home()/models
---@param options? { dtype: string, values: string, tokenizer_only: boolean }  values: of nn.fill
---@return sppo.Model?
function M.open(name, options)
  options = check.options('model.open', options, { 'dtype', 'values', 'tokenizer_only' })
  local dtype = options.dtype or 'f32'
  local path, err = M.find(name)
  if not path then return nil, err end
  local source
  source, err = open_source(path)
  if not source then return nil, err end
  local config
  config, err = check_config(source.config, path)
  if not config then return nil, err end

  local model = { config = config, path = path, dtype = dtype }
  if source.gguf then model.tokenizer, err = tokenizer.from_gguf(source.gguf)
  else model.tokenizer, err = tokenizer.from_folder(path) end
  -- A model without a tokenizer can be trained on token ids (recipes/tiny.lua).
  local should_have = source.gguf or files.exists(path .. '/tokenizer.json')
  if not model.tokenizer and should_have then return nil, err end
  model.template = model.tokenizer and model.tokenizer.chat_template
  if options.tokenizer_only then
    source.close()
    return model
  end

  model.net = M.network(config)
  check_memory(model.net, path, dtype)
  local ok
  ok, err = pcall(weights.load, model.net, source, dtype, options.values)
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
---@param options? { dtype: string, values: string, deviation: number }
function M.random(config, seed, options)
  options = check.options('model.random', options, { 'dtype', 'values', 'deviation' })
  local checked, err = check_config(config, 'model.random')
  if not checked then engine.raise('argument', err, 2) end
  local net = M.network(checked)
  check_memory(net, 'model.random', options.dtype or 'f32')
  local number = 0
  nn.fill(net, function(_, shape)
    number = number + 1
    local t = require('sppo.tensor').zeros(shape)
    if #shape == 1 then return t + 1 end
    return t:normal_(0, options.deviation or 0.05, seed * 1000 + number)
  end, options.dtype or 'f32', options.values)
  return { config = checked, net = net, path = 'random', dtype = options.dtype or 'f32' }
end

--- Drops the weights now.
function M.release(model)
  for _, p in ipairs(nn.parameters(model.net)) do p.owner[p.key]:release() end
  model.net = nil
end

local kept = {
  'model_type', 'architectures', 'vocab_size', 'hidden_size', 'intermediate_size',
  'num_hidden_layers', 'num_attention_heads', 'num_key_value_heads', 'head_dim', 'rms_norm_eps',
  'rope_theta',
  'max_position_embeddings', 'tie_word_embeddings', 'bos_token_id', 'eos_token_id',
}

--- Writes the model as a folder that `transformers` and `open` read; whole or not at all.
---@param model sppo.Model
---@param path string
---@param dtype 'f32'|'bf16'
function M.save(model, path, dtype)
  local config = { hidden_act = 'silu', torch_dtype = dtype == 'bf16' and 'bfloat16' or 'float32',
    attention_bias = false, mlp_bias = false }
  for _, key in ipairs(kept) do config[key] = model.config[key] end
  if scores(config) then
    config.id2label, config.label2id = { ['0'] = 'reward' }, { reward = 0 }
  end
  local t = model.tokenizer
  if t then
    config.eos_token_id, config.bos_token_id = t.eos_ids[1], t.bos_id
  end
  files.atomic_folder(path, function(folder)
    files.write(folder .. '/config.json', json.encode(config, { indent = true }) .. '\n')
    if t then t:write(folder) end
    weights.save(model.net, folder .. '/model.safetensors', dtype)
  end)
end

return M
