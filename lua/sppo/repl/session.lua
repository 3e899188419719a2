--- A session of the prompt: what was typed, the globals that it set, and running it.
---
--- What is typed is not compiled by the JIT, so that Ctrl-C can stop it (engine/host/signals.c).
--- Each entry is a scope: its tensors live on if a global, or `_`, leads to them.

local engine = require 'sppo.ffi'
local errors = require 'sppo.repl.errors'
local host = require 'sppo.host'
local printer = require 'sppo.repl.print'
local scope = require 'sppo.scope'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'

local C = engine.C

local M = {}

local SLOW = 0.010 -- seconds from which an entry's time and memory are shown

---@class sppo.ReplSession
---@field env table                       globals of what is typed
---@field entries table<string, string>   text of each entry by the name of its chunk
---@field typed string[]                  entries that ran, in order
---@field steps? sppo.Steps               the recipe that :step goes on with
---@field device string                   where tensors are made that name no device
---@field fancy boolean                   whether braille can be shown
local Session = {}
Session.__index = Session

local function pack(...) return { n = select('#', ...), ... } end

--- Ctrl-C must not end at a pcall that was typed: there it goes on.
local function onward(...)
  if host.interrupted() then error('interrupted!', 0) end
  return ...
end

local function new_environment(session)
  local env = setmetatable({ sppo = sppo, ops = sppo.ops }, { __index = _G })
  env._G = env
  function env.print(...)
    local parts = {}
    for i = 1, select('#', ...) do parts[i] = tostring((select(i, ...))) end
    session.write(table.concat(parts, '\t') .. '\n')
  end
  function env.pcall(...) return onward(pcall(...)) end
  function env.xpcall(...) return onward(xpcall(...)) end
  return env
end

--- A session without a terminal of its own.
---@param options { write: fun(text: string), warn: fun(text: string), timing?: boolean,
---  fancy?: boolean }  where results and errors go; whether slow entries say their time
---@return sppo.ReplSession
function M.new(options)
  local session = setmetatable({
    write = options.write, warn = options.warn, timing = options.timing,
    fancy = options.fancy or false, entries = {}, typed = {}, buffer = '', device = 'cpu',
  }, Session)
  session.env = new_environment(session)
  session.own = {} -- what the user did not set
  for key in pairs(session.env) do session.own[key] = true end
  return session
end

--- A chunk from an entry, as an expression if it is one; nil, err.
---@param text string
---@param name? string  of the chunk; 'entry N' if absent
function Session:compile(text, name)
  name = name or ('entry %d'):format(#self.typed + 1)
  local chunk, err = loadstring('return ' .. text, '=' .. name)
  if not chunk and not err:find('near \'<eof>\'', 1, true) then
    chunk, err = loadstring(text, '=' .. name)
  elseif not chunk then -- an expression that goes on, or a statement
    chunk = loadstring(text, '=' .. name)
  end
  self.entries[name] = text
  if not chunk then return nil, err end
  jit.off(chunk, true)
  return setfenv(chunk, self.env)
end

--- Runs fn() in a scope, open to Ctrl-C. Shows an error; returns whether there was none, and what
--- fn returned first.
---@param fn function
---@param bare? boolean  errors without a traceback
function Session:protected(fn, bare)
  local ok, result
  scope.run(function()
    if self.device ~= 'cpu' then
      local inner = fn
      fn = function() return tensor.on_device(self.device, inner) end
    end
    ok, result = host.run(fn, errors.trace)
    if not ok then
      C.sppo_tape_clear()
      C.sppo_recompute_abort()
    end
    -- Reached from here, tensors outlive the entry: globals, the model of a recipe being stepped.
    return self.env, self.steps
  end)
  require('sppo.repl.reload').start() -- the hashes of files that were loaded just now
  if ok then return true, result end
  if host.interrupted() then
    self.warn('interrupted!\n')
  else
    local _, text = pcall(errors.text, result, self.entries, self.env, bare)
    self.warn(text .. '\n')
  end
  return false
end

--- Calls a chunk, keeps its results as _, and writes them unless `text` ends in a semicolon. For
--- use inside `protected`.
function Session:call(chunk, text)
  local results, env = pack(chunk()), self.env
  if results.n == 0 then return end
  if results[1] ~= nil then env._2, env._1, env._ = env._1, env._, results[1] end
  if text:match(';%s*$') then return end
  for i = 1, results.n do self.write(printer.text(results[i]) .. '\n') end
end

--- "tensors 1.0 MiB (peak 2.0), Lua 3.0 MiB"
function M.memory_text()
  local m = sppo.memory()
  return ('tensors %.1f MiB (peak %.1f), Lua %.1f MiB'):format(m.used / 2^20, m.peak / 2^20,
    collectgarbage('count') / 1024)
end

--- Runs one whole entry; whether it did not fail.
---@return boolean
function Session:run_entry(chunk, text)
  self.typed[#self.typed + 1] = text
  local begin = C.sppo_clock()
  local ok = self:protected(function() self:call(chunk, text) end)
  local seconds = C.sppo_clock() - begin
  if self.timing and seconds > SLOW then
    self.write(('  %.0f ms, %s\n'):format(seconds * 1000, M.memory_text()))
  end
  local name = ok and text:match('^%s*local%s+([%a_][%w_]*)%s*=[^\n;]*$')
  if name then
    self.write(('  %s was local to this entry; without `local` it stays\n'):format(name))
  end
  return ok
end

--- Takes one line, or the lines of a paste.
---@param line string
---@return 'more'|'quit'|boolean  an entry goes on; leave; or whether it ran without an error
function Session:feed(line)
  if self.buffer == '' then
    if not line:find('%S') then return true end
    local command = line:match('^%s*:') and not line:match('^%s*::') -- '::x::' is a label
    if command or line:match('^%s*%?') then
      return require('sppo.repl.commands').run(self, line)
    end
    self.buffer = line
  else
    self.buffer = self.buffer .. '\n' .. line
  end
  local text = self.buffer
  local chunk, err = self:compile(text)
  if not chunk and err:find('near \'<eof>\'', 1, true) then return 'more' end
  self.buffer = ''
  if chunk then return self:run_entry(chunk, text) end
  self.warn(errors.text(err, self.entries, self.env) .. '\n')
  return false
end

--- Drops an entry that is not whole.
function Session:give_up() self.buffer = '' end

--- The input ended: an error if an entry is not whole.
---@return boolean
function Session:finish()
  local fine = self.buffer == ''
  if not fine then
    local _, err = self:compile(self.buffer)
    self.warn(errors.text(tostring(err), self.entries, self.env) .. '\n')
  end
  if self.steps then self.steps:close() end
  return fine
end

return M
