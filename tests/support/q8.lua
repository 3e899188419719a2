--- Rows as products with q8_0 weights see them: blocks of 32, each a scale and 32 integers of
--- magnitude up to 127, in the engine's own precision (engine/cpu/q8.h).

local ffi = require 'ffi'

local M = {}

local function f32(x) return tonumber(ffi.new('float', x)) end

--- Adding a number whose neighbours are 1 apart rounds, ties to even.
local BIG = 2^52 + 2^51
local function nearest_even(x) return (x + BIG) - BIG end

---@param values number[]  a multiple of 32 of them
---@return number[]
function M.rounded(values)
  local y = {}
  for first = 0, #values - 1, 32 do
    local largest = 0
    for i = 1, 32 do largest = math.max(largest, math.abs(values[first + i])) end
    local scale = f32(largest / 127)
    local inverse = scale > 0 and f32(1 / scale) or 0
    for i = 1, 32 do
      y[first + i] = nearest_even(f32(values[first + i] * inverse)) * scale
    end
  end
  return y
end

--- A reference whose first input is rounded so.
---@param reference function
function M.first_rounded(reference)
  return function(inputs, sizes)
    local copy = { unpack(inputs) }
    copy[1] = M.rounded(inputs[1])
    return reference(copy, sizes)
  end
end

return M
