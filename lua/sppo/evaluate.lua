--- What the held-out prompts say of a round: how often its answers pass, how often they beat those
--- of the start, and how long they are.

local comm = require 'sppo.comm'
local engine = require 'sppo.ffi'
local preference = require 'sppo.preference'

local C = engine.C

local M = {}

local BOOTSTRAP, DRAWS = 0x626f6f74, 2000

--- Mean of `values`, and the 2.5 % and 97.5 % quantiles of the means of resampled values.
---@param values number[]
---@param seed integer
---@return number mean, number low, number high
function M.bootstrap(values, seed)
  local n, sum = #values, 0
  for _, v in ipairs(values) do sum = sum + v end
  local means = {}
  for d = 1, DRAWS do
    local s = 0
    for i = 1, n do
      s = s + values[1 + math.floor(n * C.sppo_philox_uniform(seed, d, i, 0, BOOTSTRAP))]
    end
    means[d] = s / n
  end
  table.sort(means)
  return sum / n, means[math.floor(0.025 * DRAWS) + 1], means[math.ceil(0.975 * DRAWS)]
end

--- For each prompt: the mean of P(new answer beats old answer) over all pairs.
---@param p sppo.Preference
---@param prompts table[]
---@param new table[]  records of answers, in the order of prompts
---@param old table[]
function M.win_rates(p, prompts, new, old)
  -- The processes of a run take prompts in turn.
  return comm.each(#prompts, function(i)
    local prompt = prompts[i]
    local texts, details, n = {}, {}, #new[i].answers
    for _, list in ipairs { new[i].answers, old[i].answers } do
      for _, a in ipairs(list) do
        texts[#texts + 1] = a.text
        details[#details + 1] = { stopped = a.stopped, tokens = #a.tokens }
      end
    end
    local matrix, sum = preference.matrix(p, prompt, texts, details), 0
    for a = 1, n do
      for b = n + 1, #texts do sum = sum + matrix[a][b] end
    end
    return sum / (n * (#texts - n))
  end)
end

--- Metrics of a round's answers against the start's.
---@param p sppo.Preference
---@param prompts table[]
---@param new table[]
---@param old table[]   the start's answers; at round 0 the same
---@param seed integer  of the bootstrap
---@return table metrics
function M.metrics(p, prompts, new, old, seed)
  local metrics, tokens, clipped, count = {}, 0, 0, 0
  local passed, kinds = 0, {}
  for i, prompt in ipairs(prompts) do
    for _, a in ipairs(new[i].answers) do
      count, tokens = count + 1, tokens + #a.tokens
      clipped = clipped + (a.stopped and 0 or 1)
      if p.pass then
        local detail = { stopped = a.stopped, tokens = #a.tokens }
        local ok = preference.passes(p, prompt, a.text, detail) and 1 or 0
        passed = passed + ok
        local kind = prompt.kind
        if kind then
          kinds[kind] = kinds[kind] or { passed = 0, count = 0 }
          kinds[kind].passed, kinds[kind].count = kinds[kind].passed + ok, kinds[kind].count + 1
        end
      end
    end
  end
  metrics['eval/mean_length'] = tokens / count
  metrics['eval/clipped_ratio'] = clipped / count
  if p.pass then
    metrics['eval/pass_rate'] = passed / count
    for kind, k in pairs(kinds) do metrics['eval/pass_rate/' .. kind] = k.passed / k.count end
  end
  if new ~= old then
    local rates = M.win_rates(p, prompts, new, old)
    metrics['eval/win_rate'], metrics['eval/win_rate_low'], metrics['eval/win_rate_high'] =
      M.bootstrap(rates, seed)
  end
  return metrics
end

return M
