--- What a plan is held against: memory, multiply-adds and memory bandwidth. Published rates are
--- peaks of a data sheet, dense, no sparsity; no program reaches them, so times from them are the
--- least there can be. This machine's are measured as `sppo bench machine` does.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local host = require 'sppo.host'
local measure = require 'sppo.bench.measure'

local M = {}

---@class sppo.plan.Hardware
---@field name string
---@field memory number      bytes
---@field flops number       a second
---@field bandwidth number   bytes read a second
---@field arithmetic string  what `flops` counts
---@field source string      where the rates are from

local GPU = 'bf16 matrix products, dense'

M.known = {
  ['a100-40gb'] = {
    memory = 40 * 2^30, flops = 312e12, bandwidth = 1555e9, arithmetic = GPU,
    source = 'NVIDIA A100 Tensor Core GPU data sheet, A100 40GB SXM',
  },
  a100 = {
    memory = 80 * 2^30, flops = 312e12, bandwidth = 2039e9, arithmetic = GPU,
    source = 'NVIDIA A100 Tensor Core GPU data sheet, A100 80GB SXM',
  },
  h100 = {
    memory = 80 * 2^30, flops = 989.4e12, bandwidth = 3350e9, arithmetic = GPU,
    source = 'NVIDIA H100 Tensor Core GPU data sheet, H100 SXM',
  },
  h200 = {
    memory = 141e9, flops = 989.4e12, bandwidth = 4800e9, arithmetic = GPU,
    source = 'NVIDIA H200 Tensor Core GPU data sheet, H200 SXM',
  },
}

function M.names()
  local names = {}
  for name in pairs(M.known) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- This machine, measured now, in about half a second.
---@return sppo.plan.Hardware
function M.this_machine()
  local sppo = require 'sppo'
  local threads = sppo.threads()
  return {
    name = ('this machine, %d thread%s'):format(threads, threads > 1 and 's' or ''),
    memory = host.total_memory(), flops = measure.fma(threads).rate() * 1e9,
    bandwidth = measure.read(threads).rate() * 1e9, arithmetic = 'f32 multiply-adds',
    source = 'measured now, as sppo bench machine does (' .. sppo.cpu_name() .. ')', here = true,
  }
end

--- Hardware by name; this machine where there is none. Raises on an unknown name.
---@param name? string
---@return sppo.plan.Hardware
function M.get(name)
  if not name then return M.this_machine() end
  local found = M.known[name:lower()]
  if not found then
    engine.raise('usage', ('plan: %s; known: %s'):format(check.unknown('hardware', name, M.names()),
      table.concat(M.names(), ', ')))
  end
  local copy = { name = name:lower() }
  for key, value in pairs(found) do copy[key] = value end
  return copy
end

return M
