--- A round of training (lua/sppo/train.lua): what is common to its losses.

local compare = require 'support.compare'
local lu = require 'luaunit'
local losses = require 'sppo.losses'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local scope = require 'sppo.scope'
local shell = require 'support.shell'
local train = require 'sppo.train'

local tests = {}

local config = { model_type = 'llama', vocab_size = 16, hidden_size = 16, intermediate_size = 24,
  num_hidden_layers = 1, num_attention_heads = 2, num_key_value_heads = 1,
  max_position_embeddings = 64 }

--- Four prompts with two answers whose log-probs under pi_t are a little off the model's.
local function groups()
  local list = {}
  for i = 1, 4 do
    local g = { prompt = { i, 3, 2 * i }, answers = {}, wins = { 0.8, 0.3, 0.4 }, pair = 0.9,
      shared = 0 }
    for k = 1, 2 do
      local tokens = {}
      for j = 1, 2 + i * k do tokens[j] = (i * j + 5 * k) % 16 end
      g.answers[k] = { tokens = tokens, win = k == 1 and 0.8 or 0.3,
        logprob = -2.77 * #tokens + (i % 2 == 0 and 0.4 or -0.3) * k }
    end
    list[i] = g
  end
  return list
end

local function options(changes)
  local o = { eta = 5, loss = 'sppo', optimizer = 'sgd', optimizer_options = {}, lr = 0.5,
    schedule = 'constant', warmup = 0, batch = 4, epochs = 1, clip = 0, micro_tokens = 4096,
    recompute = false, checkpoint_seconds = 1e9, compat = 'none', log_z = 'half',
    normalise = 'none', label_smoothing = 0 }
  for key, value in pairs(changes) do o[key] = value end
  return o
end

--- Parameters after a step, as one list, and the step's metrics. `stop`: as train.run has it; what
--- it ends goes on with the model as it was at first.
local function step(changes, stop)
  local model, list, metrics = model_of.random(config, 2), {}, nil
  shell.in_folder(function(folder)
    while not train.run(model, groups(), options(changes), { round = 1, seed = 1,
      checkpoint = folder .. '/checkpoint', note = function() return {} end,
      on_step = function(m) metrics = m end, stop = stop or function() return false end }) do
      model_of.release(model)
      model = model_of.random(config, 2)
    end
  end)
  for _, p in ipairs(nn.parameters(model.net)) do
    local t = p.owner[p.key]
    scope.run(function()
      for _, x in ipairs((t.layout == 'panels' and t:unpack() or t):view(-1):tolist()) do
        list[#list + 1] = x
      end
    end)
  end
  model_of.release(model)
  return list, metrics
end

--- Whatever the micro-batches are, also where a loss couples the prompts of a step.
function tests.test_micro_batches()
  for name in pairs(losses) do
    local whole, metrics = step { loss = name }
    local cut, again = step { loss = name, micro_tokens = 8 }
    compare.close(cut, whole, 1e-5, name, 0.1)
    compare.close({ again.loss }, { metrics.loss }, 1e-5, name .. ', loss', 0.1)
    lu.assertTrue(metrics.grad_norm > 0, name)
  end
end

--- A step that is asked to end between its micro-batches leaves nothing behind.
function tests.test_stop_inside_a_step()
  local forwards, asked = 0, {}
  local function loss(b)
    forwards = forwards + 1
    return losses.sppo(b)
  end
  local cut = { loss = loss, micro_tokens = 8, epochs = 2, batch = 3, lr = 0.01 }
  local whole = step(cut)
  forwards = 0
  local got = step(cut, function()
    asked[#asked + 1] = forwards
    return #asked == 2 or #asked == 5
  end)
  lu.assertEquals({ asked[1], asked[2], asked[3] }, { 1, 2, 3 }, 'after each micro-batch')
  lu.assertTrue(#asked > 5)
  lu.assertEquals(got, whole)
end

--- The detour of the coupled loss gives what differentiating it in one piece gives.
function tests.test_coupled_in_one_piece()
  local function kto_pair(b) return losses.kto_pair(b) end -- has no name, so no detour
  local whole, metrics = step { loss = kto_pair }
  local detour, again = step { loss = 'kto_pair', micro_tokens = 8 }
  compare.close(detour, whole, 1e-5, 'parameters', 0.1)
  compare.close({ again.loss, again.grad_norm }, { metrics.loss, metrics.grad_norm }, 1e-5, 'loss')
end

--- Options reach the loss.
function tests.test_options()
  local seen
  local function loss(b)
    seen = { excess = b.excess:tolist(),
      normalise = b.normalise, label_smoothing = b.label_smoothing }
    return losses.sppo(b)
  end
  step { loss = loss, batch = 1, log_z = 'estimate', normalise = 'tokens', label_smoothing = 0.25 }
  local z = math.log((math.exp(4) + math.exp(1.5) + math.exp(2)) / 3) - 2.5
  compare.close(seen.excess, { z, z }, 1e-6, 'excess')
  lu.assertEquals({ seen.normalise, seen.label_smoothing }, { 'tokens', 0.25 })
  step { loss = loss }
  lu.assertEquals(seen.excess, { 0, 0, 0, 0, 0, 0, 0, 0 })
end

return tests
