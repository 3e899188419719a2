--- Conversations as a model's chat template writes them, in pieces: only what the template itself
--- writes may hold special tokens, so no message can pretend to be another role.
---
--- The template is the model's own (tokenizer_config.json, chat_template.jinja or GGUF metadata), a
--- text in Jinja that lua/sppo/chat/jinja interprets; docs/chat-templates.md says what it may hold.

local check = require 'sppo.check'
local jinja = require 'sppo.chat.jinja'
local json = require 'sppo.json'

local M = {}

local CACHED = 16

--- What strftime_now sees in a run: 26 July 2024, which Llama 3's templates fall back to. The same
--- run has to give the same prompts on any day.
M.STILL = 1721995200

--- Compiled templates by their source: a model's is compiled once.
local compiled, count = {}, 0

--- The compiled template; nil, err, Error.
local function compile(source)
  if compiled[source] then return compiled[source] end
  local template, err, why = jinja.compile(source)
  if not template then return nil, err, why end
  if count >= CACHED then compiled, count = {}, 0 end
  compiled[source], count = template, count + 1
  return template
end

local function given(v) return v ~= nil and v ~= json.null end

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
    -- A template may make a special token of it: '<|' + role + '|>'.
    local role = message.role
    if type(role) ~= 'string' or not role:find('^%a[%w_-]*$') then
      return ('messages[%d].role must be a word like system, user or assistant, got %s'):format(i,
        type(role) == 'string' and '\'' .. role:sub(1, 40) .. '\'' or type(role))
    end
    local content = message.content
    if given(content) and type(content) ~= 'string' and type(content) ~= 'table' then
      return ('messages[%d].content must be a string, got %s'):format(i, type(content))
    end
    if not given(content) and not given(message.tool_calls) then
      return ('messages[%d].content must be a string, got nil'):format(i)
    end
  end
end

--- A message with its reasoning under every name that templates read, as transformers does it.
local function with_reasoning(message)
  local reasoning
  for _, key in ipairs { 'reasoning', 'thinking', 'reasoning_content' } do
    if given(message[key]) then reasoning = message[key] end
  end
  if not given(reasoning) then return message end
  local copy = {}
  for key, v in pairs(message) do copy[key] = v end
  copy.reasoning_content = reasoning
  if copy.thinking == nil then copy.thinking = reasoning end
  return copy
end

--- messages as the template's value: all from outside but for the roles. nil, err.
local function messages_value(messages)
  local plain = {}
  for i, message in ipairs(messages) do plain[i] = with_reasoning(message) end
  local list, err = jinja.from_lua(json.array(plain), 'messages')
  if not list then return nil, err end
  for i, message in ipairs(messages) do jinja.put(list[i], 'role', message.role) end
  return list
end

local known = { 'add_generation_prompt', 'variables', 'tools', 'documents', 'now' }

--- A conversation as pieces for Tokenizer:encode_pieces; nil, err.
---@param template string?   the model's chat template, a Jinja text
---@param messages { role: string, content: string }[]
---@param options? { add_generation_prompt: boolean, variables: table, tools: table[],
---        documents: table[], now: number }  add_generation_prompt: ends where an answer begins;
---        variables: more names for the template, their texts trusted (bos_token, eos_token);
---        tools, documents: as Python's transformers has them; now: what strftime_now sees, seconds
---        since 1970 (UTC), the clock where it is nil
---@return { text: string, special: boolean }[]?
---@return string? err
---@return sppo.jinja.Error? why   where it is the template that fails
function M.render(template, messages, options)
  options = check.options('chat.render', options, known)
  if type(template) ~= 'string' then return nil, 'the model has no chat template' end
  local run, err, why = compile(template)
  if not run then return nil, err, why end
  err = check_messages(messages)
  if err then return nil, err end

  local variables = { add_generation_prompt = options.add_generation_prompt == true }
  for name, v in pairs(options.variables or {}) do
    variables[name], err = jinja.from_lua(v, name, true)
    if err then return nil, err end
  end
  for _, name in ipairs { 'tools', 'documents' } do
    local v = options[name]
    if v == nil then variables[name] = jinja.NONE
    else variables[name], err = jinja.from_lua(v, name) end
    if err then return nil, err end
  end
  variables.messages, err = messages_value(messages)
  if err then return nil, err end
  return run:render(variables, options.now)
end

return M
