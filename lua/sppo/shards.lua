--- How the work and the state of a run are cut among its processes: contiguous parts of lists, and
--- whole parameters, each with one process that keeps its optimizer state and updates it.

local C = require('sppo.ffi').C

local M = {}

--- First and last of `count` things that are process `rank`'s; last < first if none is. Parts are
--- in the order of processes and differ by one thing at most.
---@param count integer
---@param rank integer       from 0
---@param processes integer
---@return integer first, integer last
function M.part(count, rank, processes)
  local even, rest = math.floor(count / processes), count % processes
  local first = even * rank + math.min(rank, rest) + 1
  return first, first + even - (rank < rest and 0 or 1)
end

--- The process that keeps each parameter's optimizer state, by the parameter's name: the largest
--- are given out first, each to the process that has the fewest bytes.
---@param parameters table[]  of nn.parameters()
---@param processes integer
---@return table<string, integer> owners  from 0
---@return integer[] bytes                of the parameters that each has, by rank + 1
function M.owners(parameters, processes)
  local order, owners, bytes = {}, {}, {}
  for i, p in ipairs(parameters) do
    order[i] = { name = p.name, number = i,
      bytes = tonumber(C.sppo_tensor_bytes(p.owner[p.key].h)) }
  end
  table.sort(order, function(a, b)
    if a.bytes ~= b.bytes then return a.bytes > b.bytes end
    return a.number < b.number
  end)
  for i = 1, processes do bytes[i] = 0 end
  for _, p in ipairs(order) do
    local least = 1
    for i = 2, processes do
      if bytes[i] < bytes[least] then least = i end
    end
    owners[p.name], bytes[least] = least - 1, bytes[least] + p.bytes
  end
  return owners, bytes
end

--- The parameters that are a process's, in their order.
---@param parameters table[]  of nn.parameters()
---@param owners table<string, integer>
---@param rank integer
---@return table[]
function M.owned(parameters, owners, rank)
  local list = {}
  for _, p in ipairs(parameters) do
    if owners[p.name] == rank then list[#list + 1] = p end
  end
  return list
end

return M
