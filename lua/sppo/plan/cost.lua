--- What steps cost on the meta device: FLOPs, bytes read, bytes moved, and the time that a
--- machine's rates allow. A step takes as long as the slower of its arithmetic and its memory
--- traffic.

local scope = require 'sppo.scope'

local C = require('sppo.ffi').C

local M = {}

---@class sppo.plan.Cost
---@field flops number
---@field read number     bytes read
---@field moved number    bytes read and written
---@field seconds number
---@field waiting number  seconds of steps that memory limits
local Cost = {}
Cost.__index = Cost

function M.new()
  return setmetatable({ flops = 0, read = 0, moved = 0, seconds = 0, waiting = 0 }, Cost)
end

--- As plain data.
function Cost:plain()
  local out = {}
  for key in pairs(M.new()) do out[key] = self[key] end
  return out
end

--- Adds another cost, `times` times.
function Cost:add(other, times)
  for key in pairs(M.new()) do self[key] = self[key] + other[key] * (times or 1) end
  return self
end

--- Runs fn() once, on meta, and returns what it cost.
---@param hardware sppo.plan.Hardware
---@param fn function
---@return sppo.plan.Cost
function M.of(hardware, fn)
  C.sppo_cost_reset()
  scope.run(fn)
  local c = M.new()
  c.flops, c.read, c.moved = C.sppo_cost_flops(), C.sppo_cost_read(), C.sppo_cost_bytes()
  local arithmetic, memory = c.flops / hardware.flops, c.moved / hardware.bandwidth
  c.seconds = math.max(arithmetic, memory)
  c.waiting = memory > arithmetic and memory or 0
  return c
end

--- A cost between two, at share s of the way.
local function between(a, b, s) return M.new():add(a, 1 - s):add(b, s) end

--- Up to `most` of first .. last, evenly spread, both ends among them.
function M.spread(first, last, most)
  local list = {}
  for i = 0, most - 1 do
    local x = math.floor(first + (last - first) * i / math.max(1, most - 1) + 0.5)
    if x ~= list[#list] then list[#list + 1] = x end
  end
  return list
end

--- The sum of costs at all integers first .. last, from those at a few: linear in between.
---@param points integer[]          from `spread`
---@param costs sppo.plan.Cost[]    at the points
function M.sum_between(points, costs)
  local total = M.new():add(costs[#costs])
  for i = 1, #points - 1 do
    local n = points[i + 1] - points[i]
    total:add(between(costs[i], costs[i + 1], (n - 1) / 2 / n), n)
  end
  return total
end

--- The sum of costs over a list of sizes, from those at a few of them: linear in between.
---@param sizes number[]            sorted
---@param points number[]           sorted, the least and the largest size among them
---@param costs sppo.plan.Cost[]
function M.sum_over(sizes, points, costs)
  local total, i = M.new(), 1
  for _, size in ipairs(sizes) do
    while i < #points and size > points[i + 1] do i = i + 1 end
    local wide = i < #points and points[i + 1] - points[i] or 0
    if wide == 0 then total:add(costs[i])
    else total:add(between(costs[i], costs[i + 1], (size - points[i]) / wide)) end
  end
  return total
end

return M
