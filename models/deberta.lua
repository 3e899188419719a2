--- DeBERTa-v3 encoder: the DebertaV2Model of transformers, as microsoft/deberta-v3-* configure it.
---
--- Every token sees all of its text, by content and by relative position
--- (ops.disentangled_attention; arXiv 2006.03654, 2111.09543). Field names are the checkpoint's
--- tensor names. A batch is flat: `n` tokens, and each segment of `at` is a text of its own. There
--- is no dropout, in training neither.

local check = require 'sppo.check'
local json = require 'sppo.json'
local nn = require 'sppo.nn'
local ops = require 'sppo.ops'
local tensor = require 'sppo.tensor'

---@class sppo.deberta.Config     config.json's names
---@field vocab_size integer
---@field hidden_size integer
---@field intermediate_size integer
---@field num_hidden_layers integer
---@field num_attention_heads integer
---@field position_buckets integer
---@field max_relative_positions integer   max_position_embeddings where it is below 1
---@field layer_norm_eps number

local BIAS = { bias = true }

local SelfAttention = nn.class 'deberta.SelfAttention'

---@param c sppo.deberta.Config
function SelfAttention:init(c)
  self.heads, self.head_dim = c.num_attention_heads, c.hidden_size / c.num_attention_heads
  self.positions = { buckets = c.position_buckets, max_positions = c.max_relative_positions }
  self.query_proj = nn.Linear(c.hidden_size, c.hidden_size, BIAS)
  self.key_proj = nn.Linear(c.hidden_size, c.hidden_size, BIAS)
  self.value_proj = nn.Linear(c.hidden_size, c.hidden_size, BIAS)
end

---@param x sppo.Tensor          [n, hidden]
---@param relative sppo.Tensor   [2 buckets, hidden]
---@param at sppo.Segments
function SelfAttention:forward(x, relative, at)
  local function heads(t) return t:view(-1, self.heads, self.head_dim) end
  local q, k, v = nn.linear(x, self.query_proj, self.key_proj, self.value_proj)
  local rel_q, rel_k = nn.linear(relative, self.query_proj, self.key_proj)
  local y = ops.disentangled_attention(heads(q), heads(k), heads(v), heads(rel_k), heads(rel_q), at,
    self.positions)
  return y:view(-1, self.heads * self.head_dim)
end

--- A linear layer whose result is added to what it came from, then normalised.
local Output = nn.class 'deberta.Output'

function Output:init(inputs, c)
  self.dense = nn.Linear(inputs, c.hidden_size, BIAS)
  self.LayerNorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
end

function Output:forward(y, x) return self.LayerNorm(self.dense(y) + x) end

local Layer = nn.class 'deberta.Layer'

function Layer:init(c)
  self.attention = { self = SelfAttention(c), output = Output(c.hidden_size, c) }
  self.intermediate = { dense = nn.Linear(c.hidden_size, c.intermediate_size, BIAS) }
  self.output = Output(c.intermediate_size, c)
end

function Layer:forward(x, relative, at)
  local attention = self.attention
  x = attention.output(attention.self(x, relative, at), x)
  return self.output(ops.gelu(self.intermediate.dense(x)), x)
end

local Deberta = nn.class 'deberta.Model'

---@param c sppo.deberta.Config
function Deberta:init(c)
  self.config = c
  self.embeddings = {
    word_embeddings = nn.Embedding(c.vocab_size, c.hidden_size),
    LayerNorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps),
  }
  self.encoder = {
    layer = nn.list(c.num_hidden_layers, function() return Layer(c) end),
    rel_embeddings = nn.Embedding(2 * c.position_buckets, c.hidden_size),
    LayerNorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps),
  }
end

