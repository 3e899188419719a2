--- Types for language servers (LuaCATS), made from the docstrings of the public API and from the
--- table of a recipe's keys: `---@meta` files that an editor reads and nobody runs.

local files = require 'sppo.files'
local host = require 'sppo.host'
local json = require 'sppo.json'
local meta = require 'sppo.meta'
local read = require 'sppo.meta.read'
local schema = require 'sppo.selfplay.schema'

local M = {}

M.FOLDER = '.sppo' -- beside recipes

-- ---- a recipe's keys ----

local prompts = 'string|(string|sppo.RecipePrompt)[]|fun(round: integer): table[]'

--- Types that say more than the schema's do, by key.
local types = {
  ['policy.model'] = 'string|table',
  prompts = prompts, held_out = prompts, validation = prompts,
  preference = 'sppo.Preference|sppo.Prefer',
  select = '%s|fun(answers: table[], wins: number[], matrix: number[][]): integer[]?, any',
  ['train.loss'] = '%s|fun(b: sppo.LossBatch): sppo.Tensor',
  ['train.optimizer_options'] = 'table<string, number>',
  run = 'fun(run: sppo.Run)',
  on_step = 'fun(metrics: table<string, number>, run: sppo.Run)',
  on_round = 'fun(round: integer, metrics: table<string, number>, run: sppo.Run): string?',
}

local prompt_class = [[
--- One of text, messages and tokens; what else it has, rules and judges see.
---@class sppo.RecipePrompt
---@field text? string
---@field messages? { role: string, content: string }[]
---@field tokens? integer[]
---@field rule? sppo.Rule
---@field kind? string # metrics are given by kind too
]]

local function quoted(names, mark)
  local list = {}
  for i, name in ipairs(names) do list[i] = mark .. name .. mark end
  return table.concat(list, '|')
end

--- Type of a key that holds a value.
local function type_of(name, spec)
  local text = spec.one_of and quoted(spec.one_of, '\'') or spec.type:gsub(' or ', '|')
  if types[name] then return (types[name]:gsub('%%s', (text:gsub('%%', '%%%%')))) end
  if not spec.schedule then return text end
  return ('%s|%s[]|fun(round: integer): %s'):format(text, text, text)
end

