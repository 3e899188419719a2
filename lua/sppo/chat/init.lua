--- Conversations as a model's chat template writes them, in pieces: only what the template itself
--- writes may hold special tokens, so no message can pretend to be another role.
---
--- This version knows the templates of the ChatML family by their text; anything else is an error.

local M = {}

local roles = { system = true, user = true, assistant = true }

-- The family: every message in its turn, maybe with a system message that comes first if there is
-- none, and at the end the start of an answer.
local MESSAGES = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'" ..
  " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
local DEFAULTS = {
  "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}",
  "",
}
local LOOP = "{% for message in messages %}"
local FIRST = "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
local FIRST_END = "<|im_end|>\n' }}{% endif %}"

local function strip(text, prefix)
  if text:sub(1, #prefix) == prefix then return text:sub(#prefix + 1) end
end

local function strip_end(text, suffix)
  if #text >= #suffix and text:sub(-#suffix) == suffix then return text:sub(1, -#suffix - 1) end
end

--- The template's default system message, '' for none; nil if it is not of the family.
local function recognise(template)
  local text = template:gsub('\\n', '\n'):gsub('\n$', '') -- in a literal both are a line feed
  for _, prefix in ipairs(DEFAULTS) do text = strip(text, prefix) or text end
  text = strip(text, LOOP)
  text = text and strip_end(text, MESSAGES)
  if not text or text == '' then return text end
  text = strip(text, FIRST)
  text = text and strip_end(text, FIRST_END)
  if text and text ~= '' and not text:find("['\\{}]") and not text:find('<|', 1, true) then
    return text
  end
end

--- nil, or what is wrong with a conversation.
local function check_messages(messages)
  if type(messages) ~= 'table' then
    return ('messages must be a list, got %s'):format(type(messages))
  end
  if #messages == 0 then return 'messages is empty' end
  for i, message in ipairs(messages) do
    if type(message) ~= 'table' then
      return ('messages[%d] must be a table, got %s'):format(i, type(message))
    end
    if not roles[message.role] then
      return ('messages[%d].role must be system, user or assistant, got %s'):format(i,
        type(message.role) == 'string' and '\'' .. message.role:sub(1, 40) .. '\'' or
        type(message.role))
    end
    if type(message.content) ~= 'string' then
      return ('messages[%d].content must be a string, got %s'):format(i, type(message.content))
    end
  end
end

--- A conversation as pieces for Tokenizer:encode_pieces; nil, err.
---@param template string?   the model's chat template, a Jinja text
---@param messages { role: string, content: string }[]
---@param options? { add_generation_prompt: boolean }  true: ends where an answer begins
---@return { text: string, special: boolean }[]?
function M.render(template, messages, options)
  if type(template) ~= 'string' then return nil, 'the model has no chat template' end
  local default = recognise(template)
  if not default then
    return nil, ('the chat template is not of the ChatML family, which is what this version ' ..
      'reads; it begins with \'%s\''):format(template:sub(1, 80))
  end
  local err = check_messages(messages)
  if err then return nil, err end

  local pieces = {}
  local function add(text, special) pieces[#pieces + 1] = { text = text, special = special } end
  if default ~= '' and messages[1].role ~= 'system' then
    add('<|im_start|>system\n' .. default .. '<|im_end|>\n', true)
  end
  for _, message in ipairs(messages) do
    add('<|im_start|>' .. message.role .. '\n', true)
    add(message.content, false)
    add('<|im_end|>\n', true)
  end
  if options and options.add_generation_prompt then add('<|im_start|>assistant\n', true) end
  return pieces
end

return M
