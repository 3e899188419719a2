--- An optimizer step over the processes of a run: gradients are summed into the process that owns
--- the parameter (lua/sppo/shards.lua), which alone has its optimizer's state; it updates the
--- weights, and all get them. Sums are in the order of processes: the same bits in each.

local comm = require 'sppo.comm'
local engine = require 'sppo.ffi'
local optim = require 'sppo.optim'
local scope = require 'sppo.scope'
local tensor = require 'sppo.tensor'

local ffi, C, try = engine.ffi, engine.C, engine.try

local M = {}

--- Whether each parameter has a gradient in some process.
local function used(parameters)
  local mine, any = {}, {}
  for i, p in ipairs(parameters) do mine[i] = C.sppo_tensor_grad(p.owner[p.key].h) ~= nil end
  for _, list in ipairs(comm.gather(mine)) do
    for i, yes in ipairs(list) do any[i] = any[i] or yes end
  end
  return any
end

--- Sums a parameter's gradient into its owner, where it is returned; dropped in the others.
local function sum_into(owner, t)
  local mine = owner == comm.rank()
  local g = t.grad
  if not g then
    -- No micro-batch of this process had the parameter: nothing is what it adds.
    g = tensor.of_kind('gradients', optim.zeros_like, t)
  end
  comm.reduce(g, owner)
  if mine then return g end
  g:release()
  t:clear_grad_()
end

local squares = ffi.new('double[1]')

--- One step over all parameters, gradients clipped to their global norm over all processes; raises
--- in all of them before any weight is touched if the norm is NaN or infinite. Gradients are
--- dropped.
---@param optimizer sppo.Optimizer
---@param parameters table[]  of nn.parameters()
---@param owners table<string, integer>  of shards.owners()
---@param state table         of optim.state(), for the parameters of this process
---@param lr number
---@param number integer   this step, counted from 1
---@param clip number      0: none
---@return number norm     before clipping
function M.step(optimizer, parameters, owners, state, lr, number, clip)
  return scope.run(function()
    local any, sums, summed = used(parameters), {}, {}
    for i, p in ipairs(parameters) do
      summed[i] = any[i] and sum_into(owners[p.name], p.owner[p.key]) or false
      sums[i] = 0
      if summed[i] then
        try(C.sppo_sum_squares(summed[i].h, squares))
        sums[i] = squares[0]
      end
    end
    local all, norm = comm.gather(sums), 0
    for i, p in ipairs(parameters) do norm = norm + all[owners[p.name] + 1][i] end
    norm = math.sqrt(norm)
    local scale = optim.clip_scale(norm, number, clip)
    for i, p in ipairs(parameters) do
      local t = p.owner[p.key]
      if summed[i] then
        optimizer.step(t, summed[i].h, state[p.name], lr, scale, number)
        summed[i]:release()
        t:clear_grad_()
      end
      if any[i] then comm.share_tensor(t, owners[p.name]) end
    end
    return norm
  end)
end

return M
