--- Preference by a scalar reward model: P(y beats y') = sigmoid(r(x, y) - r(x, y')). It is
--- Bradley-Terry, so transitive: no cycle of answers can come of it.

local check = require 'sppo.check'
local files = require 'sppo.files'
local model_of = require 'sppo.model'
local reward = require 'sppo.reward'

local M = {}

--- Rewards of a prompt's answers, and the matrix made of them.
---@param rewards number[]
---@return number[][]
function M.matrix(rewards)
  local p = {}
  for i, a in ipairs(rewards) do
    p[i] = {}
    for j, b in ipairs(rewards) do p[i][j] = 1 / (1 + math.exp(b - a)) end
  end
  return p
end

--- A preference for recipes. The model is opened when it is first asked and kept.
---@param options { model: string, dtype?: string, max_prompt?: integer, max_length?: integer }
---   model: a folder with a `...ForSequenceClassification` of one label; a prompt keeps its last
---   max_prompt tokens (512), prompt and answer the first max_length (1024)
---@return sppo.Preference
function M.preference(options)
  options = check.options('reward.preference', options, { 'model', 'dtype', 'max_prompt',
    'max_length' })
  local limits = { max_prompt = options.max_prompt or 512, max_length = options.max_length or 1024 }
  local model
  local function open()
    if model then return model end
    local opened, err = model_of.open(options.model, { dtype = options.dtype })
    if not opened then error(err, 0) end
    if not opened.net.score then
      require('sppo.ffi').raise('argument', options.model .. ': is a language model, not a ' ..
        'reward model (its config.json names no ...ForSequenceClassification)')
    end
    model = opened
    return model
  end
  local path = model_of.find(options.model)
  local config = path and files.sha256_file(path .. '/config.json') or ''
  return {
    key = ('reward %s %s %d %d'):format(options.model, config, limits.max_prompt,
      limits.max_length),
    prefer = function(prompt, answers)
      local m = open()
      local group = reward.group(m, prompt, answers, limits)
      return M.matrix(reward.rewards(m.net, { group }, 4096)[1])
    end,
  }
end

return M
