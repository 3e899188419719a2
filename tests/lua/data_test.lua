--- sppo.data: every format and what is refused in it, prompts and pairs by columns, splits and
--- shuffles, and `sppo data`.

local data = require 'sppo.data'
local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local shell = require 'support.shell'

local tests = {}

local folder

function tests.set_up()
  folder = os.tmpname()
  os.remove(folder)
  files.make_folder(folder)
end

function tests.tear_down() files.remove(folder) end

local function put(name, text)
  local file = assert(io.open(folder .. '/' .. name, 'wb')) -- files.write waits for the disk
  file:write(text)
  file:close()
  return folder .. '/' .. name
end

--- The rows of a file of this content, and the lines they begin in.
local function rows(name, text, options)
  local list, at = {}, {}
  for row, line in data.rows(put(name, text), options) do
    list[#list + 1], at[#at + 1] = row, line
  end
  return list, at
end

local function prompts(name, text, options)
  local out = {}
  for i, p in ipairs(data.prompts(put(name, text), options)) do out[i] = p.text or p.messages end
  return out
end

--- `fn(..)` raises "FOLDER/name" .. `wanted`, and the error is one line.
local function refused(wanted, fn, name, ...)
  local ok, err = pcall(fn, name, ...)
  lu.assertFalse(ok)
  lu.assertStrContains(tostring(err), folder .. '/' .. name .. wanted)
  lu.assertNil(tostring(err):find('\n', 1, true))
end

local function gzip(name, text)
  lu.assertEquals(shell.run(('gzip -nf %s'):format(put(name, text))), 0)
  return folder .. '/' .. name .. '.gz'
end

-- ---- formats ----

function tests.test_json_lines()
  local list, at = rows('a.jsonl',
    '\239\187\191{"a":1}\r\n\r\n  {"a":"ü\\n"}\n"only text"\n{"a":null}')
  lu.assertEquals(list, { { a = 1 }, { a = 'ü\n' }, { text = 'only text' }, { a = json.null } })
  lu.assertEquals(at, { 1, 3, 4, 5 })
  lu.assertEquals(#rows('b.jsonl', ''), 0)
  lu.assertEquals(#rows('c.ndjson', '\n\n \n'), 0)
  refused(':2:7: ', rows, 'd.jsonl', '{"a":1}\n{"a": x}\n')
  refused(':2: a row must be an object {"column": value, ..} or a text, this is a number', rows,
    'e.jsonl', '{}\n7\n')
  refused(':1: a row must be an object {"column": value, ..} or a text, this is null', rows,
    'f.jsonl', 'null')
  refused(':1:', rows, 'g.jsonl', '{"a":1}{"a":2}')
  refused(':1:', rows, 'h.jsonl', '\127ELF\2\1\1\0\0\0\255\254')
  refused(':1:1: is UTF-16; save it as UTF-8', rows, 'i.jsonl', '\255\254{\0}\0')
  refused(':2: is longer than 16 MiB; has the file lines?', rows, 'j.jsonl',
    '{}\n"' .. ('x'):rep(2^24) .. '"')
end

function tests.test_json_list()
  local text = '\n [ {"a": "]}\\\\\\"["} ,\n\n{"b": [[1], {"c": 2}]},\n"text"]\n'
  for _, name in ipairs { 'a.json', 'a.jsonl' } do
    local list, at = rows(name, text)
    lu.assertEquals(list, { { a = ']}\\"[' }, { b = { { 1 }, { c = 2 } } }, { text = 'text' } })
    lu.assertEquals(at, { 2, 4, 5 })
  end
  lu.assertEquals(rows('b.json', ' [ ] '), {})
  lu.assertEquals(rows('c.json', '{"a":1}\n{"a":2}'), { { a = 1 }, { a = 2 } })
  refused(':3:2: the file ends inside this row: is it whole?', rows, 'd.json', '[{},\n\n {"a":1')
  refused(':1:4: the file ends inside its list: is it whole?', rows, 'e.json', '[{}')
  refused(':1:5: a comma or ] must come after a row', rows, 'f.json', '[{} {}]')
  refused(':2:1: there is more after the end of the list', rows, 'g.json', '[{}]\n{}')
  refused(':2:7: ', rows, 'h.json', '[\n{"a": x}]')
  refused(':1:2: ', rows, 'i.json', '[,]')
  refused(':1: a row must be an object {"column": value, ..} or a text, this is a list', rows,
    'j.json', '[[1]]')
  -- Longer than the blocks it is read in.
  local parts = {}
  for i = 1, 40000 do parts[i] = ('{"n": %d, "s": "\\"%s\\\\"}'):format(i, ('é'):rep(i % 17)) end
  local list = rows('k.json', '[' .. table.concat(parts, ',\n') .. ']')
  lu.assertEquals(#list, 40000)
  for i, row in ipairs(list) do
    assert(row.n == i and row.s == '"' .. ('é'):rep(i % 17) .. '\\')
  end
end

function tests.test_csv()
  local list, at = rows('a.csv', '\239\187\191id,text,"a ""b"""\r\n' ..
    '1,plain,\r\n\r\n2,"with, comma",x\r\n3,"two\r\nlines and a ""quote""",5" wide\r\n4,ü,"🙂"')
  lu.assertEquals(list, {
    { id = '1', text = 'plain', ['a "b"'] = '' },
    { id = '2', text = 'with, comma', ['a "b"'] = 'x' },
    { id = '3', text = 'two\nlines and a "quote"', ['a "b"'] = '5" wide' },
    { id = '4', text = 'ü', ['a "b"'] = '🙂' },
  })
  lu.assertEquals(at, { 2, 4, 5, 7 })
  lu.assertEquals(rows('b.csv', ''), {})
  lu.assertEquals(rows('c.csv', 'a,b\n'), {})
  lu.assertEquals(rows('d.csv', 'a;b\n"1;";2', { separator = ';' }), { { a = '1;', b = '2' } })
  lu.assertEquals(rows('e.csv', '1,2\n3,4', { columns = { 'x', 'y' } }),
    { { x = '1', y = '2' }, { x = '3', y = '4' } })
  refused(':3: 3 fields, but there are 2 columns (a, b)', rows, 'f.csv', 'a,b\n1,2\n1,2,3')
  refused(':3:3: a quote that opens here is not closed; if quotes are plain', rows, 'g.csv',
    'a,b\n1,2\n3,"x\ny,z\n')
  refused(':2:4: after a closing quote must come a separator', rows, 'h.csv', 'a,b\n"x"y,2')
  refused(':1: two columns are named \'a\' (1 and 3)', rows, 'i.csv', 'a,b,a\n1,2,3')
  refused(':2:3: byte 0xff is not UTF-8 text', rows, 'j.csv', 'a,b\n1,\255')
  refused(':1:2: byte 0x00 is not UTF-8 text', rows, 'k.csv', 'a\0,b\n')
  lu.assertErrorMsgContains('separator must be one character, got \'ab\'', rows, 'l.csv', 'a',
    { separator = 'ab' })
end

function tests.test_tsv_and_text()
  lu.assertEquals(rows('a.tsv', 'p\tq\n1\t"a\tb\n"\n'), { { p = '1', q = 'a\tb\n' } })
  lu.assertEquals(rows('b.tsv', 'p\tq\n"Hi," she\t2\n', { quote = false }),
    { { p = '"Hi," she', q = '2' } })
  local list, at = rows('a.txt', '\239\187\191first\r\n\n  \nsecond, "x"')
  lu.assertEquals(list, { { text = 'first' }, { text = 'second, "x"' } })
  lu.assertEquals(at, { 1, 4 })
  lu.assertEquals(rows('b.txt', ''), {})
  refused(':2:2: byte 0xc3 is not UTF-8 text', rows, 'c.txt', 'a\nb\195')
end

function tests.test_names()
  refused(': its name ends with none of .jsonl, .json, .csv', rows, 'a.dat', 'x')
  lu.assertEquals(rows('b.dat', 'x', { format = 'text' }), { { text = 'x' } })
  refused(': parquet is not read; write it as JSON lines', rows, 'c.parquet', 'PAR1')
  lu.assertErrorMsgContains("format must be one of json, csv, tsv, text, got 'xml'", rows, 'd',
    'x', { format = 'xml' })
  lu.assertErrorMsgContains("data.rows: unknown option 'seperator' (did you mean 'separator'?)",
    rows, 'e.csv', 'x', { seperator = ';' })
  lu.assertErrorMsgContains(folder .. ': is a folder', data.prompts, folder)
  lu.assertErrorMsgContains('/none.jsonl: no such file', data.prompts, folder .. '/none.jsonl')
  lu.assertErrorMsgContains('none.jsonl: no such file in the folder where sppo was started, nor ',
    data.prompts, 'none.jsonl')
  rows('train.csv', 'a\n1\n')
  lu.assertErrorMsgContains("(did you mean '" .. folder .. "/train.csv'?)", data.prompts,
    folder .. '/trian.csv')
end

-- ---- compressed ----

function tests.test_gzip()
  local list = data.prompts(gzip('a.jsonl', '{"prompt":"one"}\n{"prompt":"two"}\n'))
  lu.assertEquals({ list[1].text, list[2].text }, { 'one', 'two' })
  lu.assertEquals(#data.prompts(gzip('b.csv', 'prompt\n"x\ny"\n')), 1)
  lu.assertEquals(#data.prompts(gzip('c.json', '["x", "y"]')), 2)
  -- By its bytes, whatever its name.
  lu.assertEquals(#rows('d.txt', files.read(gzip('x', 'one\ntwo'))), 2)
  lu.assertEquals(#data.prompts(gzip('e.txt', '')), 0)
  local lines = {}
  for i = 1, 20000 do lines[i] = ('{"prompt":"%s"}'):format(files.sha256(tostring(i))) end
  local whole = files.read(gzip('f.jsonl', table.concat(lines, '\n')))
  local cut = whole:sub(1, math.floor(#whole * 0.7))
  refused(('.gz: its gzip data: the file ends inside it (at byte %d)'):format(#cut), function()
    rows('g.jsonl.gz', cut)
  end, 'g.jsonl')
  local damaged = whole:sub(1, 9000) .. '\255\255\255\255\255\255\255\255' .. whole:sub(9009)
  refused(': its gzip data: ', rows, 'h.jsonl.gz', damaged)
  refused(': its name says gzip, its first bytes do not (at byte 0)', rows, 'i.jsonl.gz', '{}')
  refused(': its name says zstd, its first bytes do not (at byte 0)', rows, 'j.jsonl.zst', '')
end

function tests.test_zstd()
  for _, name in ipairs { 'two.zst', 'frames.zst', 'two.gz', 'members.gz' } do
    local bytes = shell.read(shell.root() .. '/tests/fuzz/seeds/stream/' .. name)
    local list = rows('x.jsonl.' .. name:match '%w+$', bytes)
    lu.assertEquals(#list, name:find 'two' and 2 or 4)
    lu.assertEquals(list[#list], { prompt = 'two' })
  end
  local bytes = shell.read(shell.root() .. '/tests/fuzz/seeds/stream/two.zst')
  refused(': its zstd data: the file ends inside it', rows, 'y.jsonl.zst', bytes:sub(1, -5))
end

--- 300 MB of zeros and of line ends, which are small as files.
function tests.test_bombs()
  local path = folder .. '/bomb.txt.gz'
  lu.assertEquals(shell.run(('head -c 300000000 /dev/zero | gzip -1 >%s'):format(path)), 0)
  lu.assertErrorMsgContains('bomb.txt.gz:1: is longer than 16 MiB', data.prompts, path)
  lu.assertEquals(shell.run(
    ('head -c 300000000 /dev/zero | tr "\\0" "\\n" | gzip -6 >%s'):format(path)), 0)
  collectgarbage()
  local before = collectgarbage 'count'
  lu.assertErrorMsgContains('of gzip data, more than 400 to 1', data.prompts, path)
  lu.assertTrue(collectgarbage 'count' - before < 100000)
end

-- ---- prompts ----

function tests.test_prompt_columns()
  lu.assertEquals(prompts('a.jsonl', '{"id":1,"Prompt":"p"}'), { 'p' })
  lu.assertEquals(prompts('b.jsonl', '{"q":"p"}'), { 'p' })
  lu.assertEquals(prompts('c.jsonl', '{"instruction":"Add.","input":"1 2","output":"3"}\n' ..
    '{"instruction":"Say hi.","input":"","output":""}'), { 'Add.\n\n1 2', 'Say hi.' })
  lu.assertEquals(prompts('d.jsonl', '{"turns":["a","b"]}', { column = 'turns.1' }), { 'a' })
  lu.assertEquals(prompts('e.jsonl', '{"x.y":"flat","x":{"y":"deep"}}', { column = 'x.y' }),
    { 'flat' })
  local path = put('f.jsonl', '{"p":"a","n":1}\n{"p":"b","n":2}\n{"p":"c","n":3}\n{"p":"a","n":4}')
  local list = data.prompts(path, {
    column = function(row) if row.n ~= 2 then return row.p end end,
    where = function(row) return row.n < 4 end, keep = { 'n', kind = 'p' },
  })
  lu.assertEquals(list, {
    { text = 'a', key = 'ca978112ca1bbdca', n = 1, kind = 'a' },
    { text = 'c', key = '2e7d2c03a9507ae2', n = 3, kind = 'c' },
  })
  lu.assertEquals(#data.prompts(path, { column = 'p', limit = 2 }), 2)
  lu.assertEquals(#data.prompts(path, { column = 'p', unique = true }), 3)
end

function tests.test_prompt_errors()
  local function of(column)
    return function(name, text) return prompts(name, text, { column = column }) end
  end
  refused(":1: no column 'promt' (did you mean 'prompt'?); it has: n, prompt", of 'promt',
    'a.jsonl', '{"prompt":"x","n":1}')
  refused(':1: none of its columns is a usual one for prompts (it has: a, b); name it: column =',
    of(), 'b.jsonl', '{"a":"x","b":1}')
  refused(":2: column 'prompt' is a number, a text or a list of messages is wanted", of(),
    'c.jsonl', '{"prompt":"x"}\n{"prompt":5}')
  refused(":1: column 'prompt' is empty; leave such rows out by where = function(row)", of(),
    'd.jsonl', '{"prompt":" \\n"}')
  refused(":1: column 'prompt' is null", of 'prompt', 'e.jsonl', '{"prompt":null}')
  refused(':1: ', of(function(row) return row.a.b.c end), 'f.jsonl', '{"a":{}}')
  local path = put('g.jsonl', '{"prompt":"x"}')
  for text, options in pairs {
    ["data.prompts: unknown option 'colum' (did you mean 'column'?)"] = { colum = 'x' },
    ['data.prompts: limit must be an integer of at least 1, got 0'] = { limit = 0 },
    ['data.prompts: where must be a function, got string'] = { where = 'x' },
    ["data.prompts: keep: 'text' cannot be kept under that name"] = { keep = { 'text' } },
  } do
    lu.assertErrorMsgContains(text, data.prompts, path, options)
  end
end

function tests.test_conversations()
  local user = { role = 'user', content = 'Hi' }
  lu.assertEquals(prompts('a.jsonl', '{"messages":[{"role":"user","content":"Hi"},' ..
    '{"role":"assistant","content":"Hello"}]}'), { 'Hi' })
  lu.assertEquals(prompts('b.jsonl', '{"conversations":[{"from":"system","value":"S"},' ..
    '{"from":"human","value":"Hi"},{"from":"gpt","value":"x"},{"from":"human","value":"Y"}]}'),
    { { { role = 'system', content = 'S' }, user, { role = 'assistant', content = 'x' },
      { role = 'user', content = 'Y' } } })
  lu.assertEquals(prompts('c.jsonl', '{"prompt":[{"role":"user","content":' ..
    '[{"type":"text","text":"H"},{"type":"text","text":"i"}]}]}'), { 'Hi' })
  local cases = {
    ['[{"role":"usr","content":"x"}]'] = "[1].role: unknown role 'usr' (did you mean 'user'?)",
    ['[{"role":"user"}]'] = '[1].content is missing',
    ['[{"content":"x"}]'] = '[1].from: missing',
    ['[{"from":"human","value":7}]'] = '[1].value is a number',
    ['[{"role":"user","content":[{"type":"image_url"}]}]'] =
      '[1].content [1] is not { "type": "text"',
    ['[{"role":"user","content":"x"},8]'] = '[2] is a number, not { role, content }',
    ['[{"role":"assistant","content":"x"}]'] = 'has no message of a user',
    ['[]'] = 'has no messages',
    ['[{"role":"user","content":" "}]'] = 'is empty',
  }
  for text, wanted in pairs(cases) do
    refused(":1: column 'prompt' " .. wanted, prompts, 'd.jsonl', ('{"prompt":%s}'):format(text))
  end
end

-- ---- pairs ----

function tests.test_pairs()
  local function pairs_of(text, options)
    local list = data.pairs(put('p.jsonl', text), options)
    for _, p in ipairs(list) do p.key = nil end
    return list
  end
  lu.assertEquals(pairs_of '{"prompt":"p","chosen":"c","rejected":""}',
    { { prompt = 'p', chosen = 'c', rejected = '' } })
  lu.assertEquals(pairs_of('{"q":"p","w":"c","l":"r"}',
    { prompt = 'q', chosen = 'w', rejected = 'l' }),
    { { prompt = 'p', chosen = 'c', rejected = 'r' } })
  lu.assertEquals(pairs_of('{"input":"p","o1":"a","o2":"b","label":2}', { prompt = 'input',
    chosen = function(row) return row['o' .. row.label] end,
    rejected = function(row) return row['o' .. 3 - row.label] end }),
    { { prompt = 'p', chosen = 'b', rejected = 'a' } })
  local start = '{"role":"user","content":"p"},{"role":"assistant","content":"%s"}'
  local both = ('"chosen":[%s],"rejected":[%s]'):format(start:format 'c', start:format 'r')
  for _, text in ipairs { '{"prompt":"p",' .. both .. '}', '{' .. both .. '}',
    '{"conversations":[{"from":"human","value":"p"}],"chosen":{"from":"gpt","value":"c"},' ..
    '"rejected":{"from":"gpt","value":"r"}}',
    '{"prompt":[{"role":"user","content":"p"}],"chosen":[{"role":"assistant","content":"c"}],' ..
    '"rejected":[{"role":"assistant","content":"r"}]}' } do
    lu.assertEquals(pairs_of(text), { { prompt = 'p', chosen = 'c', rejected = 'r' } })
  end
  local long = ('{"chosen":[{"role":"system","content":"S"},%s],"rejected":' ..
    '[{"role":"system","content":"S"},%s]}'):format(start:format 'c', start:format 'r')
  lu.assertEquals(pairs_of(long)[1].messages, { { role = 'system', content = 'S' },
    { role = 'user', content = 'p' } })
  for wanted, text in pairs {
    ['no column \'rejected\''] = '{"prompt":"p","chosen":"c"}',
    ['column \'chosen\' is null'] = '{"prompt":"p","chosen":null,"rejected":"r"}',
    ['column \'rejected\' is a boolean'] = '{"prompt":"p","chosen":"c","rejected":false}',
    ['none of its columns is a usual one for prompts'] = '{"chosen":"c","rejected":"r"}',
    ['the conversations of its two answers begin differently'] =
      '{' .. both:gsub('"p"', '"other"', 1) .. '}',
    ['must end with one message of the assistant, it has 0 there'] =
      '{"prompt":"p","chosen":[{"role":"user","content":"c"}],"rejected":"r"}',
  } do
    lu.assertErrorMsgContains('p.jsonl:1: ', pairs_of, text)
    lu.assertErrorMsgContains(wanted, pairs_of, text)
  end
end

-- ---- order and sides ----

local function numbered(n)
  local list = {}
  for i = 1, n do list[i] = 'Prompt number ' .. i end
  return list
end

local function reversed(list)
  local out = {}
  for i = #list, 1, -1 do out[#out + 1] = list[i] end
  return out
end

function tests.test_split()
  local list = numbered(2000)
  local training, held_out, validation = data.split(list, { held_out = 0.1, validation = 0.05 })
  lu.assertEquals(#training + #held_out + #validation, 2000)
  lu.assertTrue(#held_out > 160 and #held_out < 240 and #validation > 65 and #validation < 135)
  -- Whatever the order, and whatever else is there.
  local side = {}
  for _, p in ipairs(held_out) do side[p] = true end
  local _, again = data.split(reversed(list), { held_out = 0.1 })
  lu.assertEquals(reversed(again), held_out)
  local half = {}
  for i = 1, 1000 do half[i] = list[i] end
  _, again = data.split(half, { held_out = 0.1 })
  for _, p in ipairs(again) do lu.assertTrue(side[p]) end
  -- Duplicates, but for case and white space, and pairs of one prompt.
  for i = 1, 200 do
    local twice = { list[i], '  prompt  NUMBER\n' .. i .. ' ', { text = list[i] },
      { prompt = list[i], chosen = 'a', rejected = 'b' } }
    local ok = pcall(data.split, twice, { held_out = 0.5 })
    lu.assertFalse(ok) -- one side is empty
  end
  lu.assertNotEquals((select(2, data.split(list, { held_out = 0.1, seed = 1 }))), held_out)
  lu.assertEquals(#data.split(list, { held_out = 0 }), 2000)
  lu.assertErrorMsgContains('none of 2 fall into the held_out share of 0.05', data.split,
    { 'a', 'b' }, { held_out = 0.05 })
  lu.assertErrorMsgContains('held_out must be a number in 0..1, got nil', data.split, list)
end

function tests.test_shuffle()
  local list = numbered(500)
  local order = data.shuffle(list, 1)
  lu.assertEquals(data.shuffle(reversed(list), 1), order)
  lu.assertNotEquals(data.shuffle(list, 2), order)
  lu.assertNotEquals(order, list)
  table.sort(order)
  table.sort(list)
  lu.assertEquals(order, list)
  local tied = data.shuffle({ { text = 'a', n = 1 }, { text = 'a', n = 2 } }, 1)
  lu.assertEquals({ tied[1].n, tied[2].n }, { 1, 2 })
end

-- ---- large, and strange ----

function tests.test_many_rows()
  local lines, csv = {}, { 'id,prompt' }
  for i = 1, 100000 do
    lines[i] = ('{"id":%d,"prompt":"Prompt number %d of many with some words."}'):format(i, i)
    csv[i + 1] = ('%d,"Prompt ""%d"" of many, with some words in it."'):format(i, i)
  end
  local begin = os.clock()
  lu.assertEquals(#data.prompts(put('a.jsonl', table.concat(lines, '\n'))), 100000)
  lu.assertEquals(#data.prompts(put('a.json', '[' .. table.concat(lines, ',') .. ']')), 100000)
  lu.assertEquals(#data.prompts(put('a.csv', table.concat(csv, '\n'))), 100000)
  lu.assertTrue(os.clock() - begin < 60, 'seconds: ' .. os.clock() - begin)
end

--- Any bytes give rows or one error with the file's name.
function tests.test_rubbish()
  local names = { 'r.jsonl', 'r.json', 'r.csv', 'r.tsv', 'r.txt', 'r.jsonl.gz', 'r.csv.zst' }
  local starts = { '', '[', '{"prompt":', '"', '\31\139\8', '\40\181\47\253', 'a,b\n' }
  for i = 1, 400 do
    local parts = { starts[1 + i % #starts] }
    for k = 1, math.random(0, 60) do
      parts[k + 1] = math.random() < 0.3 and ('[]{}",:\n\r\t\\'):sub(math.random(11)):sub(1, 1) or
        string.char(math.random(0, 255))
    end
    local name = names[1 + i % 3 + math.floor(i / 100)]
    local ok, err = pcall(prompts, name, table.concat(parts))
    lu.assertTrue(ok or tostring(err):find(folder .. '/' .. name, 1, true) == 1, tostring(err))
  end
end

-- ---- sppo data ----

local function sppo(...)
  local code, out, err = shell.sppo { 'data', ... }
  return code, out, err
end

function tests.test_stats()
  local a = put('a.jsonl', '{"prompt":"One two","n":1}\n{"prompt":"one  TWO "}\n' ..
    '{"prompt":"One two"}\n{"prompt":""}\n{"prompt":4}\n{"prompt":"zwölf Wörter"}\n')
  local b = put('b.csv', 'prompt,chosen\nONE two,x\nzwölf Wörter,\nother,"a\nb"\n')
  local code, out = sppo('stats', a, b, '--json')
  lu.assertEquals(code, 0)
  local value = json.decode(out)
  local s = value.files[1]
  lu.assertEquals({ s.rows, s.format, s.packing, s.duplicates, s.near_duplicates },
    { 6, 'JSON lines', 'none', 1, 2 })
  lu.assertEquals(s.columns[2], { name = 'prompt', rows = 6, empty = 1,
    kinds = { text = 5, number = 1 },
    characters = { min = 0, p25 = 7, median = 7, p75 = 9, p95 = 12, max = 12, mean = 7 } })
  local p = s.prompt
  lu.assertEquals({ p.column, p.rows, p.empty, p.unusable, p.unit, p.first_unusable.line },
    { 'prompt', 4, 1, 1, 'characters', 5 })
  lu.assertEquals(p.histogram,
    { { from = 4, to = 7, count = 2 }, { from = 8, to = 15, count = 2 } })
  lu.assertEquals(value.overlaps, { { first = a, second = b, exact = 1, normal = 2 } })
  code, out = sppo('stats', a, b)
  lu.assertEquals(code, 0)
  for _, text in ipairs { 'a.jsonl: JSON lines, 6 rows', 'prompts, of column prompt: 4',
    "empty: 1, the first in line 4: column 'prompt' is empty",
    "unusable: 1, the first in line 5: column 'prompt' is a number",
    '     8..15             2 ####', 'repeated prompts: 1 (2 but for case and white space)',
    '1 of 3 rows of ' .. b .. ' are in ' .. a .. ' too (2 but for case and white space)' } do
    lu.assertStrContains(out, text)
  end
  lu.assertNil(out:find(' \n', 1, true))
  code, out = sppo('stats', put('c.txt', ''))
  lu.assertEquals(code, 0)
  lu.assertStrContains(out, 'c.txt: text, 0 rows, 0 bytes')
  local _, _, err = sppo('stats', put('d.jsonl', '{"a":1}\n{'))
  lu.assertStrContains(err, 'sppo: ' .. folder .. '/d.jsonl:2:')
  lu.assertEquals((sppo('stats', folder .. '/d.jsonl')), 3)
  lu.assertEquals((sppo('stats', folder .. '/none.csv')), 6)
  lu.assertEquals((sppo('stat', a)), 2)
end

function tests.test_head()
  local path = put('a.csv', 'prompt;id\n"x\27[31m\ny";1\nz;2\n')
  local code, out = sppo('head', path, '--rows', '1', '--separator', ';')
  lu.assertEquals(code, 0)
  lu.assertEquals(out, path .. ':2\n  id                   1\n  prompt               x [31m y\n')
  code, out = sppo('head', path, '--separator', ';', '--json')
  lu.assertEquals(code, 0)
  lu.assertEquals(out, '{"id":"1","prompt":"x\\u001b[31m\\ny"}\n{"id":"2","prompt":"z"}\n')
end

function tests.test_help()
  local code, out = sppo('--help')
  lu.assertEquals(code, 0)
  lu.assertTrue(select(2, out:gsub('\n', '\n')) <= 27)
  for line in out:gmatch '[^\n]+' do lu.assertTrue(#line <= 90, line) end
end

return tests
