--- The ops: thin wrappers over the engine, each documented in engine/include/sppo.h.

local engine = require 'sppo.ffi'
local tensor = require 'sppo.tensor'
local check = require 'sppo.check'

local ffi, C, try = engine.ffi, engine.C, engine.try
local box, wrap, handle = tensor.box, tensor.wrap, tensor.handle

local M = {}

--- An op of one tensor. The function is looked up at the call: a constant for the JIT.
local function unary(name)
  local symbol = 'sppo_' .. name
  return function(x)
    try(C[symbol](box, handle(x, name, 'x')))
    return wrap(box[0])
  end
end

local function binary(name, first, second)
  local symbol = 'sppo_' .. name
  return function(a, b)
    try(C[symbol](box, handle(a, name, first), handle(b, name, second)))
    return wrap(box[0])
  end
end

--- a + b, elementwise.
---@param a sppo.Tensor  [..] f32
---@param b sppo.Tensor  the same shape
---@return sppo.Tensor  the same shape
M.add = binary('add', 'a', 'b')

--- a - b, elementwise.
---@param a sppo.Tensor  [..] f32
---@param b sppo.Tensor  the same shape
---@return sppo.Tensor  the same shape
M.sub = binary('sub', 'a', 'b')

--- a * b, elementwise.
---@param a sppo.Tensor  [..] f32
---@param b sppo.Tensor  the same shape
---@return sppo.Tensor  the same shape
M.mul = binary('mul', 'a', 'b')

