--- Llama-family decoder: Llama 2 to 3.1, Mistral, SmolLM2, and their kin. Field names are the
--- checkpoint's tensor names, so loading weights is a walk over this tree; there is no name table.
--- A batch is flat: `n` tokens, and `at` says where each belongs (sppo.segments).

local nn = require 'sppo.nn'
local ops = require 'sppo.ops'

---@class sppo.llama.Config       config.json's names
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
---@field sliding_window? integer     Mistral 0.1: tokens that a token sees, itself included
---@field attention_bias? boolean     on q, k, v and o
---@field mlp_bias? boolean
---@field tie_word_embeddings? boolean

local Attention = nn.class 'llama.Attention'

---@param c sppo.llama.Config
---@param layer integer  counts from 0
function Attention:init(c, layer)
  self.layer, self.heads, self.kv_heads = layer, c.num_attention_heads, c.num_key_value_heads
  self.head_dim = c.head_dim or c.hidden_size / self.heads
  self.window = c.sliding_window
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
  local y = ops.attention(q, k, v, at, { layer = self.layer, window = self.window })
  return self.o_proj(y:view(-1, self.heads * self.head_dim))
end

local Mlp = nn.class 'llama.Mlp'

function Mlp:init(c)
  local bias = { bias = c.mlp_bias }
  self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias)
  self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias)
  self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias)
end

function Mlp:forward(x)
  return self.down_proj(ops.swiglu(nn.linear(x, self.gate_proj, self.up_proj)))
end

local Block = nn.class 'llama.Block'

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

local Llama = nn.class 'llama.Model'

local silu, off = { one_of = { 'silu' }, default = 'silu' }, { 'boolean', default = false }

--- What config.json says beside the sizes (lua/sppo/model_config.lua); defaults are transformers'.
Llama.configs = {
  llama = { architecture = 'LlamaForCausalLM', keys = {
    hidden_act = silu, max_position_embeddings = { default = 2048 },
    attention_bias = off, mlp_bias = off } },
  mistral = { architecture = 'MistralForCausalLM', keys = {
    hidden_act = silu, max_position_embeddings = { default = 131072 },
    num_key_value_heads = { default = 8 },
    sliding_window = { 'integer', 1, 2^31 - 1, default = 4096, null = true } } },
}

---@param c sppo.llama.Config
function Llama:init(c)
  self.config = c
  self.model = {
    embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size),
    layers = nn.list(c.num_hidden_layers, function(i) return Block(c, i - 1) end),
    norm = nn.RmsNorm(c.hidden_size, c.rms_norm_eps),
  }
  self.lm_head = nn.LmHead(c.hidden_size, c.vocab_size)
  if c.tie_word_embeddings then nn.tie(self.lm_head, self.model.embed_tokens) end
end

--- Hidden states after the last norm, [n, hidden]. The caller applies `lm_head` to the rows it
--- needs: one a text when sampling, the answers' when training.
---@param tokens sppo.Tensor      [n] i32
---@param at sppo.Segments
---@param options? { recompute: boolean }  keep no layer's intermediate values for backward
function Llama:forward(tokens, at, options)
  local m = self.model
  local x = m.embed_tokens(tokens)
  for _, layer in ipairs(m.layers) do
    if options and options.recompute then x = nn.recompute(layer, x, at)
    else x = layer(x, at) end
  end
  return m.norm(x)
end

return Llama
