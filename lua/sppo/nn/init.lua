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
function M.declare(shape, layout) return { declared = true, shape = shape, layout = layout } end

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

---@class sppo.nn.Linear
M.Linear = M.class 'Linear'
function M.Linear:init(inputs, outputs) self.weight = M.declare({ outputs, inputs }, 'panels') end
function M.Linear:forward(x) return ops.linear(x, { self.weight }) end

M.Embedding = M.class 'Embedding'
function M.Embedding:init(rows, columns) self.weight = M.declare({ rows, columns }, 'rows') end
function M.Embedding:forward(tokens) return ops.embed(self.weight, tokens) end

M.RmsNorm = M.class 'RmsNorm'
function M.RmsNorm:init(size, eps) self.weight, self.eps = M.declare({ size }, 'rows'), eps end
function M.RmsNorm:forward(x) return ops.rms_norm(x, self.weight, self.eps) end

--- Several linear layers of one input as one product.
---@return sppo.Tensor ...
function M.linear(x, ...)
  local weights = {}
  for i = 1, select('#', ...) do weights[i] = select(i, ...).weight end
  return ops.linear(x, weights)
end

--- A list of n children, named 0 .. n-1 as checkpoints name them.
function M.list(n, make)
  local list = { list = true }
  for i = 1, n do list[i] = make(i) end
  return list
end

--- `linear` reads the table of `embedding` (a tied head); it has no parameter of its own.
function M.tie(linear, embedding)
  embedding.weight.layout = 'panels'
  linear.tied = embedding
end

--- The layer's result, without keeping what was made in between: backward replays it.
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
function M.parameters(model)
  local out = {}
  walk(model, '', out)
  return out
end

--- Points tied layers at the table they read. To be called when parameters have changed places.
function M.bind(node)
  if node.tied then node.weight = node.tied.weight end
  for _, key in ipairs(children(node)) do
    local value = node[key]
    if not tensor.is_tensor(value) and not value.declared and key ~= 'config' then M.bind(value) end
  end
end

--- Fills every parameter: `fill(name, shape)` gives an f32 tensor in rows, which is stored in
--- `dtype` (vectors stay f32).
---@param fill fun(name: string, shape: integer[]): sppo.Tensor
---@param dtype 'f32'|'bf16'|'q8_0'
---@param values? 'f32'|'bf16'  rounded to first: a policy kept in bf16 is trained in f32
function M.fill(model, fill, dtype, values)
  for _, p in ipairs(M.parameters(model)) do
    local declared = p.owner[p.key]
    p.owner[p.key] = scope.keep(scope.run(function()
      local t = fill(p.name, declared.shape)
      local matrix = #declared.shape > 1
      if matrix and values == 'bf16' then t = ops.cast(ops.cast(t, 'bf16'), 'f32') end
      if declared.layout == 'panels' then return ops.pack(t, dtype) end
      return matrix and dtype == 'bf16' and ops.cast(t, 'bf16') or t
    end))
  end
  M.bind(model)
end

--- The model as an indented tree with the shapes of its parameters.
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
