--- What tests found of how far sppo is from its references, for docs/models.md: a line of JSON for
--- each in the file that SPPO_PARITY names (tools/parity), nothing where it names none.

local files = require 'sppo.files'
local json = require 'sppo.json'

local M = {}

--- Notes the largest difference of `cases` comparisons.
---@param kind 'model'|'tokenizer'|'template'|'ranker'
---@param name string
---@param what string        'logits', 'ids' ..
---@param reference string
---@param difference number  relative to the larger of 1 and the reference; for ids and texts
---   how many differ
---@param cases integer
function M.note(kind, name, what, reference, difference, cases)
  local path = os.getenv 'SPPO_PARITY'
  if not path or path == '' then return end
  files.append(path, json.encode { kind = kind, name = name, what = what, reference = reference,
    difference = difference, cases = cases } .. '\n', false)
end

return M
