--- Decode steps as CUDA graphs (engine/cuda/graph.c): the same tokens and log-probs as without;
--- what the fake runtime counts of a step; and when a graph is made anew.

local devices = require 'support.devices'
local engine = require 'sppo.ffi'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local sample = require 'sppo.sample'
local segments = require 'sppo.segments'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'
local traffic = require 'support.traffic'

local C, ops = engine.C, sppo.ops
local without_graphs = traffic.without_graphs

local missing = devices.missing()
if missing then return missing end
if os.getenv 'SPPO_SYNC' == '1' or os.getenv 'SPPO_CUDA_GRAPHS' == '0' then
  return { test_all = function() lu.skip 'SPPO_SYNC=1 or SPPO_CUDA_GRAPHS=0: no graphs' end }
end

local tests = {}

local config = { model_type = 'llama', vocab_size = 97, hidden_size = 64, intermediate_size = 96,
  num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2,
  max_position_embeddings = 256, tie_word_embeddings = true, eos_token_id = 96 }

local function model(dtype, seed)
  return model_of.random(config, seed or 3, { dtype = dtype, device = 'cuda' })
end

local function prompts(n)
  local list = {}
  for i = 1, n do list[i] = { id = i, tokens = { 1, 2 + i, 3, 4 + i } } end
  return list
end

--- All answers, as they are; log-probs to the last bit.
local function answers(m, n, options)
  local out = {}
  sample.run(m, prompts(n), options, function(i, list)
    for k, a in ipairs(list) do
      local logprobs = {}
      for j, v in ipairs(a.logprobs) do logprobs[j] = ('%a'):format(v) end
      out[i * 100 + k] = { a.tokens, logprobs, a.stopped }
    end
  end)
  return out
end

--- Answers that end at different steps, prompts that come in between, more tokens than a page.
for _, dtype in ipairs { 'f32', 'bf16', 'q8_0' } do
  tests['test_same_answers_' .. dtype] = function()
    local m = model(dtype)
    local options = { k = 3, max_new_tokens = dtype == 'f32' and segments.PAGE + 3 or 9, batch = 5,
      stop_ids = { 5, 6, 7, 8 }, top_p = 0.9, seed = 4 }
    local with, without = answers(m, 4, options), nil
    without_graphs(function() without = answers(m, 4, options) end)
    lu.assertEquals(with, without)
    model_of.release(m)
  end
end

--- Calls fn(step) with a sampler of `rows` answers after its first step.
local function sampling(m, rows, fn)
  tensor.on_device('cuda', function()
    sppo.no_grad(function()
      local s = sample.new(m, prompts(rows), { k = 1, max_new_tokens = 100, stop_ids = {},
        batch = rows }, function() end)
      s:start()
      s:refill()
      s:step()
      fn(function() return traffic.counted(function() s:step() end) end)
      s:close()
    end)
  end)
end

local why = traffic.missing()
local function counts(c) return { c.launches, c.products, c.fills, c.copies, c.graphs } end

--- A step of a bucket is one launch of a graph, and the copy of the ids; after the first nothing is
--- made, given back or left over.
function tests.test_one_launch_a_step()
  if why then lu.skip(why) end
  for _, rows in ipairs { 1, 9 } do
    local m = model 'bf16'
    sampling(m, rows, function(step)
      step()
      local memory = sppo.memory('cuda').used
      for _ = 1, segments.PAGE do -- a page more on the way
        local c = step()
        lu.assertEquals(counts(c), { 0, 0, 0, 1, 1 })
        lu.assertEquals({ c.made, c.destroyed, c.updates, c.waits }, { 0, 0, 1, 1 })
      end
      lu.assertEquals(sppo.memory('cuda').used, memory)
    end)
    model_of.release(m)
  end
end

--- What waits for the op behind it when the step is read belongs behind what was captured.
function tests.test_what_waits()
  sppo.scope(function()
    local x = devices.on('cuda', sppo.tensor(devices.numbers(40, -1, 1, 1), { 5, 8 }))
    local want = ops.add(ops.exp(x), x):tolist()
    for _ = 1, 2 do
      sppo.scope(function()
        engine.try(C.sppo_arena_begin(1))
        local y = ops.add(ops.exp(x), x)
        local got = y:tolist()
        engine.try(C.sppo_arena_end(1))
        lu.assertEquals(got, want)
      end)
      C.sppo_arena_free(1)
    end
  end)
end

function tests.test_off()
  if why then lu.skip(why) end
  local m = model 'bf16'
  sampling(m, 2, function(step)
    without_graphs(function()
      local c = step()
      lu.assertEquals({ c.graphs, c.captured, c.updates, c.made }, { 0, 0, 0, 0 })
      lu.assertTrue(c.launches > 20)
    end)
  end)
  model_of.release(m)
end

--- Weights in another place, and another number of rows: what was made before takes them over. Rows
--- that choose other kernels: another graph, and the first is made anew. Eight at most are kept.
function tests.test_what_changes()
  if why then lu.skip(why) end
  local function after(dtype, rows, seed)
    local first, second
    local m = model(dtype, seed)
    sampling(m, rows, function(step) first, second = step(), step() end)
    model_of.release(m)
    lu.assertEquals({ second.made, second.updates, second.graphs }, { 0, 1, 1 })
    return first
  end
  after('bf16', 3, 3)
  lu.assertEquals(after('bf16', 3, 5).made, 0)
  lu.assertEquals(after('bf16', 5, 5).made, 0)
  local alive = after('bf16', 12, 5)
  lu.assertTrue(alive.made - alive.destroyed <= 1)
end

return tests
