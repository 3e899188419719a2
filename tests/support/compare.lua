--- Comparing numbers in tests.

local ffi = require 'ffi'
local lu = require 'luaunit'

local M = {}

-- A union: through two pointers of other types the JIT compiler reads what was there before.
local word = ffi.new('union { float value; uint32_t bits; }')

--- The bits of a number as f32.
function M.bits(x)
  word.value = x
  return tonumber(word.bits)
end

--- Lists of the same length and, as f32, the same bits.
function M.same_bits(got, want, what)
  lu.assertEquals(#got, #want, what .. ': count')
  for i = 1, #want do
    if M.bits(got[i]) ~= M.bits(want[i]) then
      lu.fail(('%s: [%d] is %.9g (%08x), expected %.9g (%08x)'):format(
        what, i, got[i], M.bits(got[i]), want[i], M.bits(want[i])))
    end
  end
end

--- |got - want| <= tolerance * max(|want|, floor) for each number; the largest such quotient.
function M.close(got, want, tolerance, what, floor)
  local worst = 0
  lu.assertEquals(#got, #want, what .. ': count')
  for i = 1, #want do
    local limit = tolerance * math.max(math.abs(want[i]), floor or 0)
    local difference = math.abs(got[i] - want[i])
    if difference > limit or difference ~= difference then
      lu.fail(('%s: [%d] is %.9g, expected %.9g within %.3g'):format(
        what, i, got[i], want[i], limit))
    end
    if difference > 0 then worst = math.max(worst, difference / limit * tolerance) end
  end
  return worst
end

return M
