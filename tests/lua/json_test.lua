--- sppo.json: what encodes to which text, what comes back, what is refused and where.

local lu = require 'luaunit'
local json = require 'sppo.json'

local M = {}

local function refused(text, wanted)
  local value, err = json.decode(text)
  lu.assertNil(value)
  lu.assertStrContains(err, wanted)
end

function M.test_numbers()
  local cases = {
    { 0, '0' }, { -0.0, '-0' }, { 1, '1' }, { -17, '-17' }, { 2 ^ 53, '9007199254740992' },
    { 1e15, '1000000000000000' }, { 1e21, '1e+21' }, { 0.1, '0.1' },
    { 0.1 + 0.2, '0.30000000000000004' },
    { 1 / 3, '0.3333333333333333' }, { 5e-324, '5e-324' },
    { 1.7976931348623157e308, '1.7976931348623157e+308' },
    { 1e-5, '1e-05' }, { -2.5e-10, '-2.5e-10' },
  }
  for _, case in ipairs(cases) do lu.assertEquals(json.encode(case[1]), case[2]) end
end

function M.test_numbers_come_back_bit_for_bit()
  local state = 12345
  for _ = 1, 20000 do
    state = (state * 1103515245 + 12345) % 2 ^ 31
    local x = (state / 2 ^ 31 - 0.5) * 10 ^ (state % 600 - 300)
    lu.assertTrue(json.decode(json.encode(x)) == x)
    lu.assertTrue(tonumber(json.encode(x)) == x)
  end
end

function M.test_strings()
  lu.assertEquals(json.encode 'a"b\\c\n\t\r\b\f\0\31/é😀', [["a\"b\\c\n\t\r\b\f\u0000\u001f/é😀"]])
  lu.assertEquals(json.decode [["\u00e9\ud83d\ude00\u0000\/"]], 'é😀\0/')
  for _, bad in ipairs { '\255', 'a\192\128', '\237\160\128', '\244\144\128\128', '\195', '\128',
    '\240\128\128\128' } do
    lu.assertErrorMsgContains('json.encode: a string is not UTF-8 at its byte', json.encode, bad)
    refused('"' .. bad .. '"', 'json: 1:')
  end
  lu.assertErrorMsgEquals('json.encode: a string is not UTF-8 at its byte 1 at .rows[1]',
    json.encode, { rows = { 'a\255' } })
end

function M.test_tables()
  lu.assertEquals(json.encode {}, '[]')
  lu.assertEquals(json.encode(json.object {}), '{}')
  lu.assertEquals(json.encode(json.object()), '{}')
  lu.assertEquals(json.encode(json.array {}), '[]')
  lu.assertEquals(json.encode { b = 1, a = { true, false, json.null } },
    '{"a":[true,false,null],"b":1}')
  lu.assertEquals(json.encode({ a = { 1, { x = 'y' } }, b = {}, c = json.object {} },
    { indent = true }), [[{
  "a": [
    1,
    {
      "x": "y"
    }
  ],
  "b": [],
  "c": {}
}]])
end

function M.test_decodes()
  lu.assertEquals(json.decode ' {"a": [1, 2.5, -3e2, true, null], "b": {"c": "d"}} ',
    { a = { 1, 2.5, -300, true, json.null }, b = { c = 'd' } })
  lu.assertEquals(json.decode '12345678901234567890', 12345678901234567890)
  lu.assertEquals(json.decode 'null', json.null)
  lu.assertEquals(json.decode 'false', false)
  lu.assertEquals(json.encode(json.decode '{"a":{},"b":[]}'), '{"a":{},"b":[]}')
end

function M.test_refuses_and_says_where()
  refused('', 'json: 1:')
  refused('{"a":1,\n "a":2}', 'json: 2:4: duplicate object key')
  refused('[1,\n2,\n]', 'json: 3:1: ')
  refused('[1] 2', 'json: 1:5: end of file expected')
  refused('[1e999]', 'json: 1:6: real number overflow')
  refused('{"a\\u0000":1}', 'json: 1:')
  refused(('['):rep(129) .. (']'):rep(129), 'json: 1:129: nested deeper than 128')
  lu.assertNotNil(json.decode(('['):rep(128) .. (']'):rep(128)))
  refused('[' .. ('{},'):rep(900000) .. '{}]', 'more than 4194304 values')
  refused('"\27[31m', 'json: 1:')
  local _, err = json.decode '\27[31m'
  lu.assertNotStrContains(err, '\27')
end

function M.test_every_truncation_is_refused()
  local text = json.encode { a = { 1, 2.5, 'text', true }, b = { c = json.null, d = 'é' } }
  for i = 0, #text - 1 do refused(text:sub(1, i), 'json: 1:') end
end

function M.test_refuses_what_json_has_not()
  lu.assertErrorMsgEquals('json.encode: JSON has no NaN at .rows[2].p', json.encode,
    { rows = { 1, { p = 0 / 0 } } })
  lu.assertErrorMsgEquals('json.encode: JSON has no infinity', json.encode, -1 / 0)
  lu.assertErrorMsgEquals('json.encode: cannot write a function at .f', json.encode, { f = print })
  lu.assertErrorMsgContains('json.encode: a key is the number 3', json.encode, { [3] = 1 })
  lu.assertErrorMsgContains('json.encode: a key is the number 1', json.encode, { 1, a = 2 })
  lu.assertErrorMsgEquals('json.encode: an array has keys other than 1..n', json.encode,
    json.array { a = 1 })
  local cycle = {}
  cycle.me = cycle
  lu.assertErrorMsgContains('tables nested deeper than 128, or one that holds itself at ..',
    json.encode, cycle)
end

return M
