--- SmolLM2-135M against transformers (tests/golden/smollm2.json), and what the whole method stands
--- on: the log-probs recorded while sampling are those of the training forward, bit for bit.
--- Skipped where the model is not there (tools/fetch-model smollm2).

local compare = require 'support.compare'
local generate = require 'sppo.generate'
local lu = require 'luaunit'
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

local NAME = 'smollm2-135m-instruct'

local tests = {}

local opened = {} -- dtype -> model; opening takes most of a second

--- The model, or the test is skipped. `rounded`: f32 parameters that hold bf16 values.
local function the_model(dtype, rounded)
  local path, reason = model_of.find(NAME)
  if not path then lu.skip(reason) end
  local key = rounded and 'rounded' or dtype
  if not opened[key] then
    for other, model in pairs(opened) do
      model_of.release(model)
      opened[other] = nil
    end
    opened[key] = assert(model_of.open(NAME, { dtype = dtype, values = rounded }))
  end
  return opened[key]
end

local function golden() return shell.golden('smollm2.json') end

local case_names = { 'capital', 'unicode_emoji', 'multi_turn', 'long' }

--- Threads for fn, and then as many as before.
local function with_threads(n, fn, ...)
  local before = sppo.threads()
  sppo.threads(n)
  local ok, a, b = pcall(fn, ...)
  sppo.threads(before)
  if not ok then error(a, 0) end
  return a, b
end

function tests.test_prompt_ids()
  local model, file = the_model('f32'), golden()
  for _, name in ipairs(case_names) do
    lu.assertEquals(generate.prompt_tokens(model, file.cases[name].messages),
      file.cases[name].prompt_ids, name)
  end
  lu.assertEquals(model.tokenizer.eos_ids, { file.end_id })
end

