--- `:reload`: a module whose file changed takes the place of the one that was loaded, in the same
--- table, so that who holds it sees the new functions.

local check = require 'sppo.check'
local files = require 'sppo.files'

local M = {}

local known = {} -- name -> hash of its file when it was loaded; false: not from a file

--- The file on the disk that a module comes from, or nil: below SPPO_LUA, or on package.path.
---@param name string
---@return string?
function M.path(name)
  local root = os.getenv 'SPPO_LUA'
  local base = name:gsub('%.', '/')
  if root and root ~= '' then
    for _, form in ipairs { 'lua/%s.lua', 'lua/%s/init.lua', '%s.lua' } do
      local path = root .. '/' .. form:format(base)
      local ours = form ~= '%s.lua' or base:find('^models/') or base:find('^recipes/')
      if ours and files.exists(path) then return path end
    end
  end
  return package.searchpath(name, package.path)
end

--- Notes the files of modules that were not noted yet.
function M.start()
  for name in pairs(package.loaded) do
    if known[name] == nil then
      local path = M.path(name)
      known[name] = path and files.sha256_file(path) or false
    end
  end
end

--- Modules whose file is not what was loaded.
---@return string[]
function M.changed()
  local list = {}
  for name, hash in pairs(known) do
    local path = hash and package.loaded[name] and M.path(name)
    if path and files.sha256_file(path) ~= hash then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

--- Names of the modules that come from files on the disk.
---@return string[]
function M.names()
  M.start()
  local list = {}
  for name, hash in pairs(known) do
    if hash and package.loaded[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

--- Loads a module's file anew; what was loaded stays if that fails. Raises.
---@param name string
---@return string path
function M.module(name)
  local old, path = package.loaded[name], M.path(name)
  if old == nil then
    local hint = check.suggest(name, M.names())
    error(('no module \'%s\' is loaded%s; `require` loads one'):format(name,
      hint and (' (did you mean \'%s\'?)'):format(hint) or ''), 0)
  end
  if not path then
    error(('\'%s\' is inside the program; to work on it, start with SPPO_LUA=a checkout')
      :format(name), 0)
  end
  local chunk, err = loadfile(path)
  if not chunk then error(err, 0) end
  local new = chunk(name, path)
  if new == nil then new = true end
  if type(old) == 'table' and type(new) == 'table' then
    for key in pairs(old) do
      if rawget(new, key) == nil then old[key] = nil end
    end
    for key, value in pairs(new) do rawset(old, key, value) end
    setmetatable(old, getmetatable(new))
  else
    package.loaded[name] = new
  end
  known[name] = files.sha256_file(path)
  return path
end

return M
