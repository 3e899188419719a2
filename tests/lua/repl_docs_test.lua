--- docs/repl.md: what is typed there answers what stands there, and its table is that of the code.

local commands = require 'sppo.repl.commands'
local files = require 'sppo.files'
local lu = require 'luaunit'
local shell = require 'support.shell'

local tests = {}

--- Numbers, units of time and where a checkout lies, which differ between machines.
local function plain(text)
  return (text:gsub('[^%s(]*(lua/sppo/)', '%1'):gsub('%d+%.?%d* [um]s', 'T')
    :gsub('[-+]?%f[%w.]%d[%d.]*e?-?%d*', '#'):gsub('#[%s#]*#', '#'):gsub('[^\n]*|[^\n]*', '|')
    :gsub(' +', ' '):gsub('#+ #', '#'):gsub('%s+\n', '\n'):gsub('%s+$', ''))
end

function tests.test_docs()
  local page = shell.read(shell.root() .. '/docs/repl.md')
  local entries, script = {}, {}
  local separator = ':quit\n  leave (also: Ctrl-D)\n' -- what `:help quit` says
  for line in page:gmatch('([^\n]*)\n') do
    local first, more, said = line:match('^    sppo> (.*)'), line:match('^    %.%.%.%.> (.*)'),
      line:match('^    (.*)')
    local last = entries[#entries]
    if first then entries[#entries + 1] = { text = first, open = true, said = {} }
    elseif more then last.text = last.text .. '\n' .. more
    elseif said and last and last.open then last.said[#last.said + 1] = said
    elseif last then last.open = false end
  end
  for _, e in ipairs(entries) do
    script[#script + 1] = e.text .. '\n:help quit\n'
  end
  shell.in_folder(function(folder)
    files.write(folder .. '/script', table.concat(script))
    local _, out = shell.run(('cd %s; exec 2>&1; %s <script'):format(folder,
      shell.program { 'repl' }))
    local from = 1
    for _, e in ipairs(entries) do
      local first, last = out:find(separator, from, true)
      lu.assertNotNil(first, e.text)
      local said = table.concat(e.said, '\n')
      lu.assertEquals(plain(out:sub(from, first - 1)), plain(said), 'docs/repl.md: ' .. e.text)
      from = last + 1
    end
  end)
  lu.assertTrue(#entries > 30)
end

function tests.test_table_of_commands()
  local page = shell.read(shell.root() .. '/docs/repl.md')
  local got = page:match('<!%-%- commands: begin %-%->\n(.-)\n<!%-%- commands: end %-%->')
  lu.assertEquals(got, commands.markdown(), 'docs/repl.md: its table is not that of the code')
  for line in commands.help_text():gmatch('[^\n]+') do lu.assertTrue(#line <= 100, line) end
end

return tests
