--- What Tab completes: commands and what they take, globals, fields, methods, recipes' keys, and
--- file paths inside quotes.

local M = {}

--- Every string key that indexing `value` finds, also through __index tables.
local function keys_of(value, into)
  local seen = {}
  for _ = 1, 8 do -- a chain of __index longer than that is a cycle
    if type(value) == 'table' and not seen[value] then
      seen[value] = true
      for key in pairs(value) do
        if type(key) == 'string' then into[key] = true end
      end
    end
    local meta = getmetatable(value)
    if type(meta) ~= 'table' then return end
    value = rawget(meta, '__index')
    if type(value) ~= 'table' then return end
  end
end

--- The keys of a tensor: its class finds methods by a function, not a table.
local function tensor_keys(into)
  for key in pairs(require('sppo.tensor').methods) do into[key] = true end
  for _, key in ipairs { 'shape', 'dtype', 'device', 'layout', 'grad', 'needs_grad' } do
    into[key] = true
  end
end

--- Follows 'a.b.c' from the environment with plain field access; nil if a part is missing.
local function resolve(env, path)
  local value = env
  for part in path:gmatch('[^.:]+') do
    if type(value) ~= 'table' and type(value) ~= 'string' then return nil end
    local ok, field = pcall(function() return value[tonumber(part) or part] end)
    if not ok or field == nil then return nil end
    value = field
  end
  return value
end

local function candidates(set, prefix, only_functions)
  local list = {}
  for key, value in pairs(set) do
    if key:sub(1, #prefix) == prefix and key:match('^[%a_][%w_]*$') and not
      (only_functions and value == 'field') then
      list[#list + 1] = key
    end
  end
  table.sort(list)
  return list
end

--- The longest text that all begin with.
local function common(list)
  local text = list[1] or ''
  for i = 2, #list do
    local n = 0
    while n < #text and text:byte(n + 1) == list[i]:byte(n + 1) do n = n + 1 end
    text = text:sub(1, n)
  end
  return text
end

local function paths(prefix)
  local files = require 'sppo.files'
  local folder, name = prefix:match('^(.*/)([^/]*)$')
  folder, name = folder or '', name or prefix
  local list = {}
  for _, entry in ipairs(files.list(folder == '' and '.' or folder) or {}) do
    if entry:sub(1, #name) == name then
      list[#list + 1] = entry .. (files.is_folder(folder .. entry) and '/' or '')
    end
  end
  return list, name
end

--- The string that the cursor is in, or nil.
local function open_string(before)
  local quote, start
  local i = 1
  while i <= #before do
    local c = before:sub(i, i)
    if quote and c == '\\' then i = i + 1
    elseif quote == c then quote = nil
    elseif not quote and (c == '"' or c == '\'') then quote, start = c, i + 1 end
    i = i + 1
  end
  if quote then return before:sub(start) end
end

--- Those of `names` that begin with `prefix`.
local function beginning(names, prefix)
  local list = {}
  for _, name in ipairs(names) do
    if name:sub(1, #prefix) == prefix then list[#list + 1] = name end
  end
  return list
end

--- key= for what a recipe takes.
local function recipe_keys()
  local names = {}
  for i, key in ipairs(require('sppo.selfplay.schema').list()) do names[i] = key.name .. '=' end
  return names
end

--- A command's name, or what stands behind it; nil where that is Lua.
local function command_list(before)
  local commands = require 'sppo.repl.commands'
  local name, rest = before:match('^%s*(:[%w_]*)(.*)$')
  if not name then return nil end
  if rest == '' then return beginning(commands.names(), name), name end
  local command = commands.find(name:sub(2))
  local word = rest:match('(%S*)$')
  local first = rest:find('^%s+%S*$') ~= nil
  if not command or not command.completes then return nil end
  if command.name == 'open' and not first then return beginning(recipe_keys(), word), word end
  if not first and command.completes ~= 'module' then return {}, word end
  if command.completes == 'path' then return paths(word) end
  if command.completes == 'module' then
    return beginning(require('sppo.repl.reload').names(), word), word
  end
  local names = {}
  for i, one in ipairs(commands.list) do names[i] = one.name end
  return beginning(names, word), word
end

--- Modules of the library that were not used yet are fields of `sppo` too.
local function add_modules(set)
  for _, name in ipairs(require('sppo.host').embedded_names()) do
    local module = name:match('^lua/sppo/([%w_]+)%.lua$')
      or name:match('^lua/sppo/([%w_]+)/init%.lua$')
    if module then set[module] = true end
  end
  set.init = nil
end

--- Fields of what 'a.b' leads to; behind a ':' only functions.
local function fields(env, path, separator, word)
  local value, set = resolve(env, path), {}
  if value == nil then return {} end
  if require('sppo.tensor').is_tensor(value) then tensor_keys(set) else keys_of(value, set) end
  if separator == ':' then
    for key in pairs(set) do
      local ok, field = pcall(function() return value[key] end)
      if ok and type(field) ~= 'function' then set[key] = 'field' end
    end
  end
  if value == env.sppo then add_modules(set) end
  return candidates(set, word, separator == ':')
end

--- What to insert at the cursor, and the list to show if nothing can be inserted.
---@param before string   the line up to the cursor
---@param session sppo.ReplSession
---@return string insert, string[] list
function M.complete(before, session)
  local list, prefix = command_list(before)
  local inside = not list and open_string(before)
  if inside then list, prefix = paths(inside) end
  if not list then
    local path, separator, word = before:match('([%a_][%w_.]*)([.:])([%w_]*)$')
    if path then list, prefix = fields(session.env, path, separator, word), word end
  end
  local word = not list and before:match('([%a_][%w_]*)$')
  if word then
    local set = {}
    keys_of(session.env, set)
    list, prefix = candidates(set, word), word
  end
  if not list or #list == 0 then return '', {} end
  local command = #list == 1 and require('sppo.repl.commands').find(list[1]:match('^:(.+)') or '')
  if command and command.takes ~= '' then list = { list[1] .. ' ' } end
  return common(list):sub(#prefix + 1), list
end

return M
