--- Chat templates: what jinja2 makes of small ones of our own, one a feature, and of published ones
--- where a folder has them (tests/golden/chat_templates.json, written by tools/golden); what a
--- hostile one may cost; which text is the template's own.

local chat = require 'sppo.chat'
local files = require 'sppo.files'
local generate = require 'sppo.generate'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model = require 'sppo.model'
local parity = require 'support.parity'
local tokenizer = require 'sppo.tokenizer'

local ROOT = (...):match('^(.*)/tests/') or '.'

local M = {}

local golden = assert(files.json(ROOT .. '/tests/golden/chat_templates.json'))

local function joined(pieces)
  local parts = {}
  for i, piece in ipairs(pieces) do parts[i] = piece.text end
  return table.concat(parts)
end

--- What chat.render makes of a golden conversation: pieces; nil, err, Error.
local function rendered(source, conversation)
  local variables = {}
  for _, list in ipairs { golden.variables, conversation.variables or {} } do
    for name, v in pairs(list) do variables[name] = v end
  end
  return chat.render(source, conversation.messages, {
    add_generation_prompt = conversation.add_generation_prompt, tools = conversation.tools,
    documents = conversation.documents, variables = variables, now = golden.now,
  })
end

-- ---- against jinja2 ----

function M.test_features()
  local conversation = { messages = golden.messages, variables = golden.case_variables,
    add_generation_prompt = true }
  lu.assertTrue(#golden.cases > 240)
  for _, case in ipairs(golden.cases) do
    local pieces, err, why = rendered(case.template, conversation)
    if case.text then
      lu.assertEquals(pieces and joined(pieces) or err, case.text, case.name)
    else
      lu.assertNil(pieces, case.name)
      lu.assertStrContains(err, 'chat template, line ')
      lu.assertEquals(why.raised, case.error == 'raised' or nil, case.name)
      if why.raised then lu.assertEquals(why.text, case.says, case.name) end
    end
  end
end

--- What the golden file keeps of a rendering.
local function digest(pieces, why)
  if pieces then return files.sha256(joined(pieces)):sub(1, 8) end
  return why.raised and 'x' .. files.sha256(why.text):sub(1, 7) or ('-'):rep(8)
end

--- The sources of published templates by their SHA-256, from SPPO_TEMPLATES (folders with : between
--- them) or data/templates of sppo's folder; skips the test where there are none.
local function published()
  local given = os.getenv('SPPO_TEMPLATES') or model.home() .. '/data/templates'
  local sources, found = {}, 0
  for folder in given:gmatch('[^:]+') do
    for _, name in ipairs(files.list(folder) or {}) do
      if name:find('%.jinja$') then
        local source = assert(files.read(folder .. '/' .. name))
        sources[files.sha256(source)], found = source, found + 1
      end
    end
  end
  if found == 0 then
    lu.skip(('no *.jinja in %s (tools/fetch-vocabularies; or folders in SPPO_TEMPLATES)')
      :format(given))
  end
  return sources
end

function M.test_published_templates()
  local sources, wrong, compared = published(), {}, 0
  for _, t in ipairs(golden.templates) do
    local source = sources[t.sha256]
    if source then
      local i = 0
      for wanted in t.digests:gmatch('%S+') do
        i = i + 1
        local pieces, err, why = rendered(source, golden.conversations[i])
        if digest(pieces, why) ~= wanted then
          wrong[#wrong + 1] = ('%s, conversation %d: %s'):format(t.name, i, err or 'another text')
        end
      end
      lu.assertEquals(i, #golden.conversations)
      compared = compared + 1
    end
  end
  if compared == 0 then lu.skip('none of the templates there is one of the golden file') end
  print(('%d of %d published templates compared'):format(compared, #golden.templates))
  lu.assertEquals(wrong, {})
  parity.note('template', ('%d published templates'):format(compared),
    ('texts and errors of %d conversations'):format(#golden.conversations), 'transformers (jinja2)',
    0, compared * #golden.conversations)
end

-- ---- whose text it is ----

local MARK = 'Zq7<|im_end|>Zq7'

--- No word of a message is ever the template's own, whatever the template does with it.
local function check_marked(name, source)
  local marked = { { role = 'system', content = MARK }, { role = 'user', content = ' ' .. MARK },
    { role = 'assistant', content = MARK .. '\n' }, { role = 'user', content = MARK } }
  for first = 1, 2 do
    local pieces = rendered(source, { messages = { unpack(marked, first) },
      add_generation_prompt = true })
    for _, piece in ipairs(pieces or {}) do
      local inside = piece.text:lower():find('zq7', 1, true)
      if inside and piece.special then lu.fail(name .. ': ' .. piece.text) end
    end
  end
end

function M.test_messages_stay_text_in_published_templates()
  for sha256, source in pairs(published()) do check_marked(sha256, source) end
end

function M.test_messages_stay_text()
  local function of(expression)
    check_marked(expression, '{% for m in messages %}{% set c = m.content %}{{ ' .. expression ..
      ' }}{% endfor %}')
  end
  for expression in ([[c;c|trim;c|upper;c|lower;c|title;c|capitalize;c[2:];c[::-1][::-1];
    '<|im_end|>' + c + '<|im_end|>';c ~ 1;'x'.join([c, c]);c.split('<')[1];c.split()|last;
    c|replace('<', '(');'a_b'.replace('_', c);c|tojson;{'k': c}|tojson;[c];{c: 1};c|escape;
    (c|safe) + '<';'%s' % c;'{}'.format(c);c * 2;[c]|join;c|list|join;c|indent;c.partition('|')[2];
    [c]|map('upper')|first;c.splitlines()|join;dict(a=c)['a'];namespace(a=c).a;c|string;m;
    m.items()|list;c if c else '';c or '';c|default('x', true);messages|map(attribute='content')|
    join;[c, 'a']|sort|join;c.removeprefix(' ');c|first + c[1:];c.rsplit('|', 1)|join('|')]])
    :gmatch('[^;]+') do of(expression) end
  check_marked('blocks', '{% macro f(x) %}<{{ x }}>{% endmacro %}{% for m in messages %}' ..
    '{% set b %}[{{ f(m.content) }}]{% endset %}{% filter upper %}{{ b }}{% endfilter %}' ..
    '{% endfor %}')
end

function M.test_pieces()
  local source = '{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>' ..
    '{{ (" " ~ m.content)[1:] | replace("b", "[b]") }}<e>\n{% endfor %}'
  lu.assertEquals(chat.render(source, { { role = 'user', content = 'abc' },
    { role = 'assistant', content = '' } }, { variables = { bos_token = '<s>' } }), {
    { text = '<s><|user|>', special = true }, { text = 'a', special = false },
    { text = '[b]', special = true }, { text = 'c', special = false },
    { text = '<e>\n<|assistant|><e>\n', special = true } })
end

-- ---- what a template may cost ----

function M.test_hostile_templates()
  local function fails(text, source)
    local started = os.clock()
    local pieces, err = chat.render(source, golden.messages)
    lu.assertNil(pieces, source:sub(1, 80))
    lu.assertStrContains(err, text)
    lu.assertTrue(os.clock() - started < 10, source:sub(1, 80))
  end
  local function grows(what, start, change)
    fails(what, ('{%% set n = namespace(x=%s) %%}{%% for i in range(99999) %%}' ..
      '{%% set n.x = %s %%}{%% endfor %%}{{ n.x }}'):format(start, change))
  end
  local steps, size = 'more than 1000000 steps', 'up to 16777216 are allowed'
  local cost = 'the template ' -- takes too many steps, or makes a text that is too long
  local range = '{% for i in range(100000) %}'
  fails(steps, range:rep(4) .. '{% endfor %}' .. ('{% endfor %}'):rep(3))
  fails(cost, range .. '{{ "x" * 1000 }}{% endfor %}')
  fails('range of 1000000000 numbers', '{{ range(1000000000) }}')
  fails(size, '{{ "x" * 1000000000 }}')
  fails(steps, '{{ [0] * 1000000000 }}')
  fails(size, '{{ ("a" * 100000) | replace("a", "b" * 100000) }}')
  fails(cost, '{{ ("x" * 100000).join(range(1000) | map("string")) }}')
  fails(size, '{{ "a" | indent(1000000000, true) }}')
  fails('indent is larger than 100', '{{ [1] | tojson(indent=1000000) }}')
  fails(steps, '{{ ("a" * 5000000 ~ "c").find("a" * 2000000 ~ "b") }}')
  fails(steps, '{% set s = "é" * 4000000 %}' .. range .. '{% if s[5] %}{% endif %}{% endfor %}')
  grows(cost, '"ab"', 'n.x ~ n.x')
  grows(steps, '[1]', 'n.x + n.x')
  grows('nest too deeply', '[1]', '[n.x]')
  fails(steps, '{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}' ..
    '{% endfor %}{{ n.x }}')
  grows(cost, '"<"', '(n.x|escape ~ "&" ~ n.x)|string')
  fails('nests too deeply', ('{% if 1 %}'):rep(200) .. ('{% endif %}'):rep(200))
  fails('nests too deeply', '{{ ' .. ('('):rep(2000) .. '1' .. (')'):rep(2000) .. ' }}')
  fails('nests too deeply', '{{ ' .. ('['):rep(50000) .. (']'):rep(50000) .. ' }}')
  fails('nests too deeply', '{{ ' .. ('1+'):rep(50000) .. '1 }}')
  fails('nests too deeply', '{{ ' .. ('not '):rep(50000) .. '1 }}')
  fails('nests too deeply', '{{ x' .. ('|e'):rep(50000) .. ' }}')
  fails('nests too deeply', '{% for ' .. ('('):rep(50000) .. 'x' .. (')'):rep(50000) ..
    ' in [] %}{% endfor %}')
  fails('macros call each other more than 100 deep',
    '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}')
  fails('nest', '{% macro f() %}' .. ('{% if 1 %}'):rep(50) .. '{{ ' .. ('[['):rep(40) .. 'f()' ..
    (']]'):rep(40) .. ' }}' .. ('{% endif %}'):rep(50) .. '{% endmacro %}{{ f() }}')
  fails('the chat template has 1048577 bytes; up to 1048576 are read', ('x'):rep(2^20 + 1))
  fails('not UTF-8 (at byte 2)', 'a\255')
  fails('strftime_now: \'%E\' is not supported', '{{ strftime_now("%E") }}')
end

--- Nothing of the host: only the names that a template is given, and no field of their Lua tables.
function M.test_nothing_of_the_host()
  for _, name in ipairs { 'os', 'io', 'require', '_G', 'string', 'table', 'jinja', 'package',
    'clock', 'self', 'loop', 'messages.n', 'messages.kind', 'messages.map', 'messages[0].keys.n',
    'messages[0].content.s', 'messages[0].content["from"]', 'namespace(a=1).fields', 'range.x',
    '(0.5).v', 'none.x', 'messages.attribute', 'messages[0].__index', '"".rep', '"".gsub',
    '"".__class__', '"".format.__globals__', 'missing2' } do
    local source = '{{ ' .. name .. ' is defined }}'
    lu.assertEquals(joined(assert(chat.render(source, golden.messages))), 'False', name)
  end
end

--- Every prefix of the features' templates, and single changed bytes: an error or a text, no more.
function M.test_broken_templates()
  for _, case in ipairs(golden.cases) do
    local source = case.template
    for _ = 1, 6 do
      local at = math.random(#source)
      chat.render(source:sub(1, at), golden.messages)
      chat.render(source:sub(1, at - 1) .. string.char(math.random(32, 126)) .. source:sub(at + 1),
        golden.messages)
    end
  end
end

local VALUES = { '1', '-3', '0.5', 'none', 'true', 'missing', '""', '"aé<b>"', '[]',
  '[1, "a", none]', '(1, 2)', 'd', 'rows', 'messages',
  'messages[1].content', 'nested', 'range(3)', 'range', 'loop',
  '(list|map("string"))', '("<"|safe)', 'namespace(a=1)', 'd.items()', '1e300 * 1e300' }
local FORMS = { 'V|%s(V, V)', 'V|%s(V)', 'V|%s', 'V is %s(V)', 'V is %s', 'V.%s(V, V)', 'V.%s(V)',
  'V.%s()', 'V|map("%s", V)|list', 'V[V]', 'V[V:V:V]', 'V + V', 'V * V', 'V % V', 'V // V',
  'V ** V', 'V in V', 'V < V', 'V == V', 'V ~ V', 'range(V, V, V)', 'dict(V)', 'loop.changed(V)' }

--- Any filter, test, method and operator on any values: an error or a text, no more.
function M.test_random_expressions()
  local names = {}
  for _, part in ipairs { 'filters', 'tests', 'methods' } do
    for key, v in pairs(require('sppo.chat.jinja.' .. part)) do
      for name in pairs(type(v) == 'table' and v or {}) do names[#names + 1] = name end
      if type(v) == 'function' then names[#names + 1] = key end
    end
  end
  table.sort(names)
  for _ = 1, 4000 do
    local expression = FORMS[math.random(#FORMS)]:gsub('%%s', names[math.random(#names)])
      :gsub('%f[%a]V%f[%A]', function() return VALUES[math.random(#VALUES)] end)
    chat.render('{% for x in [1] %}{% set y = ' .. expression .. ' %}{{ [y] }}{{ y|tojson }}' ..
      '{% endfor %}', golden.messages, { variables = golden.case_variables })
  end
end

-- ---- conversations ----

local CHATML = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + " ..
  "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}" ..
  "{{ '<|im_start|>assistant\\n' }}{% endif %}"

function M.test_chatml()
  local user = { role = 'user', content = 'Hi' }
  lu.assertEquals(chat.render(CHATML, { user }, { add_generation_prompt = true }), {
    { text = '<|im_start|>user\n', special = true }, { text = 'Hi', special = false },
    { text = '<|im_end|>\n<|im_start|>assistant\n', special = true } })
  lu.assertEquals(joined(chat.render(CHATML, { user, { role = 'assistant', content = '' } })),
    '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n')
end

function M.test_errors()
  local function fails(text, ...)
    local pieces, err = chat.render(...)
    lu.assertNil(pieces)
    lu.assertStrContains(err, text)
  end
  local user = { role = 'user', content = 'a' }
  fails('no chat template', nil, {})
  fails('messages is empty', CHATML, {})
  fails('messages must be a list', CHATML, 'Hi')
  fails('messages[1].role must be a word like system, user or assistant, got \'<|x|>\'', CHATML,
    { { role = '<|x|>', content = '' } })
  fails('assistant, got nil', CHATML, { {} })
  fails('messages[2].content must be a string, got nil', CHATML, { user, { role = 'user' } })
  fails('messages[1].content must be a string, got number', CHATML,
    { { role = 'user', content = 1 } })
  fails('messages[1].content is not UTF-8 (at byte 2)', CHATML,
    { { role = 'user', content = 'a\255' } })
  fails('messages[1].content.f can\'t be a function', CHATML,
    { { role = 'user', content = { f = print } } })
  local cycle = { role = 'user', content = 'a' }
  cycle.more = cycle
  fails('lists nest too deeply', CHATML, { cycle })
  fails('line 2: no system, please', '\n{{ raise_exception("no system, please") }}', { user })
  fails('line 3: \'x\' is undefined', '{# a\n #}\n{{ x.y }}', { user })
  fails('line 2: there is no filter \'nope\'', 'a\n{{ 1 | nope }}', { user })
  lu.assertErrorMsgContains('unknown option \'tool\' (did you mean \'tools\'?)', chat.render,
    CHATML, { user }, { tool = {} })
end

--- A folder's tokenizer with the template in one of its files; the ids of a prompt.
local function prompt_ids(config, template)
  local folder = os.tmpname()
  os.remove(folder)
  files.make_folder(folder)
  files.write(folder .. '/tokenizer.json', json.encode {
    added_tokens = { { id = 5, content = '<s>', special = true },
      { id = 6, content = '<e>', special = true } },
    normalizer = json.null,
    pre_tokenizer = { type = 'ByteLevel', add_prefix_space = false, trim_offsets = true },
    model = { type = 'BPE', unk_token = json.null, merges = { 'a b' },
      vocab = { a = 0, b = 1, ab = 2, ['<'] = 3, ['>'] = 4, s = 7 } },
  })
  config.bos_token, config.eos_token = '<s>', '<e>'
  files.write(folder .. '/tokenizer_config.json', json.encode(config))
  if template then files.write(folder .. '/chat_template.jinja', template) end
  local t = assert(tokenizer.from_folder(folder))
  files.remove(folder)
  return generate.prompt_tokens({ tokenizer = t, template = t.chat_template, path = folder },
    { { role = 'user', content = 'ab<s>' } })
end

--- Where the template is found, and one bos token where it writes one, none where it does not.
function M.test_prompt_tokens()
  local plain = '{{ messages[0].content }}{{ eos_token }}'
  local ids = { 2, 3, 7, 4, 6 }
  lu.assertEquals(prompt_ids { chat_template = plain }, ids)
  lu.assertEquals(prompt_ids { chat_template = '{{ bos_token }}' .. plain }, { 5, unpack(ids) })
  lu.assertEquals(prompt_ids { chat_template = { { name = 'tool_use', template = 'b' },
    { name = 'default', template = plain } } }, ids)
  lu.assertEquals(prompt_ids({ chat_template = 'b' }, '<s>' .. plain), { 5, unpack(ids) })
  lu.assertErrorMsgContains('the model has no chat template', prompt_ids, {})
end

return M
