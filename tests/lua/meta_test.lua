--- The public API: every function has a docstring that says what it takes, and the types that
--- language servers read have every function and every key of a recipe.

local files = require 'sppo.files'
local lu = require 'luaunit'
local meta = require 'sppo.meta'
local read = require 'sppo.meta.read'
local schema = require 'sppo.selfplay.schema'
local shell = require 'support.shell'
local types = require 'sppo.meta.types'

local tests = {}

function tests.test_docstrings() lu.assertEquals(meta.gaps(), {}) end

--- What is found missing if a docstring is.
function tests.test_reading()
  local module = read.read([[
--- A head.

local M = {}

---@class sppo.Thing   a note
---@field count integer
local Thing = {}

--- Does it.
---@param a { x: integer,
---   y: integer }  both
---@param b? string
---@return boolean fine
function Thing:go(a, b) return a, b end

function M.bare(x) return x end

--- Of x.
---@param x number
M.value = M.bare
]])
  lu.assertEquals(module.head, { 'A head.' })
  lu.assertEquals(module.classes, { { name = 'sppo.Thing', note = 'a note', doc = {},
    tags = { '@field count integer' }, holder = 'Thing' } })
  local go, bare, value = unpack(module.items)
  lu.assertEquals({ go.owner, go.separator, go.name }, { 'Thing', ':', 'go' })
  lu.assertEquals(go.arguments, { 'a', 'b' })
  lu.assertEquals(go.tags[1], '@param a { x: integer, y: integer }  both')
  lu.assertEquals(bare.doc, {})
  lu.assertEquals(value.arguments, { 'x' })
  lu.assertEquals(read.tag(go.tags[1]), { kind = 'param', name = 'a', optional = false,
    type = '{ x: integer, y: integer }', doc = 'both' })
  lu.assertEquals(read.tag '@param f? fun(a: string): number|nil  of a', { kind = 'param',
    name = 'f', optional = true, type = 'fun(a: string): number|nil', doc = 'of a' })
end

--- Everything that modules of the API hold is in their types; these are Lua, and name no type that
--- is not there.
function tests.test_types()
  local all = types.files()
  local declared, text = {}, {}
  for path, body in pairs(all) do
    local chunk, err = loadstring(body, '@' .. path)
    lu.assertNotNil(chunk, err)
    lu.assertEquals(body:sub(1, 8), '---@meta', path)
    text[#text + 1] = body
    for name in body:gmatch '%-%-%-@class (%S+)' do declared[name] = true end
    for name in body:gmatch '%-%-%-@alias (%S+)' do declared[name] = true end
  end
  for line in table.concat(text, '\n'):gmatch '%-%-%-@([^\n]+)' do
    if not line:match '^meta' then
      for name in line:gsub(' # .*', ''):gmatch '%f[%w_.]sppo%.[%w_.]+' do
        lu.assertTrue(declared[name] or false, name .. ' in ' .. line)
      end
    end
  end
  for _, family in ipairs(meta.families) do
    for _, module in ipairs(family.modules) do
      local loaded = require(module)
      local path = module == 'sppo' and 'sppo/init.lua' or module:gsub('%.', '/') .. '.lua'
      for name, value in pairs(type(loaded) == 'table' and loaded or {}) do
        local known = all[path]:find('\nfunction M.' .. name .. '(', 1, true) or
          all[path]:find('\nM.' .. name .. ' = ', 1, true)
        lu.assertTrue(known ~= nil or type(value) ~= 'function', module .. '.' .. name)
      end
    end
  end
  for name in pairs(require('sppo.tensor').methods) do
    lu.assertStrContains(all['sppo/tensor.lua'], '\nfunction methods:' .. name .. '(')
  end
  for name, body in pairs(types.in_c) do
    for key in pairs(require('sppo.' .. name)) do
      lu.assertStrContains(body, '\n' .. (key == 'null' and 'M.null = ' or
        'function M.' .. key .. '('))
    end
  end
end

--- Each key of the schema is a field of its section's class, with its meaning.
function tests.test_recipe_keys()
  local text = types.recipe()
  for _, key in ipairs(schema.list()) do
    local section, name = key.name:match '^(.*)%.(.*)$'
    local class = 'sppo.RecipeFile' .. (section and '.' .. section or '')
    local body = text:match('%-%-%-@class ' .. class:gsub('%.', '%%.') .. '\n(.-)\n\n') or
      text:match('%-%-%-@class ' .. class:gsub('%.', '%%.') .. '\n(.*)$')
    lu.assertNotNil(body, class)
    local line = ('\n' .. body):match('\n%-%-%-@field ' .. (name or key.name) .. '%?? [^\n]*')
    lu.assertNotNil(line, key.name)
    lu.assertStrContains(line, key.doc)
  end
end

--- `sppo new --types`: beside a recipe, without touching settings that are there.
function tests.test_new()
  shell.in_folder(function(folder)
    local code, out = shell.sppo { 'new', folder .. '/mine.lua', '--types' }
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, folder .. '/.sppo: types')
    lu.assertStrContains(shell.read(folder .. '/mine.lua'), '\n---@type sppo.RecipeFile\nreturn {')
    lu.assertEquals(shell.sppo { 'validate', folder .. '/mine.lua', 'policy.model=nothing' }, 2)
    for path, text in pairs(types.files()) do
      lu.assertEquals(shell.read(folder .. '/.sppo/' .. path), text)
    end
    lu.assertStrContains(shell.read(folder .. '/.luarc.json'), '".sppo"')
    files.write(folder .. '/.luarc.json', '{}')
    lu.assertFalse(types.write(folder))
    lu.assertEquals(shell.read(folder .. '/.luarc.json'), '{}')
  end)
end

return tests
