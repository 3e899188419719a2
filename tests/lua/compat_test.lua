--- The official code's ways (lua/sppo/compat.lua), one by one, and its columns.

local compat = require 'sppo.compat'
local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local optim = require 'sppo.optim'
local scope = require 'sppo.scope'
local score = require 'sppo.score'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'
local small_model = require 'support.small_model'
local uclaml = require 'sppo.data.uclaml'

local tests = {}

function tests.test_every_switch_is_tested()
  local names = {}
  for name in pairs(compat.keys) do
    lu.assertNotNil(tests['test_' .. name], name)
    lu.assertTrue(compat.uclaml[name])
    names[#names + 1] = name
  end
  lu.assertEquals(#names, 7)
end

function tests.test_cut_at_none()
  local talk = { { role = 'user', content = 'a None b None' } }
  lu.assertEquals(compat.messages({ cut_at_none = true }, talk),
    { { role = 'user', content = 'a ' } })
  lu.assertIs(compat.messages({}, talk), talk)
end

function tests.test_double_bos()
  lu.assertEquals(compat.tokens({ double_bos = true }, { bos_id = 1 }, { 1, 5 }), { 1, 1, 5 })
  lu.assertEquals(compat.tokens({ double_bos = true }, {}, { 5 }), { 5 })
  lu.assertEquals(compat.tokens({}, { bos_id = 1 }, { 1, 5 }), { 1, 5 })
end

function tests.test_schedule()
  lu.assertEquals(optim.schedule('linear', 0, 10, 0.2, true), 0)
  lu.assertEquals(optim.schedule('linear', 0, 10, 0.2, false), 0.5)
end

--- As tokenize_row: the prompt's end, then the answers' beginnings.
function tests.test_keep_end()
  local function cut(prompt, first, second, options)
    local row = { prompt = {}, answers = { { tokens = {} }, { tokens = {} } } }
    for i = 1, prompt do row.prompt[i] = i end
    for i = 1, first do row.answers[1].tokens[i] = i end
    for i = 1, second do row.answers[2].tokens[i] = i end
    compat.rows({ keep_end = true }, {}, { row }, options or { max_prompt = 4, max_length = 10 })
    return { row.prompt[1], #row.prompt, #row.answers[1].tokens, #row.answers[2].tokens }
  end
  lu.assertEquals(cut(6, 4, 3), { 1, 6, 4, 3 }) -- fits
  lu.assertEquals(cut(7, 4, 3), { 4, 4, 4, 3 }) -- the prompt's last 4 do
  lu.assertEquals(cut(7, 9, 3), { 4, 4, 6, 3 }) -- and the answer's first 6
  lu.assertEquals(cut(2, 9, 9), { 1, 2, 6, 6 })
end

-- ---- runs ----

local RECIPE = [[
return {
  name = 'r', rounds = 2, policy = { model = '%s' },
  prompts = { 'a', 'ab', 'ba None b' }, sample = { k = 3, max_new_tokens = 6 },
  preference = function(_, answers)
    local p = {}
    for i = 1, #answers do
      p[i] = {}
      for j = 1, #answers do
        p[i][j] = #answers[i] > #answers[j] and 0.9 or #answers[i] < #answers[j] and 0.1 or 0.5
      end
    end
    return p
  end,
  train = { batch = 4, lr = 0, micro_tokens = 64 },
  %s
}]]

--- Runs the recipe with compat switches and gives what a round left.
local function run(folder, switches, more)
  local out = ('%s/run%d'):format(folder, #files.list(folder))
  files.write(folder .. '/r.lua', RECIPE:format(folder .. '/m', more or ''))
  local overrides = { { 'out', out } }
  for _, name in ipairs(switches) do overrides[#overrides + 1] = { 'compat.' .. name, 'true' } end
  lu.assertEquals(selfplay.run(folder .. '/r.lua', { overrides = overrides }), 'done')
  return out
end

local function records(out, name) return assert(files.read_records(out .. '/' .. name)) end

local function in_model(fn)
  shell.in_folder(function(folder)
    small_model.write(folder .. '/m', 8)
    fn(folder)
  end)
end

local function list(t)
  local out = {}
  for i = 1, #t do out[i] = t[i] end
  return out
end

--- Rows with and without a switch, and that log pi_t is the model's.
local function rows_with(folder, switch)
  local plain = records(run(folder, {}), 'round-1/rows.msgpack')
  local changed = records(run(folder, { switch }), 'round-1/rows.msgpack')
  local model = assert(model_of.open(folder .. '/m'))
  for _, rows in ipairs { plain, changed } do
    scope.run(function()
      local i, logprobs = 0, score.logprobs(model.net, rows):tolist()
      for _, row in ipairs(rows) do
        for _, a in ipairs(row.answers) do
          i = i + 1
          lu.assertAlmostEquals(a.logprob, logprobs[i], 1e-4)
        end
      end
    end)
  end
  lu.assertEquals(#plain, #changed)
  return plain, changed
end

function tests.test_header_in_answer()
  in_model(function(folder)
    local plain, changed = rows_with(folder, 'header_in_answer')
    local header = assert(model_of.open(folder .. '/m')).tokenizer:encode_pieces {
      { text = '<|im_start|>assistant\n', special = true } }
    lu.assertTrue(#header > 1)
    for i, row in ipairs(plain) do
      local prompt, got = list(row.prompt), list(changed[i].prompt)
      for _, id in ipairs(header) do got[#got + 1] = id end
      lu.assertEquals(got, prompt)
      for n, a in ipairs(row.answers) do
        local want = list(header)
        for _, id in ipairs(a.tokens) do want[#want + 1] = id end
        lu.assertEquals(list(changed[i].answers[n].tokens), want)
      end
    end
  end)
end

function tests.test_end_twice()
  in_model(function(folder)
    local plain, changed = rows_with(folder, 'end_twice')
    local ended = 0
    for i, row in ipairs(plain) do
      for n, a in ipairs(row.answers) do
        local want = list(a.tokens)
        if want[#want] == 6 then
          ended = ended + 1
          want[#want + 1] = 6
        end
        lu.assertEquals(list(changed[i].answers[n].tokens), want)
      end
    end
    lu.assertTrue(ended > 0)
  end)
end

function tests.test_same_draws()
  in_model(function(folder)
    local function answers(out, t)
      local texts = {}
      for _, r in ipairs(records(out, ('round-%d/answers.msgpack'):format(t))) do
        for _, a in ipairs(r.answers) do texts[#texts + 1] = a.text end
      end
      return texts
    end
    local out = run(folder, { 'same_draws' }) -- lr is 0: the policy stays
    lu.assertEquals(answers(out, 2), answers(out, 1))
    out = run(folder, {})
    lu.assertNotEquals(answers(out, 2), answers(out, 1))
  end)
end

function tests.test_all_of_them()
  in_model(function(folder) run(folder, {}, "compat = 'uclaml',") end)
end

--- Out as JSON lines, in as rows: the same pairs.
function tests.test_columns()
  in_model(function(folder)
    local out = run(folder, {})
    local code, said = shell.sppo { 'export', out .. '/round-1', folder .. '/pairs.jsonl' }
    lu.assertEquals(code, 0)
    local rows = records(out, 'round-1/rows.msgpack')
    lu.assertStrContains(said, ('pairs.jsonl: %d pairs'):format(#rows))
    local first = assert(json.decode(shell.read(folder .. '/pairs.jsonl'):match('[^\n]+')))
    lu.assertEquals(#first.chosen, 2)
    lu.assertEquals({ first.chosen[1].role, first.chosen[2].role }, { 'user', 'assistant' })
    lu.assertEquals(first.chosen_probs, rows[1].pair)
    local list_of = uclaml.read(folder .. '/pairs.jsonl')
    lu.assertEquals({ list_of[1].win, list_of[1].lose },
      { rows[1].answers[1].win, rows[1].answers[2].win })

    files.write(folder .. '/given.lua', ([[
return { name = 'g', rounds = 1, policy = { model = '%s/m' }, train = { lr = 0 },
  run = function(run)
    run:given(1, require('sppo.data.uclaml').read '%s/pairs.jsonl')
    run:train(1)
  end }]]):format(folder, folder))
    lu.assertEquals(selfplay.run(folder .. '/given.lua',
      { overrides = { { 'out', folder .. '/given' } } }), 'done')
    local given = records(folder .. '/given', 'round-1/rows.msgpack')
    lu.assertEquals(#given, #rows)
    for i, row in ipairs(rows) do
      lu.assertEquals(list(given[i].prompt), list(row.prompt))
      lu.assertAlmostEquals(given[i].pair, row.pair, 1e-12)
    end
    local function bad(line, text)
      files.write(folder .. '/bad.jsonl', line .. '\n')
      local ok, err = pcall(uclaml.read, folder .. '/bad.jsonl')
      lu.assertFalse(ok)
      lu.assertStrContains(type(err) == 'table' and err.message or err, 'bad.jsonl:1: ' .. text)
    end
    bad('{}', 'chosen must be a conversation')
    bad('{"chosen":[{"role":"user","content":"a"}]}', 'chosen must be a conversation')
    bad('{"chosen":[{"role":"user"},{}]}', 'chosen: a message must have role and content')
    local talk = '[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]'
    bad(('{"chosen":%s,"rejected":%s,"chosen_probs":2}'):format(talk, talk),
      'chosen_probs must be in 0..1, got 2')
  end)
end

return tests
