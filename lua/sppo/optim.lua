--- Optimizers as PyTorch defines them, schedules of the learning rate, clipping. The state of an
--- optimizer is a list of tensors beside each parameter; one fused pass of the engine updates it.

local engine = require 'sppo.ffi'
local check = require 'sppo.check'
local scope = require 'sppo.scope'
local tensor = require 'sppo.tensor'

local ffi, C, try = engine.ffi, engine.C, engine.try

local M = {}

---@class sppo.Optimizer
---@field states string[]  names of the state tensors, for checkpoints
---@field step fun(p, grad, state, lr, scale, number)  grad is multiplied by scale first

local makers = {}

--- An option's value, or PyTorch's default.
local function option(of, o, key, default, low, high)
  if o[key] == nil then return default end
  return check.number(('%s: %s'):format(of, key), o[key], 'number', low, high)
end

function makers.rmsprop(o)
  check.options('rmsprop', o, { 'alpha', 'eps', 'weight_decay' })
  local alpha = option('rmsprop', o, 'alpha', 0.99, 0, 1)
  local eps = option('rmsprop', o, 'eps', 1e-8, 0, 1)
  local decay = option('rmsprop', o, 'weight_decay', 0, 0, 1e6)
  return { states = { 'v' }, step = function(p, grad, state, lr, scale)
    try(C.sppo_rmsprop_step(p.h, grad, state.v.h, lr, alpha, eps, decay, scale))
  end }
end

function makers.adamw(o)
  check.options('adamw', o, { 'beta1', 'beta2', 'eps', 'weight_decay' })
  local beta1 = option('adamw', o, 'beta1', 0.9, 0, 0.999999)
  local beta2 = option('adamw', o, 'beta2', 0.999, 0, 0.999999999)
  local eps = option('adamw', o, 'eps', 1e-8, 0, 1)
  local decay = option('adamw', o, 'weight_decay', 0.01, 0, 1e6)
  return { states = { 'm', 'v' }, step = function(p, grad, state, lr, scale, number)
    try(C.sppo_adamw_step(p.h, grad, state.m.h, state.v.h, lr, beta1, beta2, eps, decay, scale,
      number))
  end }
end

function makers.sgd(o)
  check.options('sgd', o, { 'weight_decay' })
  local decay = option('sgd', o, 'weight_decay', 0, 0, 1e6)
  return { states = {}, step = function(p, grad, _, lr, scale)
    try(C.sppo_sgd_step(p.h, grad, lr, decay, scale))
  end }
end

M.names = { 'rmsprop', 'adamw', 'sgd' }

--- An optimizer by name, with PyTorch's defaults.
---@param name 'rmsprop'|'adamw'|'sgd'
---@param options? table
---@return sppo.Optimizer
function M.new(name, options)
  if not makers[name] then
    engine.raise('argument', check.unknown('optimizer', name, M.names), 2)
  end
  return makers[name](options or {})
end

--- Zero state for each parameter of nn.parameters(): state[name][s].
---@param optimizer sppo.Optimizer
---@param parameters table[]  of nn.parameters()
---@return table<string, table<string, sppo.Tensor>>
function M.state(optimizer, parameters)
  local state = {}
  for _, p in ipairs(parameters) do
    local t = p.owner[p.key]
    state[p.name] = {}
    for _, s in ipairs(optimizer.states) do
      state[p.name][s] = scope.keep(tensor.of_kind('optimizer', M.zeros_like, t))
    end
  end
  return state
end

--- A zero tensor of the same shape and layout.
---@param t sppo.Tensor
---@return sppo.Tensor
function M.zeros_like(t)
  return scope.run(function()
    local zeros = tensor.zeros(t.shape, t.dtype, t.device)
    return t.layout == 'panels' and zeros:pack(t.dtype) or zeros
  end)
end

local result = ffi.new('double[1]')

--- Square root of the sum of squares of all gradients, in f64.
---@param parameters table[]  of nn.parameters()
---@return number
function M.global_norm(parameters)
  local sum = 0
  for _, p in ipairs(parameters) do
    local g = C.sppo_tensor_grad(p.owner[p.key].h)
    if g ~= nil then
      try(C.sppo_sum_squares(g, result))
      sum = sum + result[0]
    end
  end
  return math.sqrt(sum)
end

--- What gradients are multiplied by so that their norm is `clip` at most; raises if the norm is NaN
--- or infinite.
---@param norm number      of all gradients
---@param number integer   this step, counted from 1
---@param clip number      0: none
---@return number
function M.clip_scale(norm, number, clip)
  if norm ~= norm or norm == math.huge then
    engine.raise('nonfinite', ('train: the gradient\'s norm is %s at step %d; ' ..
      'no weight was changed'):format(
      norm ~= norm and 'NaN' or 'infinite', number))
  end
  return clip > 0 and math.min(1, clip / (norm + 1e-6)) or 1 -- as clip_grad_norm_ does
end

--- One step over all parameters, gradients clipped to a global norm; raises before any weight is
--- touched if the norm is NaN or infinite. Gradients are dropped.
---@param optimizer sppo.Optimizer
---@param parameters table[]  of nn.parameters()
---@param state table         of M.state()
---@param lr number
---@param number integer   this step, counted from 1
---@param clip number      0: none
---@return number norm     before clipping
function M.step(optimizer, parameters, state, lr, number, clip)
  local norm = M.global_norm(parameters)
  local scale = M.clip_scale(norm, number, clip)
  for _, p in ipairs(parameters) do
    local t = p.owner[p.key]
    local g = C.sppo_tensor_grad(t.h)
    if g ~= nil then
      optimizer.step(t, g, state[p.name], lr, scale, number)
      t:clear_grad_()
    end
  end
  return norm
end

--- Share of the learning rate at a step (counted from 0) of `total`: warm-up from 1/w to 1 over w
--- steps, then by the schedule's name.
---@param schedule 'linear'|'constant'|'cosine'
---@param step integer
---@param total integer
---@param warmup number  share of all steps
---@param from_zero? boolean  transformers' schedule: the warm-up starts at 0
---@return number
function M.schedule(schedule, step, total, warmup, from_zero)
  local w = math.ceil(warmup * total)
  if step < w then return (from_zero and step or step + 1) / w end
  if schedule == 'constant' then return 1 end
  local progress = (step - w) / math.max(1, total - w)
  if schedule == 'cosine' then return 0.5 * (1 + math.cos(math.pi * progress)) end
  return 1 - progress
end

M.schedules = { 'linear', 'constant', 'cosine' }

return M
