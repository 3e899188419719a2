--- Where things come from: `:doc` and `:src` read the Lua files and the header inside the program.

local check = require 'sppo.check'
local files = require 'sppo.files'
local host = require 'sppo.host'

local M = {}

--- The text of a chunk that a function came from, by debug.getinfo's `source`: an entry of the
--- prompt, a file inside the program, or one on the disk. nil if there is none.
---@param source string                 '@lua/sppo/train.lua', '=entry 3'
---@param entries table<string, string> text of each entry by its name
---@return string? text, string path
function M.text(source, entries)
  local path = source:sub(2)
  if source:sub(1, 1) == '=' then return entries[path], path end
  if source:sub(1, 1) ~= '@' then return nil, path end
  local text = host.embedded(path)
  if not text and files.exists(path) then text = files.read(path, 2 ^ 24) end
  return text, path
end

--- What a dotted name leads to, and the table it was found in; nil, nil, the names that were known
--- where it ended.
---@param name string  'sppo.ops.softmax', 't:sum'
---@param env table
function M.resolve(name, env)
  local tensor = require 'sppo.tensor'
  local value, holder = env, nil
  for part in name:gmatch('[^.:%s]+') do
    holder = value
    local ok, field = pcall(function() return value[tonumber(part) or part] end)
    if not ok or field == nil then
      local known, seen = {}, holder
      if tensor.is_tensor(holder) then seen = tensor.methods end
      if seen == env.sppo then
        for _, file in ipairs(host.embedded_names()) do
          known[#known + 1] = file:match('^lua/sppo/([%w_]+)%.lua$')
        end
      end
      for key in pairs(type(seen) == 'table' and seen or {}) do
        if type(key) == 'string' then known[#known + 1] = key end
      end
      -- A bare 'softmax' or 'requires_grad_' is one too.
      if holder == env and not name:find('[.:]') then
        for _, list in ipairs { env.sppo, env.sppo.ops, tensor.methods } do
          local found = rawget(list, name)
          if found ~= nil then return found, list end
        end
      end
      return nil, nil, known, part
    end
    value = field
  end
  return value, holder
end

--- The comment and the declaration of an op in the header inside the program.
local function op_text(name)
  local before, lines = {}, nil
  for line in (host.embedded 'sppo.h'):gmatch('([^\n]*)\n') do
    if lines then lines[#lines + 1] = line
    elseif line:find('[ *]sppo_' .. name .. '%(') then
      while before[1] and not before[1]:find('^/%*') do table.remove(before, 1) end
      lines = { line }
    end
    if lines and line:find(';%s*$') then
      local comment = table.concat(before, '\n'):gsub('/%* ?', ''):gsub('%s*%*/', '')
        :gsub('\n %* ?', '\n')
      local text = comment:match('^(.-)\n?sppo_status') or comment
      return (text ~= '' and text .. '\n' or '') .. table.concat(lines, '\n')
    end
    if not lines then
      if line == '' then before = {} else before[#before + 1] = line end
    end
  end
end

--- Lines of the function, and the comment above it; nil if its text is not at hand.
local function pieces(value, entries)
  local info = debug.getinfo(value, 'S')
  if info.what == 'C' then return nil, nil, nil, 'a C function' end
  local text, path = M.text(info.source, entries)
  local place = ('%s:%d'):format(path, info.linedefined)
  if not text then return nil, nil, nil, 'defined at ' .. place .. ', which can not be read' end
  local comment, body, number = {}, {}, 0
  for line in (text .. '\n'):gmatch('(.-)\n') do
    number = number + 1
    if number >= info.linedefined and number <= info.lastlinedefined then body[#body + 1] = line
    elseif number < info.linedefined then
      if line:match('^%s*%-%-%-') then comment[#comment + 1] = (line:gsub('^%s*%-%-%-%s?', ''))
      else comment = {} end
    end
  end
  return comment, body, place
end

--- Comment at the head of a module's file, for `:doc sppo.train`.
local function module_doc(value)
  for name, loaded in pairs(package.loaded) do
    if loaded == value then
      local base = 'lua/' .. name:gsub('%.', '/')
      local text = host.embedded(base .. '.lua') or host.embedded(base .. '/init.lua')
      local head = text and text:match('^(%-%-%-.-)\n[^-]')
      if head then return head:gsub('%-%-%- ?', ''), name end
    end
  end
end

local function functions_of(value)
  local names = {}
  for key, field in pairs(value) do
    if type(key) == 'string' and type(field) == 'function' then names[#names + 1] = key end
  end
  table.sort(names)
  return #names > 0 and 'functions: ' .. table.concat(names, ', ') or 'no functions'
end

--- What there is to say of a name, or what to type instead.
local function missing(name, known, part)
  local hint = check.suggest(part, known)
  return ('%s: nothing of that name%s; Tab after a dot lists what there is'):format(name,
    hint and (' (did you mean \'%s\'?)'):format(hint) or '')
end

--- The docstring of a function, an op or a module; nil, err.
---@param name string
---@param env table
---@param entries table<string, string>
---@return string?, string?
function M.doc(name, env, entries)
  local value, holder, known, part = M.resolve(name, env)
  if value == nil then return nil, missing(name, known, part) end
  if type(value) == 'table' then
    local head = module_doc(value)
    if head then return head .. '\n' .. functions_of(value) end
  end
  if type(value) ~= 'function' then
    return require('sppo.repl.print').text(value)
  end
  local comment, body, place, why = pieces(value, entries)
  local op = holder == env.sppo.ops and op_text(name:match('[%w_]+$'))
  if not comment then return op or ('%s: %s'):format(name, why) end
  local parts = {}
  if op then parts[1] = op end
  -- Ops that one function makes (unary, binary) have no comment of their own.
  if not op or #comment > 0 then
    if #comment > 0 then parts[#parts + 1] = table.concat(comment, '\n') end
    parts[#parts + 1] = (body[1]:gsub('^%s+', ''))
  end
  parts[#parts + 1] = '(' .. place .. ')'
  return table.concat(parts, '\n')
end

--- The lines of a function; nil, err.
---@return string?, string?
function M.src(name, env, entries)
  local value, _, known, part = M.resolve(name, env)
  if value == nil then return nil, missing(name, known, part) end
  if type(value) ~= 'function' then
    return nil, ('%s is a %s; :src shows functions, :doc %s what this is'):format(name,
      type(value), name)
  end
  local _, body, place, why = pieces(value, entries)
  if not body then return nil, ('%s: %s'):format(name, why) end
  return ('-- %s\n%s'):format(place, table.concat(body, '\n'))
end

return M
