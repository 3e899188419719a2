--- `sppo plan`: counts of models that are published, bytes that a decode step reads against those
--- that the CPU's kernels read, peaks against a run's, and what is said of what does not fit.

local cost_of = require 'sppo.plan.cost'
local files = require 'sppo.files'
local generate = require 'sppo.generate'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local plan = require 'sppo.plan'
local plan_runs = require 'support.plan_runs'
local sample = require 'sppo.sample'
local sampling = require 'sppo.plan.sampling'
local shell = require 'support.shell'
local small_model = require 'support.small_model'
local tensor = require 'sppo.tensor'

local C = require('sppo.ffi').C

local tests = {}

local HARDWARE = { name = 'test', memory = 2^40, flops = 1e12, bandwidth = 1e11 }

local function recipe(name) return ('%s/recipes/%s.lua'):format(shell.root(), name) end

local function planned(name, options)
  options = options or {}
  options.hardware = options.hardware or 'h100'
  return plan.of(recipe(name), options)
end

local function stage(p, name)
  for _, s in ipairs(p.stages) do
    if s.stage == name then return s end
  end
end

-- ---- models that are published ----

local published = { llama3 = 8030261248, mistral = 7241732096, gemma2 = 9241705984 }

for name, parameters in pairs(published) do
  tests['test_' .. name] = function()
    local started = os.clock()
    local p = planned(name)
    local seconds = os.clock() - started
    lu.assertEquals(p.parameters, parameters)
    lu.assertTrue(seconds < 5, ('%.1f s of processor time'):format(seconds))
    -- Matrices in bf16, norms in f32.
    local weights = stage(p, 'sample').memory.kinds.weights
    lu.assertTrue(weights >= 2 * parameters and weights < 2.001 * parameters, weights)
    local kinds = stage(p, 'train').memory.kinds
    lu.assertEquals({ kinds.weights, kinds.optimizer, kinds.gradients },
      { 4 * parameters, 4 * parameters, 4 * parameters })
    -- A pass forward and two back, logits once more, and attention, which is small here.
    local train = stage(p, 'train')
    local products = train.cost.flops / train.tokens / parameters
    lu.assertTrue(products > 5.5 and products < 8, products)
  end
end

--- Prompts are counted by the model's own tokenizer and template, as the recipe's `compat` says.
function tests.test_prompts_of_a_model_with_a_tokenizer()
  shell.in_folder(function(folder)
    small_model.write(folder .. '/m', 3)
    files.write(folder .. '/r.lua', ([[return {
      name = 'r', rounds = 1, policy = { model = '%s/m' },
      prompts = { { text = 'ab' }, { text = 'a Noneb' } },
      sample = { k = 2, max_new_tokens = 4 }, preference = function() end,
      train = { eta = 1, lr = 1e-3 },
    }]]):format(folder))
    local model = assert(model_of.open(folder .. '/m'))
    local function tokens(text)
      return #generate.prompt_tokens(model, { { role = 'user', content = text } })
    end
    local function drawn(overrides)
      return plan.of(folder .. '/r.lua', { hardware = 'h100', overrides = overrides }).about.prompts
    end
    local whole, cut = drawn {}, drawn { { 'compat.cut_at_none', 'true' } }
    lu.assertEquals({ whole.longest, whole.mean }, { tokens 'a Noneb', (tokens 'ab' +
      tokens 'a Noneb') / 2 })
    lu.assertEquals(cut.longest, math.max(tokens 'ab', tokens 'a '))
  end)
end

