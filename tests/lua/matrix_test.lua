--- The whole K x K matrix of a run is kept as the preference gave it, cycles and all, and counted.

local files = require 'sppo.files'
local lu = require 'luaunit'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'
local stages = require 'sppo.selfplay.stages'

local tests = {}

local RECIPE = [[
local cycle = { { 0.5, 0.9, 0.1 }, { 0.1, 0.5, 0.9 }, { 0.9, 0.1, 0.5 } }
local order = { { 0.5, 0.9, 0.9 }, { 0.1, 0.5, 0.5 }, { 0.1, 0.5, 0.5 } }
return {
  name = 'matrix', rounds = 1,
  policy = { model = { model_type = 'llama', vocab_size = 16, hidden_size = 16,
    intermediate_size = 24, num_hidden_layers = 1, num_attention_heads = 2,
    num_key_value_heads = 1, max_position_embeddings = 64 } },
  prompts = { { tokens = { 1, 2 }, kind = 'cycle' }, { tokens = { 3 }, kind = 'order' } },
  sample = { k = 3, max_new_tokens = 6 },
  preference = function(prompt) return prompt.kind == 'cycle' and cycle or order end,
  train = { eta = 1, lr = 1e-3, batch = 2 },
}]]

function tests.test_kept_and_counted()
  shell.in_folder(function(folder)
    files.write(folder .. '/r.lua', RECIPE)
    local out = folder .. '/run'
    lu.assertEquals(selfplay.run(folder .. '/r.lua', { overrides = { { 'out', out } } }), 'done')
    local records = assert(files.read_records(out .. '/round-1/preference.msgpack'))
    lu.assertEquals(records[1].matrix, { { 0.5, 0.9, 0.1 }, { 0.1, 0.5, 0.9 }, { 0.9, 0.1, 0.5 } })
    lu.assertEquals(records[2].matrix, { { 0.5, 0.9, 0.9 }, { 0.1, 0.5, 0.5 }, { 0.1, 0.5, 0.5 } })
    for _, win in ipairs(records[1].wins) do lu.assertAlmostEquals(win, 0.5, 1e-12) end
    local seen
    for _, m in ipairs(shell.metrics(out)) do seen = m['pref/cycle_ratio'] and m or seen end
    lu.assertEquals({ seen['pref/cycle_ratio'], seen['pref/tie_ratio'] }, { 1 / 2, 1 / 6 })
  end)
end

--- Either way round is a cycle; a tie in it is none.
function tests.test_cycles()
  local function cycles(ab, bc, ca)
    local p = { { 0.5, ab, 1 - ca }, { 1 - ab, 0.5, bc }, { ca, 1 - bc, 0.5 } }
    local sums = { ties = 0, pairs = 0, cycles = 0, triples = 0 }
    stages.count_ties({ read = function() return { matrix = p } end }, 1, sums)
    lu.assertEquals({ sums.pairs, sums.triples }, { 3, 1 })
    return sums.cycles
  end
  lu.assertEquals({ cycles(0.9, 0.6, 0.51), cycles(0.1, 0.4, 0.49), cycles(0.9, 0.6, 0.4),
    cycles(0.9, 0.9, 0.5) }, { 1, 1, 0, 0 })
end

return tests
