--- Where a model's weights come from and go to: safetensors (one file or an index) and GGUF.
---
--- A source has `config` and `config_path` (where it stands), `names()`, `shape(name)` and
--- `get(name)`: an f32 or bf16 tensor in rows, all by the Hugging Face name, and `close()`; GGUF
--- files are lua/sppo/gguf.lua. Pickles are not read.

local engine = require 'sppo.ffi'
local ops = require 'sppo.ops'
local io_files = require 'sppo.files'

local M = {}

--- nil and the text, known as that of a malformed file.
local function bad(text, ...)
  text = text:format(...)
  engine.kind('format', text)
  return nil, text
end

-- ---- safetensors ----

-- torch.load runs what is in a pickle; weights_only does not, and it is done elsewhere.
local CONVERT = 'python3 -c "import glob, torch, safetensors.torch as s; s.save_file({k: ' ..
  'v.clone() for f in glob.glob(\'%s\') for k, v in torch.load(f, weights_only=True).items()}, ' ..
  '\'model.safetensors\', {\'format\': \'pt\'})"'

local pickles = { bin = true, pt = true, pth = true, pkl = true, pickle = true, ckpt = true }

--- The text for a file of weights that is not read (.bin, .pt and other pickles); nil for others.
---@param path string
---@return string?
function M.refusal(path)
  local extension = path:match('%.(%w+)$')
  local text
  if pickles[extension] then
    text = ('%s: pickles can run programs and are not read; convert it, in its folder: %s'):format(
      path, CONVERT:format('*.' .. extension))
  elseif extension == 'safetensors' then
    text = path .. ': name the folder that it is in, config.json beside it is needed'
  end
  if text then engine.kind('format', text) end
  return text
end

--- nil, err for a folder without safetensors.
local function no_safetensors(path)
  for _, name in ipairs(io_files.list(path) or {}) do
    if name ~= 'training_args.bin' and pickles[name:match('%.(%w+)$')] then
      return nil, M.refusal(path .. '/' .. name)
    end
  end
  return bad('%s: neither model.safetensors nor model.safetensors.index.json', path)
end

