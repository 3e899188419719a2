--- Answers in a report: matrices of preference with what was compared, and the same prompt's
--- answers across rounds with the words that changed.

local html = require 'sppo.report.html'
local records = require('sppo.report.run').records

local M = {}

local escape = html.escape

local MOST_WORDS = 300 -- of an answer that is compared word by word

local function words(text)
  local list = {}
  for space, word in text:gmatch('(%s*)([^%s]+)') do
    list[#list + 1] = { text = space .. word, word = word }
  end
  return list
end

--- `new` as HTML with the words that `old` has not (in order) marked as inserted: a longest common
--- subsequence. Long texts are shown unmarked.
---@param old string
---@param new string
function M.marked(old, new)
  local a, b = words(old), words(new)
  if #a > MOST_WORDS or #b > MOST_WORDS then return escape(new) end
  local length = {}
  for i = #a + 1, 1, -1 do
    length[i] = {}
    for j = #b + 1, 1, -1 do
      if i > #a or j > #b then length[i][j] = 0
      elseif a[i].word == b[j].word then length[i][j] = length[i + 1][j + 1] + 1
      else length[i][j] = math.max(length[i + 1][j], length[i][j + 1]) end
    end
  end
  local out, i, j, inside = {}, 1, 1, false
  local function mark(on)
    if on ~= inside then out[#out + 1] = on and '<ins>' or '</ins>' end
    inside = on
  end
  while j <= #b do
    if i <= #a and a[i].word == b[j].word then
      mark(false)
      out[#out + 1] = escape(b[j].text)
      i, j = i + 1, j + 1
    elseif i <= #a and length[i + 1][j] > length[i][j + 1] then
      i = i + 1
    else
      mark(true)
      out[#out + 1] = escape(b[j].text)
      j = j + 1
    end
  end
  mark(false)
  return table.concat(out)
end

local function prompt_text(record)
  return type(record.text) == 'string' and record.text or ('prompt ' .. tostring(record.id))
end

local function answer(title, body, a)
  local tokens = type(a.tokens) == 'table' and #a.tokens or 0
  return ('<div><div class="soft">%s, %d tokens%s</div>' ..
    '<div class="answer" dir="auto">%s</div></div>'):format(escape(title), tokens,
    a.stopped and '' or ', cut', body)
end

--- A K x K matrix as a table whose cells are shaded by P.
local function matrix_table(p, wins)
  local out = { '<div class="scroll"><table class="matrix"><tr><th>P(row beats column)</th>' }
  for j = 1, #p do out[#out + 1] = ('<th>%d</th>'):format(j) end
  out[#out + 1] = '<th>mean</th></tr>'
  for i, row in ipairs(p) do
    out[#out + 1] = ('<tr><td>%d</td>'):format(i)
    for j, value in ipairs(row) do
      local colour = value >= 0.5 and '11,98,163' or '196,80,12'
      out[#out + 1] = ('<td style="background:rgba(%s,%.2f)">%s</td>'):format(colour,
        math.abs(value - 0.5), i == j and '' or ('%.2f'):format(value))
    end
    out[#out + 1] = ('<td>%.3f</td></tr>'):format(wins[i] or 0)
  end
  out[#out + 1] = '</table></div>'
  return table.concat(out)
end

local function has_cycle(p)
  for a = 1, #p do
    for b = 1, #p do
      for c = 1, #p do
        if p[a][b] > 0.5 and p[b][c] > 0.5 and p[c][a] > 0.5 then return true end
      end
    end
  end
  return false
end

--- Matrices of a round: prompts whose preference is cyclic first, then those with the widest spread
--- of win rates.
---@param run sppo.ReportRun
---@param most integer  prompts
---@return string html
function M.matrices(run, most)
  local t = run.last
  while t > 0 and #records(run, t, 'preference') == 0 do t = t - 1 end
  if t == 0 then return '' end
  local matrices, answers, order = records(run, t, 'preference'), records(run, t, 'answers'), {}
  for i, m in ipairs(matrices) do
    local low, high = math.huge, -math.huge
    for _, w in ipairs(m.wins) do low, high = math.min(low, w), math.max(high, w) end
    order[i] = { i = i, score = (has_cycle(m.matrix) and 1 or 0) + high - low }
  end
  table.sort(order, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return a.i < b.i
  end)
  local out = {}
  for n = 1, math.min(most, #order) do
    local i = order[n].i
    local record, shown = answers[i], {}
    if record then
      for k, a in ipairs(record.answers) do
        shown[k] = answer(('answer %d'):format(k), escape(a.text), a)
      end
      out[#out + 1] = html.details(('round %d: %s'):format(t, prompt_text(record):sub(1, 160)),
        matrix_table(matrices[i].matrix, matrices[i].wins) .. '<div class="sides">' ..
        table.concat(shown) .. '</div>')
    end
  end
  return table.concat(out, '\n')
end

--- First held-out answers of each round side by side, for prompts spread over the list.
---@param run sppo.ReportRun
---@param most integer  prompts
---@return string html
function M.across(run, most)
  local rounds = {}
  for t = 0, run.last do
    local list = records(run, t, 'evaluation')
    if #list > 0 then rounds[#rounds + 1] = { t = t, list = list } end
  end
  -- The start, the last, and two between are what fits beside each other.
  while #rounds > 4 do table.remove(rounds, 2) end
  if #rounds == 0 then return '' end
  local out, count = {}, #rounds[1].list
  for n = 1, math.min(most, count) do
    local i = 1 + math.floor((n - 1) * count / math.min(most, count))
    local shown, first = {}, rounds[1].list[i]
    for _, round in ipairs(rounds) do
      local record = round.list[i]
      local a = record and record.id == first.id and record.answers[1]
      if a then
        local title = round.t == 0 and 'start' or 'round ' .. round.t
        local body = round == rounds[1] and escape(a.text) or
          M.marked(first.answers[1].text, a.text)
        shown[#shown + 1] = answer(title, body, a)
      end
    end
    out[#out + 1] = ('<details%s><summary>%s</summary><div class="sides">%s</div></details>')
      :format(n <= 2 and ' open' or '', escape(prompt_text(first):sub(1, 300)),
        table.concat(shown))
  end
  return table.concat(out, '\n')
end

return M
