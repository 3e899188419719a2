--- What a template may cost, and how it fails: every part of the interpreter counts its work here.
--- One template is rendered at a time, so this is the module's own state.

local M = {}

local STEPS = 1e6 -- statements, turns of loops, elements of lists, 256 bytes of text made
local BYTES = 2^24 -- of any one text, and of the output
local CALLS = 100 -- macros inside of macros

local state = { line = 1, steps = 0, calls = 0 }

---@class sppo.jinja.Error
---@field text string
---@field line integer   of the template
---@field raised? boolean  the template's own raise_exception
local Error = {}
Error.__index = Error
function Error.__tostring(e) return ('line %d: %s'):format(e.line, e.text:sub(1, 500)) end

--- Ends the rendering (or the parsing) with a text.
---@param text string
---@param line? integer  the statement's by default
function M.fail(text, line)
  error(setmetatable({ text = text, line = line or state.line }, Error), 0)
end

--- As fail, for a text with format's arguments.
function M.failf(text, ...) M.fail(text:format(...)) end

--- What raise_exception does: the template's own words.
function M.raise(text)
  error(setmetatable({ text = text, line = state.line, raised = true }, Error), 0)
end

--- Work of n steps.
function M.spend(n)
  local steps = state.steps - n
  state.steps = steps
  if steps < 0 then M.failf('the template takes more than %d steps', STEPS) end
end

--- Fails if a text or an output of so many bytes is more than may be.
function M.fits(bytes)
  if bytes > BYTES then
    M.failf('the template makes a text of %.0f bytes; up to %d are allowed', bytes, BYTES)
  end
end

--- A text of so many bytes is about to be made.
function M.grow(bytes)
  M.fits(bytes)
  M.spend(1 + bytes / 256)
end

--- A text is walked through character by character.
function M.walk(bytes) M.spend(bytes / 16) end

--- A text is read by the processor's own speed, or searched for a part of so many bytes.
function M.search(bytes, part) M.spend(bytes / 1024 + bytes * (part or 0) / 2^16) end

--- The statement at this line begins.
function M.at(line)
  state.line = line
  M.spend(1)
end

--- A macro's call begins; leave() when it is over.
function M.enter()
  state.calls = state.calls + 1
  if state.calls > CALLS then M.failf('macros call each other more than %d deep', CALLS) end
end

function M.leave() state.calls = state.calls - 1 end

--- fn's result; nil and an Error where it failed. Other errors are raised again.
---@return any? result
---@return sppo.jinja.Error? err
function M.run(fn, ...)
  state.line, state.steps, state.calls = 1, STEPS, 0
  local ok, result = pcall(fn, ...)
  if ok then return result end
  if getmetatable(result) == Error then return nil, result end
  if type(result) == 'string' and result:find('stack overflow', 1, true) then
    return nil, setmetatable({ text = 'the template nests too deeply', line = state.line }, Error)
  end
  error(result, 0)
end

--- Arguments by name: by position in the order of `names`, or by keyword; nil where not given.
---@param what string    for errors
---@param names string[]
---@param args table     { n = .., .. }
---@param kwargs? table<string, any>
function M.take(what, names, args, kwargs)
  if args.n > #names then
    M.failf('%s takes at most %d arguments, got %d', what, #names, args.n)
  end
  if not kwargs then return args[1], args[2], args[3], args[4] end
  local found = { args[1], args[2], args[3], args[4] }
  for key, given in pairs(kwargs) do
    local at
    for i, name in ipairs(names) do at = name == key and i or at end
    if not at then M.failf('%s has no argument \'%s\'', what, key) end
    if at <= args.n then M.failf('%s: argument \'%s\' is given twice', what, key) end
    found[at] = given
  end
  return found[1], found[2], found[3], found[4]
end

return M
