--- The command line, by running the program: exit codes, streams, help, suggestions, cat.

local host = require 'sppo.host'
local lu = require 'luaunit'

local T = {}

local folder

function T.set_up()
  folder = os.tmpname()
  os.remove(folder)
  require('sppo.files').make_folder(folder)
end

function T.tear_down() require('sppo.files').remove(folder) end

local function quoted(text) return '\'' .. text:gsub('\'', '\'\\\'\'') .. '\'' end

local function read(path)
  local file = assert(io.open(path, 'rb'))
  local text = file:read('*a')
  file:close()
  return text
end

local function write(name, text)
  local path = folder .. '/' .. name
  local file = assert(io.open(path, 'wb'))
  file:write(text)
  file:close()
  return path
end

--- Exit code, stdout, stderr of the program with these arguments; `before` sets variables or pipes.
local function sppo(arguments, before)
  local out, err = folder .. '/stdout', folder .. '/stderr'
  local status = os.execute(('%s %s %s >%s 2>%s </dev/null'):format(before or '',
    quoted(host.executable()), arguments, quoted(out), quoted(err)))
  return status / 256, read(out), read(err)
end

function T.test_no_arguments_without_a_terminal()
  local code, out, err = sppo ''
  lu.assertEquals(code, 2)
  lu.assertEquals(out, '')
  lu.assertStrContains(err, 'Usage: sppo VERB')
end

