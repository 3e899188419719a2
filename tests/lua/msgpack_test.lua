--- sppo.msgpack: what packs to which bytes, what comes back, what is refused and how.

local lu = require 'luaunit'
local msgpack = require 'sppo.msgpack'

local M = {}

local function hex(s)
  return (s:gsub('.', function(c) return ('%02x'):format(c:byte()) end))
end

local function bytes(text)
  return (text:gsub('%s', ''):gsub('..', function(h) return string.char(tonumber(h, 16)) end))
end

local function packs(value, wanted)
  lu.assertEquals(hex(msgpack.pack(value)), (wanted:gsub('%s', '')))
end

local function refused(text, wanted)
  local value, err = msgpack.unpack(bytes(text))
  lu.assertNil(value)
  lu.assertEquals(err, 'msgpack: ' .. wanted)
end

function M.test_numbers_take_the_shortest_form()
  packs(0, '00')
  packs(127, '7f')
  packs(128, 'cc80')
  packs(-1, 'ff')
  packs(-33, 'd0df')
  packs(65536, 'ce00010000')
  packs(2 ^ 53, 'cf0020000000000000')
  packs(-2 ^ 53, 'd3ffe0000000000000')
  packs(0.5, 'cb3fe0000000000000')
  packs(2 ^ 60, 'cb43b0000000000000')
  packs(-0.0, 'cb8000000000000000')
  packs(1 / 0, 'cb7ff0000000000000')
end

function M.test_other_values()
  packs(nil, 'c0')
  packs(true, 'c3')
  packs(false, 'c2')
  packs('', 'a0')
  packs('a\0b', 'a3610062')
  packs(('x'):rep(32), 'd920' .. ('78'):rep(32))
end

function M.test_tables()
  packs({}, '90')
  packs(msgpack.map {}, '80')
  packs({ 1, 'a', { true } }, '93 01 a161 91c3')
  packs({ b = 1, a = 2, [3] = 4 }, '83 0304 a16102 a16201')
  packs(msgpack.map { 7 }, '81 0107')
  packs({ [1] = 1, [3] = 3 }, '82 0101 0303')
  packs({ [0.5] = 1 }, '81 cb3fe0000000000000 01')
end

function M.test_keys_are_sorted_however_they_were_set()
  local forward, backward = {}, {}
  for i = 1, 200 do forward['k' .. i] = i end
  for i = 200, 1, -1 do backward['k' .. i] = i end
  lu.assertEquals(msgpack.pack(forward), msgpack.pack(backward))
  packs({ ab = 1, a = 1, b = 1, ['a\0'] = 1 }, '84 a16101 a2610001 a2616201 a16201')
end

function M.test_lists_of_numbers()
  packs(msgpack.f32 { 1, -2.5 }, 'd7 01 0000803f 000020c0')
  packs(msgpack.i32 { -7 }, 'd6 02 f9ffffff')
  packs(msgpack.i32 {}, 'c7 00 02')
  packs(msgpack.f32(bytes '0000803f000020c0'), 'd7 01 0000803f 000020c0')
  lu.assertEquals(msgpack.unpack(msgpack.pack { ids = msgpack.i32 { 1, -2 ^ 31, 2 ^ 31 - 1 } }),
    { ids = { 1, -2 ^ 31, 2 ^ 31 - 1 } })
  local list = {}
  for i = 1, 3000 do list[i] = i / 8 end
  lu.assertEquals(msgpack.unpack(msgpack.pack(msgpack.f32(list))), list)
  lu.assertErrorMsgEquals('msgpack.i32: 0.5 at [2] does not fit into 32 bits', msgpack.i32,
    { 1, 0.5 })
  lu.assertErrorMsgContains('at [1] does not fit into 32 bits', msgpack.i32, { 2 ^ 31 })
  lu.assertErrorMsgContains('at [1] does not fit into 32 bits', msgpack.f32, { 1e300 })
  lu.assertErrorMsgEquals("msgpack.f32: element [2] is a string, it must be a number",
    msgpack.f32, { 1, 'x' })
  lu.assertErrorMsgEquals('msgpack.f32: a string of 5 bytes, it must have 4 for each number',
    msgpack.f32, '12345')
end

function M.test_round_trip()
  local value = {
    prompt = 3, text = 'é\0\255', logprobs = { -0.25, -1e-300, 1e300 }, done = true,
    empty = {}, nested = { { { { 'deep' } } } }, [12] = 'number',
  }
  local packed = msgpack.pack(value)
  lu.assertEquals(msgpack.unpack(packed), value)
  lu.assertEquals(msgpack.pack(msgpack.unpack(packed)), packed)
  lu.assertEquals(msgpack.pack(msgpack.unpack(bytes '81a16180')),
    bytes '81a16180')  -- an empty map stays a map
