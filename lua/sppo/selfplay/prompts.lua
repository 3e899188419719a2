--- The prompts of a round in one form: { id, text, kind?, tokens?, messages?, ... }.

local chat = require 'sppo.chat'
local check = require 'sppo.check'
local compat = require 'sppo.compat'
local data = require 'sppo.data'
local engine = require 'sppo.ffi'
local generate = require 'sppo.generate'
local json = require 'sppo.json'
local recipe_file = require 'sppo.selfplay.recipe_file'

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
      local names = {}
      for column in pairs(item) do names[#names + 1] = tostring(column) end
      table.sort(names)
      local has = #names > 0 and table.concat(names, ', ', 1, math.min(#names, 8)) or 'nothing'
      engine.raise('format', ('%s: prompt %d has no "prompt" (nor text, messages, tokens), it ' ..
        'has %s; %s = require(\'sppo.data\').prompts(\'%s\') reads other columns ' ..
        '(docs/data.md)'):format(path, i, has, name, path))
    end
    list[i] = item
  end
  return list
end

local MOST_PROBLEMS = 5 -- prompts of a list that are named

--- What is wrong with one prompt of a list, or nil; `place` is 'prompts[3]'.
local function problem(p, place, vocabulary)
  if type(p) == 'string' then return not p:find('%S') and place .. ' is empty' or nil end
  if type(p) ~= 'table' then
    return ('%s must be a string or a table, got %s'):format(place, type(p))
  end
  if p.text ~= nil and type(p.text) ~= 'string' then
    return ('%s.text must be a string, got %s'):format(place, type(p.text))
  end
  for _, key in ipairs { 'tokens', 'messages' } do
    if p[key] ~= nil and type(p[key]) ~= 'table' then
      return ('%s.%s must be a table, got %s'):format(place, key, type(p[key]))
    end
  end
  local content = p.tokens or p.messages
  if not (p.text or content) then return place .. ' has none of text, messages, tokens' end
  if content and #content == 0 or not content and not p.text:find('%S') then
    return place .. ' is empty'
  end
  local count = 0
  for _ in pairs(p.tokens or {}) do count = count + 1 end
  if p.tokens and count ~= #p.tokens then return place .. '.tokens is no list of token ids' end
  for i, id in ipairs(p.tokens or {}) do
    local text = check.number_text(('%s.tokens[%d]'):format(place, i), id, 'integer', 0,
      (vocabulary or 2^24) - 1)
    if text then return text end
  end
  if p.kind ~= nil and type(p.kind) ~= 'string' and type(p.kind) ~= 'number' then
    return ('%s.kind must be a string, got %s'):format(place, type(p.kind))
  end
  local ok, why = true, nil
  if p.messages then ok, why = pcall(json.encode, p.messages) end
  if not ok then
    return ('%s.messages: %s'):format(place, (tostring(why):gsub('^.-json%.encode: ', '')))
  end
  for i, m in ipairs(not p.tokens and p.messages or {}) do
    if type(m) ~= 'table' or type(m.role) ~= 'string' or m.content == nil then
      return ('%s.messages[%d] must be { role = .., content = .. }'):format(place, i)
    end
  end
end

--- What is wrong with the prompts of a list: a text for each of the first that are.
---@param list table
---@param name string         the recipe's key
---@param vocabulary? integer size of the model's, if it is known
---@return string[]
function M.problems(list, name, vocabulary)
  local count, texts = 0, {}
  for key in pairs(list) do
    count = count + 1
    if type(key) ~= 'number' or key % 1 ~= 0 or key < 1 or key > 2^40 then
      return { ('%s must be a list of prompts; it is a table with the key \'%s\'%s'):format(name,
        tostring(key), (list.text or list.messages or list.tokens) and
        (': write %s = { { %s = .. } }'):format(name, tostring(key)) or '') }
    end
  end
  if count == 0 then return { name .. ' has no prompts' } end
  if count ~= #list or list[count] == nil then
    return { ('%s has a hole: one of the entries before the last is nil'):format(name) }
  end
  local more = 0
  for i, p in ipairs(list) do
    local text = problem(p, ('%s[%d]'):format(name, i), vocabulary)
    if text and #texts < MOST_PROBLEMS then texts[#texts + 1] = text
    elseif text then more = more + 1 end
  end
  if more > 0 then texts[#texts + 1] = ('%s: %d more are wrong'):format(name, more) end
  return texts
end

--- What a prompt says, as a text that two prompts can be compared by.
local function said(p)
  if type(p) == 'string' then return p end
  if p.tokens then return table.concat(p.tokens, ' ') end
  return p.messages and json.encode(p.messages) or p.text
end

--- How many of `others` stand in `list`, too.
---@param list table[]|string[]
---@param others table[]|string[]
---@return integer
function M.shared(list, others)
  local seen, count = {}, 0
  for _, p in ipairs(list) do seen[said(p)] = true end
  for _, p in ipairs(others) do count = count + (seen[said(p)] and 1 or 0) end
  return count
end

--- What a recipe gives (a list, a function of the round, or the path of a JSON lines file, in which
--- '{round}' stands for the round) as a list of prompts.
---@param source table|function|string
---@param round integer
---@param name 'prompts'|'held_out'|'validation'
---@param vocabulary? integer  size of the model's, if it is known
---@return table[]
function M.list(source, round, name, vocabulary)
  local given = source
  if type(source) == 'function' then
    local ok
    ok, given = recipe_file.call(debug.getinfo(source, 'S').source:gsub('^@', ''), source, round)
    if not ok then error(given, 0) end
    if given ~= nil and type(given) ~= 'table' and type(given) ~= 'string' then
      engine.raise('recipe', ('%s(%d) gave a %s; a list of prompts is wanted, or the path of a ' ..
        'file'):format(name, round, type(given)))
    end
  end
  if type(given) == 'string' then given = from_file((given:gsub('{round}', round)), name) end
  if given == nil or next(given) == nil then
    engine.raise('recipe', ('%s: round %d has no prompts'):format(name, round))
  end
  local texts = M.problems(given, name, vocabulary)
  if #texts > 0 then engine.raise('recipe', table.concat(texts, '\n')) end
  local list = {}
  for i, p in ipairs(given) do
    local item = {}
    if type(p) == 'string' then item.text = p
    else
      for key, value in pairs(p) do item[key] = value end
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
