--- Manual pages: one for each verb, with each of its options, and nothing that roff warns of.

local cli = require 'sppo.cli'
local files = require 'sppo.files'
local lu = require 'luaunit'
local shell = require 'support.shell'

local tests = {}

function tests.test_pages()
  local pages = cli.manual()
  local _, overview = shell.sppo { 'help' }
  for verb in overview:gmatch '\n  (%l+) +%l' do
    if verb ~= 'sppo' and verb ~= 'help' then
      local text = pages['sppo-' .. verb]
      lu.assertNotNil(text, verb)
      for option in cli.parser(verb):get_help():gmatch '\n   %-[^\n]-(%-%-[%l%d-]+)' do
        lu.assertStrContains(text, (option:gsub('%-', '\\-')))
      end
      lu.assertStrContains(pages.sppo, ('.BR sppo\\-%s (1)'):format(verb))
      lu.assertStrContains(text, '.SH EXAMPLES\n.nf\n')
    end
  end
  lu.assertStrContains(pages['sppo-gen'],
    '.B \\-\\-seed N\nAnother seed, another answer; the same one, the same answer. (default: 0)\n')
  lu.assertStrContains(pages.sppo, '75 stopped and resumable')
end

--- Written by `sppo help --man`, and read by groff (or mandoc) without a warning.
function tests.test_warnings()
  shell.in_folder(function(folder)
    lu.assertEquals(shell.sppo { 'help', '--man', folder .. '/man1' }, 0)
    for name, text in pairs(cli.manual()) do
      lu.assertEquals(shell.read(('%s/man1/%s.1'):format(folder, name)), text)
    end
    local tool = shell.run 'command -v groff' == 0 and 'groff -ww -man -Tutf8 -z'
      or shell.run 'command -v mandoc' == 0 and 'mandoc -T lint -W warning'
    if not tool then lu.skip 'neither groff nor mandoc is installed' end
    for _, name in ipairs(files.list(folder .. '/man1')) do
      local code, out, err = shell.run(('%s %s/man1/%s'):format(tool, folder, name))
      lu.assertEquals({ code, out .. err }, { 0, '' }, name)
    end
  end)
  lu.assertEquals(shell.sppo { 'help', '--man' }, 2)
end

return tests
