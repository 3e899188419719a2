--- A plan's peaks held to the engine's own count of a run.

local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local plan = require 'sppo.plan'
local shell = require 'support.shell'

local M = {}

local TINY = [[
local prompts, held_out = {}, {}
for i = 1, 24 do
  local tokens, others = {}, {}
  for j = 1, 6 + i % 5 do tokens[j], others[j] = 3 + (i * j) % 500, 600 + (i * j) % 500 end
  prompts[i], held_out[i] = { tokens = tokens }, { tokens = others }
end
return {
  name = 'plan', rounds = 1, seed = 3,
  policy = { model = {
    model_type = 'llama', vocab_size = VOCABULARY, hidden_size = HIDDEN, intermediate_size = 512,
    num_hidden_layers = 2, num_attention_heads = 6, num_key_value_heads = 3,
    rope_theta = 10000, rms_norm_eps = 1e-5, max_position_embeddings = 256,
    tie_word_embeddings = true,
  } },
  prompts = prompts, held_out = held_out,
  sample = { k = 4, max_new_tokens = 24, batch = 16 },
  -- The first answer is the best, the last the worst: every prompt gives a pair.
  preference = function(_, answers)
    local p = {}
    for i in ipairs(answers) do
      p[i] = {}
      for j in ipairs(answers) do p[i][j] = i == j and 0.5 or i < j and 0.9 or 0.1 end
    end
    return p
  end,
  train = { lr = 1e-4, batch = 8, micro_tokens = 256 },
}
]]

--- Plans and runs a recipe of one round with these values: all in all, and of each kind, a stage's
--- peak is within 2 % of the planned one. Returns the stages that were compared.
---@param size { vocabulary: integer, hidden: integer }
---@param values table<string, string>
function M.compare(size, values)
  local found = {}
  shell.in_folder(function(folder)
    local path = folder .. '/r.lua'
    files.write(path, (TINY:gsub('VOCABULARY', size.vocabulary):gsub('HIDDEN', size.hidden)))
    local overrides = {}
    for key, value in pairs(values) do overrides[#overrides + 1] = { key, value } end
    local p = plan.of(path, { hardware = 'h100', overrides = overrides })
    overrides[#overrides + 1] = { 'out', folder .. '/run' }
    lu.assertEquals(require('sppo.selfplay').run(path, { overrides = overrides }), 'done')
    local planned = {}
    for _, s in ipairs(p.stages) do planned[s.stage] = s end
    for row in shell.read(folder .. '/run/perf.jsonl'):gmatch('[^\n]+') do
      local run = json.decode(row)
      if run.memory_peak then
        local s = planned[run.stage]
        found[run.stage] = true
        for kind, bytes in pairs(run.memory) do
          local off = math.abs(bytes - s.memory.kinds[kind]) / s.memory.peak
          lu.assertTrue(off < 0.02, ('%s, %s: %d in the run, %d planned'):format(run.stage, kind,
            bytes, s.memory.kinds[kind]))
        end
        lu.assertAlmostEquals(run.memory_peak / s.memory.peak, 1, 0.02, run.stage)
      end
    end
  end)
  return found
end

return M
