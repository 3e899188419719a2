--- report.html (lua/sppo/report): whole, drawn from a run's files, and nothing in it is markup that
--- a model or a recipe wrote.

local answers = require 'sppo.report.answers'
local files = require 'sppo.files'
local lu = require 'luaunit'
local msgpack = require 'sppo.msgpack'
local report = require 'sppo.report'
local report_run = require 'sppo.report.run'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'

local tests = {}

local single = { meta = true, ['!doctype'] = true }

--- Every element is closed in its turn; there is no script and nothing that loads.
local function assert_page(html)
  local open = {}
  for closing, name, rest in html:gsub('<style>.-</style>', ''):gmatch('<(/?)(!?%a%w*)([^>]*)>') do
    if closing == '/' then lu.assertEquals(table.remove(open), name)
    elseif not single[name] and rest:sub(-1) ~= '/' then open[#open + 1] = name end
    lu.assertNil(rest:lower():find('%son%a+%s*='), rest)
    lu.assertNil(rest:find('src=', 1, true) or rest:find('href=', 1, true), rest)
    lu.assertNil(rest:find('url(', 1, true), rest)
    lu.assertFalse(name == 'script' or name == 'img' or name == 'iframe' or name == 'link', name)
  end
  lu.assertEquals(open, {})
  lu.assertStrContains(html, "default-src 'none'")
end

local function finished(folder, overrides)
  local list = { { 'out', folder .. '/run' }, { 'rounds', '2' } }
  for _, o in ipairs(overrides or {}) do list[#list + 1] = o end
  lu.assertEquals(selfplay.run(shell.root() .. '/recipes/tiny.lua', { overrides = list }), 'done')
  return folder .. '/run'
end

function tests.test_a_run_has_its_report()
  shell.in_folder(function(folder)
    local out = finished(folder)
    local html = files.read(out .. '/report.html')
    assert_page(html)
    local last = shell.metrics(out)
    local rate = last[#last]['eval/win_rate']
    lu.assertStrContains(html, ('Round 2 beats the start in %.3f of held-out'):format(rate))
    lu.assertStrContains(html, 'Win rate against each earlier round')
    for _, title in ipairs { 'Length of held-out answers', 'Loss', 'Log-probability of answers',
      'Preferences', 'The same prompts across rounds', 'Time and memory', 'Settings' } do
      lu.assertStrContains(html, title)
    end
    lu.assertStrContains(html, '<td>train.eta</td><td>10</td>')
    lu.assertTrue(#html < 2 * 2^20)
  end)
end

function tests.test_nothing_is_markup()
  shell.in_folder(function(folder)
    local out = finished(folder)
    local hostile = {
      '<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', '</style><style>', '<!--',
      ']]>', '&lt;b&gt;', '\226\128\174txt', '<svg onload=alert(1)>', '</div></details></body>',
      '\0\1\27[31m', '\255\254', ('<'):rep(2000), '<a href="javascript:x">', '%s%d%n', '${x}{{y}}',
    }
    for _, name in ipairs { 'round-1/answers', 'round-2/answers', 'round-0/evaluation',
      'round-2/evaluation' } do
      local path = ('%s/%s.msgpack'):format(out, name)
      local list = files.read_records(path)
      files.remove(path)
      local records = files.records(path, true)
      for i, r in ipairs(list) do
        r.text = hostile[1 + i % #hostile]
        r.prompt = msgpack.i32(r.prompt)
        for k, a in ipairs(r.answers) do
          a.text = hostile[1 + (i + k) % #hostile]
          a.tokens, a.logprobs = msgpack.i32(a.tokens), msgpack.f32(a.logprobs)
        end
        records:append(r)
      end
      records:close()
    end
    local text = files.read(out .. '/recipe.resolved.json')
    files.write(out .. '/recipe.resolved.json', (text:gsub('"name": "tiny"',
      '"name": "</title><script>x</script>"')))
    files.write(out .. '/recipe.lua', '</pre><script>1</script>')
    local path = report.write(out)
    local html = files.read(path)
    assert_page(html)
    lu.assertStrContains(html, '&lt;script&gt;alert(1)')
  end)
end

function tests.test_an_unfinished_run()
  shell.in_folder(function(folder)
    local out, calls = folder .. '/run', 0
    local result = selfplay.run(shell.root() .. '/recipes/tiny.lua', {
      overrides = { { 'out', out } }, stop = function()
        calls = calls + 1
        return calls > 60
      end })
    lu.assertEquals(result, 'stopped')
    files.append(out .. '/metrics.jsonl', '{"round":1,"lo', false) -- killed while writing
    local path = report.write(out)
    assert_page(files.read(path))
    files.append(out .. '/metrics.jsonl', '\n{}\n', false)
    local ok, err = pcall(report.write, out)
    lu.assertFalse(ok)
    lu.assertStrMatches(tostring(type(err) == 'table' and err.message or err),
      '.*metrics%.jsonl:%d+: .*')
  end)
end

function tests.test_compare()
  shell.in_folder(function(folder)
    local out = finished(folder)
    files.make_folder(folder .. '/b')
    local other = finished(folder .. '/b', { { 'train.lr', '1e-3' }, { 'seed', '2' } })
    local path = report.compare({ out, other }, folder .. '/both.html')
    local html = files.read(path)
    assert_page(html)
    lu.assertStrContains(html, '<td>train.lr</td><td>0.002</td><td>0.001</td>')
    lu.assertNil(html:find('<td>train.eta</td>', 1, true))
  end)
end

function tests.test_command()
  shell.in_folder(function(folder)
    local out = finished(folder)
    local code, text = shell.sppo { 'report', out, '-o', folder .. '/r.html' }
    lu.assertEquals(code, 0)
    lu.assertEquals(text, folder .. '/r.html\n')
    local _, none
    code, _, none = shell.sppo { 'report', folder }
    lu.assertEquals(code, 2)
    lu.assertStrContains(none, 'not a run folder')
    code, _, none = shell.sppo { 'report', out, out, '-o', 'x.html' }
    lu.assertEquals(code, 2)
    lu.assertStrContains(none, 'needs --compare')
  end)
end

function tests.test_marked_words()
  lu.assertEquals(answers.marked('a b c', 'a x c'), 'a<ins> x</ins> c')
  lu.assertEquals(answers.marked('', 'a b'), '<ins>a b</ins>')
  lu.assertEquals(answers.marked('a b', 'a b'), 'a b')
  lu.assertEquals(answers.marked('a', ''), '')
  lu.assertEquals(answers.marked('x', '<b> x'), '<ins>&lt;b&gt;</ins> x')
  lu.assertEquals(answers.marked(('a '):rep(5000), 'b'), 'b')
end

function tests.test_rounds_that_are_missing()
  shell.in_folder(function(folder)
    files.write(folder .. '/recipe.resolved.json', '{"name":"x"}')
    files.write(folder .. '/metrics.jsonl', '{"round":3,"eval/win_rate":0.5}\n{"round":-1}\n' ..
      '{"round":1e300}\n{"round":1.5}\n{"round":"x"}\n{"round":2,"eval/mean_length":"x"}\n')
    local run = report_run.load(folder)
    lu.assertEquals(run.last, 3)
    assert_page(report.page(run))
  end)
end

-- ---- other forms ----

local function small_run(folder)
  files.write(folder .. '/recipe.resolved.json', '{"name":"r"}')
  files.write(folder .. '/perf.jsonl', '{"stage":"start","time":1700000000.5}\n')
  files.write(folder .. '/metrics.jsonl', '{"round":0,"eval/pass_rate":0.25}\n' ..
    '{"round":1,"step":1,"loss":3}\n{"round":1,"step":2,"loss":2.5}\n' ..
    '{"round":1,"eval/win_rate":0.625}\n')
end

function tests.test_csv()
  shell.in_folder(function(folder)
    small_run(folder)
    local code = shell.sppo { 'report', folder, '--csv', folder .. '/m.csv' }
    lu.assertEquals(code, 0)
    lu.assertEquals(shell.read(folder .. '/m.csv'), 'kind,step,round,key,value\n' ..
      'step,1,1,loss,3\nstep,2,1,loss,2.5\nround,0,0,eval/pass_rate,0.25\n' ..
      'round,1,1,eval/win_rate,0.625\n')
    local again, _, err = shell.sppo { 'report', folder, folder, '--csv', folder .. '/m.csv' }
    lu.assertEquals(again, 2)
    lu.assertStrContains(err, '--csv takes one run')
  end)
end

--- Records of length, checksum, message, checksum. TensorBoard's own reader took such a file; its
--- checksum of the first length is a constant here.
function tests.test_tensorboard()
  shell.in_folder(function(folder)
    small_run(folder)
    local code = shell.sppo { 'report', folder, '--tensorboard', folder .. '/tb' }
    lu.assertEquals(code, 0)
    local bytes = shell.read(folder .. '/tb/events.out.tfevents.1700000000.sppo')
    local at, messages = 1, {}
    while at <= #bytes do
      local length = bytes:byte(at) + 256 * bytes:byte(at + 1)
      messages[#messages + 1] = bytes:sub(at + 12, at + 11 + length)
      at = at + 16 + length
    end
    lu.assertEquals(at, #bytes + 1)
    lu.assertEquals(#messages, 5)
    lu.assertStrContains(messages[1], 'brain.Event:2')
    lu.assertStrContains(messages[2], 'step/loss')
    lu.assertStrContains(messages[5], 'round/eval/win_rate\21\0\0\32\63') -- 0.625 as f32
    lu.assertEquals(#messages[1], 26)
    lu.assertEquals(bytes:sub(9, 12), '\18\155\216\45') -- the masked crc32c of that length
  end)
end

return tests