--- Hidden states after the last layer, [n, hidden].
---@param tokens sppo.Tensor      [n] i32
---@param at sppo.Segments        no parents
---@param options? { recompute: boolean }  keep no layer's intermediate values for backward
function Deberta:forward(tokens, at, options)
  local e = self.encoder
  local rows = {}
  for i = 1, 2 * self.config.position_buckets do rows[i] = i - 1 end
  local relative = e.LayerNorm(e.rel_embeddings(tensor.ints(rows)))
  local x = self.embeddings.LayerNorm(self.embeddings.word_embeddings(tokens))
  for _, layer in ipairs(e.layer) do
    if options and options.recompute then x = nn.recompute(layer, x, relative, at)
    else x = layer(x, relative, at) end
  end
  return x
end

--- Sizes that must be there, and the most of each that is read.
local sizes = {
  { 'vocab_size', 2^24 }, { 'hidden_size', 2^20 }, { 'intermediate_size', 2^24 },
  { 'num_hidden_layers', 4096 }, { 'num_attention_heads', 4096 },
  { 'max_position_embeddings', 2^24 }, { 'position_buckets', 2^14 },
}

--- Switches, and the one value of each that this version computes. What is absent counts as
--- transformers' default, which is given where it is that value.
local switches = {
  { 'hidden_act', 'gelu', default = true }, { 'relative_attention', true },
  { 'share_att_key', true }, { 'position_biased_input', false }, { 'norm_rel_ebd', 'layer_norm' },
  { 'type_vocab_size', 0, default = true }, { 'conv_kernel_size', 0, default = true },
}

--- The words of pos_att_type, 'p2c|c2p' or a list, in order.
local function words(value)
  local list = {}
  if type(value) == 'string' then
    for word in value:lower():gmatch('[^|%s]+') do list[#list + 1] = word end
  elseif type(value) == 'table' then
    for i, word in ipairs(value) do list[i] = tostring(word) end
  end
  table.sort(list)
  return table.concat(list, '|')
end

--- A config.json checked before anything is allocated from its numbers, with what may be left out
--- filled in; nil, text with the key and what it must be.
---@param given table
---@return sppo.deberta.Config?
function Deberta.check(given)
  local c = {}
  for key, value in pairs(given) do
    if value ~= json.null then c[key] = value end
  end
  c.max_position_embeddings = c.max_position_embeddings or 512
  if c.model_type ~= 'deberta-v2' then
    return nil, ('model_type must be \'deberta-v2\', got \'%s\''):format(tostring(c.model_type))
  end
  for _, size in ipairs(sizes) do
    local text = check.number_text(size[1], c[size[1]], 'integer', 1, size[2])
    if text then return nil, text end
  end
  for _, switch in ipairs(switches) do
    local key, wanted = switch[1], switch[2]
    local value = c[key]
    if value == nil and switch.default then value = wanted end
    if value ~= wanted then
      return nil, ('%s must be %s as in microsoft/deberta-v3-*, got %s'):format(key,
        json.encode(wanted), value == nil and 'nothing' or json.encode(value))
    end
  end
  if words(c.pos_att_type) ~= 'c2p|p2c' then
    return nil, 'pos_att_type must be p2c and c2p as in microsoft/deberta-v3-*, got ' ..
      (c.pos_att_type == nil and 'nothing' or json.encode(c.pos_att_type))
  end
  local width = c.hidden_size / c.num_attention_heads
  local text = check.number_text('hidden_size / num_attention_heads', width, 'integer', 1, 256)
  if text then return nil, text end
  for key, wanted in pairs { embedding_size = c.hidden_size, attention_head_size = width } do
    if c[key] ~= nil and c[key] ~= wanted then
      return nil, ('%s must be %d, got %s'):format(key, wanted, tostring(c[key]))
    end
  end
  if type(c.max_relative_positions) ~= 'number' or c.max_relative_positions < 1 then
    c.max_relative_positions = c.max_position_embeddings
  end
  c.layer_norm_eps = c.layer_norm_eps or 1e-7
  text = check.number_text('layer_norm_eps', c.layer_norm_eps, 'number', 1e-12, 1)
    or check.number_text('position_buckets', c.position_buckets, 'integer', 2, 2^14)
    or check.number_text('max_relative_positions', c.max_relative_positions, 'integer',
      math.floor(c.position_buckets / 2) + 2, 2^24)
  if text then return nil, text end
  return c
end

return Deberta
