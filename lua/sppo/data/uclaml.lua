--- The official code's training set (scripts/compute_prob.py), as JSON lines: a pair of each prompt
--- as two conversations, `chosen` and `rejected`, with `chosen_probs` (P of the pair),
--- `chosen_probs_win` and `chosen_probs_lose` (P against pi_t of each).

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local json = require 'sppo.json'

local M = {}

local function conversation(record, answer)
  local messages = {}
  for i, m in ipairs(record.messages or { { role = 'user', content = record.text } }) do
    messages[i] = { role = m.role, content = m.content }
  end
  messages[#messages + 1] = { role = 'assistant', content = answer.text }
  return messages
end

--- Lines of the pairs that a round of a run was trained on.
---@param folder string   the run folder
---@param round integer
---@return string? text   nil, err
function M.lines(folder, round)
  local read = {}
  for _, name in ipairs { 'answers', 'preference', 'rows' } do
    local list, err = files.read_records(('%s/round-%d/%s.msgpack'):format(folder, round, name))
    if not list then return nil, err end
    read[name] = list
  end
  local by_id, lines = {}, {}
  for i, record in ipairs(read.answers) do
    if not (record.text or record.messages) then
      local text = ('%s: round %d: prompts are token ids, the columns want texts'):format(folder,
        round)
      engine.kind('argument', text)
      return nil, text
    end
    by_id[record.id] = { record = record, matrix = read.preference[i].matrix }
  end
  for i, row in ipairs(read.rows) do
    local entry = by_id[row.id]
    local w, l = row.answers[1], row.answers[#row.answers]
    lines[i] = json.encode {
      chosen = json.array(conversation(entry.record, entry.record.answers[w.index])),
      rejected = json.array(conversation(entry.record, entry.record.answers[l.index])),
      chosen_probs = entry.matrix[w.index][l.index],
      chosen_probs_win = w.win, chosen_probs_lose = l.win,
    }
  end
  return table.concat(lines, '\n') .. '\n'
end

--- Pairs of such a file, for Run:given: { messages, chosen, rejected, pair, win, lose }.
---@param path string
---@return table[]
function M.read(path)
  local list = require('sppo.data').jsonl(path)
  local out = {}
  for i, row in ipairs(list) do
    local function bad(...)
      engine.raise('format', ('%s:%d: '):format(path, i) .. (...):format(select(2, ...)))
    end
    for _, key in ipairs { 'chosen', 'rejected' } do
      local c = type(row) == 'table' and row[key]
      if type(c) ~= 'table' or #c < 2 then bad('%s must be a conversation of 2 messages', key) end
      for _, m in ipairs(c) do
        if type(m) ~= 'table' or type(m.role) ~= 'string' or type(m.content) ~= 'string' then
          bad('%s: a message must have role and content', key)
        end
      end
    end
    local numbers = {}
    for _, key in ipairs { 'chosen_probs', 'chosen_probs_win', 'chosen_probs_lose' } do
      numbers[#numbers + 1] = row[key]
      if type(row[key]) ~= 'number' or not (row[key] >= 0 and row[key] <= 1) then
        bad('%s must be in 0..1, got %s', key, tostring(row[key]))
      end
    end
    local messages = {}
    for n = 1, #row.chosen - 1 do messages[n] = row.chosen[n] end
    out[i] = { messages = messages, chosen = row.chosen[#row.chosen].content,
      rejected = row.rejected[#row.rejected].content,
      pair = numbers[1], win = numbers[2], lose = numbers[3] }
  end
  return out
end

return M
