--- Conversations as data sets write them, in one form: { { role, content }, .. }.

local check = require 'sppo.check'
local json = require 'sppo.json'

local M = {}

--- Names of the speakers; the second half are ShareGPT's.
local roles = {
  system = 'system', user = 'user', assistant = 'assistant', developer = 'developer',
  tool = 'tool', ['function'] = 'tool',
  human = 'user', gpt = 'assistant', chatgpt = 'assistant', bard = 'assistant', bing = 'assistant',
  model = 'assistant', bot = 'assistant', observation = 'tool',
}
local names = { 'system', 'user', 'assistant', 'tool', 'human', 'gpt' }

local function kind_of(value)
  if value == nil then return 'missing' end
  return value == json.null and 'null' or 'a ' .. type(value)
end

--- Text of a message's content: a text, or a list of parts that are texts.
local function content_of(value)
  if type(value) == 'string' then return value end
  if type(value) ~= 'table' or #value == 0 then return nil, 'is ' .. kind_of(value) end
  local parts = {}
  for i, part in ipairs(value) do
    if type(part) ~= 'table' or part.type ~= 'text' or type(part.text) ~= 'string' then
      return nil, ('[%d] is not { "type": "text", "text": .. }; only text is read'):format(i)
    end
    parts[i] = part.text
  end
  return table.concat(parts)
end

--- A conversation, { role, content } or { from, value } each, with the roles' common names; nil
--- and what is wrong.
---@param list table
---@return { role: string, content: string }[]?, string?
function M.messages(list)
  if list.role or list.from then list = { list } end
  if #list == 0 then return nil, 'has no messages' end
  local out = {}
  for i, message in ipairs(list) do
    if type(message) ~= 'table' then
      return nil, ('[%d] is %s, not { role, content } or { from, value }'):format(i,
        kind_of(message))
    end
    local key = message.role ~= nil and 'role' or 'from'
    local role = roles[message[key]]
    if not role then
      return nil, ('[%d].%s: %s'):format(i, key, type(message[key]) == 'string' and
        check.unknown('role', message[key], names) or kind_of(message[key]))
    end
    local place = key == 'role' and 'content' or 'value'
    local content, why = content_of(message[place])
    if not content then return nil, ('[%d].%s %s'):format(i, place, why) end
    out[i] = { role = role, content = content }
  end
  return out
end

--- A conversation in two: what is asked, and the answers at its end.
---@return table[] prompt, table[] answers
function M.cut(messages)
  local n = #messages
  while n > 0 and messages[n].role == 'assistant' do n = n - 1 end
  local prompt, answers = {}, {}
  for i, message in ipairs(messages) do
    table.insert(i <= n and prompt or answers, message)
  end
  return prompt, answers
end

--- A conversation as one text that stands for it, for hashes and for lengths.
function M.text(messages)
  local parts = {}
  for i, m in ipairs(messages) do parts[i] = m.role .. '\n' .. m.content end
  return table.concat(parts, '\n\n')
end

return M
