--- Errors as the prompt shows them: the line with a caret, the traceback's lines that are the
--- user's, and what to type instead.

local check = require 'sppo.check'
local host = require 'sppo.host'
local source = require 'sppo.repl.source'
local tensor = require 'sppo.tensor'

local M = {}

local FRAMES = 6

--- Handler for host.run: the error's message, and where it came from without C and the prompt.
---@return { message: string, frames: string[] }
function M.trace(err)
  if type(err) == 'table' and err.message then err = err.message end
  local frames = {}
  for line in debug.traceback('', 2):gmatch('[^\n]+') do
    if line:find('sppo/repl/', 1, true) and #frames > 0 then break end
    if not line:find('[C]:', 1, true) and not line:find('^stack traceback') and
      not line:find('sppo/repl/', 1, true) and not line:find('sppo/cli/', 1, true) and
      not line:find('sppo/ffi.lua', 1, true) and not line:find('sppo/scope.lua', 1, true) and
      #frames < FRAMES then
      frames[#frames + 1] = (line:gsub('^%s+', ''))
    end
  end
  return { message = tostring(err), frames = frames }
end

--- Line `number` of a text.
local function line_of(text, number)
  local n = 0
  for line in (text .. '\n'):gmatch('(.-)\n') do
    n = n + 1
    if n == number then return line end
  end
end

--- The line that a message names, with a caret below the word that it quotes; nil if there is none.
local function marked(message, entries)
  local path, number, rest = message:match('^(.-):(%d+): (.*)')
  if not path then return nil end
  local text = entries[path] or source.text('@' .. path, entries)
  local line = text and line_of(text, tonumber(number))
  if not line or #line > 200 then return nil end
  line = line:gsub('\t', ' ')
  local word = rest:match('near \'(.-)\'') or rest:match('%f[%w]%a+ \'([%w_]+)\'')
  local at = word and word ~= '<eof>' and line:find(word, 1, true)
  if not at then return '  ' .. line end
  -- Columns are characters, not bytes.
  local before = line:sub(1, at - 1):gsub('[\128-\191]', '')
  return ('  %s\n  %s^'):format(line, (' '):rep(#before))
end

--- What to type next, or nil.
local function hint(message, env)
  local what, name = message:match('(%a+) \'([%w_]+)\' %(a nil value%)')
  if not what then what, name = message:match('(method) \'([%w_]+)\'') end
  if what == 'method' then
    local known = {}
    for key in pairs(tensor.methods) do known[#known + 1] = key end
    local near = check.suggest(name, known)
    return near and ('a tensor has :%s(); :doc %s tells of it'):format(near, near)
  end
  if what ~= 'global' then return nil end
  for _, place in ipairs { { 'sppo', env.sppo }, { 'sppo.ops', env.sppo.ops } } do
    if rawget(place[2], name) ~= nil then return ('there is %s.%s'):format(place[1], name) end
  end
  for _, file in ipairs(host.embedded_names()) do
    local module = file:match('^lua/sppo/([%w_]+)%.lua$') or
      file:match('^lua/sppo/([%w_]+)/init%.lua$')
    if module == name then return ('there is sppo.%s'):format(name) end
  end
  local known = {}
  for _, place in ipairs { env, _G } do
    for key in pairs(place) do known[#known + 1] = type(key) == 'string' and key or nil end
  end
  local near = check.suggest(name, known)
  return near and ('did you mean %s?'):format(near) or
    'nothing has that name; :who lists what was set, `local` holds for one entry only'
end

--- The text to show for an error.
---@param err { message: string, frames: string[] }|string
---@param entries table<string, string>
---@param env table
---@param bare? boolean   without the traceback: a command says what was wrong with it
---@return string
function M.text(err, entries, env, bare)
  if type(err) == 'string' then err = { message = err, frames = {} } end
  -- An entry that is a call is a tail call: a level of it leads to who called the entry.
  local message = err.message:gsub('^[^\n]-sppo/repl/[%w_]+%.lua:%d+: ', '')
  local lines = { message }
  local shown = marked(message, entries)
  if shown then lines[#lines + 1] = shown end
  for i, frame in ipairs(bare and not shown and {} or err.frames) do
    -- The innermost frame repeats the message's place where that is all there is.
    if #err.frames > 1 or not message:find(frame:match('^(.-:%d+:)') or '\0', 1, true) then
      lines[#lines + 1] = ('  %s%s'):format(i == 1 and 'at ' or 'from ', frame)
    end
  end
  local next_step = hint(message, env)
  if next_step then lines[#lines + 1] = '  ' .. next_step end
  return table.concat(lines, '\n')
end

return M
