--- Data: prompts and pairs from files, and splits and shuffles that do not depend on their order.
--- lua/sppo/data/rows.lua reads the files, docs/data.md tells about them.

local chat = require 'sppo.data.chat'
local check = require 'sppo.check'
local columns = require 'sppo.data.columns'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local rows = require 'sppo.data.rows'

local M = {}

local KEPT_LIMIT = 2^30 -- bytes of text that one list keeps
local file_options = { 'format', 'separator', 'quote', 'columns' }
local list_options = { 'where', 'limit', 'unique', 'keep', unpack(file_options) }
local own = { text = true, messages = true, prompt = true, chosen = true, rejected = true,
  key = true, id = true, tokens = true }

--- Path of a file of prompts or pairs: as given, or in the data folder that tools/fetch-data fills.
---@param name string
---@return string
function M.find(name)
  check.type('data: the file\'s name', name, 'string')
  if files.exists(name) then return name end
  if files.is_folder(name) then engine.raise('io', name .. ': is a folder, name a file in it') end
  local path = require('sppo.model').home() .. '/data/prompts/' .. name
  if files.exists(path) then return path end
  local hint = files.meant(name)
  if hint ~= '' or name:sub(1, 1) == '/' then
    engine.raise('io', ('%s: no such file%s'):format(name, hint))
  end
  engine.raise('io', ('%s: no such file in the folder where sppo was started, nor in %s ' ..
    '(tools/fetch-data puts the recipes\' prompts there)'):format(name, path:match('^(.*)/[^/]*$')))
end

--- The rows of a file one after another: `for row, line in data.rows(name) do`.
---@param name string
---@param options? { format?: string, separator?: string, quote?: boolean, columns?: string[] }
---@return fun(): table?, integer
function M.rows(name, options)
  return (rows.open(M.find(name), check.options('data.rows', options, file_options)))
end