--- A folder's safetensors, single or indexed, as a source; `config` is its config.json.
---@param path string
---@param config table
---@return table? source, string? err
function M.folder(path, config)
  local files = {} -- tensor name -> open file
  local function add(name)
    local f, err = io_files.safetensors(path .. '/' .. name)
    if not f then return nil, err end
    for _, tensor_name in ipairs(f:names()) do
      if files[tensor_name] then
        return bad('%s: tensor %s is in %s too', f.path, tensor_name, files[tensor_name].path)
      end
      files[tensor_name] = f
    end
    return true
  end
  local index = path .. '/model.safetensors.index.json'
  if io_files.exists(index) then
    local map, err = io_files.json(index, 2^26)
    if err then return nil, err end
    local seen = {}
    if type(map) ~= 'table' or type(map.weight_map) ~= 'table' then
      return bad('%s: no weight_map', index)
    end
    for _, shard in pairs(map.weight_map) do
      if type(shard) ~= 'string' or shard == '' or shard:find('[/\\%z]') or
        shard:sub(1, 1) == '.' then
        return bad('%s: shard name %q is not a plain file name', index, tostring(shard))
      end
      if not seen[shard] then
        seen[shard] = true
        local ok
        ok, err = add(shard)
        if not ok then return nil, err end
      end
    end
  elseif not io_files.exists(path .. '/model.safetensors') then
    return no_safetensors(path)
  else
    local ok, err = add('model.safetensors')
    if not ok then return nil, err end
  end
  local source = { config = config, config_path = path .. '/config.json', path = path }
  function source.names()
    local list = {}
    for name in pairs(files) do list[#list + 1] = name end
    table.sort(list)
    return list
  end
  function source.shape(name) return files[name] and files[name]:shape(name) end
  function source.close()
    local closed = {}
    for _, f in pairs(files) do
      if not closed[f] then f:close() end
      closed[f] = true
    end
  end
  function source.get(name)
    local f = files[name]
    if not f then return bad('%s: no tensor %s', path, name) end
    return f:tensor(name)
  end
  return source
end

--- Keys of config.json that a tensor's shape follows from.
local shaped_by = {
  { 'embed_tokens', 'vocab_size', 'hidden_size' }, { 'lm_head', 'vocab_size', 'hidden_size' },
  { 'norm', 'hidden_size' }, { '[qo]_proj', 'num_attention_heads', 'head_dim', 'hidden_size' },
  { '[kv]_proj', 'num_key_value_heads', 'head_dim', 'hidden_size' },
  { 'mlp', 'intermediate_size', 'hidden_size' },
}

--- "config.json: vocab_size = 71, hidden_size = 32"
local function config_says(source, config, ...)
  local parts = {}
  for i = 1, select('#', ...) do
    local key = select(i, ...)
    parts[i] = ('%s = %s'):format(key, tostring(config[key]))
  end
  return ('%s: %s'):format(source.config_path, table.concat(parts, ', '))
end

local function some(names)
  local text = table.concat(names, ', ', 1, math.min(3, #names))
  return #names > 3 and ('%s and %d more'):format(text, #names - 3) or text
end

--- What older checkpoints store beside the parameters.
local function harmless(name, config)
  return name:find('%.rotary_emb%.inv_freq$') ~= nil
    or (config.tie_word_embeddings and name == 'lm_head.weight')
end

--- Raises unless the source has the model's parameters, in their shapes, and nothing else: before
--- any of them is read.
local function check_names(model, source)
  local config, known, missing, extra = model.config, {}, {}, {}
  for _, p in ipairs(require('sppo.nn').parameters(model)) do
    local wanted, got = p.owner[p.key].shape, source.shape(p.name)
    known[p.name] = true
    if not got then
      missing[#missing + 1] = p.name
    elseif table.concat(got, ',') ~= table.concat(wanted, ',') then
      local says = ''
      for _, row in ipairs(shaped_by) do
        if says == '' and p.name:find(row[1]) then
          says = (' (%s)'):format(config_says(source, config, unpack(row, 2)))
        end
      end
      engine.raise('format', ('%s: %s is [%s], the model wants [%s]%s'):format(source.path, p.name,
        table.concat(got, ', '), table.concat(wanted, ', '), says))
    end
  end
  local says = config_says(source, config, 'model_type', 'num_hidden_layers', 'tie_word_embeddings')
  if #missing > 0 then
    engine.raise('format', ('%s: no tensor %s (%s)'):format(source.path, some(missing), says))
  end
  for _, name in ipairs(source.names()) do
    if not known[name] and not harmless(name, config) then extra[#extra + 1] = name end
  end
  if #extra > 0 then
    engine.raise('format', ('%s: the model has no parameter for tensor %s (%s)'):format(source.path,
      some(extra), says))
  end
end

--- Fills a model from a source; raises if a tensor is missing, has another shape, or is one that
--- the model does not have.
---@param model table
---@param source table
---@param dtype 'f32'|'bf16'|'q8_0'
---@param values? 'f32'|'bf16'  as nn.fill has it
function M.load(model, source, dtype, values)
  check_names(model, source)
  require('sppo.nn').fill(model, function(name)
    local t, err = source.get(name)
    if not t then engine.raise('format', err) end
    return t.dtype == 'f32' and t or ops.cast(t, 'f32')
  end, dtype, values)
end

--- Writes a model's parameters as safetensors in `dtype`.
---@param model table   the net
---@param path string
---@param dtype 'f32'|'bf16'
function M.save(model, path, dtype)
  local nn = require 'sppo.nn'
  local scope = require 'sppo.scope'
  local list = {}
  for _, p in ipairs(nn.parameters(model)) do
    local t = p.owner[p.key]
    list[#list + 1] = { name = p.name, dtype = dtype, shape = t.shape, tensor = t }
  end
  local w = io_files.safetensors_writer(path, list, { format = 'pt' })
  for _, entry in ipairs(list) do
    scope.run(function()
      local t = entry.tensor
      if t.layout == 'panels' then t = t:unpack() end
      if t.dtype ~= dtype then t = t:to('f32'):to(dtype) end
      w:write(t:on 'cpu')
    end)
  end
  w:close()
end

return M
