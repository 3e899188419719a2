--- Qwen2 and Qwen2.5 decoder: Llama's, with biases on q, k and v, and a window in the upper layers
--- where use_sliding_window says so.
---
--- Field names are the checkpoint's tensor names; a batch is flat (see models/llama.lua).

local nn = require 'sppo.nn'
local ops = require 'sppo.ops'

---@class sppo.qwen2.Config       config.json's names
---@field vocab_size integer
---@field hidden_size integer
---@field intermediate_size integer
---@field num_hidden_layers integer
---@field num_attention_heads integer
---@field num_key_value_heads integer
---@field head_dim? integer           hidden_size / num_attention_heads
---@field rms_norm_eps number
---@field rope_theta number
---@field rope_scaling? sppo.ops.RopeScaling
---@field sliding_window? integer
---@field layer_types? string[]       'sliding_attention' where the window is; absent: nowhere
---@field tie_word_embeddings? boolean

local Attention = nn.class 'qwen2.Attention'

---@param c sppo.qwen2.Config
---@param layer integer  counts from 0
function Attention:init(c, layer)
  self.layer, self.heads, self.kv_heads = layer, c.num_attention_heads, c.num_key_value_heads
  self.head_dim = c.head_dim or c.hidden_size / self.heads
  if c.layer_types and c.layer_types[layer + 1] == 'sliding_attention' then
    self.window = c.sliding_window
  end
  local bias = { bias = true }
  self.q_proj = nn.Linear(c.hidden_size, self.heads * self.head_dim, bias)
  self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * self.head_dim, bias)
  self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * self.head_dim, bias)
  self.o_proj = nn.Linear(self.heads * self.head_dim, c.hidden_size)
  self.rope = { theta = c.rope_theta, scaling = c.rope_scaling }
end

---@param x sppo.Tensor      [n, hidden]
---@param at sppo.Segments
function Attention:forward(x, at)
  local q, k, v = nn.linear(x, self.q_proj, self.k_proj, self.v_proj)
  q = ops.rope(q:view(-1, self.heads, self.head_dim), at, self.rope)
  k = ops.rope(k:view(-1, self.kv_heads, self.head_dim), at, self.rope)
  v = v:view(-1, self.kv_heads, self.head_dim)
  local y = ops.attention(q, k, v, at, { layer = self.layer, window = self.window })
  return self.o_proj(y:view(-1, self.heads * self.head_dim))
end

local Mlp = nn.class 'qwen2.Mlp'

function Mlp:init(c)
  self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size)
  self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size)
  self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size)
end

function Mlp:forward(x)
  return self.down_proj(ops.swiglu(nn.linear(x, self.gate_proj, self.up_proj)))
end

local Block = nn.class 'qwen2.Block'

function Block:init(c, layer)
  self.input_layernorm = nn.RmsNorm(c.hidden_size, c.rms_norm_eps)
  self.self_attn = Attention(c, layer)
  self.post_attention_layernorm = nn.RmsNorm(c.hidden_size, c.rms_norm_eps)
  self.mlp = Mlp(c)
end

function Block:forward(x, at)
  x = x + self.self_attn(self.input_layernorm(x), at)
  return x + self.mlp(self.post_attention_layernorm(x))
end

local Qwen2 = nn.class 'qwen2.Model'

--- What config.json says beside the sizes (lua/sppo/model_config.lua); defaults are transformers'.
Qwen2.configs = {
  qwen2 = {
    architecture = 'Qwen2ForCausalLM',
    keys = {
      hidden_act = { one_of = { 'silu' }, default = 'silu' },
      max_position_embeddings = { default = 32768 },
      num_key_value_heads = { default = 32 },
      use_sliding_window = { 'boolean', default = false },
      sliding_window = { 'integer', 1, 2^31 - 1, default = 4096, null = true },
      max_window_layers = { 'integer', 0, 2^20, default = 28 },
    },
    --- Where the window is, if there is one.
    settle = function(c)
      if not c.use_sliding_window then c.sliding_window = nil end
      if not c.sliding_window then c.layer_types = nil end
      if c.layer_types or not c.sliding_window then return end
      c.layer_types = {}
      for i = 1, c.num_hidden_layers do
        c.layer_types[i] = i > c.max_window_layers and 'sliding_attention' or 'full_attention'
      end
    end,
  },
}

---@param c sppo.qwen2.Config
function Qwen2:init(c)
  self.config = c
  self.model = {
    embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size),
    layers = nn.list(c.num_hidden_layers, function(i) return Block(c, i - 1) end),
    norm = nn.RmsNorm(c.hidden_size, c.rms_norm_eps),
  }
  self.lm_head = nn.LmHead(c.hidden_size, c.vocab_size)
  if c.tie_word_embeddings then nn.tie(self.lm_head, self.model.embed_tokens) end
end

--- Hidden states after the last norm, [n, hidden]; the caller applies `lm_head`.
---@param tokens sppo.Tensor      [n] i32
---@param at sppo.Segments
---@param options? { recompute: boolean }  keep no layer's intermediate values for backward
function Qwen2:forward(tokens, at, options)
  local m = self.model
  local x = m.embed_tokens(tokens)
  for _, layer in ipairs(m.layers) do
    if options and options.recompute then x = nn.recompute(layer, x, at)
    else x = layer(x, at) end
  end
  return m.norm(x)
end

return Qwen2
