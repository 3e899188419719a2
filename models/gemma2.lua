--- Gemma-2 decoder, in the order of operations of transformers' modeling_gemma2.py.
---
--- What sets it apart from Llama: four norms a layer, whose factor is 1 + weight; GeGLU; scores and
--- logits capped by tanh; a window in the even layers; embeddings times sqrt(hidden_size); the head
--- is the embedding's table. Field names are the checkpoint's tensor names; a batch is flat (see
--- models/llama.lua).

local nn = require 'sppo.nn'
local ops = require 'sppo.ops'
local scope = require 'sppo.scope'
local tensor = require 'sppo.tensor'

---@class sppo.gemma2.Config      config.json's names
---@field vocab_size integer
---@field hidden_size integer
---@field intermediate_size integer
---@field num_hidden_layers integer
---@field num_attention_heads integer
---@field num_key_value_heads integer
---@field head_dim integer
---@field query_pre_attn_scalar integer     scores are scaled by its -1/2 power
---@field attn_logit_softcapping? number    absent: scores are not capped
---@field final_logit_softcapping? number   absent: logits are not capped
---@field sliding_window? integer
---@field layer_types string[]              'sliding_attention' where the window is
---@field rms_norm_eps number
---@field rope_theta number
---@field rope_scaling? sppo.ops.RopeScaling
---@field attention_bias? boolean
---@field tie_word_embeddings? boolean

local function norm(c) return nn.RmsNorm(c.hidden_size, c.rms_norm_eps, { offset = 1 }) end

local Attention = nn.class 'gemma2.Attention'

---@param c sppo.gemma2.Config
---@param layer integer  counts from 0
function Attention:init(c, layer)
  self.layer, self.heads, self.kv_heads = layer, c.num_attention_heads, c.num_key_value_heads
  self.head_dim, self.scale = c.head_dim, c.query_pre_attn_scalar ^ -0.5
  self.softcap = c.attn_logit_softcapping
  if c.layer_types[layer + 1] == 'sliding_attention' then self.window = c.sliding_window end
  local bias = { bias = c.attention_bias }
  self.q_proj = nn.Linear(c.hidden_size, self.heads * self.head_dim, bias)
  self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * self.head_dim, bias)
  self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * self.head_dim, bias)
  self.o_proj = nn.Linear(self.heads * self.head_dim, c.hidden_size, bias)
  self.rope = { theta = c.rope_theta, scaling = c.rope_scaling }
end

---@param x sppo.Tensor      [n, hidden]
---@param at sppo.Segments
function Attention:forward(x, at)
  local q, k, v = nn.linear(x, self.q_proj, self.k_proj, self.v_proj)
  q = ops.rope(q:view(-1, self.heads, self.head_dim), at, self.rope)
  k = ops.rope(k:view(-1, self.kv_heads, self.head_dim), at, self.rope)
  v = v:view(-1, self.kv_heads, self.head_dim)
  local y = ops.attention(q, k, v, at, {
    layer = self.layer, scale = self.scale, softcap = self.softcap, window = self.window,
  })
  return self.o_proj(y:view(-1, self.heads * self.head_dim))
end

local Mlp = nn.class 'gemma2.Mlp'

function Mlp:init(c)
  self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size)
  self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size)
  self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size)
end

function Mlp:forward(x)
  return self.down_proj(ops.geglu(nn.linear(x, self.gate_proj, self.up_proj)))
end

local Block = nn.class 'gemma2.Block'

function Block:init(c, layer)
  self.input_layernorm, self.post_attention_layernorm = norm(c), norm(c)
  self.self_attn = Attention(c, layer)
  self.pre_feedforward_layernorm, self.post_feedforward_layernorm = norm(c), norm(c)
  self.mlp = Mlp(c)
end

function Block:forward(x, at)
  local y = self.self_attn(self.input_layernorm(x), at)
  x = x + self.post_attention_layernorm(y)
  y = self.mlp(self.pre_feedforward_layernorm(x))
  return x + self.post_feedforward_layernorm(y)
end

local Gemma2 = nn.class 'gemma2.Model'

--- What config.json says beside the sizes (lua/sppo/model_config.lua); defaults are transformers'.
Gemma2.configs = {
  gemma2 = {
    architecture = 'Gemma2ForCausalLM',
    keys = {
      hidden_activation = { one_of = { 'gelu_pytorch_tanh' }, default = 'gelu_pytorch_tanh' },
      max_position_embeddings = { default = 8192 },
      num_key_value_heads = { default = 4 },
      head_dim = { default = 256 },
      query_pre_attn_scalar = { 'integer', 1, 2^20, default = 256 },
      attn_logit_softcapping = { 'number', 1e-3, 1e6, default = 50, null = true },
      final_logit_softcapping = { 'number', 1e-3, 1e6, default = 30, null = true },
      sliding_window = { 'integer', 1, 2^31 - 1, default = 4096, null = true },
      attention_bias = { 'boolean', default = false },
      tie_word_embeddings = { 'boolean', default = true },
      use_bidirectional_attention = { one_of = { false }, default = false },
    },
    --- The window is in layers 0, 2, 4 ..
    settle = function(c)
      if c.layer_types then return end
      c.layer_types = {}
      for i = 1, c.num_hidden_layers do
        c.layer_types[i] = i % 2 == 1 and 'sliding_attention' or 'full_attention'
      end
    end,
  },
}

--- sqrt(hidden_size), rounded to bf16 if the weights are (59.75 for 9B, where it is 59.87): the
--- checkpoints were trained with it so.
local function embedding_scale(c, dtype)
  local scale = math.sqrt(c.hidden_size)
  if dtype == 'f32' then return scale end
  return scope.run(function()
    return ops.cast(ops.cast(tensor.tensor { scale }, 'bf16'), 'f32'):item()
  end)
end

---@param c sppo.gemma2.Config
---@param options? { dtype: 'f32'|'bf16'|'q8_0' }  of the policy's weights, f32 if absent
function Gemma2:init(c, options)
  self.config = c
  self.scale = embedding_scale(c, options and options.dtype or 'f32')
  self.model = {
    embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size),
    layers = nn.list(c.num_hidden_layers, function(i) return Block(c, i - 1) end),
    norm = norm(c),
  }
  self.lm_head = nn.LmHead(c.hidden_size, c.vocab_size, { softcap = c.final_logit_softcapping })
  if c.tie_word_embeddings then nn.tie(self.lm_head, self.model.embed_tokens) end
end

--- Hidden states after the last norm, [n, hidden]; the caller applies `lm_head`.
---@param tokens sppo.Tensor      [n] i32
---@param at sppo.Segments
---@param options? { recompute: boolean }  keep no layer's intermediate values for backward
function Gemma2:forward(tokens, at, options)
  local m = self.model
  local x = m.embed_tokens(tokens) * self.scale
  for _, layer in ipairs(m.layers) do
    if options and options.recompute then x = nn.recompute(layer, x, at)
    else x = layer(x, at) end
  end
  return m.norm(x)
end

return Gemma2
