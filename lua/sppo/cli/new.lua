--- `sppo new`: a recipe of one's own, begun as a copy.

local exit = require 'sppo.cli.exit'
local files = require 'sppo.files'
local host = require 'sppo.host'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo new mine.lua --from quickstart && sppo validate mine.lua',
    'sppo new --types',
    'sppo new --list',
  },
}

function M.define(parser)
  parser:argument('path', 'The new file.'):args('?')
  parser:option('--from', 'The recipe that is copied.'):argname('NAME'):default('quickstart')
  parser:flag('--types', 'Write types for language servers (.sppo, .luarc.json) beside it, or ' ..
    'here.')
  parser:flag('--list', 'Recipes that can be copied, and what each does.')
end

--- Names of the recipes inside the program, sorted.
local function recipes()
  local list = {}
  for _, name in ipairs(host.embedded_names()) do
    local recipe = name:match('^recipes/([%w_/-]+)%.lua$')
    if recipe then list[#list + 1] = recipe end
  end
  table.sort(list)
  return list
end

local function text_of(name) return host.embedded('recipes/' .. name .. '.lua') end

--- The first sentence of a recipe's head, on one line.
local function summary(text)
  local words = {}
  for line in text:gmatch('%-%-%- ?([^\n]*)\n') do
    if line == '' then break end
    words[#words + 1] = line
  end
  local sentence = table.concat(words, ' ')
  return sentence:match('^(.-%.)%s') or sentence
end

--- Types for editors, in a folder.
local function write_types(folder)
  local types = require 'sppo.meta.types'
  local written = types.write(folder)
  output.write(('%s/%s: types for language servers that read LuaCATS\n'):format(folder,
    types.FOLDER))
  if not written then
    output.write(('%s/.luarc.json is there already; it needs "workspace.library": ["%s"]\n'):format(
      folder, types.FOLDER))
  end
end

function M.run(args)
  local known = recipes()
  if args.list then
    for _, name in ipairs(known) do
      output.write(('%-20s %s\n'):format(name, summary(text_of(name))))
    end
    return
  end
  if not args.path and args.types then return write_types '.' end
  if not args.path then exit.usage('new: where to?', 'sppo new mine.lua --from quickstart') end
  local from = args.from:gsub('^recipes/', ''):gsub('%.lua$', '')
  local text = text_of(from)
  if not text then
    exit.usage('new: ' .. require('sppo.check').unknown('recipe', from, known), 'sppo new --list')
  end
  if not args.path:match('%.lua$') then
    exit.usage(('new: \'%s\' does not end with .lua'):format(args.path), 'sppo new mine.lua')
  end
  if files.exists(args.path) then
    exit.usage(args.path .. ': is there already; another name, or remove it first')
  end
  local name = args.path:match('([^/]+)%.lua$'):gsub('[^%w._-]', '-'):gsub('^[^%w]+', '')
  if name == '' then exit.usage(('new: \'%s\' gives no name'):format(args.path)) end
  local function named(key) return ("%s'%s'"):format(key, name) end
  text = text:gsub("(\n%s*name = )'[^']*'", named, 1)
  text = text:gsub('\nreturn {', '\n---@type sppo.RecipeFile%0', 1)
  files.write(args.path, text)
  output.write(('%s, from recipes/%s.lua. Next:\n'):format(args.path, from))
  output.write(('  sppo validate %s\n  sppo run %s\n'):format(args.path, args.path))
  if args.types then write_types(args.path:match '^(.*)/' or '.') end
end

return M
