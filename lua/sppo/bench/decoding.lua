--- The work that `sppo bench decode` and `sppo bench growth` time.

local bench_model = require 'sppo.bench.model'
local sample = require 'sppo.sample'

local C = require('sppo.ffi').C

local M = {}

--- Prompts that share nothing, each with K answers; `mixed`: of 16 to twice `new` - 16 tokens.
local function prompts_of(model, config)
  local list, k = {}, config.batch / config.prompts
  for i = 1, config.prompts do
    list[i] = { id = i, tokens = bench_model.tokens(model.config, config.prompt_tokens, i) }
    if config.mixed then
      local lengths, spread = {}, 2 * config.new_tokens - 31
      for j = 1, k do lengths[j] = 16 + ((i - 1) * k + j) * 37 % spread end
      list[i].lengths = lengths
    end
  end
  return list, k
end

--- Seconds of decoding and the tokens that came out: steps after the first three, or of a mixed
--- batch everything, prompts included.
---@param config { batch: integer, prompts: integer, prompt_tokens: integer, new_tokens: integer,
---   mixed?: boolean }
---@return number seconds, integer tokens
function M.run(model, config)
  local prompts, k = prompts_of(model, config)
  local times, rows = {}, {}
  local started, last, tokens = C.sppo_clock(), nil, 0
  sample.run(model, prompts, {
    -- One token comes with the prompt, two steps size and make the arena.
    k = k, batch = config.batch, max_new_tokens = config.mixed and 2 * config.new_tokens
      or config.new_tokens + 4,
    stop_ids = {}, temperature = 0.7, top_p = 0.9, seed = 1,
    on_step = function(n)
      last = C.sppo_clock()
      times[#times + 1], rows[#rows + 1] = last, n
    end,
  }, function(_, answers)
    for _, a in ipairs(answers) do tokens = tokens + #a.tokens end
  end)
  if config.mixed then return C.sppo_clock() - started, tokens end
  return times[config.new_tokens + 2] - times[2], config.new_tokens * config.batch
end

return M
