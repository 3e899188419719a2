--- Blocks of memory that were freed are used again, and never beyond the most that was used.

local lu = require 'luaunit'
local sppo = require 'sppo'

local C = require('sppo.ffi').C

local tests = {}

local COUNT = 300000 -- values of a block that is kept

local function allocations() return tonumber(C.sppo_memory_allocations()) end

--- Allocations beyond those of small structs that making `n` tensors costs.
local function cost(fn)
  local before = allocations()
  fn()
  return allocations() - before
end

local function make_and_release(count)
  local t = sppo.zeros { count }
  lu.assertEquals(t:tolist()[count], 0)
  t:uniform_(1, 2, 3)
  t:release()
end

function tests.test_used_again()
  make_and_release(COUNT)
  if cost(function() make_and_release(COUNT) end) > 0 then
    -- The sanitizers' build gives every block back at once.
    lu.assertTrue(cost(function() make_and_release(COUNT) end) > 0)
    lu.skip('this build keeps no blocks')
  end
  lu.assertTrue(cost(function() make_and_release(COUNT + 64) end) > 0, 'another size')
end

--- Values of a new tensor are zero, whatever its block held before.
function tests.test_zero()
  make_and_release(COUNT)
  local t = sppo.zeros { COUNT }
  lu.assertEquals(t:sum():item(), 0)
  t:release()
end

--- After the peak was forgotten nothing is kept beside what is used.
function tests.test_forgotten_peak()
  make_and_release(COUNT)
  C.sppo_memory_reset_peak(0)
  local used = tonumber(C.sppo_memory_used(0))
  local t = sppo.zeros { 64 }
  lu.assertTrue(tonumber(C.sppo_memory_peak(0)) >= used)
  t:release()
  lu.assertTrue(cost(function() make_and_release(COUNT) end) > 0)
end

return tests
