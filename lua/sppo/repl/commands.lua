--- The commands of the prompt: one table, from which help, completion and docs/repl.md come.

local check = require 'sppo.check'
local looks = require 'sppo.repl.commands_look'
local runs = require 'sppo.repl.commands_run'

local M = {}

---@class sppo.ReplCommand
---@field name string
---@field takes string          what stands behind it, as help shows it
---@field about string
---@field completes? 'path'|'module'|'command'  what Tab completes behind it; Lua if absent
---@field quit? boolean
---@field run? fun(session: sppo.ReplSession, rest: string)  inside `protected`; raises its errors

---@type sppo.ReplCommand[]
M.list = {
  { name = 'help', takes = '[COMMAND]', about = 'this text, or what one command does',
    completes = 'command' },
  { name = 'doc', takes = 'NAME', about = 'what the source says of a function, an op or a ' ..
    'module (also: ? NAME)', run = looks.doc },
  { name = 'src', takes = 'NAME', about = 'the lines of a function', run = looks.src },
  { name = 'time', takes = 'CODE', about = 'run it, and show the time and the memory',
    run = looks.time },
  { name = 'timeit', takes = 'CODE', about = 'run it again and again for a second; median and ' ..
    'fastest time', run = looks.timeit },
  { name = 'mem', takes = '', about = 'memory of tensors, by kind, and of Lua', run = looks.mem },
  { name = 'who', takes = '', about = 'the globals that were set here', run = looks.who },
  { name = 'free', takes = '[NAME ...]', about = 'forget globals, or _ _1 _2, and free what ' ..
    'only they held', run = looks.free },
  { name = 'device', takes = '[NAME]', about = 'where tensors are made that name no device',
    run = looks.device },
  { name = 'plot', takes = 'Y or X, Y [> FILE.svg]', about = 'a line through values: tensors, ' ..
    'lists, metrics', run = looks.plot },
  { name = 'hist', takes = 'X', about = 'how values are spread', run = looks.hist },
  { name = 'run', takes = 'FILE', about = 'run a Lua file here; its globals stay',
    completes = 'path', run = looks.run },
  { name = 'reload', takes = '[MODULE]', about = 'load a module anew, or all whose files ' ..
    'changed, and the recipe', completes = 'module', run = runs.reload },
  { name = 'open', takes = 'PATH [key=value ...]', about = 'a recipe to step through, or a run ' ..
    'folder to look at, as `run`', completes = 'path', run = runs.open },
  { name = 'step', takes = '[N]', about = 'the next stage of the recipe, or the next N',
    run = runs.step },
  { name = 'answers', takes = 'ROUND PROMPT', about = 'a prompt\'s answers with their win ' ..
    'rates; round 0: held out', run = runs.answers },
  { name = 'matrix', takes = 'ROUND PROMPT', about = 'its K x K matrix of preferences',
    run = runs.matrix },
  { name = 'compare', takes = 'FOLDER or ROUND ROUND PROMPT', about = 'metrics beside ' ..
    'another run\'s, or a held-out answer in two rounds', completes = 'path', run = runs.compare },
  { name = 'history', takes = '[TEXT]', about = 'lines typed before, the last 20 that hold ' ..
    'the text', run = looks.history },
  { name = 'save', takes = 'FILE', about = 'write what was typed into a Lua file',
    completes = 'path', run = looks.save },
  { name = 'quit', takes = '', about = 'leave (also: Ctrl-D)', quit = true },
}

local aliases = { q = 'quit', h = 'help' }

--- The command of that name, or nil.
---@return sppo.ReplCommand?
function M.find(name)
  for _, command in ipairs(M.list) do
    if command.name == (aliases[name] or name) then return command end
  end
end

local function usage(command)
  return (':%s %s'):format(command.name, command.takes):gsub('%s+$', '')
end

local head = [[
An expression is printed; _ is the last value, _1 and _2 those before; a ; at the end keeps quiet.
Entries go on over lines until they are whole; a paste is one entry.
Tab completes, Ctrl-R searches, Ctrl-C stops, Ctrl-D leaves.

]]

local tail = [[

sppo.tensor { { 1, 2 } }   sppo.zeros { 2, 3 }   sppo.ops.softmax(x)   sppo.model.open(PATH)
]]

--- What `:help` writes.
---@return string
function M.help_text()
  local lines = {}
  for i, command in ipairs(M.list) do
    local use = usage(command)
    lines[i] = #use <= 24 and ('  %-24s  %s'):format(use, command.about) or
      ('  %s\n  %24s  %s'):format(use, '', command.about)
  end
  return head .. table.concat(lines, '\n') .. '\n' .. tail
end

--- The table of docs/repl.md.
---@return string
function M.markdown()
  local lines = { '| command | what it does |', '|---|---|' }
  for _, command in ipairs(M.list) do
    lines[#lines + 1] = ('| `%s` | %s |'):format(usage(command), command.about)
  end
  return table.concat(lines, '\n')
end

--- Every command as it is typed: ':help'.
---@return string[]
function M.names()
  local names = {}
  for i, command in ipairs(M.list) do names[i] = ':' .. command.name end
  return names
end

--- Runs a line that begins with ':' or '?'.
---@param session sppo.ReplSession
---@param line string
---@return 'quit'|boolean  leave; or whether it ran without an error
function M.run(session, line)
  local name, rest = line:match('^%s*:([%w_]*)%s*(.-)%s*$')
  if not name then
    name, rest = 'doc', line:match('^%s*%?%s*(.-)%s*$')
    if rest == '' then name = 'help' end
  end
  local command = M.find(name)
  if not command then
    session.warn(check.unknown('command', ':' .. name, M.names()) .. '; :help lists them\n')
    return false
  end
  if command.quit then return 'quit' end
  if command.name == 'help' then
    local one = M.find(rest:gsub('^:', ''))
    if rest ~= '' and not one then
      session.warn(check.unknown('command', rest, M.names()) .. '; :help lists them\n')
      return false
    end
    session.write(one and ('%s\n  %s\n'):format(usage(one), one.about) or M.help_text())
    return true
  end
  if rest == '' and command.takes ~= '' and command.takes:sub(1, 1) ~= '[' then
    session.warn(('type %s: %s\n'):format(usage(command), command.about))
    return false
  end
  return (session:protected(function() command.run(session, rest) end, true))
end

return M
