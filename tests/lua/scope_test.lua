--- Scopes: who frees tensors, and when.

local lu = require 'luaunit'
local scope = require 'sppo.scope'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'

local tests = {}

local function used() return sppo.memory().used end

function tests.test_releases_what_is_not_returned()
  local before = used()
  local kept, inner
  kept = scope.run(function()
    inner = tensor.zeros { 100 }
    local b = inner + 1
    return b * 2
  end)
  lu.assertNotNil(kept.h)
  lu.assertFalse(inner.h)
  lu.assertEquals(used() - before, 400)
  lu.assertEquals(kept:tolist()[100], 2)
  kept:release()
  lu.assertEquals(used(), before)
end

function tests.test_use_after_its_scope()
  local gone
  scope.run(function() gone = tensor.zeros { 2 } end)
  lu.assertErrorMsgContains('tensor was released when its scope ended',
    function() return gone + 1 end)
  lu.assertErrorMsgContains('tensor was released when its scope ended', gone.size, gone, 1)
  lu.assertEquals(tostring(gone), 'tensor (released)')
  gone:release() -- again does nothing
end

function tests.test_returned_in_tables()
  local before = used()
  local result, n = scope.run(function()
    local a, b = tensor.zeros { 10 }, tensor.zeros { 10 }
    local cyclic = { list = { a }, b = b }
    cyclic.self = cyclic
    return cyclic, 7
  end)
  lu.assertEquals(n, 7)
  lu.assertEquals(used() - before, 80)
  result.list[1]:release()
  result.b:release()
  lu.assertEquals(used(), before)
end

--- A table is no tensor for having a field `h` (a prompt's variable of that name, say).
function tests.test_returned_in_a_table_with_a_field_h()
  local kept = scope.run(function() return { h = tensor.zeros { 3 } } end)
  lu.assertEquals(kept.h:tolist(), { 0, 0, 0 })
  kept.h:release()
end

function tests.test_nested()
  local before = used()
  scope.run(function()
    local from_inner = scope.run(function() return tensor.zeros { 10 } end)
    lu.assertNotNil(from_inner.h)
    lu.assertEquals(scope.depth(), 1)
    lu.assertEquals(used() - before, 40)
  end)
  lu.assertEquals(scope.depth(), 0)
  lu.assertEquals(used(), before)
end

function tests.test_error_inside()
  local before = used()
  local ok, err = pcall(scope.run, function()
    scope.run(function()
      local t = tensor.zeros { 10 }
      error('from inside, with ' .. t:count(), 0)
    end)
  end)
  lu.assertFalse(ok)
  lu.assertEquals(err, 'from inside, with 10')
  lu.assertEquals(scope.depth(), 0)
  lu.assertEquals(used(), before)
end

function tests.test_keep()
  local before, kept = used(), nil
  scope.run(function()
    kept = scope.keep(tensor.zeros { 10 })
    lu.assertIs(scope.keep(kept), kept)
  end)
  lu.assertEquals(used() - before, 40)
  kept:release()
  lu.assertEquals(used(), before)
end

--- Outside of scopes the garbage collector is the backstop.
function tests.test_collected_outside()
  collectgarbage()
  collectgarbage()
  local before = used()
  for _ = 1, 50 do tensor.zeros { 1000 } end
  collectgarbage()
  collectgarbage()
  lu.assertEquals(used(), before)
end

--- A loop that drops large tensors in scopes stays small.
function tests.test_peak()
  local before = used()
  require('sppo.ffi').C.sppo_memory_reset_peak(0)
  for _ = 1, 200 do
    scope.run(function()
      local t = tensor.zeros { 250000 }
      for _ = 1, 4 do t = t + 1 end
    end)
  end
  lu.assertTrue(sppo.memory().peak - before <= 5 * 1000000, tostring(sppo.memory().peak - before))
end

function tests.test_results_pass_through()
  local a, b, c = scope.run(function(x, y) return y, nil, x end, 1, 2)
  lu.assertEquals({ a, b, c }, { 2, nil, 1 })
  lu.assertEquals(select('#', scope.run(function() end)), 0)
end

return tests
