--- The engine as LuaJIT sees it: the header's text, a version check, and errors.
---
--- The only file that knows where the declarations come from. `engine.C` is the namespace of C
--- functions; `engine.try(status)` turns a failed call into a Lua error with the engine's text.

local ffi = require 'ffi'

local M = { ffi = ffi, C = ffi.C }

local EXPECTED = 1 -- SPPO_API_VERSION of include/sppo.h

local function header_text()
  local host = require 'sppo.host'
  return assert(host.embedded('sppo.h'), 'sppo.h is not embedded in this binary')
end

local text = header_text():match('/%* cdef: begin %*/(.-)/%* cdef: end %*/')
ffi.cdef(text)
local version = ffi.C.sppo_api_version()
if version ~= EXPECTED then
  error(('the engine has API %d, the Lua files want %d'):format(version, EXPECTED))
end

--- Kinds of failure by status; cli/exit.lua gives each an exit code.
local kinds = {
  'argument', 'shape', 'dtype', 'device', 'memory', 'format', 'io', 'nonfinite', 'state',
  'interrupted',
}

local last = { kind = 'runtime', message = '' }

--- Raises `message` and remembers its kind, for whoever turns it into an exit code.
---@param kind string     'usage', 'memory', 'format', 'io', 'nonfinite', 'state', ...
---@param message string
---@param level? integer  as in error(); 0 adds no position, the default
function M.raise(kind, message, level)
  last = { kind = kind, message = message }
  error(message, level and level > 0 and level + 1 or 0)
end

--- Remembers the kind of an error that is returned, not raised.
function M.kind(kind, message) last = { kind = kind, message = message } end

--- The kind of an error that was caught; 'runtime' for what did not come through raise or try.
function M.kind_of(err)
  if tostring(err):find(last.message, 1, true) and last.message ~= '' then return last.kind end
  return 'runtime'
end

--- Raises the engine's last error if `status` is one.
function M.try(status)
  if status ~= 0 then
    M.raise(kinds[tonumber(status)] or 'runtime', ffi.string(ffi.C.sppo_last_error()))
  end
end

--- nil, text of the engine's last error: for functions that open outside data.
function M.failure(status)
  local message = ffi.string(ffi.C.sppo_last_error())
  last = { kind = kinds[tonumber(status)] or 'runtime', message = message }
  return nil, message
end

return M