--- Each case has a test: ids of the likeliest next tokens and their log-probs, the greedy text, and
--- the log-probs of an answer.
for _, name in ipairs(case_names) do
  tests['test_' .. name] = function()
    local model, case = the_model('f32'), golden().cases[name]
    local ids = case.prompt_ids
    scope.run(function()
      sppo.no_grad(function()
        local hidden = model.net(tensor.ints(ids), segments.new { { count = #ids } })
        local last = model.net.lm_head(hidden:narrow(1, #ids - 1, 1))
        local logprobs, order = last:log_softmax():tolist(), {}
        for i = 1, #logprobs do order[i] = i end
        table.sort(order, function(a, b) return logprobs[a] > logprobs[b] end)
        local worst = 0
        for i, top in ipairs(case.top) do
          lu.assertEquals(order[i] - 1, top.id, ('place %d'):format(i))
          lu.assertAlmostEquals(logprobs[order[i]], top.logprob, 1e-3)
          worst = math.max(worst, math.abs(logprobs[order[i]] - top.logprob) /
            math.max(1, math.abs(top.logprob)))
        end
        parity.note('model', 'SmolLM2-135M-Instruct', 'log-probs of the likeliest', 'transformers',
          worst, #case.top)
      end)
    end)

    local got
    sample.run(model, { { id = 0, tokens = ids } },
      { k = 1, temperature = 0, max_new_tokens = 32, stop_ids = { 2 } },
      function(_, answers) got = answers[1] end)
    lu.assertEquals(got.tokens, case.greedy_ids)
    lu.assertEquals(got.stopped, case.greedy_ids[#case.greedy_ids] == 2)
    lu.assertEquals(model.tokenizer:decode(got.tokens), case.greedy_text)

    local answer, want = {}, {}
    for i, id in ipairs(case.answer_ids) do answer[i], want[i] = id, case.answer_logprobs[i] end
    answer[#answer + 1], want[#want + 1] = 2, case.end_logprob
    lu.assertEquals(model.tokenizer:encode(case.answer), case.answer_ids)
    scope.run(function()
      sppo.no_grad(function()
        local each = score.token_logprobs(model.net,
          { { prompt = ids, answers = { { tokens = answer } } } }):tolist()
        lu.assertEquals(#each, #want)
        for i, x in ipairs(each) do lu.assertAlmostEquals(x, want[i], 1e-3) end
      end)
    end)
  end
end

-- ---- recorded = rescored ----

local questions = {
  'Name three animals of the sea.', 'Why is the sky blue? Use at most 20 words.', 'Say hello.',
}

local function prompts_of(model)
  local list = {}
  for i, text in ipairs(questions) do
    list[i] = {
      id = 10 + i,
      tokens = generate.prompt_tokens(model, { { role = 'user', content = text } }),
    }
  end
  return list
end

--- 4 answers to each of the 3 prompts, as groups that score.lua takes. `shared`: the system message
--- is computed once for all.
local function sampled(model, batch, shared)
  local groups = {}
  local prompts = prompts_of(model)
  shared = shared and sample.shared(prompts) or 0
  sample.run(model, prompts, {
    k = 4, max_new_tokens = 24, stop_ids = { 2 }, temperature = 0.9, top_p = 0.95,
    seed = 3, round = 2, batch = batch, shared = shared,
  }, function(i, answers)
    groups[i] = { prompt = prompts[i].tokens, shared = shared, answers = answers }
  end)
  return groups
end

local function recorded(groups)
  local list = {}
  for _, g in ipairs(groups) do
    for _, a in ipairs(g.answers) do
      lu.assertEquals(#a.logprobs, #a.tokens)
      for _, x in ipairs(a.logprobs) do list[#list + 1] = x end
    end
  end
  return list
end

local function rescored(model, groups, options)
  return scope.run(function() return score.token_logprobs(model.net, groups, options):tolist() end)
end

--- With the tape on, as training runs: all prompts in one batch; one prompt at a time; every answer
--- with a prompt of its own.
local function rescore_every_way(model, groups)
  local want = recorded(groups)
  for _, p in ipairs(nn.parameters(model.net)) do p.owner[p.key]:requires_grad_() end
  for threads = 1, 3 do
    with_threads(threads, function()
      compare.same_bits(rescored(model, groups), want, ('one batch, %d threads'):format(threads))
    end)
  end
  local backwards, own = {}, {}
  for i = #groups, 1, -1 do
    local part = rescored(model, { groups[i] }, { recompute = true })
    for j = #part, 1, -1 do table.insert(backwards, 1, part[j]) end
  end
  compare.same_bits(backwards, want, 'one prompt at a time')
  for _, g in ipairs(groups) do
    for _, a in ipairs(g.answers) do
      local group = { prompt = g.prompt, shared = g.shared, answers = { a } }
      for _, x in ipairs(rescored(model, { group })) do
        own[#own + 1] = x
      end
    end
  end
  compare.same_bits(own, want, 'one answer at a time')
  for _, p in ipairs(nn.parameters(model.net)) do p.owner[p.key]:requires_grad_(false) end
end

function tests.test_recorded_is_rescored()
  local model = the_model('f32')
  local groups = sampled(model)
  local answers, different = groups[1].answers, false
  for i = 2, 4 do different = different or answers[i].tokens[1] ~= answers[1].tokens[1] end
  lu.assertTrue(different, 'all answers begin alike: nothing was sampled')
  rescore_every_way(model, groups)
  groups = sampled(model, nil, true)
  lu.assertTrue(groups[1].shared >= 8)
  rescore_every_way(model, groups)
end

--- A policy of dtype bf16: sampled from bf16 panels, trained from f32 parameters of the same
--- values.
function tests.test_recorded_is_rescored_bf16()
  local groups = sampled(the_model('bf16'))
  rescore_every_way(the_model('f32', 'bf16'), groups)
end

--- The tokens and their log-probs, whatever the threads and the batch.
function tests.test_sampling_is_the_same()
  local model = the_model('f32')
  local first = sampled(model, nil, true)
  local function same(groups, what)
    for i, g in ipairs(first) do
      for k, a in ipairs(g.answers) do
        lu.assertEquals(groups[i].answers[k].tokens, a.tokens, what)
        lu.assertEquals(groups[i].answers[k].stopped, a.stopped, what)
        compare.same_bits(groups[i].answers[k].logprobs, a.logprobs, what)
      end
    end
  end
  for threads, batch in ipairs { 1, 5, 64 } do
    same(with_threads(threads, sampled, model, batch, true),
      ('%d threads, batch = %d'):format(threads, batch))
  end
end

--- The fused log-prob of a token is that of its whole row of logits, in double precision.
function tests.test_logprob_of_the_whole_row()
  local model = the_model('f32')
  local g = sampled(model)[1]
  local a = g.answers[1]
  scope.run(function()
    sppo.no_grad(function()
      local hidden = model.net(tensor.ints(g.prompt), segments.new { { count = #g.prompt } })
      local last = ops.take_rows(hidden, tensor.ints { #g.prompt - 1 })
      local logits, sum = model.net.lm_head(last):tolist(), 0
      for _, x in ipairs(logits) do sum = sum + math.exp(x) end
      lu.assertAlmostEquals(a.logprobs[1], logits[a.tokens[1] + 1] - math.log(sum), 4e-6)
    end)
  end)
end

return tests
