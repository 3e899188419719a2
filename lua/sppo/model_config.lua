--- config.json of a model folder: what it may say for each architecture, checked before anything is
--- allocated from its numbers.
---
--- A model file says in `configs[model_type]` what stands in its config.json beside the sizes all
--- have: `architecture` (transformers' class), `keys`, and perhaps `settle(config)`, which makes
--- of them what the model reads. A key is { kind, low, high } with kind 'integer', 'number' or
--- 'boolean', or { one_of = values }; `default` is what transformers takes where it is left out;
--- with null = true a null is kept as "off", else it counts as left out.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local json = require 'sppo.json'

local M = {}

--- model_type -> file in models/.
local architectures = { llama = 'llama', mistral = 'llama', qwen2 = 'qwen2', gemma2 = 'gemma2' }

--- Keys of all architectures, in the order in which they are checked.
local sizes = {
  { 'vocab_size', { 'integer', 1, 2^24 } },
  { 'hidden_size', { 'integer', 1, 2^20 } },
  { 'intermediate_size', { 'integer', 1, 2^24 } },
  { 'num_hidden_layers', { 'integer', 1, 4096 } },
  { 'num_attention_heads', { 'integer', 1, 4096 } },
  { 'num_key_value_heads', { 'integer', 1, 4096 } },
  { 'head_dim', { 'integer', 2, 256 } },
  { 'rms_norm_eps', { 'number', 1e-12, 1, default = 1e-6 } },
  { 'max_position_embeddings', { 'integer', 1, 2^30 } },
  { 'rope_theta', { 'number', 1, 1e12, default = 10000 } },
  { 'tie_word_embeddings', { 'boolean', default = false } },
}

--- What is written to config.json beside the architecture's keys.
local also_kept = { 'model_type', 'rope_scaling', 'layer_types', 'bos_token_id', 'eos_token_id',
  'source_maxlength', 'candidate_maxlength' }

local function entry(model_type)
  local file = architectures[model_type]
  return file and require('models.' .. file), file
end

--- Heads that may stand in place of the vocabulary's: the end of config.architectures' name -> the
--- file in models/ and the label of its output.
local other_heads = {
  ForSequenceClassification = { 'reward', 'reward' },
  ForPairRanking = { 'pairrm_decoder', 'first_is_better' },
}

--- The head that config.architectures names, nil for the vocabulary's, and the end of that name.
local function head_of(config)
  local name = type(config.architectures) == 'table' and config.architectures[1]
  local ending = type(name) == 'string' and name:match('For%w+$')
  return other_heads[ending], ending
end

--- Whether a config.json is of a decoder that ranks pairs (lua/sppo/pairrm_decoder.lua).
---@param config table
---@return boolean
function M.ranks_pairs(config) return head_of(config) == other_heads.ForPairRanking end

--- The net of a checked config, with its parameters declared: a language model, or one with
--- another head where config.architectures says so.
---@param config table
---@param dtype? 'f32'|'bf16'|'q8_0'  of the policy's weights
function M.net(config, dtype)
  local class, head = entry(config.model_type), head_of(config)
  if head then class = require('models.' .. head[1]).class(class) end
  return class(config, { dtype = dtype or 'f32' })
end

--- Keys of an architecture in order: those of all, then its own by name.
local function keys_of(spec)
  local list, own = {}, {}
  for _, pair in ipairs(sizes) do
    local name, rule = pair[1], {}
    for key, value in pairs(pair[2]) do rule[key] = value end
    for key, value in pairs(spec.keys[name] or {}) do rule[key] = value end
    list[#list + 1] = { name, rule }
    own[name] = true
  end
  local rest = {}
  for name in pairs(spec.keys) do
    if not own[name] then rest[#rest + 1] = name end
  end
  table.sort(rest)
  for _, name in ipairs(rest) do list[#list + 1] = { name, spec.keys[name] } end
  return list
end

local function shown(value)
  if type(value) == 'string' then return ('\'%s\''):format(value) end
  if type(value) == 'number' then return ('%.14g'):format(value) end
  return type(value) == 'boolean' and tostring(value) or type(value)
end

--- nil, or what is wrong with the value of a key.
local function wrong(name, value, rule)
  if rule.one_of then
    local known = {}
    for i, allowed in ipairs(rule.one_of) do
      if value == allowed then return end
      known[i] = shown(allowed)
    end
    return ('%s is %s, this version computes %s'):format(name, shown(value),
      table.concat(known, ', '))
  end
  if rule[1] == 'boolean' then
    if type(value) == 'boolean' then return end
    return ('%s must be true or false, got %s'):format(name, shown(value))
  end
  return check.number_text(name, value, rule[1], rule[2], rule[3])
end

--- rope_theta and rope_scaling from either form that transformers writes; text if it can't be.
--- The first has both at the top, the second (from 5.0 on) all in rope_parameters.
local function settle_rope(config)
  local name, given = 'rope_parameters', config.rope_parameters
  if given == nil then name, given = 'rope_scaling', config.rope_scaling end
  config.rope_parameters, config.rope_scaling = nil, nil
  if given == nil then return end
  if type(given) ~= 'table' then return ('%s is %s, not an object'):format(name, shown(given)) end
  local values = {}
  for key, value in pairs(given) do
    if value ~= json.null then values[key] = value end
    if type(value) == 'table' and value ~= json.null then
      return ('%s.%s is an object: one for each kind of layer is not supported'):format(name, key)
    end
  end
  if name == 'rope_parameters' and values.rope_theta ~= nil then
    config.rope_theta = values.rope_theta
  end
  local kind = values.rope_type or values.type or 'default'
  if values.partial_rotary_factor ~= nil and values.partial_rotary_factor ~= 1 then
    return ('%s.partial_rotary_factor is %s, this version computes 1'):format(name,
      shown(values.partial_rotary_factor))
  end
  if kind == 'default' then return end
  if kind ~= 'linear' and kind ~= 'llama3' then
    return ('%s.rope_type is %s; this version has \'default\', \'linear\', \'llama3\''):format(name,
      shown(kind))
  end
  local function number(key, what, low, high)
    return check.number_text(name .. '.' .. key, values[key], what, low, high)
  end
  config.rope_scaling = { rope_type = kind, factor = values.factor }
  local text = number('factor', 'number', 1e-3, 1e6)
  if text or kind == 'linear' then return text end
  for _, key in ipairs { 'low_freq_factor', 'high_freq_factor',
    'original_max_position_embeddings' } do
    config.rope_scaling[key] = values[key]
  end
  text = number('low_freq_factor', 'number', 1e-3, 1e6)
    or number('high_freq_factor', 'number', 1e-3, 1e6)
    or number('original_max_position_embeddings', 'integer', 1, 2^30)
  if not text and values.high_freq_factor <= values.low_freq_factor then
    text = ('%s.high_freq_factor is %.14g, not more than low_freq_factor, %.14g'):format(name,
      values.high_freq_factor, values.low_freq_factor)
  end
  return text
end

--- nil, or what is wrong with layer_types.
local function wrong_layers(config)
  local types = config.layer_types
  if types == nil then return end
  if type(types) ~= 'table' or #types ~= config.num_hidden_layers then
    return ('layer_types has %s, num_hidden_layers is %d'):format(
      type(types) == 'table' and #types .. ' entries' or shown(types), config.num_hidden_layers)
  end
  for i, kind in ipairs(types) do
    if kind ~= 'full_attention' and kind ~= 'sliding_attention' then
      return ('layer_types[%d] is %s, this version computes \'full_attention\', ' ..
        '\'sliding_attention\''):format(i - 1, shown(kind))
    end
  end
end

--- nil, or what does not fit together.
local function wrong_heads(config)
  local heads, kv = config.num_attention_heads, config.num_key_value_heads
  if config.head_dim % 2 ~= 0 then
    return ('head_dim is %d, rope needs it even'):format(config.head_dim)
  end
  if heads % kv ~= 0 then return ('%d attention heads for %d key/value heads'):format(heads, kv) end
end

--- Token ids under `key`: one, or a list of them; text if they are none of the vocabulary.
local function token_ids(config, key)
  local value = config[key]
  local list = type(value) == 'table' and value or { value }
  for _, id in ipairs(list) do
    local text = check.number_text(key, id, 'integer', 0, config.vocab_size - 1)
    if text then return nil, text end
  end
  return list
end

--- A list without what is there twice, in order.
local function union(...)
  local list, seen = {}, {}
  for i = 1, select('#', ...) do
    for _, id in ipairs((select(i, ...))) do
      if not seen[id] then list[#list + 1] = id end
      seen[id] = true
    end
  end
  return list
end

--- The ids that end an answer and the one that begins a text: those of the tokenizer, of
--- generation_config.json and of config.json. nil, text if one is not in the vocabulary.
---@param config table                 checked
---@param tokenizer? sppo.Tokenizer
---@param generation? table            content of generation_config.json
---@return integer[]? eos_ids, integer? bos_id
function M.special_ids(config, tokenizer, generation)
  local given = { vocab_size = config.vocab_size }
  for _, key in ipairs { 'eos_token_id', 'bos_token_id' } do
    local value = generation and generation[key]
    if value ~= json.null then given[key] = value end
  end
  local first = tokenizer and tokenizer.eos_ids or {}
  local second, text = token_ids(given, 'eos_token_id')
  if not second then return nil, 'generation_config.json: ' .. text end
  local third
  third, text = token_ids(config, 'eos_token_id')
  if not third then return nil, 'config.json: ' .. text end
  local begin = tokenizer and tokenizer.bos_id or given.bos_token_id or config.bos_token_id
  return union(first, second, third), type(begin) == 'number' and begin or nil
end

--- A checked copy of `given` in which what may be left out is there; nil, err.
---@param given table   content of config.json
---@param path string   for the text: the file
---@return table? config
function M.check(given, path)
  local config = {}
  for key, value in pairs(given) do
    if value ~= json.null then config[key] = value end
  end
  local function bad(text)
    text = path .. ': ' .. text
    engine.kind('format', text)
    return nil, text
  end
  local class = entry(config.model_type)
  if not class then
    local known = {}
    for key in pairs(architectures) do known[#known + 1] = key end
    table.sort(known)
    return bad(check.unknown('model_type', config.model_type, known) .. '; this version has '
      .. table.concat(known, ', '))
  end
  local spec = class.configs[config.model_type]
  local text = settle_rope(config)
  if text then return bad(text) end
  for _, pair in ipairs(keys_of(spec)) do
    local name, rule = pair[1], pair[2]
    local off = rule.null and given[name] == json.null
    if config[name] == nil and not off then
      config[name] = rule.default
      -- What follows from sizes that are checked by now.
      if rule.default == nil and name == 'num_key_value_heads' then
        config[name] = config.num_attention_heads
      elseif rule.default == nil and name == 'head_dim' then
        config[name] = config.hidden_size / config.num_attention_heads
      end
    end
    if name == 'num_key_value_heads' then rule[3] = config.num_attention_heads end
    text = not off and wrong(name, config[name], rule)
    if text then return bad(text) end
  end
  text = wrong_heads(config) or wrong_layers(config)
  if text then return bad(text) end
  if spec.settle then spec.settle(config) end
  for _, key in ipairs { 'eos_token_id', 'bos_token_id' } do
    local _, why = token_ids(config, key)
    if why then return bad(why) end
  end
  return config
end

--- What is written to config.json for a checked config: all that makes transformers compute the
--- same.
---@param config table
---@param dtype 'f32'|'bf16'
---@return table
function M.document(config, dtype)
  local spec = entry(config.model_type).configs[config.model_type]
  local architecture, labels = spec.architecture, nil
  local head, ending = head_of(config)
  if head then
    architecture = architecture:gsub('ForCausalLM$', ending)
    labels = { ['0'] = head[2] }
  end
  local document = {
    architectures = json.array { architecture },
    torch_dtype = dtype == 'bf16' and 'bfloat16' or 'float32',
    id2label = labels, label2id = labels and { [head[2]] = 0 },
  }
  for _, pair in ipairs(keys_of(spec)) do
    local name, rule = pair[1], pair[2]
    document[name] = config[name]
    -- Left out it would be transformers' default again.
    if config[name] == nil and rule.null then document[name] = json.null end
  end
  for _, key in ipairs(also_kept) do document[key] = config[key] end
  for _, key in ipairs { 'layer_types', 'eos_token_id' } do
    if type(document[key]) == 'table' then document[key] = json.array(document[key]) end
  end
  return document
end

--- The text of config.json for a document. transformers 5 takes no whole number for a float.
---@param document table
---@return string
function M.encode(document)
  local text = json.encode(document, { indent = true }) .. '\n'
  for _, key in ipairs { 'rope_theta', 'factor', 'low_freq_factor', 'high_freq_factor',
    'attn_logit_softcapping', 'final_logit_softcapping' } do
    text = text:gsub(('("%s": %%d+)(,?\n)'):format(key), '%1.0%2')
  end
  return text
end

return M