--- The `@field` of a key, its range and default behind its meaning.
local function field(name, key, spec)
  local notes = {}
  if spec.low then notes[1] = ('%.16g..%.16g'):format(spec.low, spec.high) end
  if spec.default ~= nil and type(spec.default) ~= 'table' and not spec.doc:find '^as sample%.' then
    notes[#notes + 1] = 'default ' .. tostring(spec.default)
  end
  return ('---@field %s%s %s # %s%s'):format(key, spec.required == 'always' and '' or '?',
    type_of(name, spec), spec.doc, #notes > 0 and ' (' .. table.concat(notes, ', ') .. ')' or '')
end

--- The class of what a recipe's file returns, and one for each of its sections.
---@return string
function M.recipe()
  local blocks = {}
  local function class(keys, prefix, name, note)
    local lines, sorted = { '--- ' .. note, '---@class ' .. name }, {}
    for key in pairs(keys) do sorted[#sorted + 1] = key end
    table.sort(sorted)
    for _, key in ipairs(sorted) do
      local spec = keys[key]
      if spec.section then
        local section = name .. '.' .. key
        local presets = {}
        for preset in pairs(spec.presets or {}) do presets[#presets + 1] = preset end
        table.sort(presets)
        lines[#lines + 1] = ('---@field %s? %s%s'):format(key, section,
          #presets > 0 and '|' .. quoted(presets, '\'') or '')
        class(spec.section, key .. '.', section, ('`%s` of a recipe.'):format(key))
      else
        lines[#lines + 1] = field(prefix .. key, key, spec)
      end
    end
    blocks[#blocks + 1] = table.concat(lines, '\n')
  end
  class(schema.keys, '', 'sppo.RecipeFile', 'What a recipe returns.')
  return ('---@meta\n-- Made from the keys of lua/sppo/selfplay/schema.lua.\n\n%s\n%s\n'):format(
    prompt_class, table.concat(blocks, '\n\n'))
end

-- ---- modules ----

--- A tag with '#' between its type and what follows, which servers take for more of the type else.
local function marked(tag)
  local parts = read.tag(tag)
  if parts.kind == 'return' then
    local value, doc = tag:match '^(@return .-%S)%s%s+(.*)$'
    return doc and ('---%s # %s'):format(value, doc) or '---' .. tag
  elseif (parts.kind == 'param' or parts.kind == 'field') and parts.doc ~= '' then
    return ('---@%s %s%s %s # %s'):format(parts.kind, parts.name, parts.optional and '?' or '',
      parts.type, parts.doc)
  end
  return '---' .. tag
end

local function comment(list, lines)
  for _, line in ipairs(lines) do list[#list + 1] = ('--- ' .. line):gsub('%s+$', '') end
end

--- A class that is made by calling it has the arguments of its `init`.
local function overload(api, class)
  for _, f in ipairs(api.functions) do
    if f.class == class.name and f.name == 'init' then
      local arguments = {}
      for _, tag in ipairs(f.tags) do
        local parts = read.tag(tag)
        arguments[#arguments + 1] = ('%s%s: %s'):format(parts.name, parts.optional and '?' or '',
          parts.type)
      end
      return ('---@overload fun(%s): %s'):format(table.concat(arguments, ', '), class.name)
    end
  end
end

local function class_lines(lines, class, after)
  lines[#lines + 1] = ''
  comment(lines, class.doc)
  if class.note ~= '' then comment(lines, { class.note }) end
  lines[#lines + 1] = '---@class ' .. class.name
  for _, tag in ipairs(class.tags) do lines[#lines + 1] = marked(tag) end
  lines[#lines + 1] = after
end

--- One module as a `---@meta` file. Methods are where their class is.
---@param api sppo.meta.Api
---@param list sppo.meta.Api[]
---@return string
function M.module(api, list)
  local made = ('-- Made from the docstrings of %s.'):format(api.file)
  local lines = { '---@meta ' .. api.module, made, '' }
  comment(lines, api.head)
  lines[#lines + 1] = 'local M = {}'
  for _, alias in ipairs(api.aliases) do
    lines[#lines + 1] = ''
    lines[#lines + 1] = '---' .. alias
  end
  local functions, holders = {}, {}
  for _, class in ipairs(api.classes) do
    class_lines(lines, class, overload(api, class))
    if class.holder then
      local is_local = not class.holder:find('.', 1, true)
      lines[#lines + 1] = (is_local and 'local ' or '') .. class.holder .. ' = {}'
      holders[class.name] = class.holder
    end
  end
  for _, other in ipairs(list) do
    for _, f in ipairs(other.functions) do
      if holders[f.class or ''] or other == api and not f.class then
        functions[#functions + 1] = f
      end
    end
  end
  for _, f in ipairs(functions) do
    lines[#lines + 1] = ''
    comment(lines, f.doc)
    for _, tag in ipairs(f.tags) do lines[#lines + 1] = marked(tag) end
    if f.value then lines[#lines + 1] = ('M.%s = nil ---@type any'):format(f.name)
    else
      lines[#lines + 1] = ('function %s%s%s(%s) end'):format(holders[f.class or ''] or 'M',
        f.separator, f.name, table.concat(f.arguments, ', '))
    end
  end
  local same = {}
  for name, at in pairs(api.same) do
    same[#same + 1] = ('M.%s = require(\'%s\').%s'):format(name, at:match '^(.*)%.([%w_]+)$')
  end
  table.sort(same)
  if #same > 0 then lines[#lines + 1] = '\n' .. table.concat(same, '\n') end
  if api.module == 'sppo' then
    lines[#lines + 1] = ''
    for _, family in ipairs(meta.families) do
      for _, module in ipairs(family.modules) do
        local name = module:match '^sppo%.([%w_]+)$'
        if name and not api.same[name] then
          lines[#lines + 1] = ('M.%s = require \'%s\''):format(name, module)
        end
      end
    end
  end
  return table.concat(lines, '\n') .. '\n\nreturn M\n'
end

--- The modules that are written in C, whose docstrings can't be read.
M.in_c = {
  json = [[
---@meta sppo.json
-- engine/host/lua_json.c: the same value gives the same bytes.
local M = {}

M.null = {} -- null in a document

--- A value as JSON, its keys sorted; raises if it holds what JSON has not.
---@param value any
---@param options? { indent?: boolean }
---@return string
function M.encode(value, options) end

--- The value of a document; nil, what is wrong.
---@param text string
---@return any value, string? err
function M.decode(text) end

--- The table, marked as an array, even if it is empty.
---@param t table
---@return table
function M.array(t) end

--- The table, marked as an object, even if it is empty.
---@param t table
---@return table
function M.object(t) end

return M
]],
  msgpack = [[
---@meta sppo.msgpack
-- engine/host/lua_msgpack.c: the same value gives the same bytes.
local M = {}

--- A value as msgpack, its keys sorted; tables nest at most 32 deep.
---@param value any
---@return string
function M.pack(value) end

--- The value of such bytes; nil, what is wrong.
---@param bytes string
---@return any value, string? err
function M.unpack(bytes) end

--- The table, marked as a map, even if it is empty.
---@param t table
---@return table
function M.map(t) end

--- Numbers that are packed as f32, 4 bytes each.
---@param list number[]|string
---@return userdata
function M.f32(list) end

--- Numbers that are packed as i32, 4 bytes each.
---@param list integer[]|string
---@return userdata
function M.i32(list) end

return M
]],
}

--- Files whose classes the public API names, without being part of it.
local others = { 'lua/sppo/chat/jinja/guard.lua', 'lua/sppo/plan/cost.lua',
  'lua/sppo/report/run.lua', 'models/deberta.lua' }

local function other_classes()
  local lines = { '---@meta', '-- Classes that the others name.' }
  for _, file in ipairs(others) do
    for _, class in ipairs(read.read(host.embedded(file)).classes) do class_lines(lines, class) end
  end
  return table.concat(lines, '\n') .. '\n'
end

--- Every file: its path in the folder of types, and its text.
---@return table<string, string>
function M.files()
  local out = { ['sppo/recipe_file.lua'] = M.recipe(), ['sppo/others.lua'] = other_classes() }
  local list = meta.api()
  for _, api in ipairs(list) do
    out[api.module == 'sppo' and 'sppo/init.lua' or api.module:gsub('%.', '/') .. '.lua'] =
      M.module(api, list)
  end
  for name, text in pairs(M.in_c) do out[('sppo/%s.lua'):format(name)] = text end
  return out
end

--- Settings of a language server that reads the types in `.sppo`.
---@return string
function M.settings()
  return json.encode({ ['runtime.version'] = 'LuaJIT', ['workspace.checkThirdParty'] = false,
    ['workspace.library'] = json.array { M.FOLDER } }, { indent = true }) .. '\n'
end

--- Writes `.sppo` anew into a folder, and `.luarc.json` if there is none. Raises.
---@param folder string
---@return boolean settings_written
function M.write(folder)
  local path = folder .. '/' .. M.FOLDER
  files.remove(path)
  for name, text in pairs(M.files()) do
    files.make_folder((path .. '/' .. name):match '^(.*)/')
    files.write(path .. '/' .. name, text)
  end
  local settings = folder .. '/.luarc.json'
  if files.exists(settings) then return false end
  files.write(settings, M.settings())
  return true
end

return M
