--- Pairs to train on that were made elsewhere, for Run:given: rows with a prompt, a chosen and a
--- rejected answer, and perhaps how probable it is that the one beats the other.

local check = require 'sppo.check'
local data = require 'sppo.data'
local engine = require 'sppo.ffi'

local M = {}

local probabilities = { 'chosen_probs', 'chosen_probs_win', 'chosen_probs_lose' }

--- The pairs of a file that data.pairs reads. Columns of the official code are used if they are
--- there: `chosen_probs` is P(chosen beats rejected), 1 if left out; `chosen_probs_win` and `_lose`
--- are the answers' P against pi_t, if left out the means of the pair's 2 x 2 matrix, 1/2 on its
--- diagonal (arXiv 2405.00675, section 5.1). Raises with file and pair.
---@param path string
---@return { messages: table[], chosen: string, rejected: string, pair: number, win: number,
---   lose: number }[]
function M.read(path)
  local out = {}
  for i, item in ipairs(data.pairs(path, { keep = probabilities })) do
    for _, key in ipairs(probabilities) do
      local text = item[key] ~= nil and check.number_text(key, item[key], 'number', 0, 1)
      if text then engine.raise('format', ('%s: pair %d: %s'):format(path, i, text)) end
    end
    for _, key in ipairs { 'chosen', 'rejected' } do
      if not item[key]:find('%S') then
        engine.raise('format', ('%s: pair %d: %s is empty'):format(path, i, key))
      end
    end
    local p = item.chosen_probs or 1
    out[i] = { messages = item.messages or { { role = 'user', content = item.prompt } },
      chosen = item.chosen, rejected = item.rejected, pair = p,
      win = item.chosen_probs_win or (0.5 + p) / 2,
      lose = item.chosen_probs_lose or (1.5 - p) / 2 }
  end
  if #out == 0 then engine.raise('format', path .. ': has no pairs') end
  return out
end

return M