--- What is proposed does fit, and takes what is said.
function tests.test_what_fits()
  local p = planned 'llama3'
  lu.assertEquals(#p.too_large, 1)
  local entry = p.too_large[1]
  lu.assertEquals({ entry.stage, entry.has }, { 'train', 80 * 2^30 })
  lu.assertEquals(entry.needs, stage(p, 'train').total)
  local overrides = {}
  for key, value in entry.way:gmatch('(%S+)=(%S+)') do
    overrides[#overrides + 1] = { key, value }
  end
  local changed = planned('llama3', { overrides = overrides })
  lu.assertEquals(changed.too_large, {})
  lu.assertEquals(stage(changed, 'train').total, entry.with)
  -- Where nothing helps that is said too.
  local small = planned('llama3', { hardware = 'a100-40gb' })
  for _, e in ipairs(small.too_large) do
    if e.stage == 'train' then
      lu.assertNil(e.way)
      lu.assertTrue(e.least > e.has and e.least < e.needs)
    end
  end
end

-- ---- several GPUs ----

local function gpu_stage(p, name)
  for _, s in ipairs(p.gpus.stages) do
    if s.name == name then return s end
  end
end

--- The largest part that each of 8 keeps of Llama-3-8B's optimizer state is all that the two plans
--- differ by, and it decides whether a GPU of 80 GiB holds it.
function tests.test_llama3_on_eight_gpus()
  local p = planned('llama3', { gpus = 8 })
  local whole, cut = gpu_stage(p, 'train'), gpu_stage(p, 'train, sharded')
  local parameters = published.llama3
  lu.assertEquals({ whole.memory.kinds.optimizer, whole.total }, { 4 * parameters,
    stage(p, 'train').total })
  local part = cut.memory.kinds.optimizer / 4
  -- No process has more than an eighth and what its last matrix has, 14336 x 4096 values.
  lu.assertTrue(part >= parameters / 8 and part < parameters / 8 + 14336 * 4096, part)
  lu.assertEquals(whole.total - cut.total, 4 * (parameters - part))
  for _, kind in ipairs { 'weights', 'gradients', 'activations', 'kv' } do
    lu.assertEquals(cut.memory.kinds[kind], whole.memory.kinds[kind], kind)
  end
  lu.assertTrue(cut.total <= 80 * 2^30 and whole.total > 80 * 2^30)
  lu.assertEquals(gpu_stage(p, 'sample').total, stage(p, 'sample').total)
end

--- Matrices whose rows fill panels, so that bytes are four times values.
local SQUARE = [[
local prompts = {}
for i = 1, 24 do prompts[i] = { tokens = { 1, 2, 3, 4 + i } } end
for j = 5, 70 do prompts[5].tokens[j] = j end
return {
  name = 'square', rounds = 1, seed = 3,
  policy = { model = {
    model_type = 'llama', vocab_size = 128, hidden_size = 64, intermediate_size = 128,
    num_hidden_layers = 2, num_attention_heads = 1, num_key_value_heads = 1,
    max_position_embeddings = 256, tie_word_embeddings = true,
  } },
  prompts = prompts, preference = function() end,
  sample = { k = 4, max_new_tokens = 24, batch = 64 },
  train = { lr = 1e-4, batch = 12, micro_tokens = 64, optimizer = 'adamw' },
}
]]

--- Sums by hand. Matrices of 8192 values: seven (two layers' three and the embedding); of 4096:
--- eight; and five norms of 64. Given out in that order to three processes: 24576, 16384, 16384;
--- then 32768, 28672, 28672; then 32768, 28864, 28800.
function tests.test_sums_of_three_gpus()
  shell.in_folder(function(folder)
    files.write(folder .. '/r.lua', SQUARE)
    local p = plan.of(folder .. '/r.lua', { hardware = 'h100', gpus = 3 })
    lu.assertEquals(p.parameters, 90432)
    local whole, cut = gpu_stage(p, 'train'), gpu_stage(p, 'train, sharded')
    lu.assertEquals({ whole.memory.kinds.weights, whole.memory.kinds.gradients,
      whole.memory.kinds.optimizer }, { 4 * 90432, 4 * 90432, 8 * 90432 })
    lu.assertEquals({ cut.memory.kinds.weights, cut.memory.kinds.gradients,
      cut.memory.kinds.optimizer }, { 4 * 90432, 4 * 90432, 8 * 32768 })
    lu.assertEquals(whole.total - cut.total, 8 * (90432 - 32768))
    -- Gradients of what others own to them, and its own weights to both.
    lu.assertEquals(p.gpus.sent, 4 * (90432 - 32768) + 2 * 4 * 32768)
    -- Process 1 has the longest prompt, the fifth, and seven more: eight prompts of up to 70
    -- tokens, two pages of 64, and 32 answers of at most 24, one page; with 2 layers x 2 x 64
    -- values of f32 a token.
    local kv = gpu_stage(p, 'sample').memory.kinds.kv
    lu.assertEquals(kv, (32 + 8 * 2) * 64 * 2 * 2 * 64 * 4)
    lu.assertTrue(kv < stage(p, 'sample').memory.kinds.kv)
  end)
end

function tests.test_command_with_gpus()
  local code, out = shell.sppo { 'plan', recipe 'llama3', '--hardware', 'h100', 'gpus=8' }
  lu.assertEquals(code, 0)
  for _, text in ipairs { 'memory of each of 8 GPUs', 'train, sharded: 79.2 GiB fits into h100',
    'train: 105.4 GiB does not fit into h100', 'a training step sends 52.4 GiB' } do
    lu.assertStrContains(out, text)
  end
  code, out = shell.sppo { 'plan', recipe 'tiny', '--json', '--hardware', 'h100', 'gpus=2' }
  lu.assertEquals(code, 0)
  local gpus = json.decode(out).gpus
  lu.assertEquals(gpus.count, 2)
  local names = {}
  for i, s in ipairs(gpus.stages) do names[i] = s.name end
  lu.assertEquals(names, { 'evaluate', 'sample', 'prefer', 'score', 'train', 'train, sharded' })
end

-- ---- bytes read by a decode step ----

local configs = {
  llama = { model_type = 'llama', vocab_size = 192, hidden_size = 128, intermediate_size = 320,
    num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2, head_dim = 32,
    rope_theta = 10000, rms_norm_eps = 1e-5, max_position_embeddings = 512,
    tie_word_embeddings = true },
  qwen2 = { model_type = 'qwen2', vocab_size = 192, hidden_size = 128, intermediate_size = 320,
    num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2,
    rope_theta = 10000, rms_norm_eps = 1e-5, max_position_embeddings = 512 },
  gemma2 = { model_type = 'gemma2', vocab_size = 192, hidden_size = 128, intermediate_size = 320,
    num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2, head_dim = 32,
    sliding_window = 70, max_position_embeddings = 512 },
}

local SHARED, OWN, K, NEW = 20, 81, 3, 6

--- Bytes that read() counts in each step but the first: { rows, keys, bytes }. keys: tokens of keys
--- and values that some row of the step sees, `window` for each row at most.
local function steps_of(model, read)
  local prompts, list = {}, {}
  for i = 1, 2 do
    prompts[i] = { id = i, tokens = {} }
    for j = 1, SHARED + OWN do prompts[i].tokens[j] = j <= SHARED and j or j + i end
  end
  local s = sample.new(model, prompts, { k = K, batch = 6, stop_ids = {}, max_new_tokens = NEW,
    shared = SHARED }, function() end)
  s:start()
  s:refill()
  while #s.active > 0 do
    -- The prefix, each prompt's own tokens, and each row's answer with the token of this step.
    local rows, before = #s.active, read()
    local answer = #s.active[1].tokens
    s:step()
    list[#list + 1] = { rows = rows, answer = answer, keys = SHARED + 2 * OWN + rows * answer,
      bytes = read() - before }
  end
  s:close()
  return list
end

local function on_cpu(config, dtype)
  local model = model_of.random(config, 1, { dtype = dtype })
  local list = steps_of(model, function() return tonumber(C.sppo_bytes_read()) end)
  return list, model
end

local function on_meta(config, dtype)
  return tensor.on_device('meta', function()
    local model = assert(model_of.on_meta(config, 'test', { dtype = dtype, values = 'f32' }))
    local list = steps_of(model, C.sppo_cost_read)
    model_of.release(model)
    return list
  end)
end

for name, config in pairs(configs) do
  for _, dtype in ipairs { 'f32', 'bf16', 'q8_0' } do
    tests[('test_bytes_read_%s_%s'):format(name, dtype)] = function()
      local cpu, meta = on_cpu(config, dtype), on_meta(config, dtype)
      lu.assertEquals(#cpu, NEW - 1)
      lu.assertEquals(meta, cpu)
      lu.assertTrue(cpu[2].bytes ~= cpu[1].bytes)
    end
  end
end

--- The same from the tensors that a step of models/llama.lua touches, in f32.
function tests.test_bytes_read_by_hand()
  local c = configs.llama
  local list, model = on_cpu(c, 'f32')
  local weights = 0
  for _, p in ipairs(nn.parameters(model.net)) do weights = weights + p.owner[p.key]:count() end
  local H, I, q = c.hidden_size, c.intermediate_size, c.num_attention_heads * c.head_dim
  local kv = c.num_key_value_heads * c.head_dim
  for _, step in ipairs(list) do
    local n = step.rows
    local layer = 2 * n * H -- norms
      + n * (H + q + H + I) -- products: qkv, o, gate and up, down
      + n * (q + kv) -- rope
      + n * q + step.keys * 2 * kv -- attention
      + 4 * n * H + 2 * n * I -- sums, swiglu
    local ends = n * (1 + H) + n * H + n * H + n * c.vocab_size -- embedding, norm, head, sampling
    lu.assertEquals(step.bytes, 4 * (weights + c.num_hidden_layers * layer + ends))
  end
end

--- In a layer with a window a row sees no more keys than its window has; keys that two rows see
--- count once.
function tests.test_bytes_read_in_a_window()
  local c = {}
  for key, value in pairs(configs.gemma2) do c[key] = value end
  local window = on_meta(c, 'f32')
  c.sliding_window = 512
  local all, of_key = on_meta(c, 'f32'), 4 * 2 * c.num_key_value_heads * c.head_dim
  for i, step in ipairs(all) do
    -- The row at position p sees keys from p - 69 on: of the prefix none, of both prompts the same.
    local position = SHARED + OWN + step.answer - 1
    local seen = 2 * (SHARED + OWN - (position - 70 + 1)) + step.rows * step.answer
    lu.assertEquals(step.bytes - window[i].bytes, (step.keys - seen) * of_key)
  end
end

-- ---- few steps for many ----

--- Decoding at 8 lengths of the store costs what all lengths do.
function tests.test_eight_lengths()
  tensor.on_device('meta', function()
    local model = assert(model_of.on_meta(configs.llama, 'test', { dtype = 'f32', values = 'f32' }))
    local tokens, prompts = {}, { shared = 0, mean = 30, list = {} }
    for i = 1, 30 do tokens[i] = 0 end
    for i = 1, 4 do prompts.list[i] = { id = i, tokens = tokens } end
    local options = { k = 2, batch = 8, max_new_tokens = 100, answer_tokens = 100, temperature = 1 }
    local cost, drawn = sampling.cost(model, prompts, options, HARDWARE)
    lu.assertEquals(drawn, 800)
    C.sppo_cost_reset()
    sample.run(model, prompts.list, { k = 2, batch = 8, max_new_tokens = 100, stop_ids = {} },
      function() end)
    lu.assertAlmostEquals(cost.flops / C.sppo_cost_flops(), 1, 1e-6)
    lu.assertAlmostEquals(cost.read / C.sppo_cost_read(), 1, 1e-6)
    lu.assertAlmostEquals(cost.moved / C.sppo_cost_bytes(), 1, 1e-6)
    model_of.release(model)
  end)
end

local function cost(n)
  local c = cost_of.new()
  c.flops, c.seconds = 3 * n + 1, n
  return c
end

function tests.test_sums()
  for _, last in ipairs { 1, 2, 8, 9, 100 } do
    local points, costs = cost_of.spread(1, last, 8), {}
    lu.assertTrue(#points <= 8)
    for i, n in ipairs(points) do costs[i] = cost(n) end
    lu.assertAlmostEquals(cost_of.sum_between(points, costs).seconds, last * (last + 1) / 2, 1e-9)
  end
  local sizes, total = { 4, 4, 5, 9, 9, 12, 20 }, 0
  for _, n in ipairs(sizes) do total = total + 3 * n + 1 end
  lu.assertAlmostEquals(
    cost_of.sum_over(sizes, { 4, 9, 9, 20 }, { cost(4), cost(9), cost(9), cost(20) }).flops,
    total, 1e-9)
end

-- ---- a plan and a run ----

--- The peak of each stage is the engine's own count of it in a run: all in all, and of each kind.
function tests.test_peaks_of_a_run()
  lu.assertEquals(plan_runs.compare({ vocabulary = 2048, hidden = 192 }, {}),
    { evaluate = true, sample = true, train = true })
end

-- ---- the command ----

function tests.test_command()
  local code, out = shell.sppo { 'plan', recipe 'llama3', '--hardware', 'h100' }
  lu.assertEquals(code, 0)
  for _, text in ipairs { '8,030,261,248 parameters', 'rates: NVIDIA H100', 'assumed, prompts:',
    'does not fit: train needs', 'fits:', 'limited by memory' } do
    lu.assertStrContains(out, text)
  end
  code, out = shell.sppo { 'plan', recipe 'tiny', 'rounds=1', '--json', '--hardware', 'h200' }
  lu.assertEquals(code, 0)
  local p = json.decode(out)
  lu.assertEquals(p.hardware.memory, 141e9)
  lu.assertEquals(#p.stages, #plan.stages)
  lu.assertEquals(p.too_large, {})
  lu.assertTrue(p.total.cost.seconds > 0)
  code, out = shell.sppo { 'plan', '--help' }
  lu.assertEquals(code, 0)
  lu.assertStrContains(out, 'sppo plan recipes/llama3.lua --hardware h100')
end

--- Numbers of the command line come before the recipe's.
function tests.test_prompts()
  local given = planned 'tiny'
  lu.assertNil(given.about.prompts.note)
  local more = planned('tiny', { prompts = 100 })
  lu.assertEquals({ more.about.prompts.count, more.about.held_out.count },
    { 100, given.about.held_out.count })
  local long = planned('tiny', { prompt_tokens = 5, answer_tokens = 2 })
  lu.assertEquals({ long.about.prompts.count, long.about.prompts.mean, long.about.prompts.longest },
    { given.about.prompts.count, 5, 5 })
  lu.assertEquals(stage(long, 'sample').tokens, stage(given, 'sample').tokens
    / given.about.max_new_tokens * 2)
  shell.in_folder(function(folder)
    files.write(folder .. '/p.jsonl',
      '{"prompt":"Name a river."}\n{"prompt":[{"role":"user","content":"Why?"}]}\n')
    local read = planned('llama3',
      { overrides = { { 'prompts', folder .. '/p.jsonl' }, { 'rounds', '1' } } })
    lu.assertEquals(read.about.prompts.count, 2)
    lu.assertStrContains(read.about.prompts.note, 'estimated')
  end)
end

local function fails(code, text, ...)
  local got, out, err = shell.sppo { 'plan', ... }
  lu.assertEquals({ got, out }, { code, '' }, err)
  lu.assertStrContains(err, text)
end

function tests.test_errors()
  local r = recipe 'llama3'
  fails(2, "unknown hardware 'h1000' (did you mean 'h100'?)", r, '--hardware', 'h1000')
  fails(2, '--answer-tokens must be an integer in 1..1048576, got 0', r, '--answer-tokens', '0')
  fails(2, '--prompts must be an integer in 1..131072, got 1e9', r, '--prompts', '1e9')
  fails(2, 'more than the context of 8192', r, '--hardware', 'h100', '--prompt-tokens', '8000')
  fails(2, 'has no prompts', recipe 'ranker', '--hardware', 'h100')
  fails(6, "unknown model 'llama4-8b' (did you mean 'llama3-8b'?)", r, 'policy.model=llama4-8b',
    '--hardware', 'h100')
  fails(2, 'train.lr must be a number', r, 'train.lr=x')
  fails(2, 'gpus must be an integer in 1..1024, got 0', r, 'gpus=0')
  fails(2, 'gpus must be an integer in 1..1024, got x', r, 'gpus=x')
  shell.in_folder(function(folder)
    files.write(folder .. '/p.jsonl', '{"question":"?"}\n')
    fails(3, 'p.jsonl: prompt 1 has no "prompt"', r, 'prompts=' .. folder .. '/p.jsonl',
      '--hardware', 'h100')
  end)
end

return tests
