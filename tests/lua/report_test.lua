--- report.html (lua/sppo/report): whole, drawn from a run's files, and nothing in it is markup that
--- a model or a recipe wrote.

local answers = require 'sppo.report.answers'
local base64 = require 'sppo.base64'
local escape = require 'sppo.escape'
local files = require 'sppo.files'
local hostile = require 'support.hostile'
local lu = require 'luaunit'
local report = require 'sppo.report'
local report_run = require 'sppo.report.run'
local runs = require 'support.report_runs'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'
local tokenizer = require 'sppo.tokenizer'

local tests = {}

local single = { meta = true, ['!doctype'] = true }

--- The elements of a page, { ['td'] = true, ['td class'] = true }, which must be closed in their
--- turn; nothing between them has the characters that markup is made of.
local function elements(html)
  local open, found, at = {}, {}, 1
  html = html:gsub('<style>.-</style>', '<style></style>')
  while true do
    local from, to, closing, name, rest = html:find('<(/?)(!?%a[%w-]*)([^<>]*)>', at)
    lu.assertNil(html:sub(at, (from or #html + 1) - 1):find('[<>]'))
    if not from then break end
    found[name] = true
    if closing == '/' then lu.assertEquals(table.remove(open), name)
    elseif not single[name] and rest:sub(-1) ~= '/' then open[#open + 1] = name end
    local left = rest:gsub('%s([%w:-]+)="[^"]*"', function(attribute)
      found[name .. ' ' .. attribute] = true
      return ''
    end)
    lu.assertTrue(left == '' or left == '/' or name == '!doctype', rest)
    at = to + 1
  end
  lu.assertEquals(open, {})
  return found
end

--- A page of known elements, that runs nothing, loads nothing, and allows neither; of its styles it
--- allows the one that it has.
local function assert_page(html)
  for name in pairs(elements(html)) do
    local element, attribute = name:match('^(%S+) ?(.*)$')
    lu.assertFalse(element == 'script' or element == 'img' or element == 'iframe' or
      element == 'link' or element == 'a' or element == 'form', name)
    lu.assertNil(attribute:find('^on') or attribute:find('^style') or attribute:find('src') or
      attribute:find('href'), name)
  end
  local style, hash = html:match('<style>(.-)</style>'), html:match("style%-src 'sha256%-([^']+)'")
  lu.assertEquals(base64.decode(hash):gsub('.', function(c)
    return ('%02x'):format(c:byte())
  end), files.sha256(style))
  lu.assertNil(style:find('url(', 1, true) or style:find('@import', 1, true))
  lu.assertStrContains(html, "default-src 'none'")
  lu.assertEquals(tokenizer.to_utf8(html), html)
  lu.assertNil(html:find('[%z\1-\8\11\12\14-\31\127]') or html:find('\226\128[\170-\174]'))
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
    for _, title in ipairs { 'Win rate, with 95 % interval', 'Length of answers', 'Loss',
      'log(pi / pi_t) of the answers trained on', 'Log-likelihood of answers', 'Residual: ',
      'Ties, cycles, cut answers', 'The same prompts across rounds', 'Preferences', 'chosen',
      'Time and memory', 'Most memory in use', 'Settings and environment', 'kernels' } do
      lu.assertStrContains(html, title)
    end
    lu.assertStrContains(html, '<th scope="row">train.eta</th><td>10</td>')
    -- Behind each figure its numbers, in a table with the same heading.
    local figures = 0
    for figure in html:gmatch('<figure>(.-)</figure>') do
      figures = figures + 1
      local title = figure:match('aria%-label="([^"]+)"')
      lu.assertStrContains(figure, '<caption>' .. title, false)
      lu.assertStrContains(figure, '<th scope="row">')
    end
    lu.assertTrue(figures >= 12)
  end)
end

--- What a round's win rate against an earlier one stands on is in the page, too.
function tests.test_intervals_against_each_round()
  shell.in_folder(function(folder)
    local out = finished(folder)
    local last = shell.metrics(out)
    last = last[#last]
    local key = 'eval/win_rate_against'
    local rate, low, high = last[key .. '/1'], last[key .. '_low/1'], last[key .. '_high/1']
    lu.assertTrue(low <= rate and rate <= high and low < high)
    lu.assertStrContains(files.read(out .. '/report.html'),
      ('<td>%.3f (%.3f..%.3f)</td></tr>'):format(rate, low, high))
  end)
end

-- ---- text that wants to be more ----

function tests.test_nothing_is_markup()
  lu.assertTrue(#hostile >= 200)
  shell.in_folder(function(folder)
    local allowed, shown = elements(files.read(runs.clean(folder .. '/clean'))), {}
    for page = 1, runs.PAGES do
      local html = files.read(runs.hostile(('%s/%d'):format(folder, page), page))
      assert_page(html)
      for name in pairs(elements(html)) do lu.assertTrue(allowed[name], name) end
      local plain = html:gsub('</?ins>', ''):gsub('</?del>', '')
      for i, text in ipairs(hostile) do
        shown[i] = shown[i] or plain:find(escape.html((text:gsub('%s+$', ''))), 1, true)
      end
    end
    for i, text in ipairs(hostile) do lu.assertNotNil(shown[i], text) end
  end)
end

function tests.test_nothing_is_markup_side_by_side()
  shell.in_folder(function(folder)
    local bad = folder .. '/"><svg onload=a>\226\128\174'
    runs.clean(folder .. '/clean')
    runs.hostile(bad, 1)
    local allowed = elements(files.read(report.compare({ folder .. '/clean', folder .. '/clean' },
      folder .. '/a.html')))
    for name in pairs(elements(files.read(runs.clean(folder .. '/b')))) do allowed[name] = true end
    local html = files.read(report.compare({ folder .. '/clean', bad }, folder .. '/b.html'))
    assert_page(html)
    for name in pairs(elements(html)) do lu.assertTrue(allowed[name], name) end
    lu.assertStrContains(html, '⟨U+202E⟩')
  end)
end

function tests.test_escape()
  local bad = '\239\191\189'
  for text, shown in pairs {
    ['a<b>&"\'c'] = 'a&lt;b&gt;&amp;&quot;&#39;c', ['\0\1\t\n\127'] = bad .. bad .. '\t\n' .. bad,
    ['\255x\226\130'] = bad .. 'x' .. bad, ['\237\160\128'] = bad:rep(3),
    ['\226\128\174a\226\128\172'] = '⟨U+202E⟩a⟨U+202C⟩', ['\216\156'] = '⟨U+061C⟩',
    ['\226\129\166'] = '⟨U+2066⟩', ['\239\187\191'] = '⟨U+FEFF⟩', ['\194\133'] = bad,
    ['\243\160\129\129'] = '⟨U+E0041⟩', ['\239\191\191'] = bad, ['\240\159\191\191'] = bad,
    ['é字👩\226\128\141👧'] = 'é字👩\226\128\141👧', [''] = '',
  } do
    lu.assertEquals(escape.html(text), shown)
  end
  lu.assertEquals(escape.html(12), '12')
end

function tests.test_cut()
  lu.assertEquals({ escape.cut('abc', 3) }, { 'abc', 0 })
  lu.assertEquals({ escape.cut('abcd', 3) }, { 'abc', 1 })
  lu.assertEquals({ escape.cut('a字字', 3) }, { 'a', 2 })
  lu.assertEquals({ escape.cut('a字字', 4) }, { 'a字', 1 })
  lu.assertEquals({ escape.cut(('\128'):rep(10), 5) }, { ('\128'):rep(5), 1 })
end

function tests.test_base64()
  for _, text in ipairs { '', 'a', 'ab', 'abc', '\0\255\128', ('x'):rep(1000) } do
    lu.assertEquals(base64.decode(base64.encode(text)), text)
  end
  lu.assertEquals(base64.encode('sppo'), 'c3Bwbw==')
end

-- ---- size ----

function tests.test_size_and_time()
  shell.in_folder(function(folder)
    for times, name in pairs { [1] = 'quickstart', [12] = 'twelve times that' } do
      local path = ('%s/%d'):format(folder, times)
      runs.quickstart(path, times)
      local began = os.clock()
      local html = files.read(report.write(path))
      local seconds = os.clock() - began
      assert_page(html)
      lu.assertTrue(#html < 2 * 2^20, ('%s: %d bytes'):format(name, #html))
      lu.assertTrue(seconds < 5, ('%s: %.1f s'):format(name, seconds))
      if times > 1 then
        lu.assertStrContains(html, 'more characters)')
        lu.assertStrContains(html, 'The 8 answers with the highest and the 8 with the lowest mean')
        lu.assertStrContains(html, 'every 4th round')
      end
    end
  end)
end

-- ---- runs that are not whole ----

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
    lu.assertStrContains(html, '<th scope="row">train.lr</th><td>0.002</td><td>0.001</td>')
    lu.assertNil(html:find('<th scope="row">train.eta</th><td>10</td><td>', 1, true))
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
    files.make_folder(folder .. '/runs')
    files.make_folder(folder .. '/runs/x')
    files.write(folder .. '/runs/x/recipe.resolved.json', '{}')
    _, _, none = shell.run(('cd %s; %s'):format(folder, shell.program { 'report', 'x' }))
    lu.assertStrContains(none, 'x: not a run folder (did you mean \'runs/x\'?)')
    code, _, none = shell.sppo { 'report', out, out, '-o', 'x.html' }
    lu.assertEquals(code, 2)
    lu.assertStrContains(none, 'needs --compare')
  end)
end

function tests.test_marked_words()
  for _, case in ipairs {
    { 'a b c', 'a x c', 'a <ins>x</ins> c' }, { '', 'a b', '<ins>a b</ins>' },
    { 'a b', 'a b', 'a b' }, { 'a', '', '' }, { 'x', '<b> x', '<ins>&lt;b&gt;</ins> x' },
    { ('a '):rep(5000), 'b', 'b' }, { 'a b c d', 'e f g', 'e f g' }, -- too long; too few in common
  } do
    lu.assertEquals((answers.marked(case[1], case[2])), case[3])
  end
  local _, other = answers.marked('a b c d', 'e f g')
  lu.assertTrue(other)
  lu.assertEquals((answers.removed('a b\n c', 'a c')), 'a <del>b</del>\n c')
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

--- Records that are not what a run writes: one error with file and record, no page.
function tests.test_damaged_records()
  local answer = { tokens = { 1 }, text = 'x' }
  for _, case in ipairs {
    { 'evaluation', 'text', 'is no map' }, { 'evaluation', { id = 1 }, 'has no answers' },
    { 'evaluation', { answers = { 1 } }, 'has an answer without tokens' },
    { 'evaluation', { answers = { { tokens = {} } } }, 'has an answer without text' },
    { 'preference', {}, 'has no matrix' },
    { 'preference', { matrix = { { 0.5, 0.5 }, { 0.5 } }, wins = { 1, 1 } },
      'has a matrix that is not 2 x 2' },
    { 'preference', { matrix = { { 'x' } }, wins = { 1 } }, 'has a matrix that is not 1 x 1' },
    { 'preference', { matrix = { { 0.5 } }, wins = {} }, 'has no 1 win rates' },
    { 'rows', { answers = {} }, 'has no answers' },
  } do
    shell.in_folder(function(folder)
      files.write(folder .. '/recipe.resolved.json', '{"name":"r"}')
      files.write(folder .. '/metrics.jsonl', '{"round":1,"eval/win_rate":0.5}\n')
      files.make_folder(folder .. '/round-1')
      local path = ('%s/round-1/%s.msgpack'):format(folder, case[1])
      local file = files.records(path, true)
      if case[1] == 'evaluation' then file:append { id = 0, answers = { answer } } end
      file:append(case[2])
      file:close()
      local code, _, err = shell.sppo { 'report', folder }
      lu.assertEquals(code, 3, err)
      lu.assertStrContains(err, ('%s: record %d %s'):format(path,
        case[1] == 'evaluation' and 2 or 1, case[3]))
      lu.assertFalse(files.exists(folder .. '/report.html'))
    end)
  end
end

--- A prompt of several messages is headed by its last.
function tests.test_prompts_of_messages()
  shell.in_folder(function(folder)
    local recipe = shell.read(shell.root() .. '/recipes/tiny.lua')
    files.write(folder .. '/r.lua', (recipe:gsub('held_out%[i%] = {', function(text)
      return text .. ' messages = { { role = "user", content = "What is it?" } },'
    end)))
    lu.assertEquals(selfplay.run(folder .. '/r.lua',
      { overrides = { { 'out', folder .. '/run' }, { 'rounds', '1' } } }), 'done')
    lu.assertStrContains(files.read(folder .. '/run/report.html'), '<summary>What is it?</summary>')
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
