--- Preference by PairRM: all K (K - 1) ordered pairs of a prompt's answers are compared. Its matrix
--- need not be transitive, and cycles are kept.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local model_of = require 'sppo.model'
local pairrm = require 'sppo.pairrm'
local preference = require 'sppo.preference'

local M = {}

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

--- P from L by a function of two logits, 1/2 on the diagonal.
local function by_pair(fn)
  return function(logits)
    local p = {}
    for i = 1, #logits do
      p[i] = {}
      for j = 1, #logits do p[i][j] = i == j and 0.5 or fn(logits[i][j], logits[j][i]) end
    end
    return p
  end
end

--- From logits to probabilities, by name.
M.conventions = {
  --- The paper's (section 5.1): sigmoid(L_ij). The places matter: P_ij + P_ji need not be 1.
  sigma = by_pair(function(l) return sigmoid(l) end),
  --- Both orders of a pair: sigmoid((L_ij - L_ji) / 2), so that P_ij + P_ji = 1.
  symmetric = by_pair(function(l, back) return sigmoid((l - back) / 2) end),
  --- The official code's: one score an answer (preference.from_scores), which has no cycles.
  aggregated = function(logits) return (preference.from_scores(logits)) end,
}

--- The convention of that name; raises if there is none.
---@param name 'sigma'|'symmetric'|'aggregated'
---@return fun(logits: number[][]): number[][]
function M.convention(name)
  if M.conventions[name] then return M.conventions[name] end
  local known = {}
  for key in pairs(M.conventions) do known[#known + 1] = key end
  table.sort(known)
  engine.raise('argument', 'pairrm: ' .. check.unknown('convention', name, known), 2)
end

local INTRODUCTION = 'Finish the following coversation in each i-th turn by filling in ' ..
  '<Response i> with your response.'

--- The source and the candidate that llm-blender makes of a conversation of user and assistant in
--- turn (Blender.compare_conversations; the spelling is its own). With an answer the conversation
--- ends with the user's turn.
---@param messages { role: string, content: string }[]
---@param answer? string
---@return string source, string candidate
function M.conversation(messages, answer)
  local turns, source, candidate = {}, {}, {}
  for i, m in ipairs(messages) do turns[i] = m end
  if answer then turns[#turns + 1] = { role = 'assistant', content = answer } end
  for i, m in ipairs(turns) do
    local wanted, number = i % 2 == 1 and 'user' or 'assistant', math.ceil(i / 2)
    if type(m.role) ~= 'string' or m.role:lower() ~= wanted or type(m.content) ~= 'string' then
      engine.raise('argument', ('conversation: message %d must be one of the %s, got role \'%s\'')
        :format(i, wanted, tostring(m.role)))
    end
    if wanted == 'user' then
      source[number] = ('USER: %s\nAssistant: <Response %d>'):format(m.content, number)
    else
      candidate[number] = ('<Response %d>: %s'):format(number, m.content)
    end
  end
  if #turns == 0 or #turns % 2 ~= 0 then
    engine.raise('argument', 'conversation: it must end with a turn of the assistant')
  end
  return INTRODUCTION .. table.concat(source, '\n'), table.concat(candidate, '\n')
end

--- Source and candidates for a prompt of a recipe: its text as it is, or one message of the user;
--- longer conversations as M.conversation has them. A system message's text stands before it all.
---@param prompt { text?: string, messages?: table[] }
---@param answers string[]
---@return string source, string[] candidates
function M.texts(prompt, answers)
  if prompt.text then return prompt.text, answers end
  local system, messages = '', prompt.messages
  if not messages then
    engine.raise('argument', ('pairrm: prompt %s has neither text nor messages; give the ' ..
      'preference a `source` function'):format(tostring(prompt.id)))
  end
  if messages[1] and messages[1].role == 'system' then
    system, messages = messages[1].content .. '\n', { unpack(messages, 2) }
  end
  if #messages == 1 then return system .. messages[1].content, answers end
  local source, candidates = nil, {}
  for i, answer in ipairs(answers) do source, candidates[i] = M.conversation(messages, answer) end
  return system .. (source or ''), candidates
end

--- A preference for recipes. The model is opened when it is first asked and kept.
---@param options { model: string|sppo.PairRM, convention?: string, dtype?: string,
---   source?: function, budget?: integer }
---   model: a folder, a fetched model's name, or one that is open; convention: of M.conventions,
---   'sigma'; source: function(prompt) -> text, what PairRM reads of a prompt (the official code
---   gives it the prompt in the policy's chat template); budget: tokens of a forward pass (4096)
---@return sppo.Preference
function M.preference(options)
  options = check.options('pairrm.preference', options, { 'model', 'convention', 'dtype', 'source',
    'budget' })
  local name = options.convention or 'sigma'
  local convention, model = M.convention(name), nil
  local budget = check.number('budget', options.budget or pairrm.BUDGET, 'integer', 1, 2^24)
  local path = options.model
  if type(path) == 'table' then path, model = path.path, path
  else check.type('model', path, 'string') end
  local function open()
    if model then return model end
    local opened, err = pairrm.open(path, { dtype = options.dtype })
    if not opened then error(err, 0) end
    model = opened
    return model
  end
  local found = not model and model_of.find(path)
  local config = found and files.sha256_file(found .. '/config.json') or ''
  return {
    both_orders = name == 'sigma',
    -- A `source` function is a part of the recipe, whose text then stands for it.
    key = not options.source and
      ('pairrm %s %s %s %s'):format(path, config, name, options.dtype or 'f32') or nil,
    prefer = function(prompt, answers)
      local source, candidates
      if options.source then source, candidates = options.source(prompt), answers
      else source, candidates = M.texts(prompt, answers) end
      local m = open()
      local group = pairrm.group(m, source, candidates)
      return convention(pairrm.matrices(m, { group }, budget)[1])
    end,
  }
end

return M
