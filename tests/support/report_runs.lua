--- Run folders that were never run, for tests of the report: of any size, with any text in them.

local files = require 'sppo.files'
local hostile = require 'support.hostile'
local json = require 'sppo.json'
local msgpack = require 'sppo.msgpack'
local report = require 'sppo.report'

local M = {}

--- A number between 0 and 1 that depends on what is given alone.
local function some(...)
  local x = 0
  for i = 1, select('#', ...) do x = x + select(i, ...) * (12.9898 + 65.3 * i) end
  return (math.sin(x) * 43758.5453) % 1
end

local function records(path, list)
  local file = assert(files.records(path, true))
  for _, r in ipairs(list) do file:append(r) end
  file:close()
end

--- Answers files' records: `count` prompts with k answers each.
local function answered(count, k, o)
  local list = {}
  for i = 1, count do
    local answers = {}
    for j = 1, k do
      local text = o.answer()
      local tokens = {}
      for n = 1, 1 + #text % 100 do tokens[n] = n end
      answers[j] = { text = text, tokens = msgpack.i32(tokens), stopped = j % 3 > 0,
        logprobs = msgpack.f32 { -1 } }
    end
    list[i] = { id = i, text = o.prompt(), prompt = msgpack.i32 { 1 }, answers = answers }
  end
  return list
end

local function judged(count, k)
  local list = {}
  for i = 1, count do
    local p, wins = {}, {}
    for a = 1, k do
      p[a], wins[a] = {}, 0
      for b = 1, k do
        local low, high = math.min(a, b), math.max(a, b)
        local value = low == high and 0.5 or some(i, low, high)
        p[a][b] = a <= b and value or 1 - value
        wins[a] = wins[a] + p[a][b] / k
      end
    end
    list[i] = { id = i, matrix = p, wins = wins }
  end
  return list
end

local function rows(answers)
  local list = {}
  for i, r in ipairs(answers) do
    local n = #r.answers
    list[i] = { id = r.id, prompt = r.prompt, answers = {
      { index = 1, tokens = r.answers[1].tokens, win = 0.6, logprob = -9 },
      { index = n, tokens = r.answers[n].tokens, win = 0.4, logprob = -9 } } }
  end
  return list
end

