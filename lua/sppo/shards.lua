--- How the work and the state of a run are cut among its processes: contiguous parts of lists, and
--- whole parameters, each with one process that keeps its optimizer state and updates it.

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
--- are given out first, each to the process that has the fewest values.
---@param parameters table[]  of nn.parameters()
---@param processes integer
---@return table<string, integer> owners  from 0
---@return integer[] values               that each process has, by rank + 1
function M.owners(parameters, processes)
  local order, owners, values = {}, {}, {}
  for i, p in ipairs(parameters) do
    order[i] = { name = p.name, count = p.owner[p.key]:count(), number = i }
  end
  table.sort(order, function(a, b)
    if a.count ~= b.count then return a.count > b.count end
    return a.number < b.number
  end)
  for i = 1, processes do values[i] = 0 end
  for _, p in ipairs(order) do
    local least = 1
    for i = 2, processes do
      if values[i] < values[least] then least = i end
    end
    owners[p.name], values[least] = least - 1, values[least] + p.count
  end
  return owners, values
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
