--- What a decode step and a training step ask of the device, counted by the fake runtime
--- (tests/cuda/emu): launches, products, copies, waits; FLOPs against those of the meta device, by
--- which `sppo plan` goes. docs/cuda.md has the table that `test_launches` prints if
--- SPPO_PRINT_TRAFFIC is set.

local bench_cost = require 'sppo.bench.cost'
local devices = require 'support.devices'
local engine = require 'sppo.ffi'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local sample = require 'sppo.sample'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'
local traffic = require 'support.traffic'

local C, counted = engine.C, traffic.counted
local ops = sppo.ops

local missing = devices.missing()
if missing then return missing end

local why = traffic.missing()
if why then return { test_all = function() lu.skip(why) end } end

local tests = {}

local families = {
  llama = { model_type = 'llama', vocab_size = 97, hidden_size = 64, intermediate_size = 96,
    num_attention_heads = 4, num_key_value_heads = 2, max_position_embeddings = 64,
    tie_word_embeddings = true, eos_token_id = 96 },
  gemma2 = { model_type = 'gemma2', vocab_size = 97, hidden_size = 64, intermediate_size = 96,
    num_attention_heads = 4, num_key_value_heads = 2, head_dim = 16, sliding_window = 16,
    max_position_embeddings = 64, query_pre_attn_scalar = 16, attn_logit_softcapping = 50,
    final_logit_softcapping = 30, hidden_activation = 'gelu_pytorch_tanh', eos_token_id = 96 },
}

--- One decode step of `rows` answers to one prompt each, with `layers` layers: what it asks.
local function decode_step(family, layers, rows, dtype)
  local config = { num_hidden_layers = layers }
  for key, value in pairs(families[family]) do config[key] = value end
  local model = model_of.random(config, 3, { dtype = dtype, device = 'cuda' })
  local prompts, counts = {}, nil
  for i = 1, rows do prompts[i] = { id = i, tokens = { 1, 2 + i, 3 } } end
  tensor.on_device('cuda', function()
    sppo.no_grad(function()
      local options = { k = 1, max_new_tokens = 9, stop_ids = {}, batch = rows }
      local s = sample.new(model, prompts, options, function() end)
      s:start()
      s:refill()
      s:step() -- sizes tables and the arena
      lu.assertEquals(#s.active, rows)
      traffic.without_graphs(function() counts = counted(function() s:step() end) end)
      s:close()
    end)
  end)
  model_of.release(model)
  return counts, model.config
end

--- Kernels, products and memory that is set, with graphs off: by layer, and once a step.
local function launches(family, rows, dtype)
  local function of(layers)
    local c = decode_step(family, layers, rows, dtype)
    return c.launches + c.products + c.fills
  end
  -- Gemma's layers differ by twos.
  local two, four = of(2), of(4)
  return (four - two) / 2, two - (four - two)
end

--- At most 12 a layer for Llama, 14 for Gemma 2; what there is today is held, so that it does not
--- grow. Only batches of more than 64 rows with q8_0 weights, which become bf16, take more.
function tests.test_launches()
  local held = {
    llama = { bf16 = { 9, 9, 12 }, q8_0 = { 9, 9, 9 }, f32 = { 12, 12, 12 } },
    gemma2 = { bf16 = { 11, 11, 14 }, q8_0 = { 11, 11, 11 }, f32 = { 14, 14, 14 } },
  }
  local lines = {}
  for _, family in ipairs { 'llama', 'gemma2' } do
    for _, dtype in ipairs { 'bf16', 'q8_0', 'f32' } do
      for i, rows in ipairs { 1, 8, 17 } do
        local layer, step = launches(family, rows, dtype)
        lines[#lines + 1] = ('| %s | %s | %d | %d | %d |'):format(family, dtype, rows, layer, step)
        lu.assertEquals(layer, held[family][dtype][i], lines[#lines])
      end
    end
  end
  if os.getenv 'SPPO_PRINT_TRAFFIC' then print(table.concat(lines, '\n')) end
end

--- Products of a decode step: the FLOPs and the bytes of weights that bench and plan go by.
function tests.test_decode_step()
  for _, dtype in ipairs { 'f32', 'bf16' } do
    local counts, config = decode_step('llama', 2, 9, dtype)
    lu.assertEquals(counts.product_flops, 9 * bench_cost.row_flops(config, 0, true))
    local norms = 4 * config.hidden_size * (2 * config.num_hidden_layers + 1)
    lu.assertEquals(counts.product_bytes, bench_cost.weight_bytes(config, dtype) - norms)
  end
end

--- A decode step of answers brings little up and down: ids, positions, the tree, uniform numbers;
--- nothing that grows with the model.
function tests.test_copies()
  local small = decode_step('llama', 2, 4, 'bf16')
  local large = decode_step('llama', 4, 4, 'bf16')
  lu.assertEquals({ large.copies, large.waits, large.bytes_up, large.bytes_down },
    { small.copies, small.waits, small.bytes_up, small.bytes_down })
  lu.assertEquals(small.waits, 1) -- for the ids
  lu.assertEquals(small.bytes_inside, 0)
  lu.assertTrue(small.bytes_up > 0 and small.bytes_up < 2048, small.bytes_up)
  lu.assertTrue(small.bytes_down > 0 and small.bytes_down <= 64, small.bytes_down)
end

--- FLOPs of a training step's products on the device, and on meta.
local function training_flops(device, n)
  local D, H, V = 64, 96, 130
  sppo.scope(function()
    local function made(shape, dtype) return sppo.zeros(shape, dtype or 'f32', device) end
    local x = made({ n, D }):requires_grad_()
    local gate, up = ops.pack(made { H, D }, 'f32'), ops.pack(made { H, D }, 'f32')
    local head = ops.pack(made { V, D }, 'f32')
    local down = ops.pack(made { D, H }, 'f32')
    for _, w in ipairs { gate, up, down, head } do w:requires_grad_() end
    local a, b = ops.linear(x, { gate, up })
    local y = ops.linear(ops.add(a, b), { down })
    ops.sum(ops.token_logprob(y, head, made({ n }, 'i32'))):backward()
  end)
  return D, H, V
end

function tests.test_training_step()
  for _, n in ipairs { 1, 7, 33 } do
    local D, H, V
    local got = counted(function() D, H, V = training_flops('cuda', n) end)
    C.sppo_cost_reset()
    training_flops('meta', n)
    -- Without n H of the addition and the sum's: products alone.
    local products = 3 * 2 * n * 3 * D * H + 4 * 2 * n * D * V
    lu.assertEquals(got.product_flops, products)
    local rest = C.sppo_cost_flops() - products
    lu.assertTrue(rest >= 0 and rest <= 8 * n * (D + H), rest)
  end
end

return tests
