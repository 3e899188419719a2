--- Preference drawn towards 1/2 where two answers say nearly the same, so that a judge that is sure
--- of itself does not push texts apart that nobody could tell apart: P' = 1/2 + (1 - s) (P - 1/2)
--- with the similarity s of the two (after the linear gate of S-SPPO, arXiv 2606.01561; here s is
--- what the words of the two texts have in common, or a function of one's own).

local check = require 'sppo.check'
local preference = require 'sppo.preference'

local M = {}

--- Counts of a text's words in pairs, its ends included.
local function word_pairs(text)
  local counts, total, last = {}, 0, ''
  local function add(word)
    local key = last .. '\0' .. word
    counts[key], total, last = (counts[key] or 0) + 1, total + 1, word
  end
  for word in text:lower():gmatch('%S+') do add(word) end
  add('')
  return counts, total
end

--- Share of word pairs that two texts have in common (Dice's coefficient): 1 for the same words in
--- the same order, 0 for none.
---@param a string
---@param b string
---@return number
function M.overlap(a, b)
  local first, n = word_pairs(a)
  local second, m = word_pairs(b)
  local common = 0
  for key, count in pairs(first) do common = common + math.min(count, second[key] or 0) end
  return 2 * common / (n + m)
end

--- A preference for recipes: `of`, calibrated.
---@param options { of: sppo.Preference|function, above?: number,
---   similarity?: fun(a: string, b: string): number }
---   above: similarity up to which P stays as it is, the gate closes from there to 1; 0.
---   similarity: 0..1; M.overlap if absent. One of one's own makes the recipe's text the key.
---@return sppo.Preference
function M.preference(options)
  options = check.options('gated.preference', options, { 'of', 'above', 'similarity' })
  local inner = preference.new(options.of)
  local above = check.number('gated.preference: above', options.above or 0, 'number', 0, 0.999)
  local similarity = options.similarity or M.overlap
  return {
    both_orders = inner.both_orders, pass = inner.pass,
    key = inner.key and not options.similarity and ('gated %.17g %s'):format(above, inner.key)
      or nil,
    prefer = function(prompt, answers, details)
      local p, out = preference.matrix(inner, prompt, answers, details), {}
      for i = 1, #answers do out[i] = { [i] = 0.5 } end
      for i = 1, #answers do
        for j = i + 1, #answers do
          local s = check.number('gated.preference: similarity', similarity(answers[i], answers[j]),
            'number', 0, 1)
          local open = 1 - math.max(0, s - above) / (1 - above)
          out[i][j] = 0.5 + open * (p[i][j] - 0.5)
          out[j][i] = 0.5 + open * (p[j][i] - 0.5)
        end
      end
      return out
    end,
  }
end

return M
