--- Verifiable instructions as a preference: of two answers, the one that obeys is better.
---
--- A rule is a sentence for the prompt and a check of the answer. `rules.preference` turns checks
--- into P(y_i beats y_j): `confidence` if only y_i obeys, 1 - confidence if only y_j does, else
--- 1/2.

local check = require 'sppo.check'

local M = {}

---@class sppo.Rule
---@field kind string                      'at_most_words', ...
---@field text string                      the instruction, as the prompt says it
---@field check fun(answer: string): boolean

local function words(text)
  local n = 0
  for _ in text:gmatch('%S+') do n = n + 1 end
  return n
end

--- Sentences: runs of . ! ? that end the text or are followed by space; a rest without one counts.
local function sentences(text)
  local n, last = 0, 1
  for stop in text:gmatch('[.!?]+["\')%]]*()') do
    if stop > #text or text:sub(stop, stop):match('%s') then n, last = n + 1, stop end
  end
  if text:sub(last):match('%w') then n = n + 1 end
  return n
end

local function rule(kind, text, fn) return { kind = kind, text = text, check = fn } end

--- At most n words (runs of characters that are not white space).
---@param n integer
---@return sppo.Rule
function M.at_most_words(n)
  return rule('at_most_words', ('Use at most %d words.'):format(n), function(a)
    return words(a) <= n
  end)
end

--- At least n words.
---@param n integer
---@return sppo.Rule
function M.at_least_words(n)
  return rule('at_least_words', ('Use at least %d words.'):format(n), function(a)
    return words(a) >= n
  end)
end

--- No comma anywhere.
---@return sppo.Rule
function M.no_commas()
  return rule('no_commas', 'Do not use any commas.', function(a)
    return not a:find(',', 1, true)
  end)
end

--- Exactly one sentence: runs of . ! ? that end the text or are followed by white space count.
---@return sppo.Rule
function M.one_sentence()
  return rule('one_sentence', 'Answer in exactly one sentence.', function(a)
    return sentences(a) == 1
  end)
end

--- At least n sentences.
---@param n integer
---@return sppo.Rule
function M.at_least_sentences(n)
  return rule('at_least_sentences', ('Answer in at least %d sentences.'):format(n), function(a)
    return sentences(a) >= n
  end)
end

--- A question mark at the end, quotes and brackets after it allowed.
---@return sppo.Rule
function M.ends_with_question()
  return rule('ends_with_question', 'End your answer with a question.', function(a)
    return a:match('%?["\')%]]*%s*$') ~= nil
  end)
end

--- The word must stand in the answer on its own, in any case.
---@param word string
---@return sppo.Rule
function M.mentions(word)
  local pattern = '%f[%w]' .. word:lower():gsub('%W', '%%%0') .. '%f[%W]'
  return rule('mentions', ('Mention the word "%s".'):format(word), function(a)
    return a:lower():find(pattern) ~= nil
  end)
end

local mentioned = {
  'river', 'friend', 'blue', 'history', 'window', 'music', 'summer', 'secret', 'garden', 'travel',
}

local mix = {
  function() return M.at_most_words(20) end,
  function() return M.at_least_words(40) end,
  M.no_commas,
  function() return M.at_least_sentences(3) end,
  M.ends_with_question,
  function(turn) return M.mentions(mentioned[1 + turn % #mentioned]) end,
}

--- Six kinds in turn that pull both ways, so that no one habit (short answers, say) wins.
---@param i integer  counts from 0
---@return sppo.Rule
function M.mixed(i) return mix[1 + i % #mix](math.floor(i / #mix)) end

--- Whether an answer obeys: an empty one, or one that was cut off, never does.
---@param prompt { rule: sppo.Rule }
---@param answer string
---@param detail { stopped: boolean }
---@return boolean
function M.obeys(prompt, answer, detail)
  return detail.stopped and answer:find('%S') ~= nil and prompt.rule.check(answer)
end

--- The preference of a recipe whose prompts carry a rule.
---@param options? { confidence: number }  of a verdict, 0.5..1; 0.95
---@return sppo.Preference
function M.preference(options)
  options = check.options('rules.preference', options, { 'confidence' })
  local confidence = check.number('confidence', options.confidence or 0.95, 'number', 0.5, 1)
  return {
    key = ('rules confidence=%.17g'):format(confidence),
    pass = M.obeys,
    prefer = function(prompt, answers, details)
      local good, matrix = {}, {}
      for i, a in ipairs(answers) do good[i] = M.obeys(prompt, a, details[i]) and 1 or 0 end
      for i = 1, #answers do
        matrix[i] = {}
        for j = 1, #answers do matrix[i][j] = 0.5 + (confidence - 0.5) * (good[i] - good[j]) end
      end
      return matrix
    end,
  }
end

return M
