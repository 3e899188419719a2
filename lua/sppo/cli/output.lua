--- Results on stdout. A reader that goes away (`sppo cat FILE | head`) ends the program quietly; a
--- full disk is an error, never a result cut short in silence.

local exit = require 'sppo.cli.exit'

local M = {}

local EPIPE = 32

local function failed(err, code)
  if code == EPIPE then exit.leave(0) end
  error({ message = 'stdout: ' .. tostring(err), kind = 'io' }, 0)
end

function M.write(...)
  local ok, err, code = io.stdout:write(...)
  if not ok then failed(err, code) end
end

--- A line as soon as it is there.
function M.flush()
  local ok, err, code = io.stdout:flush()
  if not ok then failed(err, code) end
end

return M
