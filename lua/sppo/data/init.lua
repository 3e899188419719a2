--- Data files: JSON lines, where they are looked for, and splits that do not depend on their order.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local json = require 'sppo.json'

local M = {}

--- Path of a file of prompts or pairs: as given, or in the data folder that tools/fetch-data fills.
function M.find(name)
  if files.exists(name) then return name end
  local path = require('sppo.model').home() .. '/data/prompts/' .. name
  if files.exists(path) then return path end
  engine.raise('io', ('%s: no such file, here or in %s ' ..
    '(tools/fetch-data puts the recipes\' prompts there)'):format(name, path:match('^(.*)/')))
end

--- The values of a JSON lines file; raises with file and line where one is malformed.
---@param name string
---@return table[]
function M.jsonl(name)
  local path = M.find(name)
  local text, err = files.read(path)
  if not text then error(err, 0) end
  local rows, number = {}, 0
  for line in text:gmatch('[^\n]+') do
    number = number + 1
    local value
    value, err = json.decode(line)
    if err then engine.raise('format', ('%s:%d: %s'):format(path, number, err)) end
    rows[#rows + 1] = value
  end
  return rows
end

--- A number in [0, 1) that depends on the text alone: splits and shuffles that survive reordering.
---@param text string
---@param salt? string
function M.fraction(text, salt)
  return tonumber(files.sha256((salt or '') .. text):sub(1, 12), 16) / 2^48
end

return M