--- silu(gate) * up (Llama's feed-forward).
---@param gate sppo.Tensor  [..] f32
---@param up sppo.Tensor  the same shape
---@return sppo.Tensor  the same shape
M.swiglu = binary('swiglu', 'gate', 'up')

--- gelu(gate) * up, gelu in its tanh form (Gemma's feed-forward).
---@param gate sppo.Tensor  [..] f32
---@param up sppo.Tensor  the same shape
---@return sppo.Tensor  the same shape
M.geglu = binary('geglu', 'gate', 'up')

--- x[r, :] + bias.
---@param x sppo.Tensor  [.., N] f32
---@param bias sppo.Tensor  [N] f32
---@return sppo.Tensor  [.., N]
M.add_bias = binary('add_bias', 'x', 'bias')

--- Rows of a table: weight[tokens[i], :].
---@param weight sppo.Tensor  [V, D] rows or panels
---@param tokens sppo.Tensor  [n] i32, 0..V-1
---@return sppo.Tensor  [n, D]
M.embed = binary('embed', 'weight', 'tokens')

--- x[index[i], ..]; an index may repeat.
---@param x sppo.Tensor  [n, ..] f32
---@param index sppo.Tensor  [m] i32, 0..n-1
---@return sppo.Tensor  [m, ..]
M.take_rows = binary('take_rows', 'x', 'index')

--- x * x, elementwise.
---@param x sppo.Tensor  [..] f32
---@return sppo.Tensor   [..]
M.square = unary 'square'

--- e^x, elementwise.
---@param x sppo.Tensor  [..] f32
---@return sppo.Tensor   [..]
M.exp = unary 'exp'

--- max(0, x), elementwise.
---@param x sppo.Tensor  [..] f32
---@return sppo.Tensor   [..]
M.relu = unary 'relu'

--- x P(X < x) for a standard normal X: the exact GELU.
---@param x sppo.Tensor  [..] f32
---@return sppo.Tensor   [..]
M.gelu = unary 'gelu'

--- tanh x, elementwise.
---@param x sppo.Tensor  [..] f32
---@return sppo.Tensor   [..]
M.tanh = unary 'tanh'

--- log(1 / (1 + exp(-x))), without overflow.
---@param x sppo.Tensor  [..] f32
---@return sppo.Tensor   [..]
M.log_sigmoid = unary 'log_sigmoid'

--- Sum of all values; f64 inside, in a fixed order.
---@param x sppo.Tensor  [..] f32
---@return sppo.Tensor   [1]
M.sum = unary 'sum'

--- Softmax over the last axis.
---@param x sppo.Tensor  [.., D] f32
---@return sppo.Tensor   [.., D]
M.softmax = unary 'softmax'

--- Log-softmax over the last axis.
---@param x sppo.Tensor  [.., D] f32
---@return sppo.Tensor   [.., D]
M.log_softmax = unary 'log_softmax'

--- Panels back to f32 rows; not recorded for backward.
---@param x sppo.Tensor  [N, K] in panels of any dtype
---@return sppo.Tensor   [N, K] f32 rows
M.unpack = unary 'unpack'

--- a * x + b, elementwise.
---@param x sppo.Tensor  [..] f32
---@param a number
---@param b? number  0
---@return sppo.Tensor   [..]
function M.affine(x, a, b)
  try(C.sppo_affine(box, handle(x, 'affine', 'x'), a, b or 0))
  return wrap(box[0])
end

--- cap * tanh(x / cap)
---@param x sppo.Tensor
---@param cap number  positive
---@return sppo.Tensor   [..]
function M.softcap(x, cap)
  try(C.sppo_softcap(box, handle(x, 'softcap', 'x'), cap))
  return wrap(box[0])
end

--- Mean of all values.
---@param x sppo.Tensor  [..] f32
---@return sppo.Tensor   [1]
function M.mean(x) return M.affine(M.sum(x), 1 / math.max(1, x:count())) end

local weight_box = ffi.new('sppo_tensor *[4]')

--- One product over up to 4 weights: returns x @ w^T for each.
---@param x sppo.Tensor            [.., K]
---@param weights sppo.Tensor[]    each [N, K] in panels
---@return sppo.Tensor ...         each [.., N]
function M.linear(x, weights)
  local h, n = handle(x, 'linear', 'x'), #weights
  if n < 1 or n > 4 then
    engine.raise('argument', ('linear: %d weights, it takes 1..4'):format(n), 2)
  end
  for i = 1, n do weight_box[i - 1] = handle(weights[i], 'linear', 'a weight') end
  try(C.sppo_linear(box, h, weight_box, n))
  if n == 1 then return wrap(box[0]) end
  if n == 2 then return wrap(box[0]), wrap(box[1]) end
  if n == 3 then return wrap(box[0]), wrap(box[1]), wrap(box[2]) end
  return wrap(box[0]), wrap(box[1]), wrap(box[2]), wrap(box[3])
end

--- x / sqrt(mean(x^2) + eps) * (offset + weight), over the last axis.
---@param x sppo.Tensor           [.., d] f32
---@param weight sppo.Tensor      [d] f32
---@param eps number
---@param options? { offset?: number }  added to the weight: 1 for Gemma's, 0 if absent
---@return sppo.Tensor           [.., d]
function M.rms_norm(x, weight, eps, options)
  try(C.sppo_rms_norm(box, handle(x, 'rms_norm', 'x'), handle(weight, 'rms_norm', 'weight'), eps,
    options and options.offset or 0))
  return wrap(box[0])
end

--- (x - mean) / sqrt(variance + eps) * weight + bias, over the last axis.
---@param x sppo.Tensor       [.., d] f32
---@param weight sppo.Tensor  [d] f32
---@param bias sppo.Tensor    [d] f32
---@param eps number
---@return sppo.Tensor        [.., d]
function M.layer_norm(x, weight, bias, eps)
  try(C.sppo_layer_norm(box, handle(x, 'layer_norm', 'x'), handle(weight, 'layer_norm', 'weight'),
    handle(bias, 'layer_norm', 'bias'), eps))
  return wrap(box[0])
end

local rope_scaling = ffi.new('sppo_rope_scaling')

---@class sppo.ops.RopeScaling    frequencies for longer texts, named as config.json names them
---@field factor number
---@field low_freq_factor? number    with the next two: rope_type "llama3", without: "linear"
---@field high_freq_factor? number
---@field original_max_position_embeddings? integer

--- Rotary position embedding at the positions of `at`, half-split as Hugging Face's Llama has it.
---@param x sppo.Tensor                [n, heads, head_dim], head_dim even
---@param at sppo.Segments
---@param options { theta: number, scaling?: sppo.ops.RopeScaling }
---@return sppo.Tensor                 [n, heads, head_dim]
function M.rope(x, at, options)
  local given, scaling = options.scaling, nil
  if given then
    scaling = rope_scaling
    scaling.factor = given.factor
    scaling.low_freq_factor = given.low_freq_factor or 0
    scaling.high_freq_factor = given.high_freq_factor or 0
    scaling.original_positions = given.original_max_position_embeddings or 0
  end
  try(C.sppo_rope(box, handle(x, 'rope', 'x'), at.h, options.theta, scaling))
  return wrap(box[0])
end

local attention_options = ffi.new('sppo_attention_options')

---@class sppo.ops.AttentionOptions
---@field layer? integer      counts from 0
---@field causal? boolean     true
---@field scale? number       1 / sqrt(head_dim)
---@field softcap? number     scores s become softcap * tanh(s / softcap); 0: off
---@field window? integer     a token sees itself and the window - 1 tokens before it; 0: all

--- Softmax attention inside a tree of segments: a token sees its own segment up to itself and all
--- of those that this one continues. With a store in `at`, k and v are appended to it first.
---@param q sppo.Tensor       [n, heads, head_dim], heads a multiple of kv_heads
---@param k sppo.Tensor       [n, kv_heads, head_dim]
---@param v sppo.Tensor       [n, kv_heads, head_dim]
---@param at sppo.Segments
---@param options? sppo.ops.AttentionOptions
---@return sppo.Tensor        [n, heads, head_dim]
function M.attention(q, k, v, at, options)
  options = options or {}
  attention_options.layer = options.layer or 0
  attention_options.causal = options.causal == false and 0 or 1
  attention_options.scale = options.scale or 0
  attention_options.softcap = options.softcap or 0
  attention_options.window = options.window or 0
  try(C.sppo_attention(box, handle(q, 'attention', 'q'), handle(k, 'attention', 'k'),
    handle(v, 'attention', 'v'), at.h, attention_options))
  return wrap(box[0])
end

local disentangled_options = ffi.new('sppo_disentangled_options')

--- DeBERTa's attention: every token sees all of its text; every segment of `at` is a text.
---@param q sppo.Tensor       [n, heads, head_dim]
---@param k sppo.Tensor       [n, heads, head_dim]
---@param v sppo.Tensor       [n, heads, head_dim]
---@param rel_k sppo.Tensor   [2 buckets, heads, head_dim], keys of relative positions
---@param rel_q sppo.Tensor   [2 buckets, heads, head_dim], queries of relative positions
---@param at sppo.Segments
---@param options { buckets: integer, max_positions: integer, scale?: number }
---@return sppo.Tensor        [n, heads, head_dim]
function M.disentangled_attention(q, k, v, rel_k, rel_q, at, options)
  local name = 'disentangled_attention'
  disentangled_options.buckets = options.buckets
  disentangled_options.max_positions = options.max_positions
  disentangled_options.scale = options.scale or 0
  try(C.sppo_disentangled_attention(box, handle(q, name, 'q'), handle(k, name, 'k'),
    handle(v, name, 'v'), handle(rel_k, name, 'rel_k'), handle(rel_q, name, 'rel_q'), at.h,
    disentangled_options))
  return wrap(box[0])
end

--- Sums of x over groups: out[g] = sum of x[i] with group[i] == g, in the order of i.
---@param x sppo.Tensor      [n] f32
---@param group sppo.Tensor  [n] i32, 0..groups-1
---@param groups integer
---@return sppo.Tensor       [groups]
function M.segment_sum(x, group, groups)
  try(C.sppo_segment_sum(box, handle(x, 'segment_sum', 'x'),
    handle(group, 'segment_sum', 'group'), groups))
  return wrap(box[0])
end

--- log softmax(hidden @ weight^T)[i, target[i]], without the [n, V] in between.
---@param hidden sppo.Tensor     [n, d]
---@param weight sppo.Tensor     [V, d] in panels
---@param target sppo.Tensor     [n] i32
---@param options? { softcap?: number }  of softcap * tanh(logits / softcap); 0: off
---@return sppo.Tensor           [n]
function M.token_logprob(hidden, weight, target, options)
  try(C.sppo_token_logprob(box, handle(hidden, 'token_logprob', 'hidden'),
    handle(weight, 'token_logprob', 'weight'), handle(target, 'token_logprob', 'target'),
    options and options.softcap or 0))
  return wrap(box[0])
end

local function dtype_of(name, dtype)
  local d = tensor.dtypes[dtype]
  if d then return d end
  local known = {}
  for key in pairs(tensor.dtypes) do known[#known + 1] = key end
  engine.raise('argument', name .. ': ' .. check.unknown('dtype', dtype, known), 3)
end

--- From f32 to another dtype but i32, or back; as rows, not recorded for backward.
---@param x sppo.Tensor  [..] rows
---@param dtype 'f32'|'bf16'|'f16'|'q8_0'  q8_0 needs a last size that is a multiple of 32
---@return sppo.Tensor   [..]
function M.cast(x, dtype)
  try(C.sppo_cast(box, handle(x, 'cast', 'x'), dtype_of('cast', dtype)))
  return wrap(box[0])
end

--- [N, K] rows to the panels that `linear` reads; not recorded for backward.
---@param x sppo.Tensor  [N, K] rows
---@param dtype? 'f32'|'bf16'|'q8_0'  'f32'
---@return sppo.Tensor   [N, K] panels
function M.pack(x, dtype)
  try(C.sppo_pack(box, handle(x, 'pack', 'x'), dtype_of('pack', dtype or 'f32')))
  return wrap(box[0])
end

-- ---- methods and operators of tensors ----

local methods, class = tensor.methods, tensor.class

for _, name in ipairs { 'square', 'exp', 'relu', 'gelu', 'tanh', 'log_sigmoid', 'sum', 'mean',
  'softmax', 'log_softmax', 'unpack', 'pack', 'affine', 'take_rows' } do
  methods[name] = M[name]
end
methods.to = M.cast

local function number_first(a, b) return type(a) == 'number', type(b) == 'number' end

function class.__add(a, b)
  local left, right = number_first(a, b)
  if left then return M.affine(b, 1, a) end
  if right then return M.affine(a, 1, b) end
  return M.add(a, b)
end

function class.__sub(a, b)
  local left, right = number_first(a, b)
  if left then return M.affine(b, -1, a) end
  if right then return M.affine(a, 1, -b) end
  return M.sub(a, b)
end

function class.__mul(a, b)
  local left, right = number_first(a, b)
  if left then return M.affine(b, a) end
  if right then return M.affine(a, b) end
  return M.mul(a, b)
end

function class.__div(a, b)
  if type(b) ~= 'number' then engine.raise('argument', 'div: only by a number', 2) end
  return M.affine(a, 1 / b)
end

function class.__unm(a) return M.affine(a, -1) end

return M