local function metrics(o)
  local lines = {}
  local function line(values) lines[#lines + 1] = json.encode(values) .. '\n' end
  for t = 0, o.rounds do
    for step = 1, t > 0 and o.steps or 0 do
      line { round = t, step = step, loss = some(t, step), grad_norm = 1 + some(t, step, 1),
        learning_rate = 1 / step, ['logps/chosen'] = -some(t, step, 2),
        ['logps/rejected'] = -some(t, step, 3), ['rewards/chosen'] = some(t, step, 4),
        ['rewards/rejected'] = -some(t, step, 5), ['sppo/residual_w'] = -some(t, step, 6),
        ['sppo/residual_l'] = some(t, step, 7) }
    end
    local values = { round = t, ['eval/mean_length'] = 40 + some(t), ['eval/pass_rate'] = 0.5,
      ['pref/tie_ratio'] = t > 0 and 0.1 or nil, ['pref/cycle_ratio'] = t > 0 and 0.01 or nil,
      ['completions/clipped_ratio'] = t > 0 and 0.2 or nil, ['select/used'] = t > 0 and 9 or nil }
    if t > 0 then
      values['eval/win_rate'], values['eval/win_rate_low'] = 0.5 + t / 100, 0.4
      values['eval/win_rate_high'] = 0.7
    end
    for old = 1, t - 1 do values['eval/win_rate_against/' .. old] = 0.5 end
    for _, kind in ipairs(o.kinds) do values['eval/pass_rate/' .. kind] = some(t, #kind) end
    line(values)
  end
  return table.concat(lines)
end

---@class support.ReportRun
---@field rounds integer
---@field steps integer     a round
---@field prompts integer   trained on, a round
---@field k integer
---@field held_out integer
---@field name string
---@field kinds string[]
---@field place string      where it was made
---@field recipe string
---@field prompt fun(): string
---@field answer fun(): string

--- Writes a run folder of that many rounds, prompts and answers, and draws its report.
---@param folder string
---@param o support.ReportRun
---@return string path of the page
function M.write(folder, o)
  files.make_folder(folder)
  local resolved = { name = o.name, seed = 1, policy = { model = o.place },
    train = { loss = 'sppo', eta = 1000 }, [o.place] = { [o.place] = o.place } }
  files.write(folder .. '/recipe.resolved.json', json.encode(resolved))
  files.write(folder .. '/recipe.lua', o.recipe)
  files.write(folder .. '/metrics.jsonl', metrics(o))
  local perf = { json.encode { stage = 'start', version = o.place, cpu = o.place, threads = 2,
    processor = o.place, time = 1.7e9 } }
  for t = 0, o.rounds do
    local path = ('%s/round-%d/'):format(folder, t)
    files.make_folder(path)
    records(path .. 'evaluation.msgpack', answered(o.held_out, 1, o))
    if t > 0 then
      local answers = answered(o.prompts, o.k, o)
      records(path .. 'answers.msgpack', answers)
      records(path .. 'preference.msgpack', judged(o.prompts, o.k))
      records(path .. 'rows.msgpack', rows(answers))
    end
    for _, stage in ipairs { 'evaluate', 'sample', 'train', o.place } do
      perf[#perf + 1] = json.encode { stage = stage,
        round = stage == 'evaluate' and t + 1 or t, seconds = 1 + t, tokens = 100,
        tokens_per_second = 100 / (1 + t), memory_peak = 2^20, memory = { weights = 2^19 } }
    end
  end
  files.write(folder .. '/perf.jsonl', table.concat(perf, '\n') .. '\n')
  return assert(report.write(folder))
end

--- Texts of `count` words that share many of them.
local function prose(count)
  local n = 0
  return function()
    n = n + 1
    local words = {}
    for i = 1, count do words[i] = i % 3 == 0 and ('w%d'):format(n * i % 997) or 'word' .. i end
    return table.concat(words, ' ')
  end
end

--- As large as the quickstart; or with a multiple of its rounds, its steps, its answers to
--- a prompt and their length.
---@param folder string
---@param times? integer
function M.quickstart(folder, times)
  times = times or 1
  return M.write(folder, { rounds = 3 * times, steps = 7 * times, prompts = math.ceil(60 / times),
    k = 5 * times, held_out = math.ceil(90 / times), name = 'quickstart',
    kinds = { 'at_most_words', 'mentions' }, place = 'here',
    recipe = ('-- a line of a recipe\n'):rep(80), prompt = prose(14), answer = prose(60 * times) })
end

--- Every text that a page shows from a list in turn: twelve held-out prompts over one round and six
--- matrices of 16: 24 + 96 answers a page, the first of them number `first`.
local function filled(folder, list, first, around)
  local function taking(at)
    return function()
      at = at + 1
      return list[(at - 1) % #list + 1]
    end
  end
  return M.write(folder, { rounds = 1, steps = 3, prompts = 6, k = 16, held_out = 12,
    name = around, kinds = { around, 'b' .. around }, place = around, recipe = around,
    prompt = taking(first + 50), answer = taking(first - 1) })
end

--- How many pages it takes to show every hostile text as an answer.
M.PAGES = math.ceil(#hostile / 120)

--- A page that shows hostile texts wherever a text can stand.
---@param folder string
---@param page integer  1 .. PAGES
function M.hostile(folder, page)
  return filled(folder, hostile, (page - 1) * 120 + 1,
    '</title></style></svg>"\'><script>document.title=\'ran\'</script>\226\128\174' .. page)
end

--- The same with nothing hostile in it: every element and attribute that a page may have.
---@param folder string
function M.clean(folder)
  local list, words = {}, prose(20)
  for i = 1, 120 do list[i] = words() end
  list[120] = ('a line\n'):rep(40)
  return filled(folder, list, 1, 'name')
end

--- All of them below a folder, for a browser, with the hostile texts in hexadecimal, a line each.
---@param folder string
function M.all(folder)
  files.make_folder(folder)
  M.clean(folder .. '/clean')
  M.quickstart(folder .. '/quickstart')
  M.quickstart(folder .. '/large', 12)
  for page = 1, M.PAGES do M.hostile(folder .. '/hostile-' .. page, page) end
  local lines = {}
  for i, text in ipairs(hostile) do
    lines[i] = text:gsub('.', function(c) return ('%02x'):format(c:byte()) end)
  end
  files.write(folder .. '/hostile.hex', table.concat(lines, '\n') .. '\n')
end

return M
