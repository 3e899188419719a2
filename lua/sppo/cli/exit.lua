--- Exit codes, and how an error reaches the user: `sppo: what`, then `try: ...` if something helps.

local M = {}

--- By the kind of an error (sppo.ffi raises with one).
M.codes = {
  runtime = 1, shape = 1, dtype = 1, state = 1,
  usage = 2, recipe = 2, argument = 2,
  format = 3, memory = 4, nonfinite = 5, io = 6, device = 7,
  stopped = 75, interrupted = 130,
}

--- Raises a usage error.
---@param message string
---@param try? string  a command that helps
function M.usage(message, try) error({ message = message, kind = 'usage', try = try }, 0) end

--- Raises what a function that opens outside data returned as its error.
---@param err string
function M.data(err)
  local kind = require('sppo.ffi').kind_of(err)
  error({ message = err, kind = kind == 'runtime' and 'format' or kind }, 0)
end

--- Ends the program quietly with a code.
function M.leave(code) error({ code = code }, 0) end

--- The kind of a caught error.
---@param err { message: string, kind?: string }
---@return string
function M.kind(err)
  if err.kind then return err.kind end
  local loaded = package.loaded['sppo.ffi']
  return loaded and loaded.kind_of(tostring(err.message)) or 'runtime'
end

--- The exit code of a caught error.
---@param err { message: string, kind?: string, exit?: integer }
---@return integer
function M.code(err) return err.exit or M.codes[M.kind(err)] or 1 end

--- Files' and users' texts in an error can't move the cursor or colour the terminal.
local function printable(text)
  return (text:gsub('[%z\1-\8\11-\31\127]', function(c) return ('\\%d'):format(c:byte()) end))
end

--- Prints a caught error on stderr; returns its exit code.
---@param err { message: string, kind?: string, try?: string, traceback?: string }
---@param verbose? boolean
function M.report(err, verbose)
  io.stdout:flush()
  io.stderr:write('sppo: ', printable(tostring(err.message or err)), '\n')
  if err.try then io.stderr:write('try: ', printable(err.try), '\n') end
  if verbose and err.traceback then io.stderr:write((err.traceback:gsub('^\n', '')), '\n') end
  return M.code(err)
end

return M
