--- Every decoder architecture against transformers: tests/golden/decoders.json, small random models
--- with windows, caps and scalings that matter. Written by tools/golden/decoders.py.
---
--- SPPO_DECODERS=PATH keeps the folders of test_save there, for `decoders.py --folder PATH`.

local compare = require 'support.compare'
local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model_config = require 'sppo.model_config'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local ops = require 'sppo.ops'
local parity = require 'support.parity'
local sample = require 'sppo.sample'
local scope = require 'sppo.scope'
local score = require 'sppo.score'
local segments = require 'sppo.segments'
local shell = require 'support.shell'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'

local tests = {}

local RELATIVE = 1e-4

--- Numbers in -1..1 from a parameter's name, as tools/golden/decoders.py makes them.
local function values(name, count)
  local state, list = 0, {}
  for i = 1, #name do state = (state * 31 + name:byte(i)) % 2147483647 end
  state = state % 2147483646 + 1
  for i = -7, count do
    state = state * 16807 % 2147483647
    if i >= 1 then list[i] = 2 * state / 2147483647 - 1 end
  end
  return list
end

local function parameter(config, name, shape)
  local count, gemma = 1, config.model_type == 'gemma2'
  for _, size in ipairs(shape) do count = count * size end
  local list = values(name, count)
  local factor, base = 1, 0
  if #shape == 2 then
    factor = name:find 'embed' and (gemma and 0.2 or 0.8) or 2.5 / math.sqrt(shape[2])
  elseif name:find 'norm' then
    factor, base = 0.4, gemma and 0 or 1
  end
  for i = 1, count do list[i] = list[i] * factor + base end
  return tensor.tensor(list, shape)
end

--- Writes a case's folder: its config as transformers wrote it, and its weights.
local function write_folder(folder, case, config)
  local net = model_config.net(assert(model_config.check(case.config, case.name)))
  local list = {}
  for i, p in ipairs(nn.parameters(net)) do
    list[i] = { name = p.name, dtype = 'f32', shape = p.owner[p.key].shape }
  end
  local w = files.safetensors_writer(folder .. '/model.safetensors', list, { format = 'pt' })
  for _, entry in ipairs(list) do
    scope.run(function() w:write(parameter(case.config, entry.name, entry.shape)) end)
  end
  w:close()
  files.write(folder .. '/config.json', json.encode(config or case.config))
end

local golden

local function cases()
  golden = golden or shell.golden('decoders.json').models
  return golden
end

--- fn(model, case, folder) for each model of the golden file, opened from a folder.
local function each_model(fn, options)
  for _, case in ipairs(cases()) do
    shell.in_folder(function(folder)
      write_folder(folder, case)
      local model = assert(model_of.open(folder, options))
      local ok, err = pcall(scope.run, fn, model, case, folder)
      model_of.release(model)
      if not ok then error(('%s: %s'):format(case.name, err), 0) end
    end)
  end
end

