--- Items of a stage (prompts) dealt out to the processes of a run in turn, and their records, which
--- the first process writes in the order of the items. Processes meet now and then to hand over
--- what they have; what is drawn or judged does not depend on who does it.

local comm = require 'sppo.comm'

local M = {}

---@class sppo.Deal
---@field written integer   records that stand in the file
local Deal = {}
Deal.__index = Deal

--- Deals items have + 1 .. total.
---@param have integer   records that are written already; the first process knows
---@param total integer
---@param write fun(record: string)   called by the first process alone
---@return sppo.Deal
function M.new(have, total, write)
  return setmetatable({ written = comm.share(have), total = total, write = write,
    ready = {}, outbox = {} }, Deal):begin()
end

function Deal:begin()
  self.mine = {}
  for i = self.written + 1 + comm.rank(), self.total, comm.size() do
    self.mine[#self.mine + 1] = i
  end
  return self
end

local function write_ready(self)
  while self.ready[self.written + 1] do
    self.written = self.written + 1
    self.write(self.ready[self.written])
    self.ready[self.written] = nil
  end
end

--- A whole record of an item of this process, packed.
---@param item integer
---@param record string
function Deal:give(item, record)
  if comm.first() then
    self.ready[item] = record
    write_ready(self)
  else
    self.outbox[#self.outbox + 1] = { item, record }
  end
end

--- Hands over what there is. All processes call it equally often, `finish` makes up for it.
---@param stop boolean    whether this process was asked to stop
---@param done? boolean   this process has nothing left to do
---@return boolean stop   whether any was asked to
---@return boolean all    whether all are done
function Deal:meet(stop, done)
  local all, outbox = true, self.outbox
  self.outbox = {}
  for _, met in ipairs(comm.gather { stop = stop, done = done or false, records = outbox }) do
    stop, all = stop or met.stop, all and met.done
    for _, entry in ipairs(comm.first() and met.records or {}) do
      self.ready[entry[1]] = entry[2]
    end
  end
  write_ready(self)
  return stop, all
end

--- Meets the others until all are done.
---@param stop fun(): boolean
---@return boolean finished   false if any was asked to stop
function Deal:finish(stop)
  local stopped, all
  repeat stopped, all = self:meet(stop(), true) until all or stopped
  return not stopped
end

return M