end

function M.test_unpacks_every_form()
  lu.assertEquals(msgpack.unpack(bytes 'c403 616263'), 'abc')
  lu.assertEquals(msgpack.unpack(bytes 'c50001 61'), 'a')
  lu.assertEquals(msgpack.unpack(bytes 'c600000001 61'), 'a')
  lu.assertEquals(msgpack.unpack(bytes 'da0001 61'), 'a')
  lu.assertEquals(msgpack.unpack(bytes 'db00000001 61'), 'a')
  lu.assertEquals(msgpack.unpack(bytes 'ca3fc00000'), 1.5)
  lu.assertEquals(msgpack.unpack(bytes 'cdffff'), 65535)
  lu.assertEquals(msgpack.unpack(bytes 'd1ff00'), -256)
  lu.assertEquals(msgpack.unpack(bytes 'd2ffffff00'), -256)
  lu.assertEquals(msgpack.unpack(bytes 'd3ffffffffffffff00'), -256)
  lu.assertEquals(msgpack.unpack(bytes 'dc0001 c2'), { false })
  lu.assertEquals(msgpack.unpack(bytes 'dd00000001 01'), { 1 })
  lu.assertEquals(msgpack.unpack(bytes 'de0001 a16101'), { a = 1 })
  lu.assertEquals(msgpack.unpack(bytes 'df00000001 a16101'), { a = 1 })
  lu.assertEquals(msgpack.unpack(bytes 'c80004 02 01000000'), { 1 })
  local value, err = msgpack.unpack(bytes 'c0')
  lu.assertNil(value)
  lu.assertNil(err)
end

function M.test_refuses_hostile_bytes()
  refused('', 'ends inside a value (at byte 0)')
  refused('cd00', 'ends inside a value (at byte 1)')
  refused('ddffffffff', 'announces more than the bytes left (at byte 0)')
  refused('dfffffffff', 'announces more than the bytes left (at byte 0)')
  refused('91 dbffffffff', 'announces more than the bytes left (at byte 1)')
  refused('c9ffffffff 01', 'announces more than the bytes left (at byte 0)')
  refused('82 a16101', 'announces more than the bytes left (at byte 0)')
  refused('c1', 'has a tag that msgpack does not use (at byte 0)')
  refused('0101', 'goes on after its end (at byte 1)')
  refused('d4 05 00', 'has an unknown ext type (at byte 0)')
  refused('d5 01 0000', 'has an ext of numbers not a multiple of 4 bytes (at byte 0)')
  refused('82 a16101 a16102', 'has a key twice (at byte 4)')
  refused('81 c001', 'has a key that is neither string nor number (at byte 1)')
  refused('81 cb7ff8000000000000 01', 'has a key that is NaN (at byte 1)')
  refused('cfffffffffffffffff', 'has a whole number beyond 2^53 (at byte 0)')
  refused(('91'):rep(33) .. '90', 'is nested deeper than 32 (at byte 32)')
  lu.assertNotNil(msgpack.unpack(bytes(('91'):rep(31) .. '90')))
  -- 40 million empty tables would be gigabytes
  local bomb = '\221\2\98\90\0' .. ('\144'):rep(0x2625a00)
  local value, err = msgpack.unpack(bomb)
  lu.assertNil(value)
  lu.assertStrContains(err, 'msgpack: holds too many values (at byte ')
end

function M.test_every_truncation_is_refused()
  local packed = msgpack.pack {
    1, 300, -70000, 0.5, 'text', ('long'):rep(20), { a = true }, msgpack.f32 { 1, 2, 3 },
  }
  for i = 0, #packed - 1 do
    local value, err = msgpack.unpack(packed:sub(1, i))
    lu.assertNil(value)
    lu.assertStrMatches(err, 'msgpack: .* %(at byte %d+%)')
  end
end

function M.test_refuses_what_has_no_bytes()
  lu.assertErrorMsgEquals('msgpack.pack: cannot write a function at .a[2]', msgpack.pack,
    { a = { 1, print } })
  lu.assertErrorMsgEquals('msgpack.pack: cannot write a key that is a boolean at .a', msgpack.pack,
    { a = { [true] = 1 } })
  lu.assertErrorMsgContains('cannot write a cdata', msgpack.pack, 3LL)
  local cycle = {}
  cycle.me = cycle
  lu.assertErrorMsgContains('tables nested deeper than 32, or one that holds itself', msgpack.pack,
    cycle)
end

return M
