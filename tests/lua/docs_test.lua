--- The docs: every recipe in them is one, tables made from the code are those of the code, and
--- every file they name is there.

local files = require 'sppo.files'
local lu = require 'luaunit'
local recipe_of = require 'sppo.selfplay.recipe'
local schema = require 'sppo.selfplay.schema'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'

local tests = {}

local function pages()
  local list = { 'README.md', 'CONTRIBUTING.md' }
  for _, name in ipairs(files.list(shell.root() .. '/docs')) do
    if name:match('%.md$') then list[#list + 1] = 'docs/' .. name end
  end
  return list
end

local function text_of(page) return assert(files.read(shell.root() .. '/' .. page)) end

function tests.test_recipes_in_docs()
  local found = 0
  shell.in_folder(function(folder)
    for _, page in ipairs(pages()) do
      for body in text_of(page):gmatch('\n```lua\n(.-)\n```') do
        found = found + 1
        local path = ('%s/%d.lua'):format(folder, found)
        files.write(path, body .. '\n')
        local recipe, err = recipe_of.load(path)
        lu.assertNotNil(recipe, page .. ': ' .. tostring(err))
        if type(recipe.values.policy.model) == 'table' then
          local out = { { 'out', ('%s/out-%d'):format(folder, found) } }
          lu.assertEquals(selfplay.run(path, { overrides = out }), 'done')
        end
      end
    end
  end)
  lu.assertTrue(found >= 2)
end

--- The table of docs/recipes.md as it must be.
local function keys_table()
  local lines = { '| key | type | range | default | |', '|---|---|---|---|---|' }
  for _, key in ipairs(schema.list()) do
    lines[#lines + 1] = ('| `%s` | %s | %s | %s | %s |'):format(key.name, key.type, key.range,
      key.default, key.doc)
  end
  return table.concat(lines, '\n')
end

function tests.test_keys()
  local page = text_of 'docs/recipes.md'
  local got = page:match('<!%-%- keys: begin %-%->\n(.-)\n?<!%-%- keys: end %-%->')
  if got == keys_table() then return end
  local path = os.tmpname()
  files.write(path, keys_table() .. '\n')
  lu.fail('docs/recipes.md: its table of keys is not that of the code; put ' .. path .. ' there')
end

--- Each text in the first column of docs/troubleshooting.md is one that the program says.
function tests.test_troubleshooting()
  local sources = {}
  local function take(folder)
    for _, name in ipairs(files.list(shell.root() .. '/' .. folder)) do
      local path = folder .. '/' .. name
      if name:match '%.lua$' or name:match '%.[ch]$' then
        sources[#sources + 1] = shell.read(shell.root() .. '/' .. path)
      elseif files.is_folder(shell.root() .. '/' .. path) then take(path) end
    end
  end
  take 'lua/sppo'
  take 'engine'
  -- Texts are broken over lines: 'first ' .. 'second', "first " "second".
  local all = table.concat(sources, '\n'):gsub('[\'"] *%.%.%s*[\'"]', ''):gsub('"%s+"', '')
  local count = 0
  for said in text_of('docs/troubleshooting.md'):gmatch('\n| `([^`]+)` |') do
    count = count + 1
    lu.assertTrue(all:find(said, 1, true) ~= nil, said)
  end
  lu.assertTrue(count > 10)
end

--- `lua/sppo/sample.lua`, `recipes/compare.lua`, [design.md](design.md): paths must exist.
function tests.test_files_that_are_named()
  local missing = {}
  for _, page in ipairs(pages()) do
    local text = text_of(page)
    for path in text:gmatch('`([%w_./-]+)`') do
      if path:match('^[%a]+/[%w_./-]+%.%a+$') and not path:match('^runs/') and
        not path:match('^round%-') and path:match('^%a+') ~= 'build' then
        local full = shell.root() .. '/' .. path
        local short = full:gsub('/cpu/', '/engine/cpu/')
        if not (files.exists(full) or files.exists(short) or
          files.exists(shell.root() .. '/engine/' .. path)) then
          missing[#missing + 1] = page .. ': ' .. path
        end
      end
    end
    for target in text:gmatch('%]%(([^)#]+)%)') do
      if not target:match('^%a+:') then
        local base = page:match('^(.*)/') or '.'
        if not files.exists(('%s/%s/%s'):format(shell.root(), base, target)) and
          not files.is_folder(('%s/%s/%s'):format(shell.root(), base, target)) then
          missing[#missing + 1] = page .. ': ' .. target
        end
      end
    end
  end
  lu.assertEquals(missing, {})
end

--- Verbs that README and docs use are verbs.
function tests.test_verbs()
  local known = {}
  local _, out = shell.sppo { 'help' }
  for verb in out:gmatch('\n  (%l+) +%a') do known[verb] = true end
  for _, page in ipairs(pages()) do
    local text = text_of(page)
    for _, before in ipairs { '`', '\n    ', 'build/', '&& ' } do
      for verb in text:gmatch(before .. 'sppo (%l+)[ `\n]') do
        lu.assertTrue(known[verb] or false, page .. ': sppo ' .. verb)
      end
    end
  end
end

return tests