--- Every verb that `sppo help` names: its help fits a terminal of 100 columns and 40 lines, has the
--- options that all have, and ends with at least two examples of itself.
function T.test_help_of_every_verb()
  local code, out, err = sppo 'help'
  lu.assertEquals({ code, err }, { 0, '' })
  local function assert_fits(text, what)
    local _, lines = text:gsub('\n', '')
    lu.assertTrue(lines <= 40, ('%s: %d lines'):format(what, lines))
    for line in text:gmatch('[^\n]+') do
      lu.assertTrue(#line <= 100, ('%s: %d columns: %s'):format(what, #line, line))
    end
    lu.assertNil(text:find('[\t\27]'), what)
  end
  assert_fits(out, 'help')
  local verbs = {}
  for verb in out:gmatch('\n  (%l+)  ') do verbs[#verbs + 1] = verb end
  lu.assertTrue(#verbs >= 23, #verbs)
  local known = ' ' .. table.concat(verbs, ' ') .. ' '
  for verb in ('run new validate ls report data plan eval train gen chat rank tok export cat ' ..
    'inspect repl test bench doctor completion version help'):gmatch('%l+') do
    lu.assertStrContains(known, ' ' .. verb .. ' ')
  end
  for _, verb in ipairs(verbs) do
    if verb ~= 'help' then
      local verb_code, text, verb_err = sppo(verb .. ' --help')
      lu.assertEquals({ verb_code, verb_err }, { 0, '' })
      lu.assertStrContains(text, 'Usage: sppo ' .. verb)
      assert_fits(text, verb)
      for _, option in ipairs { '--threads N', '-v, --verbose', '-q, --quiet', '-h, --help' } do
        lu.assertStrContains(text, option, false, false, verb)
      end
      local examples, count = text:match('\nExamples:\n(.*)$'), 0
      for line in examples:gmatch('[^\n]+') do
        count = count + (line:find('sppo ' .. verb, 1, true) and 1 or 0)
      end
      lu.assertTrue(count >= 2, verb .. ': examples')
      local _, help_text = sppo('help ' .. verb)
      lu.assertEquals(help_text, text)
    end
  end
end

--- With --json stdout has JSON objects, a line each, and nothing else; whatever the environment
--- asks for, nothing is coloured.
function T.test_json_and_colour()
  local recipe = quoted(require('sppo.cli.test').root .. '/recipes/tiny.lua')
  local pairs_file = quoted(write('p.jsonl', '{"prompt":"a"}\n{"prompt":"b"}\n'))
  for _, case in ipairs {
    { 'ls --json ' .. quoted(folder), 0 }, { 'plan --json --hardware h100 ' .. recipe, 0 },
    { 'validate --json ' .. recipe, 0 }, { 'validate --json ' .. recipe .. ' seed=x', 2 },
    { 'validate --json none.lua', 2 }, { 'validate --keys --json', 0 },
    { 'eval --json ' .. recipe .. ' start evaluate.k=1', 0 },
    { 'data stats --json ' .. pairs_file, 0 }, { 'data head --json ' .. pairs_file, 0 },
    { 'cat --resolved ' .. recipe, 0 }, { 'bench load --json --repeats 1 --model none', 0 },
  } do
    local code, out, err = sppo(case[1], 'CLICOLOR_FORCE=1 FORCE_COLOR=1')
    lu.assertEquals(code, case[2], case[1] .. err)
    lu.assertEquals(err, '', case[1])
    for line in out:gmatch('[^\n]+') do
      local value, why = require('sppo.json').decode(line)
      lu.assertEquals(type(value), 'table', ('%s: %s: %s'):format(case[1], line, tostring(why)))
    end
    lu.assertNil(out:find('\27', 1, true), case[1])
  end
  for _, arguments in ipairs { 'help', 'doctor', 'version', 'run none.lua', 'validate --keys' } do
    local _, out, err = sppo(arguments, 'CLICOLOR_FORCE=1 FORCE_COLOR=1')
    lu.assertNil((out .. err):find('\27', 1, true), arguments)
  end
end

function T.test_unknown_verb()
  local code, out, err = sppo 'rnu recipes/tiny.lua'
  lu.assertEquals({ code, out }, { 2, '' })
  lu.assertEquals(err, 'sppo: unknown verb \'rnu\' (did you mean \'run\'?)\ntry: sppo help\n')
  code, out, err = sppo 'help vresion'
  lu.assertEquals(out, '')
  lu.assertEquals(code, 2)
  lu.assertStrContains(err, 'did you mean \'version\'?')
end

function T.test_unknown_option()
  local code, _, err = sppo 'gen --temprature 1 model prompt'
  lu.assertEquals(code, 2)
  lu.assertEquals(err,
    'sppo: unknown option \'--temprature\' (did you mean \'--temperature\'?)\n' ..
      'try: sppo gen --help\n')
end

function T.test_bad_arguments()
  for _, case in ipairs {
    { 'run', 'missing argument \'recipe\'' },
    { 'run x.lua train.lr', '\'train.lr\' is not key=value' },
    { 'run x.lua --only smaple', 'did you mean \'sample\'?' },
    { 'version --threads 0', '--threads must be an integer in 1..256, got \'0\'' },
    { 'gen model x --dtype f31', 'unknown dtype \'f31\' (did you mean \'f32\'?)' },
    { 'bench mashine', 'did you mean \'machine\'?' },
    { 'gen model ""', 'the prompt is empty' },
  } do
    local code, out, err = sppo(case[1])
    lu.assertEquals({ code, out }, { 2, '' }, case[1])
    lu.assertStrContains(err, case[2])
    lu.assertStrContains(err, '\ntry: sppo ')
  end
end

function T.test_version()
  local code, out, err = sppo 'version'
  lu.assertEquals({ code, err }, { 0, '' })
  lu.assertStrContains(out, 'sppo ' .. host.build.version)
  lu.assertStrContains(out, require('sppo').cpu_name())
  local _, again = sppo '--version'
  lu.assertEquals(again, out)
  for _, name in ipairs { 'plain', 'generic' } do
    _, out = sppo('version', 'SPPO_CPU=' .. name)
    lu.assertStrContains(out, 'cpu       plain\n')
  end
end

--- Without AVX2, on one processor, with more threads than processors: slower, and the same.
function T.test_little_to_work_with()
  local run = 'run recipes/tiny.lua rounds=1 --quiet out=' .. folder
  local want
  for i, before in ipairs { 'SPPO_CPU=generic', 'taskset -c 0', '' } do
    local code, _, err = sppo(run .. '/' .. i .. (i == 3 and ' --threads 64' or ''), before)
    lu.assertEquals(code, 0, err)
    local metrics = read(('%s/%d/metrics.jsonl'):format(folder, i))
    want = want or i > 1 and metrics or nil
    if i > 1 then lu.assertEquals(metrics, want) end -- whatever the threads
  end
end

function T.test_bad_cpu()
  local code, out, err = sppo('version', 'SPPO_CPU=avx3')
  lu.assertEquals({ code, out }, { 2, '' })
  lu.assertStrContains(err, "sppo: SPPO_CPU: 'avx3' is none of")
  lu.assertStrContains(err, 'avx3')
end

function T.test_cat_records()
  local path = folder .. '/a.msgpack'
  local records = assert(require('sppo.files').records(path, true))
  records:append { id = 1, text = 'a "b"\n' }
  records:append { id = 2 }
  records:close()
  local code, out, err = sppo('cat ' .. quoted(path))
  lu.assertEquals({ code, err }, { 0, '' })
  local lines = {}
  for line in out:gmatch('[^\n]+') do lines[#lines + 1] = require('sppo.json').decode(line) end
  lu.assertEquals(lines, { { id = 1, text = 'a "b"\n' }, { id = 2 } })
end

function T.test_cat_text()
  local lines = write('m.jsonl', '{"step":1}\n{"step":2}')
  local object = write('recipe.resolved.json', '{\n  "seed": 3\n}\n')
  local code, out = sppo(('cat %s %s'):format(quoted(lines), quoted(object)))
  lu.assertEquals({ code, out }, { 0, '{"step":1}\n{"step":2}\n{"seed":3}\n' })
end

function T.test_cat_and_inspect_safetensors()
  local files = require 'sppo.files'
  local path = folder .. '/w.safetensors'
  local w = files.safetensors_writer(path,
    { { name = 'a.weight', dtype = 'f32', shape = { 2, 3 } } })
  w:write(require('sppo').zeros { 2, 3 })
  w:close()
  local code, out = sppo('cat ' .. quoted(path))
  lu.assertEquals(code, 0)
  lu.assertEquals(require('sppo.json').decode(out),
    { name = 'a.weight', dtype = 'F32', shape = { 2, 3 } })
  code, out = sppo('inspect ' .. quoted(path))
  lu.assertEquals(code, 0)
  lu.assertStrContains(out, 'a.weight')
  lu.assertStrContains(out, '[2, 3]')
end

function T.test_cat_bad_files()
  local cases = {
    { folder .. '/none.msgpack', 6, 'none.msgpack' },
    { write('a.bin', 'x'), 3, 'pickles are not read' },
    { write('a.json', '{"a":'), 3, 'a.json' },
    { write('a.gguf', 'GGUFxxxx'), 3, 'a.gguf' },
    { write('a.safetensors', 'xx'), 3, 'a.safetensors' },
    { write('a.xyz', 'x'), 3, 'not a file that sppo writes or reads' },
    { folder, 2, folder },
  }
  for _, case in ipairs(cases) do
    local code, out, err = sppo('cat ' .. quoted(case[1]))
    lu.assertEquals({ code, out }, { case[2], '' }, case[1])
    lu.assertStrContains(err, case[3])
    local _, lines = err:gsub('\n', '')
    lu.assertTrue(lines <= 2, err)
  end
end

function T.test_cat_to_a_reader_that_leaves()
  local path = write('long.jsonl', ('{"a":1}\n'):rep(200000))
  local status = os.execute(('%s cat %s 2>%s | head -n 1 >%s; exit ${PIPESTATUS:-0}'):format(
    quoted(host.executable()), quoted(path),
    quoted(folder .. '/stderr'), quoted(folder .. '/stdout')))
  lu.assertEquals(status, 0)
  lu.assertEquals(read(folder .. '/stdout'), '{"a":1}\n')
  lu.assertEquals(read(folder .. '/stderr'), '')
end

function T.test_full_disk()
  local full = io.open('/dev/full', 'w')
  lu.skipIf(not full, 'there is no /dev/full')
  full:close()
  local status = os.execute(('%s version >/dev/full 2>%s'):format(quoted(host.executable()),
    quoted(folder .. '/stderr')))
  lu.assertEquals(status / 256, 6)
  lu.assertStrContains(read(folder .. '/stderr'), 'sppo: stdout: ')
end

function T.test_missing_model()
  local code, out, err = sppo 'gen no-such-model "Hello"'
  lu.assertTrue(code == 6 or code == 3, code)
  lu.assertEquals(out, '')
  lu.assertStrContains(err, 'no-such-model')
end

function T.test_repl_without_a_terminal()
  local code, out, err = sppo('repl -e "1 + 1"')
  lu.assertEquals({ code, out, err }, { 0, '2\n', '' })
  code, out, err = sppo('repl -e "error(\'bang\', 0)"')
  lu.assertEquals({ code, out }, { 1, '' })
  lu.assertStrContains(err, 'bang')
  local script = write('script', 'x = 20\nfor i = 1, 2 do\n  x = x + 1\nend\nx\n')
  local status = os.execute(('%s repl <%s >%s 2>&1'):format(
    quoted(host.executable()), quoted(script), quoted(folder .. '/stdout')))
  lu.assertEquals(status, 0)
  lu.assertEquals(read(folder .. '/stdout'), '22\n')
end

--- A checkout of its own, with one test that passes, one that fails and one that is skipped.
function T.test_test()
  local files = require 'sppo.files'
  files.make_folder(folder .. '/tests/lua')
  write('tests/lua/a_test.lua', [[
local lu = require 'luaunit'
return {
  test_good = function() lu.assertEquals(1, 1) end,
  test_bad = function() lu.assertEquals(1, 2) end,
  test_not_here = function() lu.skip('no reason') end,
}]])
  local code, out = sppo('test', ('cd %s; SPPO_LUA='):format(quoted(folder)))
  lu.assertEquals(code, 1)
  lu.assertStrMatches(out, '.*1 passed, 1 failed, 1 skipped\n')
  lu.assertStrContains(out, 'no reason')
  lu.assertStrContains(out, 'a_test.lua:4: expected: 2, actual: 1')
  lu.assertStrContains(out, 'test --seed 1 lua/a.bad')
  code, out = sppo('test lua/a.good', ('cd %s; SPPO_LUA='):format(quoted(folder)))
  lu.assertEquals(code, 0)
  lu.assertStrMatches(out, '.*1 passed, 0 failed, 0 skipped\n')
  for _, file in ipairs { 'tests/lua/a_test.lua', './tests/lua/a_test.lua', 'lua/a_test.lua' } do
    code, out = sppo('test --list ' .. file, ('cd %s; SPPO_LUA='):format(quoted(folder)))
    lu.assertEquals({ code, out }, { 0, 'lua/a.bad\nlua/a.good\nlua/a.not_here\n' })
  end
  local missing, _, err = sppo('test nothing-of-that-name',
    ('cd %s; SPPO_LUA='):format(quoted(folder)))
  lu.assertEquals(missing, 1)
  lu.assertStrContains(err, '\'sppo test --list\' prints the names')
  code, out = sppo('test --list', ('cd %s; SPPO_LUA='):format(quoted(folder)))
  lu.assertEquals({ code, out }, { 0, 'lua/a.bad\nlua/a.good\nlua/a.not_here\n' })
end

function T.test_lua_files_of_a_checkout_come_first()
  local files = require 'sppo.files'
  files.make_folder(folder .. '/lua/sppo/cli')
  write('lua/sppo/cli/version.lua',
    'return { examples = { "a" }, run = function() io.write("mine\\n") error("here") end }')
  local variable = 'SPPO_LUA=' .. quoted(folder)
  local code, out, err = sppo('version -v', variable)
  lu.assertEquals({ code, out }, { 1, 'mine\n' })
  lu.assertStrContains(err, folder .. '/lua/sppo/cli/version.lua:1: here')
  lu.assertStrContains(err, 'stack traceback')
  err = select(3, sppo('version', variable))
  lu.assertNotStrContains(err, 'stack traceback')
  -- Bytecode can crash the interpreter: it is no module.
  write('lua/sppo/cli/version.lua', string.dump(function() end))
  code, out, err = sppo('version', variable)
  lu.assertEquals({ code, out }, { 1, '' })
  lu.assertStrContains(err, folder .. '/lua/sppo/cli/version.lua: is bytecode, only text is loaded')
end

--- Starts a long run, waits until it is under way, sends `signals`; returns its exit code.
local function stopped_run(signals)
  local recipe = require('sppo.cli.test').root .. '/recipes/tiny.lua'
  local script = write('stop.sh', ([[
"$1" run "$2" rounds=1000 out="$3" 2>"$3.stderr" &
pid=$!
tries=0
until grep -qs '^round 1: 16 of 16' "$3/log.txt" || [ $tries -ge 600 ] || ! kill -0 $pid; do
  sleep 0.1
  tries=$((tries + 1))
done
%s
wait $pid
]]):format(signals))
  local status = os.execute(('sh %s %s %s %s'):format(quoted(script), quoted(host.executable()),
    quoted(recipe), quoted(folder .. '/run')))
  return status / 256, read(folder .. '/run.stderr')
end

function T.test_stop_on_request()
  for _, name in ipairs { 'INT', 'TERM' } do
    local code, err = stopped_run(('kill -%s $pid'):format(name))
    require('sppo.files').remove(folder .. '/run')
    lu.assertEquals(code, 75, err)
    lu.assertStrContains(err, 'sppo: stopped; the same command goes on from here\n')
  end
end

function T.test_second_interrupt_leaves_at_once()
  local code = stopped_run('kill -STOP $pid; kill -TERM $pid; kill -CONT $pid; kill -INT $pid')
  -- The run may have stopped by itself between the two signals.
  lu.assertTrue(code == 130 or code == 75, code)
end

function T.test_progress()
  local shown = {}
  local p = require('sppo.cli.progress').new {
    terminal = true, write = function(text) shown[#shown + 1] = text end,
  }
  p:show('round 1 train', 1, 4, 'loss 0.5')
  p:show('round 1 train', 2, 4, 'loss 0.4') -- too soon
  p:clear()
  p:line('done')
  lu.assertEquals(shown, { '\r\27[Kround 1 train  1/4  loss 0.5', '\r\27[K', 'done\n' })
  lu.assertEquals(require('sppo.cli.progress').duration(75), '1:15')
  lu.assertEquals(require('sppo.cli.progress').duration(4000), '1:06:40')
end

return T