--- The rows of a JSON lines file as a list; raises with file and line where one is malformed.
---@param name string
---@return table[]
function M.jsonl(name)
  local list = {}
  for row in M.rows(name, { format = 'json' }) do list[#list + 1] = row end
  return list
end

-- ---- texts and numbers made of them ----

--- A number in [0, 1) that depends on the text alone: splits and shuffles that survive reordering.
---@param text string
---@param salt? string
function M.fraction(text, salt)
  return tonumber(files.sha256((salt or '') .. text):sub(1, 12), 16) / 2^48
end

--- The text of a prompt or of a pair's prompt; a conversation's as one text.
---@param item string|{ text?: string, prompt?: string, messages?: table[], tokens?: integer[] }
---@return string
function M.text(item)
  if type(item) == 'string' then return item end
  check.type('data: a prompt', item, 'table')
  local text = item.text or item.prompt or item.messages and chat.text(item.messages) or
    item.tokens and table.concat(item.tokens, ' ')
  if type(text) ~= 'string' then
    engine.raise('argument', 'data: a prompt has none of text, prompt, messages, tokens')
  end
  return text
end

--- A text without what seldom matters: letters A-Z small, runs of white space one space.
---@param text string
function M.normal(text)
  return (text:lower():gsub('%s+', ' '):gsub('^ ', ''):gsub(' $', ''))
end

--- What a prompt is known by wherever it comes from: 16 hex digits of its text.
---@param item string|table
---@return string
function M.key(item) return files.sha256(M.text(item)):sub(1, 16) end

--- A value of a row by its column's name or by a path into it ('turns.1'); nil for null.
---@param row table
---@param column string|fun(row: table): any
---@return any
M.value = columns.value

-- ---- lists ----

local function keep_of(name, keep)
  local list = {}
  for as, column in pairs(check.type(name .. ': keep', keep or {}, 'table')) do
    if type(as) == 'number' then as = column end
    if own[as] or type(as) ~= 'string' then
      engine.raise('argument', ('%s: keep: \'%s\' cannot be kept under that name'):format(name,
        tostring(as)))
    end
    list[#list + 1] = { as = as, column = column }
  end
  return list
end

--- Reads a file into a list: `take(row)` gives an item, or nil and what is wrong.
local function collect(who, name, options, take)
  local path, list, seen, bytes = M.find(name), {}, {}, 0
  local keep, limit = keep_of(who, options.keep), options.limit
  if limit then check.number(who .. ': limit', limit, 'integer', 1) end
  if options.where then check.type(who .. ': where', options.where, 'function') end
  local function fail(line, text)
    engine.raise('format', ('%s:%d: %s'):format(path, line, text))
  end
  --- A function of the recipe's; its errors say at which row.
  local function call(line, f, ...)
    local ok, a, b, c = pcall(f, ...)
    if ok then return a, b, c end
    error(('%s:%d: %s'):format(path, line, tostring(a)), 0)
  end
  for row, line in rows.open(path, options) do
    if not options.where or call(line, options.where, row) then
      local item, why, empty = call(line, take, row)
      if not item and why then
        fail(line, why .. (empty and '; leave such rows out by where = function(row) .. end' or ''))
      elseif item then
        item.key = M.key(item)
        local identity = M.identity(item)
        if not options.unique or not seen[identity] then
          if options.unique then seen[identity] = true end
          for _, k in ipairs(keep) do item[k.as] = columns.value(row, k.column) end
          bytes = bytes + #identity
          if bytes > KEPT_LIMIT then
            engine.raise('memory', ('%s:%d: more than %d MiB of text in one list; say limit = N ' ..
              'or where = function(row) .. end'):format(path, line, KEPT_LIMIT / 2^20))
          end
          list[#list + 1] = item
        end
      end
    end
    if limit and #list == limit then break end
  end
  return list
end

--- `column`, or the usual one of the first row; beside it Alpaca's `input`.
local function chooser(column)
  local input
  return function(row)
    if column then return column, input end
    local why
    column, why = columns.usual_of(row)
    if column == 'instruction' then input = 'input' end
    return column, input, why
  end
end

--- The prompts of a file as a recipe's `prompts` takes them: { { text or messages, key, .. }, .. }.
---@param name string  a path, or a file that tools/fetch-data puts there
---@param options? { column?: string|(fun(row: table): string?), where?: (fun(row: table): boolean),
---   limit?: integer, unique?: boolean, keep?: table, format?: string, separator?: string,
---   quote?: boolean, columns?: string[] }
---   column: its name, a path into a value ('turns.1'), or a function of the row, whose nil leaves
---   the row out. keep: more columns for the prompt, { 'answer', kind = 'category' }.
---@return table[]
function M.prompts(name, options)
  options = check.options('data.prompts', options, { 'column', unpack(list_options) })
  local choose = chooser(options.column)
  return collect('data.prompts', name, options, function(row)
    local column, input, why = choose(row)
    if not column then return nil, why .. ': column = \'..\'' end
    if type(column) ~= 'function' then return columns.prompt(row, column, input) end
    local value = column(row)
    if value == nil then return end
    return columns.prompt(row, function() return value end)
  end)
end

--- The pairs of a file: { { prompt (a text) or messages, chosen, rejected, key, .. }, .. }.
---@param name string
---@param options? { prompt?: string|function, chosen?: string|function,
---   rejected?: string|function }  and those of data.prompts but `column`
---@return table[]
function M.pairs(name, options)
  options = check.options('data.pairs', options,
    { 'prompt', 'chosen', 'rejected', unpack(list_options) })
  local choose = chooser(options.prompt)
  return collect('data.pairs', name, options, function(row)
    local prompt, input = choose(row)
    return columns.pair(row, { prompt = prompt, chosen = options.chosen or 'chosen',
      rejected = options.rejected or 'rejected' }, input)
  end)
end

--- All that makes two items the same: the text, and a pair's answers.
---@param item string|table
---@return string
function M.identity(item)
  local text = M.text(item)
  if type(item) ~= 'table' or not item.chosen then return text end
  return table.concat({ text, item.chosen, item.rejected }, '\0')
end

-- ---- order and sides ----

--- A new list in an order that depends on the texts and the seed alone.
---@param list table[]|string[]
---@param seed? integer|string
function M.shuffle(list, seed)
  local salt = seed ~= nil and tostring(seed) .. '\0' or ''
  local marked = {}
  for i, item in ipairs(list) do
    marked[i] = { item = item, at = M.fraction(M.identity(item), salt), i = i }
  end
  table.sort(marked, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.i < b.i
  end)
  local out = {}
  for i, m in ipairs(marked) do out[i] = m.item end
  return out
end

--- Two lists: what is left to train on and a held-out share (and a third for validation). The side
--- of an item depends on its prompt's text alone, but for case and white space: not on the order,
--- nor on what else is there; duplicates and the pairs of one prompt fall on the same side.
---@param list table[]|string[]
---@param options { held_out: number, validation?: number, seed?: integer|string }  shares of 1
---@return table[] training, table[] held_out, table[] validation
function M.split(list, options)
  check.options('data.split', options, { 'held_out', 'validation', 'seed' })
  options = options or {}
  local held_out = check.number('data.split: held_out', options.held_out, 'number', 0, 1)
  local validation = check.number('data.split: validation', options.validation or 0, 'number', 0,
    1 - held_out)
  local salt = 'split\0' .. tostring(options.seed or '') .. '\0'
  local parts = { {}, {}, {} }
  for _, item in ipairs(list) do
    local at = M.fraction(M.normal(M.text(item)), salt)
    local part = at < held_out and 2 or at < held_out + validation and 3 or 1
    table.insert(parts[part], item)
  end
  for i, share in ipairs { 1 - held_out - validation, held_out, validation } do
    if share > 1e-9 and #parts[i] == 0 then
      engine.raise('usage', ('data.split: none of %d fall into the %s share of %g; it is too ' ..
        'small for them'):format(#list, ({ 'training', 'held_out', 'validation' })[i], share))
    end
  end
  return parts[1], parts[2], parts[3]
end

return M
