--- Options that are numbers: argparse's convert functions, which say the option and its range.

local check = require 'sppo.check'

local M = {}

--- A convert function for an option.
---@param name string  '--top-p'
---@param kind 'integer'|'number'
---@param low number
---@param high number
---@return fun(text: string): number?, string?
function M.option(name, kind, low, high)
  return function(text)
    local n = tonumber(text)
    if n and not check.number_text(name, n, kind, low, high) then return n end
    -- With the text as it was written.
    return nil, check.number_text(name, text, kind, low, high)
  end
end

--- What `gen` and `chat` draw with: { kind, low, high } by option.
M.sampling = {
  ['-k'] = { 'integer', 1, 4096 }, ['--temperature'] = { 'number', 0, 100 },
  ['--top-p'] = { 'number', 1e-9, 1 }, ['--top-k'] = { 'integer', 0, 2^30 },
  ['--min-p'] = { 'number', 0, 1 }, ['--max-new-tokens'] = { 'integer', 1, 2^20 },
  ['--seed'] = { 'integer', 0, 2^53 },
}

--- The convert function of one of these.
function M.drawing(name) return M.option(name, unpack(M.sampling[name])) end

return M
