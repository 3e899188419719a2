--- The prompt: reads Lua, runs it, shows what it gives.
---
--- What is typed is not compiled by the JIT, so that Ctrl-C can stop it (engine/host/host.c). Each
--- entry is a scope: its tensors live on if a global, or `_`, leads to them.

local engine = require 'sppo.ffi'
local complete = require 'sppo.repl.complete'
local editor = require 'sppo.line_editor'
local host = require 'sppo.host'
local printer = require 'sppo.repl.print'
local scope = require 'sppo.scope'
local sppo = require 'sppo'

local C = engine.C

local M = {}

local SLOW = 0.010 -- seconds from which an entry's time and memory are shown

local help_text = [[
An expression is printed; _ is the last value; a ; at the end keeps it quiet.
Entries go on over lines until they are whole. Tab completes, Ctrl-C stops, Ctrl-D leaves.

  :help          this text
  :doc NAME      what the source says of a function (also: ? NAME)
  :time CODE     run and show the time
  :mem           memory of tensors and of Lua
  :quit          leave

sppo.tensor{{1, 2}, {3, 4}}   sppo.zeros({2, 3})   sppo.ops.softmax(x)   sppo.model.open(PATH)
]]

local function new_environment()
  local env = setmetatable({ sppo = sppo, ops = sppo.ops }, { __index = _G })
  env._G = env
  return env
end

--- A chunk from an entry, as an expression if it is one; nil, err.
local function compile(text, name)
  local chunk = loadstring('return ' .. text, name)
  if chunk then return chunk end
  return loadstring(text, name)
end

--- Whether an entry that does not compile only lacks its end.
local function incomplete(err) return err:find('<eof>', 1, true) ~= nil end

local function pack(...) return { n = select('#', ...), ... } end

--- The error with the traceback's lines that are the user's: no C, nothing of this file.
local function short_trace(err)
  if type(err) == 'table' and err.message then err = err.message end
  local lines = { tostring(err) }
  for line in debug.traceback('', 3):gmatch('[^\n]+') do
    if line:find('[C]:', 1, true) == nil and not line:find('^stack traceback') then
      if line:find('sppo/repl/init.lua', 1, true) or line:find('sppo/cli/', 1, true) then break end
      if #lines <= 6 then lines[#lines + 1] = '  ' .. line:gsub('^%s+', '') end
    end
  end
  return table.concat(lines, '\n')
end

--- Runs a chunk inside a scope. Returns ok, then the packed results or the error's text.
local function evaluate(chunk, env)
  jit.off(chunk, true)
  setfenv(chunk, env)
  local ok, result
  scope.run(function()
    host.evaluate(true)
    local results = pack(xpcall(chunk, short_trace))
    host.evaluate(false)
    ok = results[1]
    if ok then
      result = { n = results.n - 1, unpack(results, 2, results.n) }
      if result.n > 0 then env._ = result[1] end
    else
      C.sppo_tape_clear()
      C.sppo_recompute_abort()
      result = results[2]
    end
    return env, result
  end)
  return ok, result
end

local function memory_text()
  local m = sppo.memory()
  return ('tensors %.1f MiB (peak %.1f), Lua %.1f MiB'):format(m.used / 2^20, m.peak / 2^20,
    collectgarbage('count') / 1024)
end

local function show(results, text)
  if results.n == 0 or text:match(';%s*$') then return end
  for i = 1, results.n do
    local ok, shown = pcall(printer.text, results[i])
    io.stdout:write(ok and shown or tostring(results[i]), '\n')
  end
end

--- Runs one whole entry; returns true unless it failed.
local function run_entry(chunk, text, env, timed)
  local begin = C.sppo_clock()
  local ok, result = evaluate(chunk, env)
  local seconds = C.sppo_clock() - begin
  io.stdout:flush()
  if ok then show(result, text)
  else io.stderr:write(result, '\n') end
  if timed ~= false and (timed or seconds > SLOW) then
    io.stdout:write(('  %.0f ms, %s\n'):format(seconds * 1000, memory_text()))
  end
  io.stdout:flush()
  return ok
end

