--- Prompts and pairs out of rows: columns by name, texts or conversations.

local chat = require 'sppo.data.chat'
local check = require 'sppo.check'
local json = require 'sppo.json'

local M = {}

--- Where a prompt is looked for when no column is named; the case of letters does not matter.
M.usual = { 'prompt', 'instruction', 'question', 'messages', 'conversations', 'conversation',
  'text' }

--- The columns of a row, sorted.
function M.names(row)
  local names = {}
  for name in pairs(row) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function listed(row)
  local names, n = M.names(row), 12
  if #names == 0 then return 'none' end
  return table.concat(names, ', ', 1, math.min(n, #names)) .. (#names > n and ', ..' or '')
end

--- A value by column: its name, a path into it ('turns.1'), or a function of the row. nil for null.
function M.value(row, column)
  local value
  if type(column) == 'function' then value = column(row)
  else
    value = row[column]
    if value == nil and column:find('.', 1, true) then
      value = row
      for key in column:gmatch '[^.]+' do
        if type(value) ~= 'table' then return nil end
        local inner = value[key]
        if inner == nil then inner = value[tonumber(key)] end
        value = inner
      end
    end
  end
  if value ~= json.null then return value end
end

--- The usual column that a row has, or its only one; nil, what to say.
---@return string?, string?
function M.usual_of(row)
  local names, lower = M.names(row), {}
  for _, name in ipairs(names) do lower[name:lower()] = name end
  for _, name in ipairs(M.usual) do
    if row[name] ~= nil then return name end
    if lower[name] then return lower[name] end
  end
  if #names == 1 then return names[1] end
  return nil, ('none of its columns is a usual one for prompts (it has: %s); name it'):format(
    listed(row))
end

local function missing(row, column)
  if type(column) == 'function' then return 'its function gives nothing' end
  if row[column] == json.null then return ('column \'%s\' is null'):format(column) end
  local hint = check.suggest(column, M.names(row))
  return ('no column \'%s\'%s; it has: %s'):format(column,
    hint and (' (did you mean \'%s\'?)'):format(hint) or '', listed(row))
end

local function named(column)
  return type(column) == 'function' and 'the column\'s function' or ('column \'%s\''):format(column)
end

local function from_messages(prompt)
  if #prompt == 1 and prompt[1].role == 'user' then return { text = prompt[1].content } end
  return { messages = prompt }
end

--- A prompt from a value: a text, or a conversation without the answers at its end. nil, what is
--- wrong, whether it is only empty.
local function prompt_from(value, what)
  local item
  if type(value) == 'string' then item = { text = value }
  elseif type(value) == 'table' then
    local messages, why = chat.messages(value)
    if not messages then return nil, what .. ' ' .. why end
    local prompt = chat.cut(messages)
    if #prompt == 0 or prompt[#prompt].role == 'system' then
      return nil, what .. ' has no message of a user'
    end
    item = from_messages(prompt)
  else
    return nil, ('%s is a %s, a text or a list of messages is wanted'):format(what, type(value))
  end
  local text = item.text or item.messages[#item.messages].content
  if not text:find '%S' then return nil, what .. ' is empty', true end
  return item
end

--- The prompt of a row: { text } or { messages }; nil, what is wrong, whether it is only empty.
--- `input` is the column of Alpaca's that adds to an instruction.
---@param row table
---@param column string|function
---@param input? string
function M.prompt(row, column, input)
  local value = M.value(row, column)
  if value == nil then return nil, missing(row, column), row[column] == json.null end
  local item, why, empty = prompt_from(value, named(column))
  local more = input and M.value(row, input)
  if item and item.text and type(more) == 'string' and more:find '%S' then
    item.text = item.text .. '\n\n' .. more
  end
  return item, why, empty
end

--- An answer as text, which may be empty: a text, or the last message of a conversation, and the
--- messages before it.
local function answer(row, column)
  local value = M.value(row, column)
  if value == nil then return nil, missing(row, column) end
  local what = named(column)
  if type(value) == 'string' then return value end
  if type(value) ~= 'table' then
    return nil, ('%s is a %s, a text or a list of messages is wanted'):format(what, type(value))
  end
  local messages, why = chat.messages(value)
  if not messages then return nil, what .. ' ' .. why end
  local before, answers = chat.cut(messages)
  if #answers ~= 1 then
    return nil, ('%s must end with one message of the assistant, it has %d there'):format(what,
      #answers)
  end
  return answers[1].content, before
end

--- The pair of a row: { prompt (a text) or messages, chosen, rejected }; nil, what is wrong.
--- Without a prompt column the prompt is what precedes both answers in their conversations.
---@param row table
---@param columns { prompt?: string|function, chosen: string|function, rejected: string|function }
---@param input? string
function M.pair(row, columns, input)
  local chosen, before = answer(row, columns.chosen)
  if not chosen then return nil, before end
  local rejected, other = answer(row, columns.rejected)
  if not rejected then return nil, other end
  local item, why
  if columns.prompt then
    item, why = M.prompt(row, columns.prompt, input)
    if not item then return nil, why end
  elseif type(before) == 'table' and #before > 0 then
    if type(other) ~= 'table' or chat.text(before) ~= chat.text(other) then
      return nil, 'the conversations of its two answers begin differently'
    end
    item = from_messages(before)
  else
    return nil, select(2, M.usual_of(row)) or 'no prompt'
  end
  return { prompt = item.text, messages = item.messages, chosen = chosen, rejected = rejected }
end

return M