local function logits_of(model, prompt)
  return model.net.lm_head(model.net(tensor.ints(prompt), segments.new { { count = #prompt } }))
end

local function group_of(case)
  local answers = {}
  for i, a in ipairs(case.answers) do answers[i] = { tokens = a.tokens } end
  return { prompt = case.prompt, answers = answers }
end

local function norm_of(list)
  local sum = 0
  for _, x in ipairs(list) do sum = sum + x * x end
  return math.sqrt(sum)
end

--- Log-probs of all answers' tokens, the loss, and the gradients by name.
local function differentiate(model, case, groups, options)
  local list = nn.parameters(model.net)
  for _, p in ipairs(list) do p.owner[p.key]:requires_grad_():clear_grad_() end
  return scope.run(function()
    local each, answer, n = score.token_logprobs(model.net, groups, options)
    local targets, gradients = {}, {}
    for i, a in ipairs(case.answers) do targets[i] = a.target end
    local far = ops.segment_sum(each, answer, n) - tensor.tensor(targets)
    local loss = far:square():sum() * 0.01
    local logprobs, value = each:tolist(), loss:item()
    loss:backward()
    for _, p in ipairs(list) do gradients[p.name] = p.owner[p.key].grad:tolist() end
    return logprobs, value, gradients
  end)
end

function tests.test_logits()
  each_model(function(model, case)
    local logits = logits_of(model, case.prompt)
    lu.assertEquals(logits.shape, { #case.prompt, case.config.vocab_size })
    local worst = 0
    for i, row in ipairs(case.rows) do
      worst = math.max(worst, compare.close(logits:narrow(1, row, 1):tolist(), case.logits[i],
        RELATIVE, ('logits of token %d'):format(row), 1))
    end
    parity.note('model', case.name, 'logits', 'transformers', worst,
      #case.rows * case.config.vocab_size)
  end)
end

--- Log-probs, the loss and its gradients, with the prompt shared by its answers; on each
--- instruction set.
function tests.test_gradients()
  local best = sppo.cpu_name()
  local ok, err = pcall(function()
    for _, name in ipairs { 'plain', 'avx2', 'avx512', 'avx512vnni' } do
      if pcall(sppo.cpu_use, name) then
        each_model(function(model, case)
          local logprobs, loss, gradients = differentiate(model, case, { group_of(case) })
          local want = {}
          for _, a in ipairs(case.answers) do
            for _, x in ipairs(a.logprobs) do want[#want + 1] = x end
          end
          parity.note('model', case.name, 'log-probs of answers', 'transformers',
            compare.close(logprobs, want, RELATIVE, 'log-probs', 1), #want)
          compare.close({ loss }, { case.loss }, RELATIVE, 'loss', 1)
          local count, worst = 0, 0
          for parameter_name, g in pairs(gradients) do
            local w = case.gradient[parameter_name]
            lu.assertNotNil(w, parameter_name .. ' is not in the golden file')
            local some = {}
            for i, at in ipairs(w.at) do some[i] = g[at + 1] end
            local what = parameter_name .. ', gradient'
            worst = math.max(worst, compare.close({ norm_of(g) }, { w.norm }, RELATIVE, what),
              compare.close(some, w.values, RELATIVE, what, w.norm / math.sqrt(#g)))
            count = count + 1
          end
          parity.note('model', case.name, 'gradients of parameters', 'transformers', worst, count)
          for _ in pairs(case.gradient) do count = count - 1 end
          lu.assertEquals(count, 0)
        end)
      end
    end
  end)
  sppo.cpu_use(best)
  if not ok then error(err, 0) end
end

--- Layers that are replayed, and answers with a prompt of their own: the same bits.
function tests.test_recompute_and_layout()
  each_model(function(model, case)
    local group, alone = group_of(case), {}
    local logprobs, loss, gradients = differentiate(model, case, { group })
    local again, reloss, regradients = differentiate(model, case, { group }, { recompute = true })
    compare.same_bits(again, logprobs, 'log-probs')
    compare.same_bits({ reloss }, { loss }, 'loss')
    for name, g in pairs(gradients) do compare.same_bits(regradients[name], g, name) end
    for i, a in ipairs(group.answers) do alone[i] = { prompt = case.prompt, answers = { a } } end
    compare.same_bits(scope.run(function()
      return score.token_logprobs(model.net, alone):tolist()
    end), logprobs, 'log-probs, each alone')
  end)
end

--- The likeliest tokens through the key/value store, alone and beside others; what is recorded
--- while sampling is what training computes, bit for bit.
function tests.test_decode()
  each_model(function(model, case)
    local other = {}
    for i = 1, 70 do other[i] = (i * 7) % case.config.vocab_size end
    for _, prompts in ipairs {
      { { id = 0, tokens = case.prompt } },
      { { id = 1, tokens = other }, { id = 0, tokens = case.prompt } },
    } do
      local got = {}
      sample.run(model, prompts, { k = 2, max_new_tokens = #case.decoded, stop_ids = {},
        temperature = 0 }, function(number, answers) got[number] = answers end)
      for _, a in ipairs(got[#prompts]) do lu.assertEquals(a.tokens, case.decoded) end
      local recorded = got[#prompts][1].logprobs
      compare.same_bits(scope.run(function()
        return score.token_logprobs(model.net,
          { { prompt = case.prompt, answers = { { tokens = case.decoded } } } }):tolist()
      end), recorded, 'log-probs')
    end
  end)
end

--- Gemma-2 in bf16: its embeddings' factor is rounded as the weights are, while sampling (bf16) and
--- while training (f32 with bf16's values).
function tests.test_bf16()
  for _, options in ipairs { { dtype = 'bf16' }, { dtype = 'f32', values = 'bf16' } } do
    each_model(function(model, case)
      if not case.bf16_logits then return end
      local last = logits_of(model, case.prompt):narrow(1, #case.prompt - 1, 1)
      compare.close(last:tolist(), case.bf16_logits, RELATIVE, 'logits', 1)
    end, options)
  end
end

--- What older versions of transformers write of the same models.
local old = {
  llama31 = function(c)
    c.rope_scaling = { rope_type = 'llama3', factor = 8, low_freq_factor = 1, high_freq_factor = 4,
      original_max_position_embeddings = 64 }
  end,
  llama_linear = function(c) c.rope_scaling = { type = 'linear', factor = 4 } end,
  qwen2 = function(c) c.layer_types = nil end,
  gemma2 = function(c)
    c.layer_types, c.tie_word_embeddings, c.hidden_act = nil, nil, 'gelu_pytorch_tanh'
  end,
}

function tests.test_older_configs()
  for _, case in ipairs(cases()) do
    shell.in_folder(function(folder)
      local config = {}
      for key, value in pairs(case.config) do config[key] = value end
      config.rope_theta, config.rope_parameters = config.rope_parameters.rope_theta, nil
      if old[case.name] then old[case.name](config) end
      write_folder(folder, case, config)
      local model = assert(model_of.open(folder))
      scope.run(function()
        local last = logits_of(model, case.prompt):narrow(1, #case.prompt - 1, 1)
        compare.close(last:tolist(), case.logits[#case.rows], RELATIVE, case.name, 1)
      end)
      model_of.release(model)
    end)
  end
end

--- A saved model is the same again.
function tests.test_save()
  local keep = os.getenv 'SPPO_DECODERS'
  each_model(function(model, case, folder)
    local path = (keep or folder .. '/saved') .. '/' .. case.name
    model.eos_ids = { 2, 5 }
    files.make_folder(keep or folder .. '/saved')
    model_of.save(model, path, 'f32')
    local again = assert(model_of.open(path))
    compare.same_bits(logits_of(again, case.prompt):tolist(),
      logits_of(model, case.prompt):tolist(), 'logits')
    lu.assertEquals(model_config.document(again.config, 'f32'),
      model_config.document(model.config, 'f32'))
    lu.assertEquals(again.eos_ids, { 2, 5 })
    lu.assertEquals(again.bos_id, 1)
    model_of.release(again)
  end)
end

--- Random models: every norm's factor is 1 and every bias 0.
function tests.test_random()
  for _, case in ipairs(cases()) do
    local model = model_of.random(case.config, 3)
    for _, p in ipairs(nn.parameters(model.net)) do
      local t = p.owner[p.key]
      if #t.shape == 1 then
        local want = (p.name:find 'bias' or case.name == 'gemma2') and 0 or 1
        for _, x in ipairs(t:tolist()) do lu.assertEquals(x, want) end
      end
    end
    model_of.release(model)
  end
end

--- Parameters of the models that the paper trains, without allocating any.
function tests.test_parameter_counts()
  local before = sppo.memory().used
  for name, count in pairs {
    ['llama3-8b'] = 8030261248, ['mistral-7b'] = 7241732096, ['gemma2-9b'] = 9241705984,
  } do
    local path = ('%s/models/configs/%s.json'):format(shell.root(), name)
    local net = model_config.net(assert(model_config.check(assert(files.json(path)), path)), 'bf16')
    lu.assertEquals(nn.count(net), count, name)
    if name == 'gemma2-9b' then lu.assertEquals(net.scale, 59.75) end
  end
  lu.assertEquals(sppo.memory().used, before)
end

return tests
