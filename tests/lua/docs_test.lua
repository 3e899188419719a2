--- The docs: every recipe in them is one, other code in them runs, what they quote stands in the
--- sources, tables made from the code are those of the code, and every file they name is there.
--- Their commands: tests/lua/docs_commands_test.lua.

local files = require 'sppo.files'
local lu = require 'luaunit'
local pages_of = require 'support.pages'
local recipe_of = require 'sppo.selfplay.recipe'
local schema = require 'sppo.selfplay.schema'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'

local tests = {}

local pages, text_of = pages_of.list, pages_of.text

local function reference() return dofile(shell.root() .. '/tools/reference.lua') end

--- Code that ends with a `return` is a recipe; it must load, and run if its model is a random one.
function tests.test_recipes()
  local found = 0
  shell.in_folder(function(folder)
    for _, block in ipairs(pages_of.blocks()) do
      if block.language == 'lua' and not block.note and block.body:find '\nreturn ' then
        found = found + 1
        local path = ('%s/%d.lua'):format(folder, found)
        files.write(path, block.body .. '\n')
        local recipe, err = recipe_of.load(path)
        lu.assertNotNil(recipe, block.page .. ': ' .. tostring(err))
        if type(recipe.values.policy.model) == 'table' then
          local out = { { 'out', ('%s/out-%d'):format(folder, found) } }
          lu.assertEquals(selfplay.run(path, { overrides = out }), 'done')
        end
      end
    end
  end)
  lu.assertTrue(found >= 4)
end

--- Other code runs as it stands, with the files that it reads beside it.
function tests.test_code()
  local found = 0
  pages_of.in_folder(function(folder)
    for _, block in ipairs(pages_of.blocks()) do
      if block.language == 'lua' and not block.note and not block.body:find '\nreturn ' then
        found = found + 1
        files.write(folder .. '/code.lua', block.body .. '\n')
        local code, _, err = shell.run(('cd %s && build/sppo repl code.lua'):format(folder))
        lu.assertEquals({ code, err }, { 0, '' }, block.page .. ':\n' .. block.body)
      elseif block.language == 'bash' then
        local settings = (block.note or ''):match '^run: (.*)$'
        lu.assertNotNil(settings, block.page .. ': a script without <!-- run: VARIABLES -->')
        found = found + 1
        files.write(folder .. '/code.sh', block.body .. '\n')
        local command = 'cd %s && PATH=$PWD/build:$PATH %s timeout 120 bash code.sh'
        local code, _, err = shell.run(command:format(folder, settings))
        lu.assertEquals({ code, err }, { 0, '' }, block.page .. ':\n' .. block.body)
      end
    end
  end)
  lu.assertTrue(found >= 4)
end

--- Code under `<!-- from FILE -->` stands in that file, byte by byte; C always does.
function tests.test_quotes()
  local found = 0
  for _, block in ipairs(pages_of.blocks()) do
    local file = (block.note or ''):match '^from (%S+)$'
    if file then
      found = found + 1
      local source = shell.read(shell.root() .. '/' .. file)
      lu.assertTrue(('\n' .. source):find('\n' .. block.body .. '\n', 1, true) ~= nil,
        ('%s: not in %s:\n%s'):format(block.page, file, block.body))
    end
    lu.assertTrue(file ~= nil or block.language ~= 'c',
      block.page .. ': C without <!-- from FILE -->')
  end
  lu.assertTrue(found >= 10)
end

--- Every page stands in the nav of the site, and every relative link points somewhere.
function tests.test_site()
  lu.assertEquals(reference().nav_gaps(shell.root()), {})
  lu.assertEquals(reference().broken_links(shell.root()), {})
  shell.in_folder(function(folder)
    reference().site(shell.root(), folder .. '/pages')
    lu.assertStrContains(shell.read(folder .. '/pages/index.md'), '](recipes.md)')
    lu.assertStrContains(shell.read(folder .. '/pages/claims.md'), '](source/lua/sppo/game.lua)')
    lu.assertTrue(files.exists(folder .. '/pages/source/lua/sppo/game.lua'))
  end)
end

--- The reference has every function of the API, and every prototype of the header a comment.
function tests.test_reference()
  local made = reference().pages(shell.root())
  for _, api in ipairs((require('sppo.meta').api())) do
    local found = false
    for _, text in pairs(made) do
      found = found or text:find('\n## ' .. api.module .. '\n', 1, true) ~= nil
    end
    lu.assertTrue(found, api.module)
  end
  lu.assertStrContains(made['reference/tensors.md'], '### ops.linear(x, weights)')
  lu.assertStrContains(made['reference/tensors.md'], '### sppo.Tensor:narrow(axis, start, length)')
  local header = shell.read(shell.root() .. '/engine/include/sppo.h')
  local _, gaps = reference().header(header)
  lu.assertEquals(gaps, {})
  local bare = '/* cdef: begin */\nint sppo_b(void);\n\n/* Of c. */\nint sppo_c(void);\n' ..
    '/* cdef: end */\n'
  lu.assertEquals(select(2, reference().header(bare)), { 'int sppo_b(void);' })
  local declared = header:match 'cdef: begin %*/(.*)/%* cdef: end'
  for name in declared:gmatch '\n[%w_ ]+[ *](sppo_[%w_]+)%(' do
    lu.assertStrContains(made['reference/c-header.md'], name .. '(')
  end
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

--- `lua/sppo/sample.lua`, `recipes/compare.lua`: paths must exist.
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
  end
  lu.assertEquals(missing, {})
end

return tests
