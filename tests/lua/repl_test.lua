--- The prompt without a terminal (lua/sppo/repl): entries, errors, commands, completion, charts.
--- What needs a terminal is in tests/repl/repl_test.py; docs/repl.md in repl_docs_test.lua.

local chart = require 'sppo.repl.chart'
local complete = require 'sppo.repl.complete'
local files = require 'sppo.files'
local lu = require 'luaunit'
local printer = require 'sppo.repl.print'
local scope = require 'sppo.scope'
local session_of = require 'sppo.repl.session'
local shell = require 'support.shell'
local sppo = require 'sppo'

local tests = {}

--- A session and fn(line) -> what it wrote, what it said was wrong.
local function new_session()
  local out, err = {}, {}
  local session = session_of.new {
    write = function(text) out[#out + 1] = text end,
    warn = function(text) err[#err + 1] = text end,
  }
  return session, function(line)
    out, err = {}, {}
    session:feed(line)
    return table.concat(out), table.concat(err)
  end
end

local function assert_has(text, part) lu.assertStrContains(text, part) end

function tests.test_entries()
  local session, ask = new_session()
  lu.assertEquals(ask '20 + 22', '42\n')
  lu.assertEquals(ask '_ + 1', '43\n')
  lu.assertEquals(ask '_1, _2', '42\nnil\n')
  lu.assertEquals(ask 'x = 7', '')
  lu.assertEquals(ask 'x;', '')
  lu.assertEquals(session:feed 'y = {', 'more')
  lu.assertEquals(session:feed '1 }', true)
  lu.assertEquals(session:feed '1 +', 'more')
  lu.assertEquals(ask '2', '3\n')
  lu.assertEquals(session:feed 'y; nil', false) -- wrong, not unfinished
  lu.assertEquals(session:feed 'for i = 1, 2 do', 'more')
  session:give_up()
  lu.assertEquals(ask '#y', '1\n')
  lu.assertEquals(ask 'print(1, nil)', '1\tnil\n')
  lu.assertEquals(ask 'local a = 1\nlocal b = a + 1\nc = b', '')
  lu.assertEquals(ask 'c', '2\n')
  assert_has(ask 'local a = 1', 'without `local`')
  lu.assertEquals(session:feed 'f(', 'more')
  lu.assertFalse(session:finish())
end

--- What an entry made is freed at its end unless a global or _ leads to it.
function tests.test_tensors_of_an_entry()
  local session, ask = new_session()
  collectgarbage() -- what other tests left
  collectgarbage()
  local before = sppo.memory().used
  ask 'return nil, sppo.zeros { 1024, 1024 }'
  ask 'local t = sppo.zeros { 1024, 1024 } + 1'
  ask 'local t = sppo.zeros { 1024, 1024 } error "after"'
  lu.assertEquals(sppo.memory().used - before, 0)
  ask 'kept = { sppo.zeros { 1024, 1024 } }'
  lu.assertEquals(sppo.memory().used - before, 4 * 2^20)
  assert_has(ask ':free kept', '4.0 MiB')
  lu.assertEquals(sppo.memory().used - before, 0)
  lu.assertNil(session.env.kept)
  assert_has(select(2, ask ':free kep'), 'unknown global \'kep\'')
  lu.assertEquals(scope.depth(), 0)
end

function tests.test_errors_say_what_to_type()
  local _, ask = new_session()
  local function wrong(line, ...)
    local _, err = ask(line)
    for _, part in ipairs { ... } do assert_has(err, part) end
    lu.assertNil(err:find('sppo/repl/', 1, true), err)
  end
  wrong('softmax(1)', 'softmax(1)\n  ^', 'there is sppo.ops.softmax')
  wrong('a = 1\nb = sppo.ops.softmax(nothng)', 'entry 2:')
  wrong('x = sppo.zeros { 2 } x:sise(1)', 'a tensor has :size()')
  wrong('y = nope + 1', 'y = nope + 1\n      ^')
  wrong('error { message = "mine" }', 'mine')
  wrong('error(nil)', 'nil')
  wrong('error(setmetatable({}, { __tostring = error }))', '')
  wrong(':hlep', 'did you mean \':help\'')
  wrong(':', ':help lists them')
  wrong(':step', 'type :open recipes/tiny.lua')
  wrong(':step two', 'a number of stages')
  wrong(':matrix 1 1', 'no run is open')
  wrong(':matrix', 'type :matrix ROUND PROMPT')
  wrong(':open nowhere.lua', 'nowhere.lua')
  wrong(':open tests', 'not a run folder')
  wrong(':open recipes/tiny.lua rounds', 'is not key=value')
  wrong(':open recipes/tiny.lua round=1', 'did you mean \'rounds\'')
  wrong(':run nowhere.lua', 'nowhere.lua')
  wrong(':save docs', 'is there already')
  wrong(':doc sppo.zeross', 'did you mean \'zeros\'')
  wrong(':src sppo', 'is a table; :src shows functions')
  wrong(':device gpu', 'unknown device \'gpu\'')
  wrong(':plot {}', 'an empty table')
  wrong(':plot { 1 }, { 1, 2 }', '1 values of x and 2 of y')
  wrong(':time 1 +', '<eof>')
  wrong(':reload nothing.there', 'no module')
end

--- Every public function of the library has a text, and every op what the header says.
function tests.test_doc()
  local _, ask = new_session()
  for name, value in pairs(sppo.ops) do
    if type(value) == 'function' then
      local text, err = ask(':doc sppo.ops.' .. name)
      lu.assertEquals(err, '', name)
      lu.assertNotNil(text:find('sppo_' .. name, 1, true) or text:find 'function', name)
    end
  end
  assert_has(ask ':doc ops.rms_norm', 'Row-wise RMS normalisation')
  assert_has(ask '? softmax', 'Over the last axis')
  assert_has(ask ':doc sppo.zeros', 'A zero-filled tensor')
  assert_has(ask ':doc sppo.train', 'One round of training')
  assert_has(ask ':doc string.rep', 'a C function')
  ask 't = sppo.zeros { 2 }'
  assert_has(ask ':doc t:item', 'one-value tensor')
  ask 'function mine(a)\n  -- of mine\n  return a\nend'
  assert_has(ask ':src mine', '-- of mine\n')
  assert_has(ask ':src sppo.zeros', 'sppo_tensor_new')
end

function tests.test_tensor_summaries()
  local inf = math.huge
  local text = printer.text(sppo.tensor { 1, 2, inf, -inf, 0 / 0, 6 })
  lu.assertEquals(text, 'tensor [6] f32 cpu\n  min 1  mean 3  max 6  nonfinite 3\n' ..
    '  1 2 inf -inf ' .. ('%.4g'):format(0 / 0) .. ' 6')
  assert_has(printer.text(sppo.tensor { 0 / 0 }), 'f32 cpu\n  nonfinite 1\n')
  assert_has(printer.text(sppo.tensor({ 1, 2 }, nil, 'bf16')), 'min 1  mean 1.5  max 2')
  assert_has(printer.text(sppo.ints { 3, 4 }), 'i32 cpu\n  min 3')
  assert_has(printer.text(sppo.zeros({}, 'f32')), 'min 0')
  lu.assertEquals(printer.text(sppo.zeros { 0, 3 }), 'tensor [0, 3] f32 cpu')
  -- In blocks, over views too.
  local t = sppo.zeros { 300, 1000 }:uniform_(-1, 1, 5)
  local all, s = t:tolist(), printer.statistics(t)
  local low, sum = inf, 0
  for _, v in ipairs(all) do low, sum = math.min(low, v), sum + v end
  lu.assertEquals(s.min, low)
  lu.assertAlmostEquals(s.mean, sum / #all, 1e-12)
  lu.assertEquals(s.finite, 300000)
  lu.assertEquals(printer.statistics(t:transpose(1, 2)).min, low)
  lu.assertEquals(#s.first, 8)
end

function tests.test_chart()
  local text = chart.lines({ { 1, 0 }, { 2, 0 / 0 }, { 3, 1 } }, { columns = 20, rows = 4 })
  assert_has(text, '1 |')
  assert_has(text, '(1 not finite left out)')
  lu.assertNil(text:find('[\128-\255]'))
  lu.assertNotNil(chart.lines({ { 1, 5 } }, { fancy = true }):find('\226[\160-\163]'))
  lu.assertEquals(chart.lines({ { 1, math.huge } }), 'nothing finite among 1 values')
  lu.assertEquals(chart.histogram({}), 'nothing finite among 0 values')
  local counts = {}
  for n in chart.histogram({ 0, 0, 0, 10 }, { bins = 2 }):gmatch('# (%d+)') do
    counts[#counts + 1] = tonumber(n)
  end
  lu.assertEquals(counts, { 3, 1 })
  lu.assertEquals(#chart.points(sppo.zeros { 4, 2 }), 8)
  local function fancy(env) return chart.fancy(true, function(name) return env[name] end) end
  lu.assertTrue(fancy { TERM = 'xterm', LANG = 'en_US.UTF-8' })
  lu.assertTrue(fancy { TERM = 'xterm', LC_ALL = '', LANG = 'C.utf8', NO_COLOR = '' })
  lu.assertFalse(fancy { TERM = 'dumb', LANG = 'C.UTF-8' })
  lu.assertFalse(fancy { TERM = 'xterm', LANG = 'C.UTF-8', NO_COLOR = '1' })
  lu.assertFalse(fancy { TERM = 'xterm', LC_ALL = 'C', LANG = 'C.UTF-8' })
  lu.assertFalse(chart.fancy(false, function() return 'UTF-8' end))
end

function tests.test_complete()
  local session, ask = new_session()
  ask 'value = { inner = { leaf = 1, leave = 2 } }'
  local function of(before)
    local insert, list = complete.complete(before, session)
    return insert, table.concat(list, ' ')
  end
  lu.assertEquals({ of ':ti' }, { 'me', ':time :timeit' })
  lu.assertEquals((of ':pl'), 'ot ')
  lu.assertEquals((of ':me'), 'm')
  lu.assertEquals({ of ':doc value.inner.l' }, { 'ea', 'leaf leave' })
  lu.assertEquals({ of ':open recipes/tiny.lua train.et' }, { 'a=', 'train.eta=' })
  lu.assertEquals({ of ':help sav' }, { 'e', 'save' })
  lu.assertEquals({ of 'sppo.ops.log_sof' }, { 'tmax', 'log_softmax' })
  lu.assertEquals({ of 'nothing.here' }, { '', '' })
  lu.assertEquals({ of ':hist value.inn' }, { 'er', 'inner' })
  shell.in_folder(function(folder)
    files.write(folder .. '/long-name.lua', '')
    lu.assertEquals((of(':run ' .. folder .. '/lo')), 'ng-name.lua')
    lu.assertEquals((of('x = "' .. folder .. '/lo')), 'ng-name.lua')
  end)
end

function tests.test_files()
  local _, ask = new_session()
  shell.in_folder(function(folder)
    files.write(folder .. '/one.lua', 'one = 1')
    ask(':run ' .. folder .. '/one.lua')
    lu.assertEquals(ask 'one', '1\n')
    assert_has(ask(':save ' .. folder .. '/typed.lua'), '1 entries')
    lu.assertEquals(shell.read(folder .. '/typed.lua'), 'one\n')
    assert_has(ask(':plot { 1, 2 } > ' .. folder .. '/p.svg'), '2 points')
    assert_has(shell.read(folder .. '/p.svg'), '<svg')
    assert_has(ask ':history on', 'one\n')
    assert_has(ask ':history nothing like it', 'no line')
  end)
end

--- A run folder whose records are not what they should be is one clear error.
function tests.test_damaged_run_folder()
  local _, ask = new_session()
  shell.in_folder(function(folder)
    files.write(folder .. '/recipe.resolved.json', '{}')
    files.write(folder .. '/metrics.jsonl', '{"round":1,"eval/win_rate":0.5}\n')
    files.make_folder(folder .. '/round-1')
    local function put(name, value)
      files.remove(folder .. '/round-1/' .. name)
      local records = assert(files.records(folder .. '/round-1/' .. name, true))
      records:append(value)
      records:close()
    end
    assert_has(ask(':open ' .. folder), 'eval/win_rate')
    assert_has(select(2, ask ':answers 1 1'), 'the stage was not run yet')
    for _, bad in ipairs { { id = 1 }, { matrix = { { 1 } }, wins = {} },
      { matrix = { { 1, 2 } }, wins = { 1 } }, { matrix = { { 'x' } }, wins = { 1 } } } do
      put('preference.msgpack', bad)
      assert_has(select(2, ask ':matrix 1 1'), 'has no K x K matrix')
    end
    put('preference.msgpack', { matrix = { { 0.5 } }, wins = { 0.5 } })
    for _, bad in ipairs { { id = 1 }, { answers = 3 }, { answers = { { text = 1 } } } } do
      put('answers.msgpack', bad)
      assert_has(select(2, ask ':answers 1 1'), 'has no list of answers')
    end
    put('answers.msgpack', { id = 'i', answers = { { text = 'a\27[2Jb\nc', tokens = { 1 } } } })
    local text = ask ':answers 1 1'
    assert_has(text, 'a?[2Jb\n    c')
    files.write(folder .. '/round-1/answers.msgpack', 'junk')
    assert_has(select(2, ask ':answers 1 1'), 'answers.msgpack')
  end)
end

return tests
