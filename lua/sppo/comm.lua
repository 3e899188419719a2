--- The processes of a run that `mpirun` started (engine/comm). With one process every function here
--- is there and does nothing: `share` and `gather` give back what they got.
---
--- A call is made by all processes, in one order. One that fails ends the others (cli/init.lua).

local engine = require 'sppo.ffi'
local msgpack = require 'sppo.msgpack'
local tensor = require 'sppo.tensor'

local ffi, C, try = engine.ffi, engine.C, engine.try

local M = {}

--- Joins the processes that mpirun started beside this one; raises if this build can't.
function M.start() try(C.sppo_comm_start()) end

--- Leaves the others when all are done; with a code that is not 0 ends them all.
---@param code integer
function M.leave(code)
  if code == 0 and M.size() > 1 then M.barrier() end
  C.sppo_comm_end(code)
end

--- This process's number, from 0.
---@return integer
function M.rank() return C.sppo_comm_rank() end

--- Number of processes that have joined; 1 without mpirun.
---@return integer
function M.size() return C.sppo_comm_size() end

--- Whether this is the process that writes: the only one, or the first.
---@return boolean
function M.first() return C.sppo_comm_rank() == 0 end

--- Returns when all processes have called it.
function M.barrier() try(C.sppo_comm_barrier()) end

local length = ffi.new('int64_t[1]')

local function share_bytes(bytes, from)
  local mine = M.rank() == from
  length[0] = mine and #bytes or 0
  try(C.sppo_comm_broadcast(length, 8, from))
  local n = tonumber(length[0])
  local buffer = ffi.new('char[?]', math.max(1, n))
  if mine then ffi.copy(buffer, bytes, n) end
  try(C.sppo_comm_broadcast(buffer, n, from))
  return ffi.string(buffer, n)
end

--- A value of one process, in all of them.
---@param value any      what msgpack can hold; of the others it is not looked at
---@param from? integer  0
---@return any
function M.share(value, from)
  if M.size() == 1 then return value end
  from = from or 0
  local bytes = share_bytes(M.rank() == from and msgpack.pack { value } or '', from)
  return assert(msgpack.unpack(bytes))[1]
end

--- A value of each process, in all of them, in the order of processes.
---@param value any  what msgpack can hold, not nil
---@return any[]
function M.gather(value)
  local list = {}
  for rank = 0, M.size() - 1 do list[rank + 1] = M.share(value, rank) end
  return list
end

--- fn(i) for i = 1 .. n, each called by one process; the results in all of them.
---@param n integer
---@param fn fun(i: integer): any  gives what msgpack can hold, not nil
---@return any[]
function M.each(n, fn)
  local size, mine, out = M.size(), {}, {}
  for i = M.rank() + 1, n, size do mine[#mine + 1] = fn(i) end
  for rank, list in ipairs(M.gather(mine)) do
    for j, value in ipairs(list) do out[rank + (j - 1) * size] = value end
  end
  return out
end

--- Sums a tensor over processes into the one that `to` names, in the order of processes.
---@param x sppo.Tensor  f32
---@param to integer
function M.reduce(x, to) try(C.sppo_comm_reduce(tensor.handle(x, 'reduce', 'x'), to)) end

--- Values of one process's tensor, in those of all.
---@param x sppo.Tensor
---@param from integer
function M.share_tensor(x, from)
  try(C.sppo_comm_share_tensor(tensor.handle(x, 'share_tensor', 'x'), from))
end

--- Values of one process's tensor, in that of another.
---@param x sppo.Tensor
---@param from integer
---@param to integer
function M.move(x, from, to) try(C.sppo_comm_move(tensor.handle(x, 'move', 'x'), from, to)) end

return M
