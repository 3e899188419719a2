--- A run's folder as the processes beside the first have it: they read what the first has written,
--- do a stage if the first does, and write nothing.

local comm = require 'sppo.comm'
local engine = require 'sppo.ffi'

local M = {}

---@class sppo.Follower
---@field path string
local Follower = {}
Follower.__index = Follower

--- The folder at `path`, which the first process has open or will refuse.
---@param path string
---@return sppo.Follower
function M.open(path) return setmetatable({ path = path }, Follower) end

--- Path of a file of the run.
---@param name string
---@return string
function Follower:file(name) return self.path .. '/' .. name end

local function nothing() end

for _, name in ipairs { 'close', 'metrics', 'metrics_text', 'perf', 'skip', 'make_folder' } do
  Follower[name] = nothing
end

--- Metrics are the first process's.
function Follower.metrics_size() return 0 end

--- Does a stage if the first process does. Raises if its inputs are others than the first's.
---@param name string
---@param key string
---@param _ string[]
---@param work fun(fresh: boolean): boolean?
---@return boolean done, boolean worked
function Follower:stage(name, key, _, work)
  local told = comm.share()
  if told.key ~= key then
    engine.raise('state', ('%s: %s has other inputs in process %d than in process 0: recipe, ' ..
      'prompts and program must be the same for all'):format(self.path, name, comm.rank()))
  end
  if not told.work then return true, false end
  return work(told.fresh) ~= false, true
end

return M
