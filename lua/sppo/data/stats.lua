--- What a data file holds, in numbers: columns, lengths, what is empty or twice, and what two files
--- share. Rows are read one after another; of each only lengths and hashes stay.

local chat = require 'sppo.data.chat'
local columns = require 'sppo.data.columns'
local data = require 'sppo.data'
local files = require 'sppo.files'
local generate = require 'sppo.generate'
local json = require 'sppo.json'
local rows = require 'sppo.data.rows'

local M = {}

local COLUMNS = 64 -- looked at; the rest are counted
local SHARES = { { 'min', 0 }, { 'p25', 0.25 }, { 'median', 0.5 }, { 'p75', 0.75 },
  { 'p95', 0.95 }, { 'max', 1 } }

--- Characters of UTF-8 text.
local function characters(text)
  if not text:find '[\128-\255]' then return #text end
  return select(2, text:gsub('[^\128-\191]', ''))
end

--- Least, quantiles (the value at that share of the sorted list), most, and the mean.
---@param lengths number[]  sorted in place
---@return table?  nil without lengths
function M.quantiles(lengths)
  local n, sum = #lengths, 0
  if n == 0 then return end
  table.sort(lengths)
  for _, x in ipairs(lengths) do sum = sum + x end
  local out = { mean = sum / n }
  for _, share in ipairs(SHARES) do
    out[share[1]] = lengths[math.max(1, math.ceil(share[2] * n))]
  end
  return out
end

--- How many lengths lie in each of the ranges below 2, 4, 8, ..: { { from, to, count }, .. },
--- without the empty ranges at both ends.
---@param lengths number[]
function M.histogram(lengths)
  local counts, first, last = {}, math.huge, 0
  for _, x in ipairs(lengths) do
    local bin = select(2, math.frexp(x))
    counts[bin] = (counts[bin] or 0) + 1
    first, last = math.min(first, bin), math.max(last, bin)
  end
  local out = {}
  for bin = first, last do
    out[#out + 1] = { from = bin == 0 and 0 or 2 ^ (bin - 1), to = math.max(2 ^ bin - 1, 0),
      count = counts[bin] or 0 }
  end
  return out
end

--- What a value is, and its length in characters if it is text.
local function kind_of(value)
  if type(value) == 'string' then return 'text', characters(value) end
  if value == json.null then return 'null' end
  if type(value) ~= 'table' then return type(value) end
  local messages = #value > 0 and type(value[1]) == 'table' and chat.messages(value)
  if messages then
    local n = 0
    for _, m in ipairs(messages) do n = n + characters(m.content) end
    return 'messages', n
  end
  return #value > 0 and 'list' or 'object'
end

--- Counts a row's columns.
local function note_columns(state, row)
  for name, value in pairs(row) do
    local c = state.columns[name]
    if not c and state.count < COLUMNS then
      c = { name = name, rows = 0, empty = 0, kinds = {}, lengths = {} }
      state.columns[name], state.count = c, state.count + 1
    end
    if c then
      local kind, length = kind_of(value)
      c.rows, c.kinds[kind] = c.rows + 1, (c.kinds[kind] or 0) + 1
      if length then c.lengths[#c.lengths + 1] = length end
      if kind == 'null' or kind == 'text' and not value:find '%S' then c.empty = c.empty + 1 end
    else state.more[name] = true end
  end
end

local function key(text) return files.sha256(text):sub(1, 16) end

--- Notes a prompt's hashes; counts what was there before.
local function note_prompt(p, item)
  local text = data.identity(item)
  local exact, normal = key(text), key(data.normal(text))
  if p.exact[exact] then p.duplicates = p.duplicates + 1 end
  if p.normal[normal] then p.near_duplicates = p.near_duplicates + 1 end
  p.exact[exact], p.normal[normal] = (p.exact[exact] or 0) + 1, (p.normal[normal] or 0) + 1
end

local function finished_columns(state)
  local list, more = {}, 0
  for _, c in pairs(state.columns) do
    list[#list + 1] = { name = c.name, rows = c.rows, empty = c.empty, kinds = c.kinds,
      characters = M.quantiles(c.lengths) }
  end
  for _ in pairs(state.more) do more = more + 1 end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list, more
end

--- The numbers of a file. Raises where it is malformed; rows that are no prompts are counted.
---@param name string
---@param options? { column?: string, model?: sppo.Model, format?: string, separator?: string,
---   quote?: boolean }
---@return table stats, table sets  for M.overlap
function M.of(name, options)
  options = options or {}
  local path = data.find(name)
  local next_row, about = rows.open(path, options)
  local state = { columns = {}, count = 0, more = {} }
  local p = { column = options.column, exact = {}, normal = {}, rows = 0, empty = 0, unusable = 0,
    duplicates = 0, near_duplicates = 0 }
  local total, lengths, input = 0, {}, nil
  for row, line in next_row do
    total = total + 1
    note_columns(state, row)
    if not p.column and total == 1 then
      p.column = columns.usual_of(row)
      if p.column == 'instruction' then input = 'input' end
    end
    local item, why, empty
    if p.column then item, why, empty = columns.prompt(row, p.column, input) end
    if item then
      p.rows = p.rows + 1
      note_prompt(p, item)
      if options.model then
        lengths[#lengths + 1] = #generate.prompt_tokens(options.model,
          item.messages or { { role = 'user', content = item.text } })
      else lengths[#lengths + 1] = characters(data.text(item)) end
    elseif p.column then
      local which = empty and 'empty' or 'unusable'
      p[which] = p[which] + 1
      p['first_' .. which] = p['first_' .. which] or { line = line, why = why }
    else
      note_prompt(p, { text = json.encode(row) })
    end
  end
  local list, more = finished_columns(state)
  local stats = {
    path = path, format = about.format, packing = about.packing, rows = total,
    bytes = files.size(path), columns = list, more_columns = more,
    duplicates = p.duplicates, near_duplicates = p.near_duplicates,
    prompt = p.column and {
      column = p.column, rows = p.rows, empty = p.empty, first_empty = p.first_empty,
      unusable = p.unusable, first_unusable = p.first_unusable,
      unit = options.model and 'tokens' or 'characters',
      lengths = M.quantiles(lengths), histogram = M.histogram(lengths),
    } or nil,
  }
  return stats, { exact = p.exact, normal = p.normal }
end

local function shared(a, b)
  local n = 0
  for k, count in pairs(b) do
    if a[k] then n = n + count end
  end
  return n
end

--- Prompts of the second file that are in the first too: { exact, normal }.
---@param a table  the second value of M.of
---@param b table
function M.overlap(a, b)
  return { exact = shared(a.exact, b.exact), normal = shared(a.normal, b.normal) }
end

return M
