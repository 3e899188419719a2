--- The file of a recipe: reading it, running it with what goes wrong said by file and line, and
--- where in its text a key is set.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local host = require 'sppo.host'

local M = {}

local MOST_BYTES = 2^24

--- Time that a recipe may take to return its table, and each function of a round to return its
--- value; SPPO_RECIPE_SECONDS changes it.
M.seconds = 60

--- Whether functions of recipes may be compiled after they were called with a limit; the prompt
--- says no, so that Ctrl-C stops them.
M.compiled = true

local function seconds()
  local set = os.getenv('SPPO_RECIPE_SECONDS')
  return tonumber(set ~= '' and set or nil) or M.seconds
end

local function fail(kind, ...)
  local text = (...):format(select(2, ...))
  engine.kind(kind, text)
  return nil, text
end

-- ---- running ----

--- A library whose functions can be called and not replaced.
local function read_only(name, library, own)
  return setmetatable(own or {}, { __index = library, __newindex = function(_, key)
    error(('changes %s.%s, which all of sppo uses; write: local %s'):format(name, tostring(key),
      tostring(key)), 2)
  end })
end

local function no_exit()
  error('calls os.exit: a recipe returns a table, and error(\'why\') ends it early', 2)
end

--- What a recipe's text sees as globals: all that there is, and nothing can be set. A misspelt name
--- is an error with its line, not a nil that is missed somewhere else.
local function environment()
  local env = {}
  for name, value in pairs(_G) do
    if type(value) == 'table' and name ~= '_G' and name ~= 'package' then
      env[name] = read_only(name, value, name == 'os' and { exit = no_exit } or nil)
    end
  end
  env._G = env
  return setmetatable(env, {
    __index = function(_, name)
      local value = _G[name]
      if value ~= nil then return value end
      local known = {}
      for key in pairs(_G) do known[#known + 1] = tostring(key) end
      table.sort(known)
      error(check.unknown('name', name, known), 2)
    end,
    __newindex = function(_, name)
      error(('sets the global \'%s\'; write: local %s'):format(tostring(name), tostring(name)), 2)
    end,
  })
end

--- The innermost line of the file on the stack, or nil.
local function line_on_stack(path)
  for level = 3, 200 do
    local info = debug.getinfo(level, 'Sl')
    if not info then return end
    if info.source == '@' .. path and info.currentline > 0 then return info.currentline end
  end
end

--- The text of a failed `require` without the list of all places that were looked at.
local function without_places(text)
  local before, name = text:match('^(.-)module \'([^\']*)\' not found:\n')
  if not name then return text end
  local known = {}
  for _, file in ipairs(host.embedded_names()) do
    local module = file:match('^lua/(sppo/.*)%.lua$')
    known[#known + 1] = module and module:gsub('/init$', ''):gsub('/', '.')
  end
  local hint = check.suggest(name, known)
  return ('%smodule \'%s\' not found%s'):format(before, name,
    hint and (' (did you mean \'%s\'?)'):format(hint) or '')
end

--- Kinds of failure that are the recipe's mistake if one of its functions was being called.
local its_own = { runtime = true, argument = true, shape = true, dtype = true, state = true }

--- For xpcall: the text of what was raised, with the recipe's file and line if one of its functions
--- was being called.
---@param path string
---@param always? boolean  with the file in any case
---@return fun(err): string
function M.explain(path, always)
  return function(err)
    local text = err
    if type(err) == 'table' and type(err.message) == 'string' then text = err.message end
    local kind = type(text) == 'string' and engine.kind_of(text) or 'runtime'
    if type(text) ~= 'string' then
      text = ('error(%s) says nothing: error(\'what is wrong\') does'):format(type(err) == 'nil'
        and 'nil' or 'a ' .. type(err))
    end
    text = without_places(text)
    local line = line_on_stack(path)
    local own = text:sub(1, #path + 1) == path .. ':'
    if not own and (line or always) then
      text = ('%s:%s %s'):format(path, line and line .. ':' or '', text)
    end
    local mistake = own or line or always
    engine.kind(mistake and its_own[kind] and 'recipe' or kind, text)
    return text
  end
end

--- A text of a function that called itself without end, after which nothing can be looked up, with
--- the recipe's file; other texts as they are.
---@param path string
---@param text string
---@return string
function M.named(path, text)
  if not text:find('^stack overflow') and not text:find('^error in error handling') then
    return text
  end
  text = path .. ': stack overflow: one of its functions calls itself without end'
  engine.kind('recipe', text)
  return text
end

--- Calls a function of the recipe's, not longer than `seconds`; its value, or nil and a text with
--- the file and the line. The function is interpreted meanwhile: compiled loops can't be ended.
---@param path string   the recipe's
---@param fn function
---@return boolean ok, any value
function M.call(path, fn, ...)
  local most = seconds()
  local deadline, arguments, n = engine.C.sppo_clock() + most, { ... }, select('#', ...)
  local hook, mask, count = debug.gethook()
  local of_lua = debug.getinfo(fn, 'S').what ~= 'C'
  if of_lua then jit.off(fn, true) end
  debug.sethook(function()
    if engine.C.sppo_clock() < deadline then return end
    -- Level 2 is the code that was running, which need not be the recipe's.
    error(('runs for more than %g s and has not returned (SPPO_RECIPE_SECONDS=N allows N)'):format(
      most), 0)
  end, '', 100000)
  local ok, value = xpcall(function() return fn(unpack(arguments, 1, n)) end,
    M.explain(path, true))
  -- A hook of C's is the prompt's for Ctrl-C: it is set when it is needed.
  if type(hook) == 'function' then debug.sethook(hook, mask, count) else debug.sethook() end
  if of_lua and M.compiled then jit.on(fn, true) end
  if not ok then value = M.named(path, value) end
  return ok, value
end

-- ---- reading ----

--- What is wrong with a recipe's bytes before they are looked at as Lua; nil if nothing is.
local function wrong_bytes(path, source)
  local function line_at(position)
    return 1 + select(2, source:sub(1, position - 1):gsub('\n', ''))
  end
  if source:byte(1) == 27 then return path .. ': is bytecode; a recipe is text' end
  local two = source:sub(1, 2)
  if two == '\255\254' or two == '\254\255' then
    return path .. ': is UTF-16; save it as UTF-8'
  end
  local zero = source:find('\0', 1, true)
  if zero then
    return ('%s:%d: has a NUL byte; a recipe is text'):format(path, line_at(zero))
  end
  local bad = engine.ffi.new('int[1]')
  local valid = tonumber(engine.C.sppo_utf8_scan(source, #source, bad))
  if valid < #source then
    return ('%s:%d: byte 0x%02X is not UTF-8; save the file as UTF-8'):format(path,
      line_at(valid + 1), source:byte(valid + 1))
  end
end

--- The text of a recipe; nil, err.
local function read(path)
  if path == '' then return fail('usage', 'the recipe\'s name is empty') end
  if files.is_folder(path) then
    if files.exists(path .. '/recipe.lua') then
      return fail('usage', '%s: is a run folder; its recipe is %s/recipe.lua', path, path)
    end
    return fail('usage', '%s: is a folder; a recipe is a Lua file', path)
  end
  local source, err = files.read(path, MOST_BYTES)
  if source then return source end
  -- The repository's recipes are in the binary too, for a run from anywhere.
  source = path:find('^recipes/') and host.embedded(path)
  if source then return source end
  local kind = engine.kind_of(err)
  if not files.exists(path) and not path:match('%.lua$') then
    if files.exists(path .. '.lua') then
      err = ('%s (did you mean \'%s.lua\'?)'):format(err, path)
    elseif host.embedded(('recipes/%s.lua'):format(path)) then
      err = ('%s (did you mean \'recipes/%s.lua\'?)'):format(err, path)
    end
  end
  if not err:find('did you mean', 1, true) then err = err .. files.meant(path) end
  return fail(kind, '%s', err)
end

--- Runs a recipe's text; its table and its text; nil, err.
---@param path string
---@return table?, string
function M.run(path)
  local source, err = read(path)
  if not source then return nil, err end
  err = wrong_bytes(path, source)
  if err then return fail('recipe', '%s', err) end
  local chunk
  chunk, err = loadstring(source:gsub('^#![^\n]*', ''), '@' .. path)
  if not chunk then return fail('recipe', '%s', err) end
  local ok, values = M.call(path, setfenv(chunk, environment()))
  if not ok then return nil, values end
  if type(values) ~= 'table' then
    return fail('recipe', '%s: a recipe returns a table, this one returned %s%s', path,
      type(values), values == nil and '; its last line is: return { .. }' or '')
  end
  if getmetatable(values) then
    return fail('recipe', '%s: a recipe returns a plain table, this one has a metatable', path)
  end
  return values, source
end

-- ---- lines of keys ----

local function escaped(text) return (text:gsub('%W', '%%%0')) end

--- A line without its comment, as far as can be told without reading Lua.
local function code_of(line)
  local comment = line:find('--', 1, true)
  if comment and not line:sub(1, comment - 1):find('[\'"]') then return line:sub(1, comment - 1) end
  return line
end

--- Patterns that find where a key is set: `key =`, ['key'] =, `x.key, y = `.
local function forms_of(key)
  local name = escaped(key)
  return { '%f[%w_]' .. name .. '%s*=%f[^=]', '%[%s*[\'"]' .. name .. '[\'"]%s*%]%s*=%f[^=]',
    '%.' .. name .. '%s*,[%w_.,%s]-=%f[^=]' }
end

--- End of where `line` sets `key` from `from` on, or nil.
local function set_at(line, key, forms, from)
  if not line:find(key, from, true) then return end
  for _, form in ipairs(forms) do
    local _, stop = line:find(form, from)
    if stop then return stop end
  end
end

--- The lines of a recipe's text, for `line_of`.
---@param source string
---@return string[]
function M.lines(source)
  local lines = {}
  for line in (source .. '\n'):gmatch('(.-)\n') do lines[#lines + 1] = code_of(line) end
  return lines
end

--- Line of the last part of a key that is set after those before it, and whether it is the whole.
--- `locals`: in `local train = {`, too, which may be where a section stands.
local function nested(lines, path, locals)
  local part = path:gmatch('[^.]+')
  local key, found = part(), nil
  local forms = key and forms_of(key)
  for number, line in ipairs(lines) do
    local from = 1
    while key and (locals or found or not line:find('^%s*local%s')) do
      local stop = set_at(line, key, forms, from)
      if not stop then break end
      key, from, found = part(), stop + 1, number
      forms = key and forms_of(key)
    end
    if not key then return found, true end
  end
  return found, false
end

--- Line on which a key such as 'train.lr' is set in a recipe's text: that of `train.lr =`, or of
--- 'lr' from where 'train' is set, or else of 'train'; nil if there is none.
---@param lines string[]
---@param path string   of the key
---@return integer?, boolean whole  whether it is the line of the key itself
function M.line_of(lines, path)
  local section, last = path:match('^(.*)%.([^.]+)$')
  if section then
    local forms = forms_of(path)
    local bracket = ('%%f[%%w_]%s%%[%%s*[\'"]%s[\'"]%%s*%%]%%s*=%%f[^=]'):format(escaped(section),
      escaped(last))
    for number, line in ipairs(lines) do
      if set_at(line, path, forms, 1) or line:find(bracket) then return number, true end
    end
  end
  local found, whole = nested(lines, path, false)
  if whole then return found, true end
  local also, also_whole = nested(lines, path, true)
  return also_whole and also or found or also, also_whole
end

return M
