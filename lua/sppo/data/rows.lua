--- Rows of a data file, one after another: JSON lines, a JSON list, CSV, TSV and plain text, each
--- also as .gz and .zst. A file is never in memory as a whole.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local json = require 'sppo.json'

local M = {}

local FILE_LIMIT = 2^35 -- bytes read, unpacked
local ROW_LIMIT = 2^24  -- bytes of a line, or of a row that goes over lines
local formats = {
  jsonl = 'json', ndjson = 'json', json = 'json', csv = 'csv', tsv = 'tsv', tab = 'tsv',
  txt = 'text', text = 'text',
}
local known = 'json, csv, tsv, text'

--- Raises with path and line (and column, counted from 1).
local function fail(path, line, column, text, ...)
  local place = line and (column and (':%d:%d'):format(line, column) or ':' .. line) or ''
  engine.raise('format', ('%s%s: %s'):format(path, place, text:format(...)))
end

--- Raises at the first bytes of a line that are no text.
local function check_text(path, number, line)
  if not line:find '[%z\128-\255]' then return end
  local valid = tonumber(engine.C.sppo_utf8_scan(line, #line, engine.ffi.new('int[1]')))
  local zero = line:find('%z')
  if zero and zero <= valid then valid = zero - 1 end
  if valid < #line then
    fail(path, number, valid + 1, 'byte 0x%02x is not UTF-8 text; is it a file of another kind?',
      line:byte(valid + 1))
  end
end

--- How a file is to be read, by its name: 'json', 'csv', 'tsv', 'text'. Raises on another name.
---@param path string
---@param format? string
function M.format(path, format)
  if format then
    for _, f in pairs(formats) do
      if f == format then return f end
    end
    if formats[format] then return formats[format] end
    engine.raise('argument', ('format must be one of %s, got \'%s\''):format(known, format))
  end
  local name = path:gsub('%.gz$', ''):gsub('%.zst$', ''):lower()
  local extension = name:match('%.(%w+)$')
  if formats[extension] then return formats[extension] end
  if extension == 'parquet' or extension == 'arrow' then
    fail(path, nil, nil, '%s is not read; write it as JSON lines where it was made, in pandas ' ..
      'by to_json(path, orient="records", lines=True)', extension)
  end
  fail(path, nil, nil, 'its name ends with none of .jsonl, .json, .csv, .tsv, .txt (.gz, .zst); ' ..
    'say which it is like: format = one of %s', known)
end

-- ---- what is in a file: blocks, then lines ----

--- A function that gives the blocks of a file, without a byte order mark.
local function blocks(path)
  local stream, err = files.stream(path, FILE_LIMIT)
  if not stream then error(err, 0) end
  for extension, packing in pairs { gz = 'gzip', zst = 'zstd' } do
    if path:lower():match('%.' .. extension .. '$') and stream.packing ~= packing then
      stream.close()
      fail(path, nil, nil, 'its name says %s, its first bytes do not (at byte 0); rename it if ' ..
        'it is not compressed', packing)
    end
  end
  local first = true
  local function read()
    local block = stream.read()
    if first and block then
      first = false
      if block:find '^\255\254' or block:find '^\254\255' then
        fail(path, 1, 1, 'is UTF-16; save it as UTF-8')
      end
      block = block:gsub('^\239\187\191', '')
    end
    return block
  end
  return read, stream.packing
end

--- A function that gives the lines, each without its end (LF or CR LF), and their numbers.
local function lines(path, read)
  local buffer, at, number = '', 1, 0
  return function()
    local stop = buffer:find('\n', at, true)
    if not stop then
      local parts, size = { buffer:sub(at) }, #buffer - at + 1
      repeat
        local block = read()
        if not block then break end
        local found = block:find('\n', 1, true)
        size = size + (found or #block)
        if size > ROW_LIMIT then
          fail(path, number + 1, nil, 'is longer than %d MiB; has the file lines?',
            ROW_LIMIT / 2^20)
        end
        parts[#parts + 1] = block
      until found
      buffer, at = table.concat(parts), 1
      if buffer == '' then return end
      stop = buffer:find('\n', size, true) or #buffer + 1
    end
    local line = buffer:sub(at, stop - 1)
    at, number = stop + 1, number + 1
    if line:byte(-1) == 13 then line = line:sub(1, -2) end
    return line, number
  end
end

-- ---- JSON: objects a line, or in a list ----

--- A value as a row. A text alone is a row with the column 'text'.
local function row_of(path, value, err, line, column)
  if err then
    local l, c, text = err:match '^json: (%d+):(%d+): (.*)$'
    if not l then fail(path, line, nil, '%s', err) end
    if l ~= '1' then column = 1 end
    fail(path, line + l - 1, column + math.max(c, 1) - 1, '%s', text)
  end
  if type(value) == 'string' then return { text = value } end
  if type(value) == 'table' and value[1] == nil then return value end
  fail(path, line, nil, 'a row must be an object {"column": value, ..} or a text, this is %s',
    value == json.null and 'null' or type(value) == 'table' and 'a list' or 'a ' .. type(value))
end

local function json_lines(path, read)
  local next_line = lines(path, read)
  return function()
    while true do
      local line, number = next_line()
      if not line then return end
      if line:find '%S' then
        local value, err = json.decode(line)
        return row_of(path, value, err, number, 1), number
      end
    end
  end
end

--- The elements of a list, each found by its brackets and quotes, then decoded by itself.
local function json_list(path, read)
  local buffer, at = '', 1
  local line, column = 1, 1 -- of `at`
  local state = 'begin'

  local function more()
    local block = read()
    if block then buffer = buffer .. block end
    return block
  end
  --- Moves to `to`, keeping count of lines.
  local function move(to)
    local from = at
    while true do
      local stop = buffer:find('\n', from, true)
      if not stop or stop >= to then break end
      line, column, from = line + 1, 1, stop + 1
    end
    at, column = to, column + (to - from)
  end
  --- The next byte that is no space, as a character; nil at the end.
  local function peek()
    while true do
      local found = buffer:find('%S', at)
      if found then
        move(found)
        return buffer:sub(found, found)
      end
      move(#buffer + 1)
      buffer, at = '', 1
      if not more() then return end
    end
  end
  --- The first position from `from` on where the pattern is; reads on until it is there.
  local function seek(pattern, from)
    while true do
      local found = buffer:find(pattern, from)
      if found then return found, buffer:byte(found) end
      from = math.max(from, #buffer + 1)
      if #buffer - at > ROW_LIMIT then
        fail(path, line, column, 'a row of more than %d MiB', ROW_LIMIT / 2^20)
      end
      if not more() then fail(path, line, column, 'the file ends inside this row: is it whole?') end
    end
  end
  local function text_end(from)
    while true do
      local found, byte = seek('["\\]', from)
      if byte == 34 then return found end
      from = found + 2
    end
  end
  local function element_end()
    local first = buffer:byte(at)
    if first == 34 then return text_end(at + 1) end
    if first ~= 91 and first ~= 123 then return seek('[],%s}]', at + 1) - 1 end
    local depth, from = 1, at + 1
    while true do
      local found, byte = seek('["{}%[%]]', from)
      if byte == 34 then found = text_end(found + 1)
      elseif byte == 91 or byte == 123 then depth = depth + 1
      else depth = depth - 1 end
      if depth == 0 then return found end
      from = found + 1
    end
  end

  local function end_of_list()
    move(at + 1)
    if peek() then fail(path, line, column, 'there is more after the end of the list') end
  end
  return function()
    local c = peek()
    if state == 'begin' then
      move(at + 1) -- the bracket
      c = peek()
      if c == ']' then return end_of_list() end
    elseif c == ']' then return end_of_list()
    elseif c == ',' then
      move(at + 1)
      c = peek()
    elseif c then fail(path, line, column, 'a comma or ] must come after a row') end
    if not c then fail(path, line, column, 'the file ends inside its list: is it whole?') end
    state = 'rows'
    if at > 2^18 then buffer, at = buffer:sub(at), 1 end
    local stop = element_end()
    local value, err = json.decode(buffer:sub(at, stop))
    local row, number = row_of(path, value, err, line, column), line
    move(stop + 1)
    return row, number
  end
end

-- ---- all of them ----

local function text_lines(path, read)
  local next_line = lines(path, read)
  return function()
    while true do
      local line, number = next_line()
      if not line then return end
      if line:find '%S' then
        check_text(path, number, line)
        return { text = line }, number
      end
    end
  end
end

--- The rows of a file: a function that gives the next row, a table of its columns, and the line it
--- begins in; nil at the end. Raises `path:line:column: what` where the file is malformed.
---@param path string
---@param options? { format?: string, separator?: string, quote?: boolean, columns?: string[] }
---@return fun(): table?, integer
---@return { format: string, packing: string }
function M.open(path, options)
  options = options or {}
  local format = M.format(path, options.format)
  local read, packing = blocks(path)
  local about = { format = format, packing = packing }
  if format == 'text' then return text_lines(path, read), about end
  if format == 'csv' or format == 'tsv' then
    local next_line = lines(path, read)
    local function checked()
      local line, number = next_line()
      if line then check_text(path, number, line) end
      return line, number
    end
    return require('sppo.data.csv').rows(checked, {
      separator = options.separator or (format == 'csv' and ',' or '\t'),
      quote = options.quote ~= false, columns = options.columns, row_limit = ROW_LIMIT,
      fail = function(...) fail(path, ...) end,
    }), about
  end
  local first = read()
  local function again()
    local block = first
    first = nil
    return block or read()
  end
  local list = first and first:find '^%s*%['
  about.format = list and 'JSON list' or 'JSON lines'
  return (list and json_list or json_lines)(path, again), about
end

return M
