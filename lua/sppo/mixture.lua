--- A mixture of policies as one policy: each answer comes whole from one of them, drawn with its
--- weight. With the rounds of a run and the weights of their game's von Neumann winner no single
--- round is preferred to it (the average policy of Theorem 4.1 is such a mixture too).

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local game = require 'sppo.game'
local generate = require 'sppo.generate'
local json = require 'sppo.json'
local model_of = require 'sppo.model'
local sample = require 'sppo.sample'

local M = {}

---@class sppo.Mixture
---@field names string[]     'start', 'round 1' ..
---@field models string[]    what model.open takes
---@field weights number[]   probabilities

--- The rounds of a finished run, the start first, weighted by the von Neumann winner of the game
--- between them (P(round beats round) on the held-out prompts). Rounds without weight are left out.
--- nil, err if the run lacks what is needed.
---@param path string   the run folder
---@return sppo.Mixture?
function M.of_run(path)
  local p, err = game.of_run(path)
  if not p then return nil, err end
  local resolved
  resolved, err = files.json(path .. '/recipe.resolved.json')
  if not resolved then return nil, err end
  local policy = type(resolved.policy) == 'table' and resolved.policy or {}
  local mixture = { names = {}, models = {}, weights = {} }
  for i, weight in ipairs((game.winner(p))) do
    if weight > 0 then
      local n, t = #mixture.names + 1, i - 1
      mixture.names[n] = t == 0 and 'start' or 'round ' .. t
      mixture.models[n] = t == 0 and policy.model or ('%s/round-%d/weights'):format(path, t)
      mixture.weights[n] = weight
      if type(mixture.models[n]) ~= 'string' then
        local text = ('%s: the start is %s, not a model that can be opened'):format(path,
          json.encode(policy.model))
        engine.kind('argument', text)
        return nil, text
      end
    end
  end
  return mixture
end

--- Which policy gives each answer: [prompt][answer], indices into the mixture.
---@param mixture sppo.Mixture
---@param prompts integer
---@param k integer
---@param seed integer
---@return integer[][]
function M.draw(mixture, prompts, k, seed)
  local from = {}
  for i = 1, prompts do
    from[i] = {}
    for j = 1, k do from[i][j] = game.draw(mixture.weights, seed, i - 1, j - 1) end
  end
  return from
end

--- k answers of each conversation. Policies are opened one after the other. An answer is the one
--- that its policy alone would give for the same seed, prompt and answer number.
---@param mixture sppo.Mixture
---@param conversations { role: string, content: string }[][]
---@param options { k: integer, max_new_tokens: integer, temperature?: number, top_p?: number,
---   top_k?: integer, min_p?: number, seed?: integer }
---@param dtype 'f32'|'bf16'|'q8_0'
---@return { text: string, policy: string, stopped: boolean }[][]? answers   nil, err
function M.sample(mixture, conversations, options, dtype)
  local from = M.draw(mixture, #conversations, options.k, options.seed or 0)
  local out = {}
  for i = 1, #conversations do out[i] = {} end
  for number, name in ipairs(mixture.names) do
    local prompts, at = {}, {}
    for i = 1, #conversations do
      local lengths, any = {}, false
      for j = 1, options.k do
        -- The others end with their first token, which the prompt's computation gives anyway.
        lengths[j] = from[i][j] == number and options.max_new_tokens or 1
        any = any or from[i][j] == number
      end
      if any then
        prompts[#prompts + 1] = { id = i - 1, lengths = lengths }
        at[#prompts] = i
      end
    end
    if #prompts > 0 then
      local model, err = model_of.open(mixture.models[number], { dtype = dtype })
      if not model then return nil, err end
      for n, p in ipairs(prompts) do
        p.tokens = generate.prompt_tokens(model, conversations[at[n]])
      end
      local settings = { stop_ids = model.eos_ids or model.tokenizer.eos_ids }
      for key, value in pairs(options) do settings[key] = value end
      sample.run(model, prompts, settings, function(n, answers)
        for j, a in ipairs(answers) do
          if from[at[n]][j] == number then
            local ids = a.tokens
            if a.stopped then ids[#ids] = nil end
            out[at[n]][j] = { text = model.tokenizer:decode(ids), policy = name,
              stopped = a.stopped }
          end
        end
      end)
      model_of.release(model)
    end
  end
  return out
end

return M
