--- Building blocks of models: classes whose fields are named as the checkpoint's tensors.
---
--- A model is a tree of tables. Its parameters are declared with a shape and filled later, by
--- loading a checkpoint or at random; the path to a parameter is its name:
--- `model.layers.0.self_attn.q_proj.weight`.

local engine = require 'sppo.ffi'
local ops = require 'sppo.ops'
local scope = require 'sppo.scope'
local tensor = require 'sppo.tensor'

local C = engine.C

local M = {}

--- A parameter's place before its values are there.
---@param shape integer[]
---@param layout 'rows'|'panels'
---@param initial? number  what all its values are in a random model; absent: drawn
function M.declare(shape, layout, initial)
  return { declared = true, shape = shape, layout = layout, initial = initial }
end

--- A class: `Class(args)` makes an object and calls `init`; `object(args)` calls `forward` inside a
--- scope of its own, so that only what it returns lives on.
---@param name string  for printing
function M.class(name)
  local class = { class_name = name }
  class.__index = class
  class.__call = function(self, ...) return scope.run(self.forward, self, ...) end
  class.__tostring = function(self) return M.tree(self) end
  return setmetatable(class, {
    __call = function(_, ...)
      local object = setmetatable({}, class)
      object:init(...)
      return object
    end,
  })
end

--- x @ weight^T, plus a bias if it has one.
---@class sppo.nn.Linear
---@field weight sppo.Tensor  [outputs, inputs] in panels
---@field bias? sppo.Tensor   [outputs]
M.Linear = M.class 'Linear'

--- Declares the weight, and the bias if asked for.
---@param inputs integer
---@param outputs integer
---@param options? { bias?: boolean }
function M.Linear:init(inputs, outputs, options)
  self.weight = M.declare({ outputs, inputs }, 'panels')
  if options and options.bias then self.bias = M.declare({ outputs }, 'rows', 0) end
end

--- The product; called as `layer(x)`.
---@param x sppo.Tensor  [.., inputs]
---@return sppo.Tensor   [.., outputs]
function M.Linear:forward(x)
  local y = ops.linear(x, { self.weight })
  return self.bias and ops.add_bias(y, self.bias) or y
end

--- The projection of hidden states to the vocabulary, applied by the caller to the rows it needs.
---@class sppo.nn.LmHead
---@field weight sppo.Tensor  [vocabulary, inputs] in panels
---@field softcap? number
M.LmHead = M.class 'LmHead'

--- Declares the weight; `nn.tie` takes the embedding's instead.
---@param inputs integer
---@param vocabulary integer
---@param options? { softcap?: number }  logits are softcap * tanh(logits / softcap)
function M.LmHead:init(inputs, vocabulary, options)
  self.weight = M.declare({ vocabulary, inputs }, 'panels')
  self.softcap = options and options.softcap
end

--- Logits; called as `head(x)`.
---@param x sppo.Tensor  [n, inputs]
---@return sppo.Tensor   [n, vocabulary]
function M.LmHead:forward(x)
  local logits = ops.linear(x, { self.weight })
  return self.softcap and ops.softcap(logits, self.softcap) or logits
end

--- log softmax(logits)[i, target[i]], [n], without the logits in between; the same bits.
---@param x sppo.Tensor       [n, inputs]
---@param target sppo.Tensor  [n] i32
---@return sppo.Tensor        [n]
function M.LmHead:logprob(x, target)
  return ops.token_logprob(x, self.weight, target, { softcap = self.softcap })
end

--- A table of rows, one for each token id.
---@class sppo.nn.Embedding
---@field weight sppo.Tensor  [rows, columns]
M.Embedding = M.class 'Embedding'

--- Declares the table.
---@param rows integer     of the vocabulary
---@param columns integer  hidden size
function M.Embedding:init(rows, columns) self.weight = M.declare({ rows, columns }, 'rows') end

--- The rows of some tokens; called as `embedding(tokens)`.
---@param tokens sppo.Tensor  [n] i32
---@return sppo.Tensor        [n, columns]
function M.Embedding:forward(tokens) return ops.embed(self.weight, tokens) end

--- ops.rms_norm with a weight of its own.
---@class sppo.nn.RmsNorm
---@field weight sppo.Tensor  [size]
---@field eps number
---@field offset number
M.RmsNorm = M.class 'RmsNorm'

--- Declares the weight: ones less the offset in a random model.
---@param size integer
---@param eps number
---@param options? { offset?: number }  as ops.rms_norm has it
function M.RmsNorm:init(size, eps, options)
  self.offset = options and options.offset or 0
  self.weight, self.eps = M.declare({ size }, 'rows', 1 - self.offset), eps
end

--- Called as `norm(x)`.
---@param x sppo.Tensor  [.., size]
---@return sppo.Tensor   [.., size]
function M.RmsNorm:forward(x) return ops.rms_norm(x, self.weight, self.eps, self) end

--- ops.layer_norm with a weight and a bias of its own.
---@class sppo.nn.LayerNorm
---@field weight sppo.Tensor  [size]
---@field bias sppo.Tensor    [size]
---@field eps number
M.LayerNorm = M.class 'LayerNorm'

--- Declares weight and bias: ones and zeros in a random model.
---@param size integer
---@param eps number
function M.LayerNorm:init(size, eps)
  self.weight, self.bias = M.declare({ size }, 'rows', 1), M.declare({ size }, 'rows', 0)
  self.eps = eps
end

