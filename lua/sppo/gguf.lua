--- Models in GGUF files, as llama.cpp has them: which metadata and tensors stand for a config and
--- its parameters, both ways. Names and conventions are those of llama.cpp's src/llama-arch.cpp and
--- conversion/*.py.

local engine = require 'sppo.ffi'
local io_files = require 'sppo.files'
local ops = require 'sppo.ops'
local tensor = require 'sppo.tensor'

local M = {}

local top = {
  ['model.embed_tokens.weight'] = 'token_embd.weight',
  ['model.norm.weight'] = 'output_norm.weight',
  ['lm_head.weight'] = 'output.weight',
}

local layer = {
  ['input_layernorm'] = 'attn_norm',
  ['self_attn.q_proj'] = 'attn_q',
  ['self_attn.k_proj'] = 'attn_k',
  ['self_attn.v_proj'] = 'attn_v',
  ['self_attn.o_proj'] = 'attn_output',
  ['mlp.gate_proj'] = 'ffn_gate',
  ['mlp.up_proj'] = 'ffn_up',
  ['mlp.down_proj'] = 'ffn_down',
}

local two_norms = { ['post_attention_layernorm'] = 'ffn_norm' }

-- ARCH.KEY -> config.json's key; kind of number; what it is where the file does not say.
local common = {
  { 'context_length', 'max_position_embeddings', 'u32' },
  { 'embedding_length', 'hidden_size', 'u32' },
  { 'block_count', 'num_hidden_layers', 'u32' },
  { 'feed_forward_length', 'intermediate_size', 'u32' },
  { 'attention.head_count', 'num_attention_heads', 'u32' },
  { 'attention.head_count_kv', 'num_key_value_heads', 'u32', optional = true },
  { 'attention.key_length', 'head_dim', 'u32', optional = true },
  { 'attention.layer_norm_rms_epsilon', 'rms_norm_eps', 'f32' },
  { 'rope.freq_base', 'rope_theta', 'f32', optional = true },
}

---@class sppo.gguf.Architecture   by general.architecture
---@field model_types string[]     the first is what is read
---@field architecture string      transformers' class of the first
---@field layer table<string, string>  more names inside a layer
---@field neighbours? boolean      rows of q and k stand so that rope turns neighbours, not halves
---@field norm_offset? number      added to the weights of norms
---@field keys? table[]            as `common`
local architectures = {
  llama = { model_types = { 'llama', 'mistral' }, architecture = 'LlamaForCausalLM',
    layer = two_norms, neighbours = true },
  qwen2 = { model_types = { 'qwen2' }, architecture = 'Qwen2ForCausalLM', layer = two_norms },
  gemma2 = {
    model_types = { 'gemma2' }, architecture = 'Gemma2ForCausalLM', norm_offset = 1,
    layer = {
      ['post_attention_layernorm'] = 'post_attention_norm',
      ['pre_feedforward_layernorm'] = 'ffn_norm',
      ['post_feedforward_layernorm'] = 'post_ffw_norm',
    },
    keys = {
      { 'attn_logit_softcapping', 'attn_logit_softcapping', 'f32', optional = true },
      { 'final_logit_softcapping', 'final_logit_softcapping', 'f32', optional = true },
      { 'attention.sliding_window', 'sliding_window', 'u32', optional = true },
    },
  },
}

--- nil and the text, known as that of a malformed file.
local function bad(text, ...)
  text = text:format(...)
  engine.kind('format', text)
  return nil, text
end

--- The file's name of a parameter, and the parameter's without layer and number; nil if there is
--- none.
local function gguf_name(arch, name)
  local number, part, kind = name:match('^model%.layers%.(%d+)%.(.+)%.(%a+)$')
  local own = part and (layer[part] or arch.layer[part])
  if own then return ('blk.%s.%s.%s'):format(number, own, kind), part end
  return top[name], name
end

--- The other way; a name that is none of the family's stays as it is.
local function hugging_face_name(arch, name)
  for own, their in pairs(top) do
    if their == name then return own end
  end
  local number, part, kind = name:match('^blk%.(%d+)%.(.+)%.(%a+)$')
  for _, map in ipairs { layer, arch.layer } do
    for own, their in pairs(map) do
      if their == part then return ('model.layers.%s.%s.%s'):format(number, own, kind) end
    end
  end
  return name
end

--- Rows of q or k, or their biases, from pairs of neighbours to halves, or back.
local function turn(t, heads, back)
  local shape, rows = t.shape, t:size(1)
  local half = rows / heads / 2
  local split = back and t:view(heads, 2, half, -1) or t:view(heads, half, 2, -1)
  return split:transpose(2, 3):contiguous():view(unpack(shape))
end

-- ---- scaled rope ----

--- What llama.cpp divides each frequency by (rope_freqs.weight), of Llama-3.1's scaling.
local function rope_factors(theta, head_dim, s)
  local low = s.original_max_position_embeddings / s.low_freq_factor
  local high = s.original_max_position_embeddings / s.high_freq_factor
  local factors = {}
  for i = 0, head_dim / 2 - 1 do
    local wavelength = 2 * math.pi * theta ^ (2 * i / head_dim)
    local smooth = (s.original_max_position_embeddings / wavelength - s.low_freq_factor) /
      (s.high_freq_factor - s.low_freq_factor)
    factors[i + 1] = wavelength < high and 1 or wavelength > low and s.factor or
      1 / ((1 - smooth) / s.factor + smooth)
  end
  return factors
end

--- Llama-3.1's values if they give these factors; nil if not.
local function scaling_of(factors, theta, head_dim)
  local s = { rope_type = 'llama3', factor = factors[#factors], low_freq_factor = 1,
    high_freq_factor = 4, original_max_position_embeddings = 8192 }
  for i, want in ipairs(rope_factors(theta, head_dim, s)) do
    if math.abs(factors[i] / want - 1) > 1e-3 then return end
  end
  return s
end

-- ---- reading ----

--- Seven digits: what an f32 was written as.
local function plain(kind, value)
  return kind == 'f32' and tonumber(('%.7g'):format(value)) or value
end

--- Reads what says how rope is scaled into the config; a text if it can't be computed here.
local function read_rope(g, name, config)
  local key = name .. '.rope.scaling.'
  local kind, factor = g:string(key .. 'type') or 'none', g:number(key .. 'factor')
  if g:has('rope_freqs.weight') then
    local head_dim = config.head_dim or config.hidden_size / config.num_attention_heads
    config.rope_scaling = scaling_of(g:tensor('rope_freqs.weight'):tolist(), config.rope_theta,
      head_dim)
    if config.rope_scaling then return end
    return 'rope_freqs.weight has other frequencies than Llama-3.1\'s scaling'
  end
  if kind == 'none' or not factor then return end
  if kind ~= 'linear' then
    return ('%stype is \'%s\'; this version reads linear, and Llama-3.1\'s frequencies'):format(key,
      kind)
  end
  config.rope_scaling = { rope_type = 'linear', factor = factor }
end

--- config.json's values from a GGUF's metadata; nil, text if it is none of our architectures.
local function config_of(g, path)
  local name = g:string('general.architecture')
  local arch = architectures[name]
  if not arch then
    return bad('%s: architecture \'%s\' is not supported; this version reads gemma2, llama, qwen2',
      path, tostring(name))
  end
  local config = {
    model_type = arch.model_types[1], architectures = { arch.architecture },
    vocab_size = g:count('tokenizer.ggml.tokens'), rope_theta = 10000,
    tie_word_embeddings = not g:has('output.weight'),
  }
  for _, keys in ipairs { common, arch.keys or {} } do
    for _, k in ipairs(keys) do
      local value = g:number(name .. '.' .. k[1])
      if value then config[k[2]] = plain(k[3], value)
      elseif not k.optional then return bad('%s: no metadata key %s.%s', path, name, k[1]) end
    end
  end
  config.num_key_value_heads = config.num_key_value_heads or config.num_attention_heads
  if name == 'gemma2' then
    -- llama.cpp knows Gemma-2 27B by its 46 layers.
    config.query_pre_attn_scalar = config.num_hidden_layers == 46 and
      config.hidden_size / config.num_attention_heads or config.head_dim
  end
  if name == 'llama' and g:has('blk.0.attn_q.bias') then config.attention_bias = true end
  local text = read_rope(g, name, config)
  if text then return bad('%s: %s', path, text) end
  return config, arch
end

--- Which of q and k a part of a layer is: its number of heads, or nil.
local function heads_of(config, part)
  if part == 'self_attn.q_proj' then return config.num_attention_heads end
  if part == 'self_attn.k_proj' then return config.num_key_value_heads end
end

local function is_norm(part) return part:find('norm') ~= nil end

--- A GGUF file as a source of weights (lua/sppo/weights.lua says what that is); nil, err.
---@param path string
function M.source(path)
  local g, err = io_files.gguf(path)
  if not g then return nil, err end
  local config, arch = config_of(g, path)
  if not config then return nil, arch end
  local source = { config = config, config_path = path, gguf = g, path = path,
    close = function() g:close() end }
  function source.names()
    local list = {}
    for _, name in ipairs(g:names()) do
      if name ~= 'rope_freqs.weight' then list[#list + 1] = hugging_face_name(arch, name) end
    end
    return list
  end
  function source.shape(name)
    local own = gguf_name(arch, name)
    return own and g:shape(own)
  end
  function source.get(name)
    local own, part = gguf_name(arch, name)
    local t = own and g:tensor(own)
    if not t then return bad('%s: no tensor %s (%s)', path, tostring(own), name) end
    local heads = arch.neighbours and heads_of(config, part)
    if heads then t = turn(t, heads) end
    if arch.norm_offset and is_norm(part) then t = t + -arch.norm_offset end
    return t
  end
  return source
end

-- ---- writing ----

--- general.file_type of llama.cpp's enum llama_ftype.
local file_types = { f32 = 0, f16 = 1, q8_0 = 7, bf16 = 32 }

--- nil, or why llama.cpp would compute something else from this config.
local function not_said(config, name)
  if name == 'gemma2' then
    local scalar = config.num_hidden_layers == 46 and
      config.hidden_size / config.num_attention_heads or config.head_dim
    if config.query_pre_attn_scalar ~= scalar then
      return ('query_pre_attn_scalar is %g, llama.cpp takes %g'):format(
        config.query_pre_attn_scalar, scalar)
    end
    for _, k in ipairs(architectures.gemma2.keys) do
      if not config[k[2]] then return k[2] .. ' is off, llama.cpp has it on' end
    end
  elseif config.sliding_window and
    config.sliding_window < config.max_position_embeddings then
    return ('a sliding window of %d; llama.cpp has none for %s'):format(config.sliding_window,
      config.model_type)
  end
  if config.mlp_bias then return 'mlp_bias is true' end
end

local function architecture_of(config)
  for name, arch in pairs(architectures) do
    for _, model_type in ipairs(arch.model_types) do
      if model_type == config.model_type then return name, arch end
    end
  end
end

--- Everything but the tensors and the tokenizer.
local function write_metadata(w, model, name, arch, dtype)
  local config = model.config
  w:string('general.architecture', name)
  local path = model.path:gsub('/+$', '')
  local run, round = path:match('([^/]+)/(round%-%d+)/weights$')
  w:string('general.name', run and run .. '-' .. round or path:match('[^/]+$') or 'model')
  w:number('general.file_type', 'u32', file_types[dtype])
  w:number('general.quantization_version', 'u32', 2)
  for _, keys in ipairs { common, arch.keys or {} } do
    for _, k in ipairs(keys) do
      if config[k[2]] then w:number(name .. '.' .. k[1], k[3], config[k[2]]) end
    end
  end
  local head_dim = config.head_dim or config.hidden_size / config.num_attention_heads
  w:number(name .. '.attention.value_length', 'u32', head_dim)
  w:number(name .. '.rope.dimension_count', 'u32', head_dim)
  w:number(name .. '.vocab_size', 'u32', config.vocab_size)
  local s = config.rope_scaling
  if s and s.rope_type == 'linear' then
    w:string(name .. '.rope.scaling.type', 'linear')
    w:number(name .. '.rope.scaling.factor', 'f32', s.factor)
  end
  require('sppo.gguf_tokenizer').write(w, model)
end

--- The tensors in file order: { name, dtype, shape, value() }.
local function tensors_of(model, arch, dtype)
  local config, list = model.config, {}
  for _, p in ipairs(require('sppo.nn').parameters(model.net)) do
    local own, part = gguf_name(arch, p.name)
    local t = p.owner[p.key]
    local matrix = #t.shape == 2
    local fits = dtype ~= 'q8_0' or matrix and t.shape[2] % 32 == 0
    list[#list + 1] = {
      name = own, shape = t.shape, dtype = matrix and (fits and dtype or 'f16') or 'f32',
      value = function()
        local v = (t.layout == 'panels' and t:unpack() or t):to('f32')
        local heads = arch.neighbours and heads_of(config, part)
        if heads then v = turn(v, heads, true) end
        if arch.norm_offset and is_norm(part) then v = v + arch.norm_offset end
        return v
      end,
    }
  end
  local s = config.rope_scaling
  if s and s.rope_type == 'llama3' then
    local factors = rope_factors(config.rope_theta,
      config.head_dim or config.hidden_size / config.num_attention_heads, s)
    list[#list + 1] = { name = 'rope_freqs.weight', shape = { #factors }, dtype = 'f32',
      value = function() return tensor.tensor(factors) end }
  end
  return list
end

--- Writes a model and its tokenizer as one GGUF file that llama.cpp loads; whole or not at all.
--- Matrices in `dtype` (q8_0: f16 where a row is not whole blocks of 32), norms and biases in f32.
--- nil, err if llama.cpp could not compute the same from it.
---@param model sppo.Model
---@param path string
---@param dtype 'f32'|'f16'|'bf16'|'q8_0'
---@return true?
function M.write(model, path, dtype)
  local name, arch = architecture_of(model.config)
  local text = not arch and ('model_type \'%s\' has no form in GGUF'):format(
    model.config.model_type) or not_said(model.config, name)
  if not text and not model.tokenizer then text = 'there is no tokenizer, which GGUF needs' end
  text = text or require('sppo.gguf_tokenizer').not_said(model.tokenizer)
  if not text and model.net.score then text = 'a reward model has no form in GGUF' end
  if text then
    text = ('%s: %s'):format(model.path, text)
    engine.kind('argument', text)
    return nil, text
  end
  local list = tensors_of(model, arch, dtype)
  io_files.gguf_writer(path, list, function(w) write_metadata(w, model, name, arch, dtype) end,
    function(entry)
      local v = entry.value()
      return entry.dtype == 'f32' and v or ops.cast(v, entry.dtype)
    end)
  return true
end

return M
