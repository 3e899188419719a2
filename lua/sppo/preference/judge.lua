--- A language model as the judge: it is shown a prompt and two answers, in both orders, and the
--- probabilities of the two verdicts as its next token give P(first beats second).

local chat = require 'sppo.chat'
local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local generate = require 'sppo.generate'
local model_of = require 'sppo.model'
local scope = require 'sppo.scope'
local score = require 'sppo.score'

local M = {}

local BUDGET = 4096 -- tokens in a forward pass

--- What the judge is asked; {prompt}, {first} and {second} are put in.
M.question = [[
Two assistants answered the same instruction. Decide which answer follows it better.

Instruction:
{prompt}

Answer A:
{first}

Answer B:
{second}

Which answer is better? Say only A or B.]]

--- The text of a question.
---@param question string  with {prompt}, {first} and {second} in it
---@param prompt string
---@param first string
---@param second string
---@return string
function M.ask(question, prompt, first, second)
  local parts = { prompt = prompt, first = first, second = second }
  return (question:gsub('{(%a+)}', parts))
end

--- The ids of the two verdicts; raises unless each is one token.
local function verdict_ids(model, verdicts)
  local ids = {}
  for i, text in ipairs(verdicts) do
    local tokens = model.tokenizer:encode(text)
    if #tokens ~= 1 then
      engine.raise('argument', ('judge.preference: the verdict \'%s\' is %d tokens for %s; it ' ..
        'must be one'):format(text, #tokens, model.path))
    end
    ids[i] = tokens[1]
  end
  if ids[1] == ids[2] then
    engine.raise('argument', 'judge.preference: the two verdicts are the same token')
  end
  return ids
end

--- P(i beats j): the mean of P('the first is better') for i, j and P('the second is better') for
--- j, i.
---@param first number[][]  P('the first is better') where i stands first and j second
function M.matrix(first)
  local p = {}
  for i = 1, #first do
    p[i] = {}
    for j = 1, #first do p[i][j] = i == j and 0.5 or (first[i][j] + 1 - first[j][i]) / 2 end
  end
  return p
end

--- A preference for recipes. The model is opened when it is first asked and kept.
---@param options { model: string, dtype?: string, question?: string, verdicts?: string[] }
---   question: as M.question. verdicts: what the judge says if the first, or the second, is better;
---   one token each, { 'A', 'B' }
---@return sppo.Preference
function M.preference(options)
  options = check.options('judge.preference', options, { 'model', 'dtype', 'question', 'verdicts' })
  local question, verdicts = options.question or M.question, options.verdicts or { 'A', 'B' }
  for _, name in ipairs { 'first', 'second' } do
    if not question:find('{' .. name .. '}', 1, true) then
      engine.raise('argument',
        ('judge.preference: the question does not contain {%s}'):format(name), 2)
    end
  end
  local model, ids
  local function open()
    if model then return end
    local opened, err = model_of.open(options.model, { dtype = options.dtype or 'bf16' })
    if not opened then error(err, 0) end
    model, ids = opened, verdict_ids(opened, verdicts)
  end
  return {
    key = table.concat({ 'judge', options.model, options.dtype or 'bf16', question, verdicts[1],
      verdicts[2] }, '\0'),
    prefer = function(prompt, answers)
      open()
      local groups, places, k = {}, {}, #answers
      local said = prompt.text or prompt.messages[#prompt.messages].content
      for i = 1, k do
        for j = 1, k do
          if i ~= j then
            local text = M.ask(question, said, answers[i], answers[j])
            groups[#groups + 1] = { answers = { { tokens = { ids[1] } }, { tokens = { ids[2] } } },
              prompt = generate.prompt_tokens(model, { { role = 'user', content = text } },
                { now = chat.STILL }) }
            places[#groups] = { i, j }
          end
        end
      end
      local first, n = {}, 0
      for i = 1, k do first[i] = {} end
      for _, micro in ipairs(score.micro_batches(groups, BUDGET)) do
        local logprobs = scope.run(function() return score.logprobs(model.net, micro):tolist() end)
        for m = 1, #micro do
          n = n + 1
          local i, j = unpack(places[n])
          first[i][j] = 1 / (1 + math.exp(logprobs[2 * m] - logprobs[2 * m - 1]))
        end
      end
      return M.matrix(first)
    end,
  }
end

return M
