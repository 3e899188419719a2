--- models/llama.lua against transformers: tests/golden/tiny_llama.json, two random two-layer models
--- (tied; untied with heads * head_dim other than hidden_size).
--- Written by tools/golden/tiny_llama.py.

local compare = require 'support.compare'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local json = require 'sppo.json'
local losses = require 'sppo.losses'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local ops = require 'sppo.ops'
local scope = require 'sppo.scope'
local score = require 'sppo.score'
local segments = require 'sppo.segments'
local shell = require 'support.shell'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'

local tests = {}

local RELATIVE = 1e-4

local golden

--- fn(model, case) for both models of the golden file, opened from a folder.
local function each_model(fn)
  golden = golden or shell.golden('tiny_llama.json')
  lu.assertEquals(#golden.models, 2)
  for _, case in ipairs(golden.models) do
    shell.in_folder(function(folder)
      files.write(folder .. '/config.json', json.encode(case.config))
      files.write(folder .. '/model.safetensors',
        shell.read(shell.root() .. '/tests/golden/' .. case.weights))
      lu.assertEquals(files.sha256_file(folder .. '/model.safetensors'), case.sha256)
      local model = assert(model_of.open(folder))
      local ok, err = pcall(scope.run, fn, model, case)
      model_of.release(model)
      if not ok then error(('%s: %s'):format(case.weights, err), 0) end
    end)
  end
end

local function learn(model)
  for _, p in ipairs(nn.parameters(model.net)) do p.owner[p.key]:requires_grad_():clear_grad_() end
end

--- Gradients by parameter name as flat lists, row-major.
local function gradients(model)
  local list = {}
  for _, p in ipairs(nn.parameters(model.net)) do
    local g = p.owner[p.key].grad
    list[p.name] = g and g:tolist()
  end
  return list
end

local function norm_of(list)
  local sum = 0
  for _, x in ipairs(list) do sum = sum + x * x end
  return math.sqrt(sum)
end

local function compare_gradients(got, want)
  local count, squares = 0, 0
  for name, g in pairs(got) do
    local w = want.parameters[name]
    lu.assertNotNil(w, name .. ' is not in the golden file')
    local norm, some = norm_of(g), {}
    for i, at in ipairs(w.at) do some[i] = g[at + 1] end
    compare.close({ norm }, { w.norm }, RELATIVE, name .. ', norm of the gradient')
    -- Entries are as exact as the gradient as a whole: relative to its typical entry.
    compare.close(some, w.values, RELATIVE, name .. ', gradient', w.norm / math.sqrt(#g))
    count, squares = count + 1, squares + norm * norm
  end
  for _ in pairs(want.parameters) do count = count - 1 end
  lu.assertEquals(count, 0)
  compare.close({ math.sqrt(squares) }, { want.norm }, RELATIVE, 'norm of all')
end

--- The answers of the golden file as groups, one for each prompt that has some.
local function groups_of(case)
  local groups = {}
  for i, p in ipairs(case.prompts) do
    groups[i] = { prompt = p.tokens, answers = {} }
  end
  for _, a in ipairs(case.answers) do
    table.insert(groups[a.prompt + 1].answers, { tokens = a.tokens })
  end
  return groups
end

--- Each answer with a copy of the prompt of its own.
local function alone(groups)
  local list = {}
  for _, g in ipairs(groups) do
    for _, a in ipairs(g.answers) do list[#list + 1] = { prompt = g.prompt, answers = { a } } end
  end
  return list
end

local function golden_logprobs(case)
  local list = {}
  for _, a in ipairs(case.answers) do
    for _, x in ipairs(a.logprobs) do list[#list + 1] = x end
  end
  return list
end

--- Log-probs of the groups, and the gradients of their sum.
local function score_and_differentiate(model, groups, options)
  learn(model)
  return scope.run(function()
    local each = score.token_logprobs(model.net, groups, options)
    local sum = ops.sum(each)
    local values, total = each:tolist(), sum:item()
    sum:backward()
    return values, gradients(model), total
  end)
end

local function logits_agree()
  each_model(function(model, case)
    for i, p in ipairs(case.prompts) do
      local hidden = model.net(tensor.ints(p.tokens), segments.new { { count = #p.tokens } })
      local logits, want = model.net.lm_head(hidden), {}
      lu.assertEquals(logits.shape, { #p.tokens, case.config.vocab_size })
      for _, row in ipairs(p.logits) do
        for _, x in ipairs(row) do want[#want + 1] = x end
      end
      compare.close(logits:tolist(), want, RELATIVE, ('logits of prompt %d'):format(i), 1)
    end
  end)
end

local function gradients_agree()
  each_model(function(model, case)
    local values, grad, total = score_and_differentiate(model, groups_of(case))
    compare.close(values, golden_logprobs(case), RELATIVE, 'log-probs', 1)
    compare.close({ total }, { case.sum_of_logprobs }, RELATIVE, 'their sum')
    compare_gradients(grad, case.gradient)
  end)
end

local function sppo_agrees()
  each_model(function(model, case)
    for i, pair in ipairs(case.sppo) do
      learn(model)
      scope.run(function()
        local what = ('sppo %d'):format(i)
        local logprob = score.logprobs(model.net, { {
          prompt = pair.prompt,
          answers = { { tokens = pair.chosen }, { tokens = pair.rejected } },
        } })
        compare.close(logprob:tolist(), { pair.chosen_logprob, pair.rejected_logprob },
          RELATIVE, what .. ', log-probs')
        local loss = losses.sppo {
          logprob = logprob, reference = tensor.tensor { pair.ref_chosen, pair.ref_rejected },
          win = tensor.tensor { pair.p_win, pair.p_lose }, share = tensor.tensor { 0.5, 0.5 },
          chosen = tensor.ints { 0 }, rejected = tensor.ints { 1 }, pair = tensor.tensor { 0.9 },
          excess = tensor.zeros { 2 }, prompts = 1, eta = pair.eta, normalise = 'none',
        }
        compare.close({ loss:item() }, { pair.loss }, RELATIVE, what .. ', loss')
        loss:backward()
        compare_gradients(gradients(model), pair.gradient)
      end)
    end
  end)
end

--- The instruction sets, each with the tests of its own name; what was in use is in use again.
for _, name in ipairs { 'avx512vnni', 'avx512', 'avx2', 'plain' } do
  local function with(fn)
    return function()
      local best = sppo.cpu_name()
      local has, reason = pcall(sppo.cpu_use, name)
      if not has then
        lu.assertEquals(engine.kind_of(reason), 'device')
        lu.skip(reason)
      end
      local ok, err = pcall(fn)
      sppo.cpu_use(best)
      if not ok then error(err, 0) end
    end
  end
  tests['test_logits_' .. name] = with(logits_agree)
  tests['test_gradients_' .. name] = with(gradients_agree)
  tests['test_sppo_loss_' .. name] = with(sppo_agrees)
end

--- A layer that is replayed gives the same bits as one whose values were kept.
function tests.test_recompute()
  each_model(function(model, case)
    local groups = groups_of(case)
    local values, grad = score_and_differentiate(model, groups)
    local again, regrad = score_and_differentiate(model, groups, { recompute = true })
    compare.same_bits(again, values, 'log-probs')
    for name, g in pairs(grad) do compare.same_bits(regrad[name], g, name .. ', gradient') end
  end)
end

--- Recompute is there to save memory: the peak is lower.
function tests.test_recompute_keeps_less()
  each_model(function(model, case)
    learn(model)
    local long = {}
    for i = 1, 60 do long[i] = i % case.config.vocab_size end
    local function kept(options)
      return scope.run(function()
        local x = model.net(tensor.ints(long), segments.new { { count = #long } }, options)
        local used = sppo.memory().used
        engine.C.sppo_tape_clear()
        return used - x:count() * 4
      end)
    end
    local before = sppo.memory().used
    local all, less = kept() - before, kept { recompute = true } - before
    lu.assertTrue(less < 0.5 * all, ('%d bytes with recompute, %d without'):format(less, all))
  end)
end

--- One copy of the prompt for all its answers, or one for each: the same log-probs, bit for bit,
--- and the same gradients but for the order of summation.
function tests.test_shared_prompt()
  each_model(function(model, case)
    local groups = groups_of(case)
    local shared, grad = score_and_differentiate(model, groups)
    local separate, apart = score_and_differentiate(model, alone(groups))
    compare.same_bits(separate, shared, 'log-probs')
    for name, g in pairs(grad) do
      compare.close(apart[name], g, RELATIVE, name .. ', gradient', norm_of(g) / math.sqrt(#g))
    end
  end)
end

--- The prompt and the answer as one segment is the same text.
function tests.test_one_segment()
  each_model(function(model, case)
    for i, a in ipairs(case.answers) do
      local ids, rows = {}, {}
      for _, id in ipairs(case.prompts[a.prompt + 1].tokens) do ids[#ids + 1] = id end
      for j, id in ipairs(a.tokens) do
        rows[j] = #ids - 1
        ids[#ids + 1] = id
      end
      local hidden = model.net(tensor.ints(ids), segments.new { { count = #ids } })
      local each = ops.token_logprob(ops.take_rows(hidden, tensor.ints(rows)),
        model.net.lm_head.weight, tensor.ints(a.tokens))
      compare.close(each:tolist(), a.logprobs, RELATIVE, ('answer %d'):format(i), 1)
    end
  end)
end

--- Threads change no bit, forward or backward.
function tests.test_threads()
  local before = sppo.threads()
  local ok, err = pcall(each_model, function(model, case)
    local groups = groups_of(case)
    sppo.threads(1)
    local values, grad = score_and_differentiate(model, groups)
    for n = 2, 3 do
      sppo.threads(n)
      local again, regrad = score_and_differentiate(model, groups)
      compare.same_bits(again, values, ('log-probs with %d threads'):format(n))
      for name, g in pairs(grad) do
        compare.same_bits(regrad[name], g, ('%s with %d threads'):format(name, n))
      end
    end
  end)
  sppo.threads(before)
  if not ok then error(err, 0) end
end

function tests.test_parameter_names()
  each_model(function(model, case)
    local names = {}
    for _, p in ipairs(nn.parameters(model.net)) do names[p.name] = true end
    for name in pairs(case.gradient.parameters) do lu.assertTrue(names[name], name) end
    lu.assertEquals(names['lm_head.weight'], not case.config.tie_word_embeddings or nil)
    lu.assertStrContains(tostring(model.net), 'q_proj: Linear\n%s+weight: tensor %[', true)
  end)
end

return tests