--- The comment above a function, from its source.
local function doc(name, env)
  local value = env
  for part in name:gmatch('[^.:%s]+') do
    value = type(value) == 'table' and value[part] or nil
  end
  local methods = not value and sppo.is_tensor(env._) and require('sppo.tensor').methods
  if methods then value = methods[name:match('[%w_]+$') or ''] end
  if type(value) ~= 'function' then
    return ('%s: %s'):format(name, value == nil and 'nothing of that name' or type(value))
  end
  local info = debug.getinfo(value, 'S')
  local path = info.source:sub(2)
  local source = host.embedded(path) or host.embedded((path:gsub('^.*/(lua/sppo/)', '%1')))
  if not source then return ('%s: defined at %s:%d'):format(name, path, info.linedefined) end
  local lines, number = {}, 0
  for line in (source .. '\n'):gmatch('(.-)\n') do
    number = number + 1
    if line:match('^%s*%-%-%-') then lines[#lines + 1] = (line:gsub('^%s*%-%-%-?%s?', ''))
    elseif number == info.linedefined then
      lines[#lines + 1] = line:gsub('^%s+', '')
      break
    else lines = {} end
  end
  return table.concat(lines, '\n')
end

local function command(text, env)
  local name, rest = text:match('^:(%w+)%s*(.*)$')
  if text:sub(1, 1) == '?' then
    name, rest = 'doc', text:match('^%?%s*(.*)$')
    if rest == '' then name = 'help' end
  end
  if name == 'help' then io.stdout:write(help_text)
  elseif name == 'doc' then io.stdout:write(doc(rest, env), '\n')
  elseif name == 'mem' then io.stdout:write(memory_text(), '\n')
  elseif name == 'quit' or name == 'q' then return 'quit'
  elseif name == 'time' then
    local chunk, err = compile(rest, '=repl')
    if not chunk then io.stderr:write(err, '\n')
    else run_entry(chunk, rest, env, true) end
  else
    io.stderr:write(require('sppo.check').unknown('command', text:match('^%S+'),
      { ':help', ':doc', ':time', ':mem', ':quit' }), '\n')
  end
end

--- Reads entries until the input ends. Returns whether all of them ran.
local function loop(env, terminal, editing)
  local remember = function() end
  if editing then
    local past
    past, remember = require('sppo.repl.history').open()
    for _, line in ipairs(past) do editor.add(line) end
  end
  local buffer, all_fine = '', true
  while true do
    local line, why = editor.read(buffer == '' and 'sppo> ' or '....> ')
    if why == 'interrupted' then
      buffer = ''
      if not editing then io.stdout:write('\n') end
    elseif not line then
      if buffer ~= '' then
        local _, err = loadstring(buffer, '=repl')
        io.stderr:write(tostring(err), '\n')
        all_fine = false
      end
      if terminal then io.stdout:write('\n') end
      return all_fine
    else
      if line:match('%S') then
        editor.add(line)
        remember(line)
      end
      if buffer == '' and line:match('^[:?]') then
        if command(line, env) == 'quit' then return all_fine end
      else
        buffer = buffer == '' and line or buffer .. '\n' .. line
        local chunk, err = compile(buffer, '=repl')
        if chunk then
          local fine = run_entry(chunk, buffer, env, not terminal and false or nil)
          all_fine = all_fine and fine
          buffer = ''
        elseif not incomplete(err) then
          io.stderr:write(err, '\n')
          all_fine = false
          buffer = ''
        end
      end
    end
  end
end

--- Runs `code` or `file`, or the prompt; returns the exit code: 1 if something that was not typed
--- at a terminal failed.
---@param options { code?: string, file?: string }
---@return integer
function M.run(options)
  local env = new_environment()
  local terminal = host.isatty(0) and host.isatty(1)
  host.catch_interrupt()

  if options.file then
    local chunk, err = loadfile(options.file)
    if not chunk then error({ message = err, kind = 'recipe' }, 0) end
    if not run_entry(chunk, ';', env, false) then return 1 end
    if not terminal and not options.code then return 0 end
  end
  if options.code then
    local chunk, err = compile(options.code, '=-e')
    if not chunk then error({ message = err, kind = 'usage' }, 0) end
    return run_entry(chunk, options.code, env, false) and 0 or 1
  end

  local editing = editor.open(function(before) return complete.complete(before, env) end)
  if terminal then
    io.stdout:write(('sppo %s  %s, %d threads, %.1f GiB\n'):format(host.build.version,
      sppo.cpu_name(), sppo.threads(), host.total_memory() / 2^30))
    io.stdout:write(':help for help, Tab completes, Ctrl-C stops, Ctrl-D leaves\n')
  end
  local fine = loop(env, terminal, editing)
  return (terminal or fine) and 0 or 1
end

return M
