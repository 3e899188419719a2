--- Who keeps what: parts of lists, and parameters by size.

local lu = require 'luaunit'
local shards = require 'sppo.shards'
local tensor = require 'sppo.tensor'

local tests = {}

local function parts(count, processes)
  local out = {}
  for rank = 0, processes - 1 do out[rank + 1] = { shards.part(count, rank, processes) } end
  return out
end

function tests.test_parts()
  lu.assertEquals(parts(7, 3), { { 1, 3 }, { 4, 5 }, { 6, 7 } })
  lu.assertEquals(parts(2, 3), { { 1, 1 }, { 2, 2 }, { 3, 2 } })
  lu.assertEquals(parts(0, 2), { { 1, 0 }, { 1, 0 } })
  lu.assertEquals(parts(5, 1), { { 1, 5 } })
end

local function of_sizes(sizes)
  local list = {}
  for i, n in ipairs(sizes) do
    list[i] = { name = 'p' .. i, key = 'weight', owner = { weight = tensor.zeros { n } } }
  end
  return list
end

--- 5 to the first, 4 and 3 to the second, then 3 to the first and 3 to the second.
function tests.test_owners()
  local list = of_sizes { 3, 5, 3, 4, 3 }
  local owners, bytes = shards.owners(list, 2)
  lu.assertEquals(owners, { p2 = 0, p4 = 1, p1 = 1, p3 = 0, p5 = 1 })
  lu.assertEquals(bytes, { 32, 40 })
  local names = {}
  for i, p in ipairs(shards.owned(list, owners, 1)) do names[i] = p.name end
  lu.assertEquals(names, { 'p1', 'p4', 'p5' })
  local _, alone = shards.owners(list, 1)
  lu.assertEquals(alone, { 72 })
  local few, some = shards.owners(of_sizes { 2, 1 }, 3)
  lu.assertEquals({ few, some }, { { p1 = 0, p2 = 1 }, { 8, 4, 0 } })
end

return tests
