--- Reward models (models/reward.lua, lua/sppo/reward.lua) and the preference made of them.

local lu = require 'luaunit'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local preference = require 'sppo.preference'
local reward = require 'sppo.reward'
local reward_preference = require 'sppo.preference.reward'
local scope = require 'sppo.scope'
local shell = require 'support.shell'

local tests = {}

local config = {
  model_type = 'llama', vocab_size = 48, hidden_size = 32, intermediate_size = 64,
  num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2,
  max_position_embeddings = 64, tie_word_embeddings = true, eos_token_id = 0,
  architectures = { 'LlamaForSequenceClassification' },
}

local groups = {
  { prompt = { 1, 2, 3 }, answers = { { tokens = { 4, 5, 0 } }, { tokens = { 6, 0 } } } },
  { prompt = { 7 }, answers = { { tokens = { 8, 9, 10, 11, 0 } }, { tokens = { 0 } } } },
}

--- Each text alone, by the decoder and the score by hand.
function tests.test_scores()
  local model = model_of.random(config, 3)
  local got = reward.rewards(model.net, groups, 1000)
  local one_by_one = reward.rewards(model.net, groups, 1)
  for i, g in ipairs(groups) do
    for k, a in ipairs(g.answers) do
      local alone = { prompt = g.prompt, answers = { { tokens = a.tokens } } }
      local want = reward.rewards(model.net, { alone }, 1000)[1][1]
      lu.assertEquals(got[i][k], want)
      lu.assertEquals(one_by_one[i][k], want)
    end
  end
  local flat = {}
  for _, list in ipairs { groups[1].prompt, groups[1].answers[1].tokens } do
    for _, id in ipairs(list) do flat[#flat + 1] = id end
  end
  scope.run(function()
    local tensor, segments = require 'sppo.tensor', require 'sppo.segments'
    local class = require 'models.llama'
    local hidden = class.forward(model.net, tensor.ints(flat), segments.new { { count = #flat } })
    local values, weight, sum = hidden:tolist(), model.net.score.weight:unpack():tolist(), 0
    for i = 1, 32 do sum = sum + values[(#flat - 1) * 32 + i] * weight[i] end
    lu.assertAlmostEquals(got[1][1], sum, 1e-5)
  end)
end

function tests.test_save_and_open()
  shell.in_folder(function(folder)
    local model = model_of.random(config, 3)
    model_of.save(model, folder .. '/m', 'f32')
    local again = assert(model_of.open(folder .. '/m'))
    lu.assertEquals(reward.rewards(again.net, groups, 99), reward.rewards(model.net, groups, 99))
    local saved = require('sppo.files').json(folder .. '/m/config.json')
    lu.assertEquals(saved.architectures, { 'LlamaForSequenceClassification' })
    lu.assertEquals(saved.id2label, { ['0'] = 'reward' })
  end)
end

--- Gradient of the loss against differences, through the score and through the body.
function tests.test_gradient()
  local model = model_of.random(config, 5)
  local function loss()
    return reward.objective.loss({ model = model, options = {} }, groups, 2,
      setmetatable({}, { __index = function() return 0 end }))
  end
  for _, p in ipairs(nn.parameters(model.net)) do p.owner[p.key]:requires_grad_() end
  scope.run(function() loss():backward() end)
  for _, name in ipairs { 'score.weight', 'model.norm.weight' } do
    for _, p in ipairs(nn.parameters(model.net)) do
      if p.name == name then
        local t = p.owner[p.key]
        local grad = t.grad
        local flat = (grad.layout == 'panels' and grad:unpack() or grad):view(-1):tolist()
        local rows = t.layout == 'panels' and t:unpack() or t
        local values = rows:view(-1):tolist()
        for _, i in ipairs { 1, 17 } do
          local function at(delta)
            local copy = {}
            for n, v in ipairs(values) do copy[n] = v end
            copy[i] = copy[i] + delta
            local changed = require('sppo.tensor').tensor(copy, rows.shape)
            t:copy_(t.layout == 'panels' and changed:pack('f32') or changed)
            return scope.run(function() return loss():item() end)
          end
          local slope = (at(1e-2) - at(-1e-2)) / 2e-2
          at(0)
          lu.assertAlmostEquals(flat[i], slope, 2e-3 * math.max(1, math.abs(slope)))
        end
      end
    end
  end
end

function tests.test_from_a_language_model()
  local base = {}
  for key, value in pairs(config) do base[key] = value end
  base.architectures = { 'LlamaForCausalLM' }
  local made = reward.from(model_of.random(base, 7))
  lu.assertEquals(made.config.architectures, { 'LlamaForSequenceClassification' })
  lu.assertEquals(reward.rewards(made.net, groups, 99), { { 0, 0 }, { 0, 0 } })
end

function tests.test_matrix()
  local p = reward_preference.matrix { 0, math.log(3), 1e4 }
  lu.assertAlmostEquals(p[1][2], 0.25, 1e-12)
  lu.assertAlmostEquals(p[2][1], 0.75, 1e-12)
  lu.assertEquals(p[3][1], 1)
  local ok = preference.matrix({ prefer = function() return p end }, { id = 1 }, { 'a', 'b', 'c' },
    {})
  lu.assertEquals(ok, p)
end

function tests.test_not_a_reward_model()
  shell.in_folder(function(folder)
    local base = {}
    for key, value in pairs(config) do base[key] = value end
    base.architectures = nil
    model_of.save(model_of.random(base, 3), folder .. '/m', 'f32')
    local p = reward_preference.preference { model = folder .. '/m' }
    local ok, err = pcall(p.prefer, { text = 'x' }, { 'a', 'b' }, {})
    lu.assertFalse(ok)
    lu.assertStrContains(tostring(type(err) == 'table' and err.message or err),
      'is a language model, not a reward model')
  end)
end

return tests
