--- The prompts of a round in one form: { id, text, kind?, tokens?, messages?, ... }.

local chat = require 'sppo.chat'
local compat = require 'sppo.compat'
local data = require 'sppo.data'
local engine = require 'sppo.ffi'
local generate = require 'sppo.generate'
local json = require 'sppo.json'

local M = {}

local HELD_OUT = 2^31 -- held-out prompts draw with ids of their own

--- The prompts of a JSON lines file: each line has a "prompt" (a text, or a list of messages), or
--- text, messages or tokens as a recipe's own prompts have them. Raises with file and line.
---@param path string
---@param name string  the recipe's key, for the text of errors
local function from_file(path, name)
  local there, why = pcall(data.find, path)
  if not there then
    engine.raise('io', ('%s: %s; JSON lines with a "prompt" in each are wanted, %s=FILE names them'
      ):format(name, tostring(why):gsub(' %(tools/fetch%-data.-%)', ''), name))
  end
  local list = {}
  for i, row in ipairs(data.jsonl(path)) do
    local item = {}
    for key, value in pairs(type(row) == 'table' and row or {}) do
      if value ~= json.null then item[key] = value end
    end
    local key = type(item.prompt) == 'table' and 'messages' or 'text'
    if item.prompt then item[key], item.prompt = item.prompt, nil end
    if not (item.text or item.messages or item.tokens) then
      engine.raise('format', ('%s: prompt %d has no "prompt" (nor text, messages, tokens)'):format(
        path, i))
    end
    list[i] = item
  end
  return list
end

--- What a recipe gives (a list, a function of the round, or the path of a JSON lines file, in which
--- '{round}' stands for the round) as a list of prompts.
---@param source table|function|string
---@param round integer
---@param name 'prompts'|'held_out'|'validation'
---@return table[]
function M.list(source, round, name)
  local given = source
  if type(source) == 'function' then given = source(round) end
  if type(given) == 'string' then given = from_file((given:gsub('{round}', round)), name) end
  if type(given) ~= 'table' or #given == 0 then
    engine.raise('usage', ('%s: round %d has no prompts'):format(name, round))
  end
  local list = {}
  for i, p in ipairs(given) do
    local item = {}
    if type(p) == 'string' then item.text = p
    elseif type(p) == 'table' then
      for key, value in pairs(p) do item[key] = value end
    else
      engine.raise('usage', ('%s[%d] must be a string or a table, got %s'):format(name, i, type(p)))
    end
    if not (item.text or item.tokens or item.messages) then
      engine.raise('usage', ('%s[%d] has none of text, messages, tokens'):format(name, i))
    end
    if item.text and type(item.text) ~= 'string' then
      engine.raise('usage', ('%s[%d].text must be a string, got %s'):format(name, i,
        type(item.text)))
    end
    for _, key in ipairs { 'tokens', 'messages' } do
      if item[key] and type(item[key]) ~= 'table' then
        engine.raise('usage', ('%s[%d].%s must be a table, got %s'):format(name, i, key,
          type(item[key])))
      end
    end
    local content = item.tokens or item.messages
    if content and #content == 0 or not content and not item.text:find('%S') then
      engine.raise('usage', ('%s[%d] is empty'):format(name, i))
    end
    item.id = (name == 'prompts' and 0 or HELD_OUT) + i - 1
    list[i] = item
  end
  return list
end

--- What a stage's key hashes of prompts: what the model and the preference see of them.
---@param list table[]
---@return table[]
function M.digest(list)
  local out = {}
  for i, p in ipairs(list) do
    out[i] = { id = p.id, text = p.text, kind = p.kind, tokens = p.tokens, messages = p.messages }
  end
  return out
end

--- Token ids of each prompt, as the model's template has it.
---@param model sppo.Model
---@param list table[]                     of M.list()
---@param switches table<string, boolean>  the recipe's `compat`
---@return { id: integer, tokens: integer[] }[]
function M.tokens(model, list, switches)
  local out = {}
  for i, p in ipairs(list) do
    local tokens = p.tokens
    if not tokens then
      local messages = compat.messages(switches,
        p.messages or { { role = 'user', content = p.text } })
      tokens = compat.tokens(switches, model, generate.prompt_tokens(model, messages,
        { now = chat.STILL }))
    end
    out[i] = { id = p.id, tokens = tokens }
  end
  return out
end

--- An answer's text: without its stop id; token ids in words where the model has no tokenizer.
---@param model sppo.Model
---@param answer { tokens: integer[], stopped: boolean }
---@return string
function M.answer_text(model, answer)
  local ids = answer.tokens
  if not model.tokenizer then return table.concat(ids, ' ') end
  if answer.stopped then
    local shorter = {}
    for i = 1, #ids - 1 do shorter[i] = ids[i] end
    ids = shorter
  end
  return model.tokenizer:decode(ids)
end

return M
