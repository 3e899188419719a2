--- Who frees tensors: a scope releases what was made in it and not returned from it.
---
---     local loss = sppo.scope(function()
---       return loss_of(policy, batch)        -- hundreds of intermediates, gone on return
---     end)
---
--- Outside of every scope a tensor has a finalizer, which the garbage collector runs too late to
--- rely on (it does not see the size of what is behind the pointer).

local M = { class = nil } -- the tensor class, set by tensor.lua

local stack, depth = {}, 0

--- Hands a new tensor to the innermost scope; false if there is none.
---@param tensor sppo.Tensor
---@return boolean
function M.adopt(tensor)
  if depth == 0 then return false end
  local list = stack[depth]
  list[#list + 1] = tensor
  tensor.scope = list
  return true
end

local function mark(value, marked, seen)
  if type(value) ~= 'table' or seen[value] then return end
  seen[value] = true
  if getmetatable(value) == M.class then
    marked[value] = true
    return
  end
  for _, v in pairs(value) do mark(v, marked, seen) end
end

local function leave(list, ok, ...)
  stack[depth] = nil
  depth = depth - 1
  local marked = {}
  if ok then
    local seen = {}
    for i = 1, select('#', ...) do mark(select(i, ...), marked, seen) end
  end
  for i = 1, #list do
    local t = list[i]
    if t.scope == list then -- not kept elsewhere since
      t.scope = nil
      if not marked[t] then t:release()
      elseif not M.adopt(t) then t:finalize() end
    end
  end
  if not ok then error((...), 0) end
  return ...
end

--- Runs fn(...) and returns what it returns; tensors made inside and not among the results
--- (nor in tables among them) are released, on an error too.
---@param fn function
---@return any ...
function M.run(fn, ...)
  local list = {}
  depth = depth + 1
  stack[depth] = list
  return leave(list, pcall(fn, ...))
end

--- Takes a tensor out of its scope: it lives until it is released or collected.
---@generic T
---@param tensor T
---@return T
function M.keep(tensor)
  if tensor.scope then
    tensor.scope = nil
    tensor:finalize()
  end
  return tensor
end

--- Number of open scopes; for tests.
function M.depth() return depth end

return M
