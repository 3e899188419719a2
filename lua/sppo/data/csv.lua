--- Comma- and tab-separated rows as RFC 4180 has them: quoted fields may hold separators, line ends
--- and doubled quotes. Fields are text; line ends within them become LF.

local engine = require 'sppo.ffi'

local M = {}

--- A record as a list of fields, and the line it begins in; nil at the end.
local function record(next_line, o)
  local line, number = next_line()
  if not line then return end
  local fields, at, begin = {}, 1, number
  while true do
    if not (o.quote and line:byte(at) == 34) then
      local stop = line:find(o.separator, at, true)
      fields[#fields + 1] = line:sub(at, stop and stop - 1)
      if not stop then return fields, begin end
      at = stop + 1
    else
      local parts, from, opened, opened_at, size = {}, at + 1, number, at, 0
      while true do
        local stop = line:find('"', from, true)
        local doubled = stop and line:byte(stop + 1) == 34
        parts[#parts + 1] = line:sub(from, stop and (doubled and stop or stop - 1))
        if stop and not doubled then
          at = stop + 1
          break
        elseif stop then from = stop + 2
        else
          parts[#parts + 1] = '\n'
          size, from = size + #line, 1
          line, number = next_line()
          if not line or size > o.row_limit then
            o.fail(opened, opened_at, 'a quote that opens here is not closed%s; if quotes are ' ..
              'plain characters in this file, say quote = false',
              line and (' within %d MiB'):format(o.row_limit / 2^20) or '')
          end
        end
      end
      fields[#fields + 1] = table.concat(parts)
      if at > #line then return fields, begin end
      if line:sub(at, at) ~= o.separator then
        o.fail(number, at, 'after a closing quote must come a separator or the end of the line; ' ..
          'a quote inside a field is written twice; if quotes are plain characters in this ' ..
          'file, say quote = false')
      end
      at = at + 1
    end
  end
end

local function check_names(names, line, o)
  local seen = {}
  for i, name in ipairs(names) do
    if name ~= '' and seen[name] then
      o.fail(line, nil, 'two columns are named \'%s\' (%d and %d)', name, seen[name], i)
    end
    seen[name] = i
  end
end

--- The rows: a function that gives the next as { [column] = text }, and its line. The first line
--- names the columns, unless `columns` does.
---@param next_line fun(): string?, integer
---@param o { separator: string, quote: boolean, columns?: string[], row_limit: integer,
---   fail: fun(line: integer, column?: integer, text: string, ...) }
function M.rows(next_line, o)
  if type(o.separator) ~= 'string' or #o.separator ~= 1 then
    engine.raise('argument', ('separator must be one character, got %s'):format(
      type(o.separator) == 'string' and '\'' .. o.separator .. '\'' or type(o.separator)))
  end
  local names = o.columns
  return function()
    local fields, line
    repeat
      fields, line = record(next_line, o)
      if not fields then return end
      local blank = #fields == 1 and not fields[1]:find '%S'
      if not names and not blank then
        names, blank = fields, true
        check_names(names, line, o)
      end
    until not blank
    if #fields ~= #names then
      o.fail(line, nil, '%d fields, but there are %d columns (%s)', #fields, #names,
        #names > 8 and table.concat(names, ', ', 1, 8) .. ', ..' or table.concat(names, ', '))
    end
    local row = {}
    for i, name in ipairs(names) do row[name] = fields[i] end
    return row, line
  end
end

return M
