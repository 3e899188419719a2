--- Training rankers (lua/sppo/ranker.lua) in both forms, and PairRM's form on a decoder
--- (lua/sppo/pairrm_decoder.lua).

local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local pairrm = require 'sppo.pairrm'
local pairrm_decoder = require 'sppo.pairrm_decoder'
local pairrm_preference = require 'sppo.preference.pairrm'
local preference = require 'sppo.preference'
local ranker = require 'sppo.ranker'
local reward_preference = require 'sppo.preference.reward'
local scope = require 'sppo.scope'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'
local small_model = require 'support.small_model'
local tensor = require 'sppo.tensor'

local tests = {}

local LIMITS = { source_maxlength = 6, candidate_maxlength = 8 }

--- A ranker on a random body, with a head that says something.
local function small(folder)
  small_model.write(folder .. '/base', 11)
  local model = pairrm_decoder.from(assert(model_of.open(folder .. '/base')), 3, LIMITS)
  local last = model.net.head_layer[5]
  last.weight:copy_(tensor.zeros({ 1, 32 }):normal_(0, 1, 9):pack('f32'))
  return model
end

-- ---- a decoder in PairRM's form ----

function tests.test_begins_at_zero()
  shell.in_folder(function(folder)
    small_model.write(folder .. '/base', 11)
    local model = pairrm_decoder.from(assert(model_of.open(folder .. '/base')), 3, LIMITS)
    lu.assertEquals(model.config.architectures, { 'LlamaForPairRanking' })
    local l = pairrm.matrices(model, { pairrm.group(model, 'ab', { 'a', 'b' }) })[1]
    lu.assertEquals(l, { { 0, 0 }, { 0, 0 } })
    local first = model.net.head_layer[2].weight:unpack():view(-1):tolist()
    local squares = 0
    for _, x in ipairs(first) do squares = squares + x * x end
    lu.assertAlmostEquals(math.sqrt(squares / #first), 0.02, 2e-3)
  end)
end

--- The first answer, then the second, after the prompt in its template; each ends with the token
--- that ends answers, and what is too long is cut.
function tests.test_what_it_reads()
  shell.in_folder(function(folder)
    local model = small(folder)
    local g = pairrm.group(model, 'ab', { 'a', ('b'):rep(20) })
    local prompt = require('sppo.generate').prompt_tokens(model, { { role = 'user',
      content = 'ab' } })
    lu.assertTrue(#prompt > 6)
    lu.assertEquals(g.source, { unpack(prompt, #prompt - 5) })
    lu.assertEquals(g.answers, { { 0, 6 }, { 1, 1, 1, 1, 1, 1, 1, 6 } })
    local seen
    local net = model.net
    model.net = function(tokens, at, rows)
      seen = { tokens:tolist(), at, rows:tolist() }
      return net(tokens, at, rows)
    end
    scope.run(function() pairrm.logits(model, { { group = g, i = 2, j = 1 } }) end)
    local want = { unpack(g.source) }
    for _, part in ipairs { g.answers[2], g.answers[1] } do
      for _, id in ipairs(part) do want[#want + 1] = id end
    end
    lu.assertEquals(seen[1], want)
    lu.assertEquals(seen[3], { 5, 13, 5, 15 })
  end)
end

--- What pairs share in a forward pass does not change their bits, and the order in a pair matters.
function tests.test_shares_without_a_trace()
  shell.in_folder(function(folder)
    local model = small(folder)
    local groups = {
      pairrm.group(model, 'ab', { 'a', 'ba', 'bbb' }), pairrm.group(model, 'b', { 'ab', 'b' }),
    }
    local together = pairrm.matrices(model, groups, 1e6)
    lu.assertEquals(pairrm.matrices(model, groups, 1), together)
    lu.assertEquals(pairrm.matrices(model, groups, 60), together)
    local ab, ba = together[1][1][2], together[1][2][1]
    lu.assertNotEquals(ab, 0)
    lu.assertTrue(math.abs(ab + ba) > 1e-6, 'the order of the two should matter')
  end)
end

--- The head by hand, from the decoder's hidden states of the whole text.
function tests.test_head()
  shell.in_folder(function(folder)
    local model = small(folder)
    local g = pairrm.group(model, 'b', { 'ab', 'b' })
    local got = pairrm.matrices(model, { g })[1][1][2]
    local ids = { unpack(g.source) }
    for _, part in ipairs(g.answers) do
      for _, id in ipairs(part) do ids[#ids + 1] = id end
    end
    scope.run(function()
      local segments = require 'sppo.segments'
      local hidden = require('models.llama').forward(model.net, tensor.ints(ids),
        segments.new { { count = #ids } }):tolist()
      local head = model.net.head_layer
      local w1 = head[2].weight:unpack():view(-1):tolist()
      local w2 = head[5].weight:unpack():view(-1):tolist()
      local function score(row)
        local sum = 0
        for i = 1, 32 do
          local x = 0
          for j = 1, 32 do
            x = x + w1[(i - 1) * 64 + j] * hidden[(#g.source - 1) * 32 + j]
              + w1[(i - 1) * 64 + 32 + j] * hidden[row * 32 + j]
          end
          sum = sum + w2[i] * math.tanh(x)
        end
        return sum
      end
      local first = #g.source + #g.answers[1] - 1
      lu.assertAlmostEquals(got, score(first) - score(#ids - 1), 1e-5)
    end)
  end)
end

--- Gradients through head and body against differences.
function tests.test_gradient()
  shell.in_folder(function(folder)
    local model = small(folder)
    local groups = { pairrm.group(model, 'ab', { 'a', 'ba' }),
      pairrm.group(model, 'b', { 'b', '' }) }
    local function loss()
      return pairrm.objective.loss({ model = model, options = {} }, groups, 2,
        setmetatable({}, { __index = function() return 0 end }))
    end
    scope.run(function()
      lu.assertAlmostEquals(loss():item(), pairrm.loss(model, groups):item(), 1e-6)
    end)
    for _, p in ipairs(nn.parameters(model.net)) do p.owner[p.key]:requires_grad_() end
    scope.run(function() loss():backward() end)
    for _, name in ipairs { 'head_layer.1.weight', 'head_layer.4.weight', 'model.norm.weight' } do
      for _, p in ipairs(nn.parameters(model.net)) do
        if p.name == name then
          local t = p.owner[p.key]
          local panels = t.layout == 'panels'
          local grad = (panels and t.grad:unpack() or t.grad):view(-1):tolist()
          local rows = panels and t:unpack() or t
          local values = rows:view(-1):tolist()
          for _, i in ipairs { 1, 17 } do
            local function at(delta)
              local copy = { unpack(values) }
              copy[i] = copy[i] + delta
              local changed = tensor.tensor(copy, rows.shape)
              t:copy_(panels and changed:pack('f32') or changed)
              return scope.run(function() return loss():item() end)
            end
            local slope = (at(1e-2) - at(-1e-2)) / 2e-2
            at(0)
            lu.assertAlmostEquals(grad[i], slope, 2e-3 * math.max(1, math.abs(slope)), name)
          end
        end
      end
    end
  end)
end

function tests.test_folders()
  shell.in_folder(function(folder)
    local model = small(folder)
    model.save(model, folder .. '/m', 'f32')
    local config = assert(files.json(folder .. '/m/config.json'))
    lu.assertEquals(config.architectures, { 'LlamaForPairRanking' })
    lu.assertEquals(config.source_maxlength, 6)
    local again = assert(pairrm.open(folder .. '/m'))
    local function logits(m) return pairrm.matrices(m, { pairrm.group(m, 'ab', { 'a', 'ba' }) }) end
    lu.assertEquals(logits(again), logits(model))
    lu.assertTrue(pairrm.is_ranker(folder .. '/m'))
    lu.assertFalse(pairrm.is_ranker(folder .. '/base'))
    local none, err = pairrm.open(folder .. '/base')
    lu.assertNil(none)
    lu.assertStrContains(err, 'model_type must be \'deberta-v2\'')
    files.remove(folder .. '/m/tokenizer.json')
    none, err = pairrm.open(folder .. '/m')
    lu.assertNil(none)
    lu.assertStrContains(err, 'has no tokenizer')
  end)
end

-- ---- training ----

local RECIPE = [[
local pairs_of = function(first, last)
  local list = {}
  for i = first, last do
    list[#list + 1] = { prompt = ('ab'):rep(i %% 3 + 1), chosen = ('a'):rep(i %% 4 + 1),
      rejected = ('b'):rep((i + 2) %% 4 + 1) }
  end
  return list
end
return {
  name = 'r', rounds = 1, policy = { model = '%s' },
  train = { optimizer = 'adamw', lr = 5e-3, batch = 4, epochs = 2, micro_tokens = 64,
    checkpoint_seconds = 0 },
  run = function(run)
    require('sppo.ranker').run(run, { form = '%s', train = pairs_of(1, 40),
      held_out = pairs_of(41, 52), limits = %s })
  end,
}]]

--- Trains, whole and cut into pieces: the same bytes. Returns the folder of the weights.
local function learns(folder, model, form, limits)
  files.write(folder .. '/r.lua', RECIPE:format(model, form, limits))
  local function run(out, stop)
    return selfplay.run(folder .. '/r.lua', { overrides = { { 'out', out } }, stop = stop })
  end
  lu.assertEquals(run(folder .. '/whole'), 'done')
  local metrics = shell.metrics(folder .. '/whole')
  lu.assertEquals(metrics[#metrics]['eval/accuracy'], 1)
  lu.assertEquals(metrics[#metrics]['eval/longer_wins'], 0.5)

  local result, calls = 'stopped', 0
  while result == 'stopped' do
    result = run(folder .. '/cut', function()
      calls = calls + 1
      return calls % 7 == 0
    end)
  end
  lu.assertTrue(calls > 14)
  local want, got = shell.run_bytes(folder .. '/whole'), shell.run_bytes(folder .. '/cut')
  for name, bytes in pairs(want) do lu.assertTrue(got[name] == bytes, name) end
  return folder .. '/whole/round-1/weights'
end

local function matrix(p)
  return preference.matrix(p, { id = 1, text = 'ab' }, { 'aa', 'bb', 'aa' }, {})
end

function tests.test_a_reward_model_learns_and_resumes()
  shell.in_folder(function(folder)
    small_model.write(folder .. '/base', 11)
    local path = learns(folder, folder .. '/base', 'reward', '{ max_prompt = 16, max_length = 32 }')
    -- As a recipe's preference: a beats b, and the matrix is Bradley-Terry's.
    local m = matrix(reward_preference.preference { model = path })
    lu.assertTrue(m[1][2] > 0.9)
    lu.assertAlmostEquals(m[1][2] + m[2][1], 1, 1e-12)
    lu.assertEquals(m[1][3], 0.5)
  end)
end

local PAIR_LIMITS = '{ source_maxlength = 16, candidate_maxlength = 16 }'

function tests.test_a_pair_ranker_learns_and_resumes()
  shell.in_folder(function(folder)
    small_model.write(folder .. '/base', 11)
    local path = learns(folder, folder .. '/base', 'pairrm', PAIR_LIMITS)
    local m = matrix(pairrm_preference.preference { model = path })
    lu.assertTrue(m[1][2] > 0.8 and m[2][1] < 0.2)
    files.write(folder .. '/list.jsonl', '{"prompt": "ab", "answers": ["b", "a"]}\n')
    local code, out = shell.sppo { 'rank', path, folder .. '/list.jsonl', '--json' }
    lu.assertEquals(code, 0)
    lu.assertEquals(json.decode(out).ranks, { 2, 1 })
  end)
end

--- PairRM itself goes on learning: an encoder, written as it was read.
function tests.test_an_encoder_learns_and_resumes()
  shell.in_folder(function(folder)
    local config = pairrm.published('xsmall')
    for key, value in pairs { vocab_size = 16, hidden_size = 16, intermediate_size = 32,
      num_hidden_layers = 2, num_attention_heads = 2, position_buckets = 16, cls_token_id = 4,
      sep_token_id = 5, source_prefix_id = 6, cand1_prefix_id = 7, cand2_prefix_id = 8 } do
      config[key] = value
    end
    local model = pairrm.random(config, 3)
    model.save(model, folder .. '/base', 'f32')
    local added = {}
    for i, text in ipairs { '[CLS]', '[SEP]', '<|source|>', '<|candidate1|>', '<|candidate2|>' } do
      added[i] = { id = 3 + i, content = text, special = true }
    end
    files.write(folder .. '/base/tokenizer.json', json.encode {
      added_tokens = added, normalizer = json.null,
      pre_tokenizer = { type = 'ByteLevel', add_prefix_space = false, trim_offsets = true },
      model = { type = 'BPE', unk_token = json.null, merges = { 'a b' },
        vocab = { a = 0, b = 1, ab = 2, ['Ġ'] = 3 } },
    })
    local path = learns(folder, folder .. '/base', 'pairrm', PAIR_LIMITS)
    local m = matrix(pairrm_preference.preference { model = path })
    lu.assertTrue(m[1][2] > 0.5 and m[2][1] < 0.5)
  end)
end

function tests.test_wrong_options()
  local function fails(text, options)
    local ok, err = pcall(ranker.run, {}, options)
    lu.assertFalse(ok)
    lu.assertStrContains(tostring(type(err) == 'table' and err.message or err), text)
  end
  local limits = { max_prompt = 8, max_length = 8 }
  fails('unknown form \'pairm\' (did you mean \'pairrm\'?)', { form = 'pairm' })
  fails('max_length must be an integer in 4..', { form = 'reward', limits = { max_prompt = 8 } })
  fails('ranker.limits: unknown option', { form = 'pairrm', limits = limits })
  fails('train must be a list of pairs', { form = 'reward', limits = limits })
  fails('train[1].chosen must be a string, got number', { form = 'reward', limits = limits,
    train = { { prompt = 'x', chosen = 1 } }, held_out = {} })
  fails('held_out must be a list of pairs', { form = 'reward', limits = limits,
    train = { { prompt = 'x', chosen = 'a', rejected = 'b' } }, held_out = {} })
  lu.assertEquals(ranker.accuracy { 1, 0 }, 0.75)
end

return tests
