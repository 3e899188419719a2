--- What a decode step costs beside its arithmetic, at 64 rows of SmolLM2's width: parallel regions,
--- allocations, and bytes read, which no neighbour on the machine can change.

local lu = require 'luaunit'
local model_of = require 'sppo.model'
local sample = require 'sppo.sample'
local sppo = require 'sppo'

local C = require('sppo.ffi').C

local tests = {}

local function model_with(layers, dtype)
  return model_of.random({
    model_type = 'llama', vocab_size = 1024, hidden_size = 576, intermediate_size = 1536,
    num_hidden_layers = layers, num_attention_heads = 9, num_key_value_heads = 3,
    rope_theta = 10000, rms_norm_eps = 1e-5, max_position_embeddings = 512,
    tie_word_embeddings = true,
  }, 1, { dtype = dtype })
end

--- Regions and allocations of each step but the first, which sizes the arena, and the second, which
--- makes it.
local function steps_of(model)
  local prompts, steps, regions, allocations = {}, {}, nil, nil
  for i = 1, 16 do prompts[i] = { id = i, tokens = { 1, 2, 3, i } } end
  sample.run(model, prompts, {
    k = 4, batch = 64, stop_ids = {}, max_new_tokens = 8, temperature = 0.7, top_p = 0.9,
    on_step = function()
      local r, a = tonumber(C.sppo_regions()), tonumber(C.sppo_memory_allocations())
      if regions then
        steps[#steps + 1] = { regions = r - regions, allocations = a - allocations }
      end
      regions, allocations = r, a
    end,
  }, function() end)
  table.remove(steps, 1)
  return steps
end

for _, dtype in ipairs { 'f32', 'bf16', 'q8_0' } do
  tests['test_regions_' .. dtype] = function()
    local threads = sppo.threads()
    sppo.threads(2)
    local ok, err = pcall(function()
      local one, three = steps_of(model_with(1, dtype)), steps_of(model_with(3, dtype))
      lu.assertTrue(#three > 2)
      for i = 1, #three do
        local layer = (three[i].regions - one[i].regions) / 2
        lu.assertTrue(layer <= 5, ('%s: %g parallel regions a layer'):format(dtype, layer))
        lu.assertTrue(layer >= 4, 'nothing was counted')
        lu.assertEquals(three[i].allocations, 0, dtype .. ': allocations in a step')
      end
    end)
    sppo.threads(threads)
    if not ok then error(err, 0) end
  end
end

--- `lengths` ends an answer early; what is sampled does not change.
function tests.test_lengths()
  local model = model_with(1, 'f32')
  local function answers_of(lengths)
    local got
    sample.run(model, { { id = 1, tokens = { 1, 2, 3 }, lengths = lengths } }, {
      k = 3, stop_ids = {}, max_new_tokens = 6, temperature = 1,
    }, function(_, answers) got = answers end)
    return got
  end
  local whole, short = answers_of(nil), answers_of { 2, 9, 1 }
  lu.assertEquals({ #short[1].tokens, #short[2].tokens, #short[3].tokens }, { 2, 6, 1 })
  for i, a in ipairs(short) do
    for j, id in ipairs(a.tokens) do lu.assertEquals(id, whole[i].tokens[j]) end
    lu.assertFalse(a.stopped)
  end
  lu.assertErrorMsgContains('lengths[2] must be an integer in 1..', answers_of, { 2, 1.5, 1 })
  lu.assertErrorMsgContains('lengths[3] must be', answers_of, { 2, 1 })
end

return tests
