--- The prompt: reads Lua, runs it, shows what it gives. Session, commands and the rest are in files
--- of their own beside this one; here are the terminal and the loop.

local chart = require 'sppo.repl.chart'
local complete = require 'sppo.repl.complete'
local editor = require 'sppo.line_editor'
local host = require 'sppo.host'
local recipe_file = require 'sppo.selfplay.recipe_file'
local session_of = require 'sppo.repl.session'
local sppo = require 'sppo'

local M = {}

local INTERRUPTED = 130

--- Keeps code that comes from files of the user from being compiled: Ctrl-C stops it as it stops
--- what is typed. The program's own files stay compiled; their loops call ops, which look at it.
local function interpret_user_code()
  recipe_file.compiled = false
  local function interpreted(chunk, ...)
    if type(chunk) == 'function' and debug.getinfo(chunk, 'S').what ~= 'C' then
      jit.off(chunk, true)
    end
    return chunk, ...
  end
  for _, name in ipairs { 'load', 'loadstring', 'loadfile' } do
    local original = _G[name]
    _G[name] = function(...) return interpreted(original(...)) end
  end
  function _G.dofile(path)
    local chunk, err = _G.loadfile(path)
    if not chunk then error(err, 0) end
    return chunk()
  end
  for i, loader in ipairs(package.loaders) do
    if i > 2 then -- the first two are those of the program
      package.loaders[i] = function(name) return interpreted(loader(name)) end
    end
  end
end

--- Reads entries until the input ends. Returns whether all of them ran.
local function loop(session, terminal, editing)
  local remember = function() end
  if editing then
    local past
    past, remember = require('sppo.repl.history').open()
    for _, line in ipairs(past) do editor.add(line) end
    session.past = past
  end
  local all_fine, state = true, nil
  while true do
    local line, why = editor.read(state == 'more' and '....> ' or 'sppo> ')
    if why == 'interrupted' then
      session:give_up()
      state = nil
      if not editing then session.write('\n') end
    elseif not line then
      if terminal then session.write('\n') end
      return session:finish() and all_fine
    else
      for part in line:gmatch('[^\n]+') do
        if part:find('%S') then
          editor.add(part)
          remember(part)
        end
      end
      state = session:feed(line)
      if state == 'quit' then
        session:finish()
        return all_fine
      end
      all_fine = all_fine and state ~= false
      if not terminal and state == false and host.interrupted() then return false end
      io.stdout:flush()
    end
  end
end

--- Runs `file`, `code`, or the prompt; returns the exit code: 1 if something that was not typed
--- at a terminal failed, 130 if Ctrl-C ended it.
---@param options { code?: string, file?: string, stay?: boolean }  stay: the prompt after both
---@return integer
function M.run(options)
  local function code(fine) return fine and 0 or host.interrupted() and INTERRUPTED or 1 end
  local terminal = host.isatty(0) and host.isatty(1)
  local session = session_of.new {
    write = function(text) io.stdout:write(text) end,
    warn = function(text)
      io.stdout:flush()
      io.stderr:write(text)
    end,
    timing = terminal, fancy = chart.fancy(host.isatty(1)),
  }
  interpret_user_code()
  require('sppo.repl.reload').start()
  host.catch_interrupt()

  if options.file then
    local chunk, err = loadfile(options.file)
    if not chunk then error({ message = err, kind = 'recipe' }, 0) end
    session.timing = false
    local fine = session:run_entry(setfenv(chunk, session.env), ';')
    session.typed = {}
    if not fine and not options.stay then return code(fine) end
    if not terminal and not options.code and not options.stay then return 0 end
  end
  if options.code then
    local chunk, err = session:compile(options.code, '-e')
    if not chunk then error({ message = err, kind = 'usage' }, 0) end
    session.timing = false
    local fine = session:run_entry(chunk, options.code)
    if not options.stay then return code(fine) end
  end
  session.timing = terminal

  local editing = editor.open(function(before) return complete.complete(before, session) end)
  if terminal then
    io.stdout:write(('sppo %s  %s, %d threads, %.1f GiB\n'):format(host.build.version,
      sppo.cpu_name(), sppo.threads(), host.total_memory() / 2^30))
    io.stdout:write(':help for help, Tab completes, Ctrl-C stops, Ctrl-D leaves\n')
  end
  local fine = loop(session, terminal, editing)
  return code(terminal or fine)
end

return M
