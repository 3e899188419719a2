--- The help of every verb, text by text: tests/golden/help/VERB.txt. After a change that is meant,
--- SPPO_UPDATE_HELP=1 sppo test lua/help writes them anew; the difference is what a user will see.

local files = require 'sppo.files'
local lu = require 'luaunit'
local shell = require 'support.shell'

local tests = {}

local ROOT = (...):match('^(.*)/tests/') or '.'
local FOLDER = ROOT .. '/tests/golden/help'

local function compare(name, arguments)
  local code, text = shell.sppo(arguments)
  lu.assertEquals(code, 0, name)
  local path = ('%s/%s.txt'):format(FOLDER, name)
  if os.getenv 'SPPO_UPDATE_HELP' == '1' then files.write(path, text) end
  local golden, err = files.read(path)
  lu.assertEquals(golden, text,
    ('%s; if it was meant: SPPO_UPDATE_HELP=1 sppo test lua/help'):format(err or path))
end

function tests.test_texts()
  local _, overview = shell.sppo { 'help' }
  local known = { ['help.txt'] = true }
  compare('help', { 'help' })
  for verb in overview:gmatch '\n  (%l+)  ' do
    known[verb .. '.txt'] = true
    if verb ~= 'help' then compare(verb, { verb, '--help' }) end
  end
  for _, name in ipairs(files.list(FOLDER)) do
    lu.assertTrue(known[name], name .. ': of a verb that there is not')
  end
end

return tests
