--- Answers in a report: matrices of preference with what was compared, and the same prompt's
--- answers across rounds with the words that changed.
---
--- What a page shows is bounded, so that it stays small whatever the run is: of a text its first
--- 4,000 bytes, of a matrix at most 16 answers, of the rounds four.

local html = require 'sppo.report.html'
local report_run = require 'sppo.report.run'

local M = {}

local escape = html.escape

local inserted = { escape = escape, open = '<ins>', close = '</ins>' }
local deleted = { escape = escape, open = '<del>', close = '</del>' }

local MOST_WORDS = 300 -- of an answer that is compared word by word
local MOST_TEXT = 4000 -- bytes of a text
local MOST_K = 16      -- answers of a matrix
local MOST_ROUNDS = 4  -- beside each other
local LOOKED_AT = 1000 -- prompts whose matrices are compared to choose those that are shown

-- ---- words that changed ----

local function words(text)
  local list = {}
  for space, word in text:gmatch('(%s*)([^%s]+)') do
    list[#list + 1] = { text = space .. word, word = word }
  end
  return list
end

--- `b` with the words that `a` has not (in order) between style.open and style.close: a longest
--- common subsequence. Long texts are shown unmarked, and those that share less than a third of
--- their words, where marks would say nothing.
---@return string text, boolean other  true if the texts share too little
local function marked(a_text, b_text, style)
  local a, b = words(a_text), words(b_text)
  if #a > MOST_WORDS or #b > MOST_WORDS then return style.escape(b_text), false end
  local length = {}
  for i = #a + 1, 1, -1 do
    length[i] = {}
    for j = #b + 1, 1, -1 do
      if i > #a or j > #b then length[i][j] = 0
      elseif a[i].word == b[j].word then length[i][j] = length[i + 1][j + 1] + 1
      else length[i][j] = math.max(length[i + 1][j], length[i][j + 1]) end
    end
  end
  if length[1][1] < math.min(#a, #b) / 3 then return style.escape(b_text), true end
  -- Runs of words, escaped whole: what a character means can depend on the one before it.
  local out, run, i, j, inside = {}, {}, 1, 1, false
  local function flush()
    local space, text = table.concat(run):match('^(%s*)(.*)$')
    text = style.escape(text)
    if inside then text = style.open .. text .. style.close end
    out[#out + 1], run = style.escape(space) .. text, {}
  end
  local function take(word, mark)
    if mark ~= inside and #run > 0 then flush() end
    inside = mark
    run[#run + 1] = word.text
  end
  while j <= #b do
    if i <= #a and a[i].word == b[j].word then
      take(b[j], false)
      i, j = i + 1, j + 1
    elseif i <= #a and length[i + 1][j] > length[i][j + 1] then
      i = i + 1
    else
      take(b[j], true)
      j = j + 1
    end
  end
  if #run > 0 then flush() end
  return table.concat(out), false
end

--- `new` with the words that `old` has not marked as inserted: as HTML, or in another style.
---@param old string
---@param new string
---@param style? { escape: fun(text: string): string, open: string, close: string }
---@return string html, boolean other
function M.marked(old, new, style) return marked(old, new, style or inserted) end

--- `old` as HTML, its words that `new` has not marked as deleted.
---@param old string
---@param new string
function M.removed(old, new) return marked(new, old, deleted) end

-- ---- a prompt and its answers ----

--- What a prompt says: its text, or the last of its messages.
local function prompt_text(record)
  if type(record.text) == 'string' then return record.text end
  local messages = type(record.messages) == 'table' and record.messages or {}
  local last = messages[#messages]
  if type(last) == 'table' and type(last.content) == 'string' then return last.content end
  return 'prompt ' .. tostring(record.id)
end

--- What opens to a prompt's answers; a prompt that is too long for a heading is inside, too.
local function prompt_details(before, record, body, open)
  local text = prompt_text(record)
  local head = text:gsub('%s+', ' ')
  local inside = ''
  if #head > 200 or text:find('\n', 1, true) then
    inside = ('<div class="answer" dir="auto">%s</div>'):format(escape(html.cut(text, MOST_TEXT)))
  end
  return html.details(before .. html.cut(head, 200), inside .. body, open)
end

local function answer(title, body, a)
  return ('<div><p class="soft">%s, %d tokens%s</p><div class="answer" dir="auto">%s</div></div>')
    :format(escape(title), #a.tokens, a.stopped and '' or ', cut', body)
end

-- ---- matrices ----

--- A K x K matrix as a table whose cells are shaded by P.
local function matrix_table(p, wins, shown)
  local out = { '<div class="scroll"><table class="matrix"><thead><tr>' ..
    '<th scope="col">P(row beats column)</th>' }
  for _, j in ipairs(shown) do out[#out + 1] = ('<th scope="col">%d</th>'):format(j) end
  out[#out + 1] = '<th scope="col">mean</th></tr></thead><tbody>'
  for _, i in ipairs(shown) do
    out[#out + 1] = ('<tr><th scope="row">%d</th>'):format(i)
    for _, j in ipairs(shown) do
      local value = p[i][j]
      if i == j then out[#out + 1] = '<td></td>'
      else out[#out + 1] = ('<td%s>%.2f</td>'):format(html.shade(value), value) end
    end
    out[#out + 1] = ('<td>%.3f</td></tr>'):format(wins[i])
  end
  out[#out + 1] = '</tbody></table></div>'
  return table.concat(out)
end

--- Whether three of the first 32 answers beat each other in a ring.
local function has_cycle(p)
  local k = math.min(#p, 32)
  local function beats(i, j) return p[i][j] > 0.5 end
  for a = 1, k do
    for b = a + 1, k do
      for c = b + 1, k do
        if beats(a, b) and beats(b, c) and beats(c, a) or
          beats(b, a) and beats(c, b) and beats(a, c) then
          return true
        end
      end
    end
  end
  return false
end

--- Numbers of the answers that are shown: all, or half of the most from either end.
local function shown_answers(wins)
  local order = {}
  for k = 1, #wins do order[k] = k end
  if #wins <= MOST_K then return order end
  table.sort(order, function(a, b)
    if wins[a] ~= wins[b] then return wins[a] > wins[b] end
    return a < b
  end)
  local list = {}
  for i = 1, MOST_K / 2 do
    list[i], list[MOST_K + 1 - i] = order[i], order[#order + 1 - i]
  end
  return list
end

--- The prompts of a round that are shown, best first: { i, cycle }.
local function chosen_prompts(preference)
  local order, n = {}, math.min(preference.count, LOOKED_AT)
  for at = 1, n do
    local i = 1 + math.floor((at - 1) * preference.count / n)
    local m, low, high = preference.read(i), math.huge, -math.huge
    for _, w in ipairs(m.wins) do low, high = math.min(low, w), math.max(high, w) end
    local cycle = has_cycle(m.matrix)
    order[at] = { i = i, cycle = cycle, score = (cycle and 1 or 0) + high - low }
  end
  table.sort(order, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return a.i < b.i
  end)
  return order
end

--- What became of each answer of a prompt: { [k] = 'chosen' }. Rows are in the order of their ids.
local function roles(rows, id)
  local low, high, out = 1, rows.count, {}
  while low <= high do
    local middle = math.floor((low + high) / 2)
    local row = rows.read(middle)
    if type(row.id) ~= 'number' or type(id) ~= 'number' then return out end
    if row.id == id then
      for n, a in ipairs(row.answers) do
        out[a.index or 0] = n == 1 and 'chosen' or n == #row.answers and 'rejected' or 'trained on'
      end
      return out
    end
    if row.id < id then low = middle + 1 else high = middle - 1 end
  end
  return out
end

local function matrix_details(t, entry, m, record, role)
  local list, shown = shown_answers(m.wins), {}
  for n, k in ipairs(list) do
    local a = record.answers[k]
    if a then
      local title = ('answer %d%s'):format(k, role[k] and ', ' .. role[k] or '')
      shown[n] = answer(title, escape(html.cut(a.text, MOST_TEXT)), a)
    end
  end
  local left_out = #list < #m.wins and html.note(
    ('The %d answers with the highest and the %d with the lowest mean, of %d.'):format(MOST_K / 2,
      MOST_K / 2, #m.wins)) or ''
  return prompt_details(('round %d%s: '):format(t, entry.cycle and ', cyclic' or ''), record,
    left_out .. matrix_table(m.matrix, m.wins, list) .. '<div class="sides">' ..
    table.concat(shown) .. '</div>')
end

--- Matrices of the last round that has some: prompts whose preference is cyclic first, then those
--- with the widest spread of win rates.
---@param run sppo.ReportRun
---@param most integer  prompts
---@return string html
function M.matrices(run, most)
  local function round(t)
    return report_run.records(run, t, 'preference', function(preference)
      if preference.count == 0 then return nil end
      return report_run.records(run, t, 'answers', function(answers)
        return report_run.records(run, t, 'rows', function(rows)
          local out = {}
          for _, entry in ipairs(chosen_prompts(preference)) do
            if #out == most then break end
            if entry.i <= answers.count then
              local record = answers.read(entry.i)
              out[#out + 1] = matrix_details(t, entry, preference.read(entry.i), record,
                roles(rows, record.id))
            end
          end
          return out
        end)
      end)
    end)
  end
  for t = run.last, 1, -1 do
    local out = round(t)
    if out then
      return #out == 0 and '' or html.note('Prompts with intransitive preferences first, then ' ..
        'those whose answers differ most. A cell is P(the row\'s answer beats the column\'s).') ..
        table.concat(out, '\n')
    end
  end
  return ''
end

-- ---- across rounds ----

--- Rounds that are shown beside each other: the first that has answers, and the last ones.
local function rounds_with_answers(run)
  local list = {}
  for t = 0, run.last do
    local any = report_run.records(run, t, 'evaluation', function(r) return r.count > 0 end)
    if any then
      if #list == MOST_ROUNDS then table.remove(list, 2) end
      list[#list + 1] = t
    end
  end
  return list
end

local function title_of(t) return t == 0 and 'start' or 'round ' .. t end

--- First held-out answers of each round side by side, for prompts spread over the list.
---@param run sppo.ReportRun
---@param most integer  prompts
---@return string html
function M.across(run, most)
  local rounds = rounds_with_answers(run)
  if #rounds == 0 then return '' end
  local prompts = {} -- of each: { record, [t] = first answer }
  for n, t in ipairs(rounds) do
    report_run.records(run, t, 'evaluation', function(list)
      if n == 1 then
        local count = math.min(most, list.count)
        for at = 1, count do
          prompts[at] = { i = 1 + math.floor((at - 1) * list.count / count) }
        end
      end
      for _, p in ipairs(prompts) do
        local record = p.i <= list.count and list.read(p.i)
        if record and (n == 1 or record.id == p.record.id) then
          p.record = p.record or record
          p[t] = record.answers[1]
        end
      end
    end)
  end
  local out = {}
  for at, p in ipairs(prompts) do
    local shown, old, last = {}, html.cut(p[rounds[1]].text, MOST_TEXT), nil
    for n = #rounds, 2, -1 do last = last or p[rounds[n]] end
    for n, t in ipairs(rounds) do
      local a = p[t]
      if a then
        local text, title = html.cut(a.text, MOST_TEXT), title_of(t)
        local body, other = escape(text), false
        if n > 1 then body, other = M.marked(old, text)
        elseif last then body = M.removed(text, html.cut(last.text, MOST_TEXT)) end
        shown[#shown + 1] = answer(other and title .. ', other words' or title, body, a)
      end
    end
    out[at] = prompt_details('', p.record,
      '<div class="sides">' .. table.concat(shown) .. '</div>', at <= 2)
  end
  local note = 'The first answer to %d held-out prompts.'
  if #rounds > 1 then
    note = note .. ' Underlined: words that the answer of %s does not have. Struck out: words ' ..
      'that the answer of %s no longer has. Answers that share few words are not marked.'
  end
  return html.note(note:format(#prompts, title_of(rounds[1]):gsub('^start', 'the start'),
    title_of(rounds[#rounds]))) .. table.concat(out, '\n')
end

return M