--- Called as `norm(x)`.
---@param x sppo.Tensor  [.., size]
---@return sppo.Tensor   [.., size]
function M.LayerNorm:forward(x) return ops.layer_norm(x, self.weight, self.bias, self.eps) end

--- Several linear layers of one input as one product.
---@param x sppo.Tensor         [.., inputs]
---@param ... sppo.nn.Linear    1..4
---@return sppo.Tensor ...
function M.linear(x, ...)
  local layers, weights, biased = { ... }, {}, false
  for i, layer in ipairs(layers) do
    weights[i], biased = layer.weight, biased or layer.bias ~= nil
  end
  if not biased then return ops.linear(x, weights) end
  local y = { ops.linear(x, weights) }
  for i, layer in ipairs(layers) do
    if layer.bias then y[i] = ops.add_bias(y[i], layer.bias) end
  end
  return unpack(y)
end

--- A list of n children, named 0 .. n-1 as checkpoints name them.
---@param n integer
---@param make fun(i: integer): table  i counts from 1
---@return table[]
function M.list(n, make)
  local list = { list = true }
  for i = 1, n do list[i] = make(i) end
  return list
end

--- `linear` reads the table of `embedding` (a tied head); it has no parameter of its own.
---@param linear sppo.nn.Linear|sppo.nn.LmHead
---@param embedding sppo.nn.Embedding
function M.tie(linear, embedding)
  embedding.weight.layout = 'panels'
  linear.tied = embedding
end

--- The layer's result, without keeping what was made in between: backward replays it.
---@param layer table  called with the rest; may not hold another `recompute`
---@return any ...
function M.recompute(layer, ...)
  engine.try(C.sppo_recompute_begin())
  local function leave(ok, ...)
    if not ok then
      C.sppo_recompute_abort()
      error((...), 0)
    end
    engine.try(C.sppo_recompute_end())
    return ...
  end
  return leave(pcall(layer, ...))
end

local function children(node)
  local keys = {}
  for key, value in pairs(node) do
    if type(value) == 'table' and key ~= 'tied' then keys[#keys + 1] = key end
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) then return a < b end
    return type(a) == 'number'
  end)
  return keys
end

local function walk(node, path, out)
  if node.tied then return end
  for _, key in ipairs(children(node)) do
    local value = node[key]
    local name = (path ~= '' and path .. '.' or '') .. (type(key) == 'number' and key - 1 or key)
    if tensor.is_tensor(value) or value.declared then
      out[#out + 1] = { name = name, owner = node, key = key }
    elseif key ~= 'config' then
      walk(value, name, out)
    end
  end
end

--- The parameters of a model in a fixed order: { name, owner, key }; owner[key] is a tensor or
--- still a declaration.
---@param model table
---@return { name: string, owner: table, key: string|integer }[]
function M.parameters(model)
  local out = {}
  walk(model, '', out)
  return out
end

--- Number of values in all parameters, loaded or not.
---@param model table
---@return integer
function M.count(model)
  local total = 0
  for _, p in ipairs(M.parameters(model)) do
    local count = 1
    for _, size in ipairs(p.owner[p.key].shape) do count = count * size end
    total = total + count
  end
  return total
end

--- Points tied layers at the table they read. To be called when parameters have changed places.
---@param node table  a model
function M.bind(node)
  if node.tied then node.weight = node.tied.weight end
  for _, key in ipairs(children(node)) do
    local value = node[key]
    if not tensor.is_tensor(value) and not value.declared and key ~= 'config' then M.bind(value) end
  end
end

--- Fills every parameter: `fill(name, shape, initial)` gives an f32 tensor in rows, which is stored
--- in `dtype` (vectors stay f32), on the default device.
---@param model table
---@param fill fun(name: string, shape: integer[], initial?: number): sppo.Tensor
---@param dtype 'f32'|'bf16'|'q8_0'
---@param values? 'f32'|'bf16'  rounded to first: a policy kept in bf16 is trained in f32
function M.fill(model, fill, dtype, values)
  for _, p in ipairs(M.parameters(model)) do
    local declared = p.owner[p.key]
    p.owner[p.key] = scope.keep(tensor.of_kind('weights', scope.run, function()
      local t = fill(p.name, declared.shape, declared.initial)
      if t.device ~= 'meta' then t = t:on(tensor.default_device()) end
      local matrix = #declared.shape > 1
      if matrix and values == 'bf16' then t = ops.cast(ops.cast(t, 'bf16'), 'f32') end
      if declared.layout == 'panels' then return ops.pack(t, dtype) end
      return matrix and dtype == 'bf16' and ops.cast(t, 'bf16') or t
    end))
  end
  M.bind(model)
end

--- The model as an indented tree with the shapes of its parameters.
---@param node table
---@param name? string    of the node, printed before it
---@param indent? string  ''
---@return string
function M.tree(node, name, indent)
  indent = indent or ''
  local lines = { ('%s%s%s'):format(indent, name and name .. ': ' or '', node.class_name or '') }
  for _, key in ipairs(children(node)) do
    local value = node[key]
    local label = type(key) == 'number' and tostring(key - 1) or key
    if tensor.is_tensor(value) then
      lines[#lines + 1] = ('%s  %s: %s'):format(indent, label, tostring(value))
    elseif value.declared then
      local shape = table.concat(value.shape, ', ')
      lines[#lines + 1] = ('%s  %s: [%s] declared'):format(indent, label, shape)
    elseif key ~= 'config' and key ~= 'rope' then
      lines[#lines + 1] = M.tree(value, label, indent .. '  ')
    end
  end
  return table.concat(lines, '\n')
end

return M
