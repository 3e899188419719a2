--- Ranking answers with PairRM, as llm-blender's Blender does: all pairs, against a reference, or
--- the best of them alone. All functions take an open model (sppo.pairrm).

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local pairrm = require 'sppo.pairrm'
local preference = require 'sppo.preference'
local pairrm_preference = require 'sppo.preference.pairrm'

local M = {}

--- Ranks, 1 the best, from scores, of which higher is better; equal scores share the better rank
--- (llm_blender/gpt_eval/utils.py, get_ranks_from_scores).
---@param scores number[]
---@return integer[]
function M.ranks(scores)
  local ranks = {}
  for i = 1, #scores do
    ranks[i] = 1
    for j = 1, #scores do
      if scores[j] > scores[i] then ranks[i] = ranks[i] + 1 end
    end
  end
  return ranks
end

---@class sppo.Ranking
---@field ranks integer[]       1 the best
---@field scores number[]       mean_j (L_ij - L_ji), higher is better
---@field logits number[][]     L[i][j], answer i in the first place, 0 on the diagonal
---@field matrix number[][]     P(answer i beats answer j) in the convention asked for

--- Compares all answers with each other, in both orders (Blender.rank).
---@param model sppo.PairRM
---@param prompt string|{ text?: string, messages?: table[] }
---@param answers string[]
---@param options? { convention?: string, budget?: integer }   'sigma'; 4096 tokens a forward pass
---@return sppo.Ranking
function M.rank(model, prompt, answers, options)
  options = check.options('rank', options, { 'convention', 'budget' })
  local convention = pairrm_preference.convention(options.convention or 'sigma')
  if type(prompt) == 'string' then prompt = { text = prompt } end
  local group = pairrm.group(model, pairrm_preference.texts(prompt, answers))
  local logits = pairrm.matrices(model, { group }, options.budget)[1]
  local _, scores = preference.from_scores(logits)
  return { ranks = M.ranks(scores), scores = scores, logits = logits, matrix = convention(logits) }
end

local modes = {
  ['[A,B]'] = function(ab) return ab end,
  ['[B,A]'] = function(_, ba) return ba end,
  ['[A,B]+[B,A]'] = function(ab, ba) return ab - ba end,
}

--- How much better answer a is than b: a logit, above 0 if a is better. In both orders it is their
--- sum, as llm-blender has it, not their mean; with '[B,A]' alone it is, as there, the logit of b
--- being better (Blender.compare).
---@param model sppo.PairRM
---@param prompt string|{ text?: string, messages?: table[] }
---@param a string
---@param b string
---@param mode? '[A,B]'|'[B,A]'|'[A,B]+[B,A]'   the last
---@return number
function M.compare(model, prompt, a, b, mode)
  mode = mode or '[A,B]+[B,A]'
  if not modes[mode] then
    engine.raise('argument', 'compare: ' .. check.unknown('mode', mode,
      { '[A,B]', '[B,A]', '[A,B]+[B,A]' }), 2)
  end
  if type(prompt) == 'string' then prompt = { text = prompt } end
  local group = pairrm.group(model, pairrm_preference.texts(prompt, { a, b }))
  local l = pairrm.matrices(model, { group })[1]
  return modes[mode](l[1][2], l[2][1])
end

--- Code points of a text, which is how llm-blender measures length.
local function characters(text) return select(2, text:gsub('[^\128-\191]', '')) end

--- Index of the reference answer by name.
local references = {
  first = function() return 1 end,
  last = function(answers) return #answers end,
  longest = function(_, order) return order[1] end,
  shortest = function(_, _, ascending) return ascending[1] end,
  median_length = function(_, _, ascending)
    return ascending[math.floor(#ascending / 2) + 1]
  end,
}

local function by_length(answers, sign)
  local order = {}
  for i = 1, #answers do order[i] = i end
  table.sort(order, function(a, b)
    local x, y = characters(answers[a]), characters(answers[b])
    if x ~= y then return sign * x < sign * y end
    return a < b
  end)
  return order
end

--- Compares all answers with one reference only: K pairs in both orders, and a score that does not
--- depend on the other answers, -compare(reference, answer) (Blender.rank_with_ref).
---@param model sppo.PairRM
---@param prompt string|{ text?: string, messages?: table[] }
---@param answers string[]
---@param options? { mode?: string, reference?: string }   mode: which answer is the reference:
---   longest (as llm-blender), shortest, median_length, first, last; reference: a text instead
---@return { ranks: integer[], scores: number[], reference: string }
function M.rank_with_ref(model, prompt, answers, options)
  options = check.options('rank_with_ref', options, { 'mode', 'reference' })
  local reference = options.reference
  if not reference then
    local mode = options.mode or 'longest'
    if not references[mode] then
      engine.raise('argument', 'rank_with_ref: ' .. check.unknown('mode', mode,
        { 'longest', 'shortest', 'median_length', 'first', 'last' }), 2)
    end
    reference = answers[references[mode](answers, by_length(answers, -1), by_length(answers, 1))]
  end
  if type(prompt) == 'string' then prompt = { text = prompt } end
  local texts = { reference }
  for i, answer in ipairs(answers) do texts[i + 1] = answer end
  local group, list = pairrm.group(model, pairrm_preference.texts(prompt, texts)), {}
  for i = 1, #answers do
    list[2 * i - 1] = { group = group, i = 1, j = i + 1 }
    list[2 * i] = { group = group, i = i + 1, j = 1 }
  end
  local l, scores = pairrm.compare(model, list), {}
  for i = 1, #answers do scores[i] = l[2 * i] - l[2 * i - 1] end
  return { ranks = M.ranks(scores), scores = scores, reference = reference }
end

--- The best answer's index. 'bubble' compares the best so far with the next, in both orders: 2 (K -
--- 1) pairs instead of K (K - 1), but what it finds may depend on the order (Blender.get_best_of_n,
--- which shuffles first).
---@param model sppo.PairRM
---@param prompt string|{ text?: string, messages?: table[] }
---@param answers string[]
---@param options? { method?: 'full'|'bubble' }   'full'
---@return integer
function M.best_of_n(model, prompt, answers, options)
  options = check.options('best_of_n', options, { 'method' })
  local method = options.method or 'full'
  if method ~= 'full' and method ~= 'bubble' then
    engine.raise('argument', 'best_of_n: ' .. check.unknown('method', method, { 'full', 'bubble' }),
      2)
  end
  if #answers == 0 then engine.raise('argument', 'best_of_n: there are no answers', 2) end
  if method == 'full' then
    for i, rank in ipairs(M.rank(model, prompt, answers).ranks) do
      if rank == 1 then return i end
    end
  end
  if type(prompt) == 'string' then prompt = { text = prompt } end
  local group = pairrm.group(model, pairrm_preference.texts(prompt, answers))
  local best = 1
  for i = 2, #answers do
    local l = pairrm.compare(model, { { group = group, i = best, j = i },
      { group = group, i = i, j = best } })
    if l[1] - l[2] <= 0 then best = i end
  end
  return best
end

--- How much better conversation a is than b, which differ in the assistant's turns only: a logit
--- (Blender.compare_conversations).
---@param model sppo.PairRM
---@param a { role: string, content: string }[]   user and assistant in turn
---@param b { role: string, content: string }[]
---@param mode? string   of M.compare
---@return number
function M.conversations(model, a, b, mode)
  local source, first = pairrm_preference.conversation(a)
  local other, second = pairrm_preference.conversation(b)
  if source ~= other then
    engine.raise('argument', 'conversations: the user\'s turns must be the same in both')
  end
  return M.compare(model, source, first, second, mode)
end

return M
