--- models/deberta.lua against transformers: tests/golden/deberta.json, written by
--- tools/golden/deberta.py; weights by tests/support/formula.lua.

local Deberta = require 'models.deberta'
local compare = require 'support.compare'
local formula = require 'support.formula'
local json = require 'sppo.json'
local lu = require 'luaunit'
local nn = require 'sppo.nn'
local parity = require 'support.parity'
local scope = require 'sppo.scope'
local segments = require 'sppo.segments'
local shell = require 'support.shell'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'

local tests = {}

local TOLERANCE = 1e-4

local golden

local function build(config, dtype)
  local net = Deberta(assert(Deberta.check(config)))
  nn.fill(net, formula.parameter, dtype or 'f32')
  return net
end

local function each_case(fn)
  golden = golden or shell.golden('deberta.json')
  lu.assertEquals(#golden.cases, 3)
  for _, case in ipairs(golden.cases) do
    local net = build(case.config)
    for _, p in ipairs(nn.parameters(net)) do p.owner[p.key]:requires_grad_() end
    local ok, err = pcall(scope.run, fn, net, case)
    for _, p in ipairs(nn.parameters(net)) do p.owner[p.key]:release() end
    if not ok then error(err, 0) end
  end
end

--- Hidden states of the case's texts in one flat batch.
local function hidden_of(net, case, options)
  local ids, lengths = {}, {}
  for i, text in ipairs(case.texts) do
    lengths[i] = { count = #text }
    for _, id in ipairs(text) do ids[#ids + 1] = id end
  end
  return net(tensor.ints(ids), segments.new(lengths), options), #ids
end

local function loss_of(hidden)
  return sppo.ops.sum(hidden * tensor.tensor(formula.numbers('loss', hidden:count()), hidden.shape))
end

local function norm_of(list)
  local sum = 0
  for _, x in ipairs(list) do sum = sum + x * x end
  return math.sqrt(sum)
end

local function agree(net, case)
  local hidden, n = hidden_of(net, case)
  local rows = case.rows ~= json.null and case.rows
  local list, H, want, got = hidden:tolist(), case.config.hidden_size, {}, {}
  for i, row in ipairs(case.hidden) do
    local at = rows and n - #case.texts[#case.texts] + rows[i] or i - 1
    for k, x in ipairs(row) do got[#got + 1], want[#want + 1] = list[at * H + k], x end
  end
  local name = 'deberta-v3, hidden ' .. case.config.hidden_size
  parity.note('model', name, 'hidden states', 'transformers',
    compare.close(got, want, TOLERANCE, 'hidden states', 1), #want)
  local loss = loss_of(hidden)
  lu.assertAlmostEquals(loss:item(), case.loss, TOLERANCE * math.max(1, math.abs(case.loss)))
  loss:backward()
  local count, worst = 0, 0
  for _, p in ipairs(nn.parameters(net)) do
    local w = case.gradient[p.name]
    lu.assertNotNil(w, p.name .. ' is not in the golden file')
    local g, some = p.owner[p.key].grad:tolist(), {}
    for i, at in ipairs(w.at) do some[i] = g[at + 1] end
    worst = math.max(worst,
      compare.close({ norm_of(g) }, { w.norm }, TOLERANCE, p.name .. ', norm', 1e-2),
      compare.close(some, w.values, TOLERANCE, p.name .. ', gradient',
        math.max(w.norm / math.sqrt(#g), 1e-2)))
    count = count + 1
  end
  parity.note('model', name, 'gradients of parameters', 'transformers', worst, count)
  for _ in pairs(case.gradient) do count = count - 1 end
  lu.assertEquals(count, 0)
end

for _, name in ipairs { 'avx512vnni', 'avx512', 'avx2', 'plain' } do
  tests['test_transformers_' .. name] = function()
    local best = sppo.cpu_name()
    local has, reason = pcall(sppo.cpu_use, name)
    if not has then lu.skip(reason) end
    local ok, err = pcall(each_case, agree)
    sppo.cpu_use(best)
    if not ok then error(err, 0) end
  end
end

--- A text has the same bits alone, and gradients that replayed layers do not change.
function tests.test_alone_and_recomputed()
  each_case(function(net, case)
    local H, at = case.config.hidden_size, 0
    local together = hidden_of(net, case)
    local list = together:tolist()
    for _, text in ipairs(case.texts) do
      local alone = net(tensor.ints(text), segments.new { { count = #text } }):tolist()
      local part = {}
      for i = 1, #text * H do part[i] = list[at * H + i] end
      compare.same_bits(alone, part, 'a text alone')
      at = at + #text
    end
    local kept, again = {}, {}
    loss_of(together):backward()
    for _, p in ipairs(nn.parameters(net)) do
      kept[p.name] = p.owner[p.key].grad:tolist()
      p.owner[p.key]:clear_grad_()
    end
    loss_of((hidden_of(net, case, { recompute = true }))):backward()
    for _, p in ipairs(nn.parameters(net)) do
      again[p.name] = p.owner[p.key].grad:tolist()
      compare.same_bits(again[p.name], kept[p.name], p.name)
    end
  end)
end

--- bf16 weights: near what f32 gives.
function tests.test_bf16()
  golden = golden or shell.golden('deberta.json')
  local case = golden.cases[1]
  scope.run(function()
    local a = hidden_of(build(case.config), case):tolist()
    local b = hidden_of(build(case.config, 'bf16'), case):tolist()
    compare.close(b, a, 0.06, 'bf16', 1)
  end)
end

--- deberta-v3-large's size: 1.2 GB of weights, half a minute.
function tests.test_large_slow()
  if not os.getenv('SPPO_SLOW') then
    lu.skip('slow: 24 layers of deberta-v3-large; SPPO_SLOW=1 runs it')
  end
  local large = shell.golden('deberta.json').large
  scope.run(function()
    local net, H = build(large.config), large.config.hidden_size
    local list = sppo.no_grad(function()
      return net(tensor.ints(large.tokens), segments.new { { count = #large.tokens } }):tolist()
    end)
    local got, want, worst = {}, {}, 0
    for i, row in ipairs(large.hidden) do
      for k, x in ipairs(row) do
        got[#got + 1], want[#want + 1] = list[large.rows[i] * H + k], x
        worst = math.max(worst, math.abs(got[#got] - x))
      end
    end
    io.stderr:write(('large: largest difference %.2g\n'):format(worst))
    compare.close(got, want, TOLERANCE, 'hidden states', 1)
    for _, p in ipairs(nn.parameters(net)) do p.owner[p.key]:release() end
  end)
end

--- Every other value of a switch is refused by its name.
function tests.test_switches()
  golden = golden or shell.golden('deberta.json')
  local function refused(changes, text)
    local config = {}
    for key, value in pairs(golden.cases[1].config) do config[key] = value end
    for key, value in pairs(changes) do config[key] = value end
    local checked, err = Deberta.check(config)
    lu.assertNil(checked)
    lu.assertStrContains(err, text)
  end
  refused({ model_type = 'bert' }, 'model_type must be \'deberta-v2\', got \'bert\'')
  refused({ hidden_act = 'relu' }, 'hidden_act must be "gelu" as in microsoft/deberta-v3-*')
  refused({ relative_attention = false }, 'relative_attention must be true')
  refused({ share_att_key = false }, 'share_att_key must be true')
  refused({ share_att_key = require('sppo.json').null }, 'share_att_key must be true')
  refused({ position_biased_input = true }, 'position_biased_input must be false')
  refused({ norm_rel_ebd = 'none' }, 'norm_rel_ebd must be "layer_norm"')
  refused({ type_vocab_size = 2 }, 'type_vocab_size must be 0')
  refused({ conv_kernel_size = 3 }, 'conv_kernel_size must be 0')
  refused({ pos_att_type = 'p2c' }, 'pos_att_type must be p2c and c2p')
  refused({ pos_att_type = { 'c2p', 'p2p' } }, 'pos_att_type must be p2c and c2p')
  refused({ embedding_size = 8 }, 'embedding_size must be 32, got 8')
  refused({ num_attention_heads = 3 }, 'hidden_size / num_attention_heads must be an integer')
  refused({ position_buckets = -1 }, 'position_buckets must be an integer')
  refused({ position_buckets = 256 }, 'max_relative_positions must be an integer in 130..')
  refused({ num_hidden_layers = 2^40 }, 'num_hidden_layers must be an integer in 1..4096')
  refused({ layer_norm_eps = 0 }, 'layer_norm_eps must be a number')
  local config = {}
  for key, value in pairs(golden.cases[1].config) do config[key] = value end
  config.pos_att_type = 'p2c|c2p'
  lu.assertEquals(assert(Deberta.check(config)).max_relative_positions, 16)
end

return tests
