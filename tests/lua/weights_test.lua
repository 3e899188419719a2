--- Model folders: what is written reads back, and what is wrong says so.

local compare = require 'support.compare'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local host = require 'sppo.host'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local ops = require 'sppo.ops'
local scope = require 'sppo.scope'
local segments = require 'sppo.segments'
local shell = require 'support.shell'
local tensor = require 'sppo.tensor'

local tests = {}

local function config(changes)
  local c = {
    model_type = 'llama', vocab_size = 70, hidden_size = 32, intermediate_size = 48,
    num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2,
    max_position_embeddings = 64, tie_word_embeddings = true,
  }
  for key, value in pairs(changes or {}) do c[key] = value end
  return c
end

--- Values of a model's parameters by name.
local function values(model)
  local all = {}
  for _, p in ipairs(nn.parameters(model.net)) do all[p.name] = p.owner[p.key]:tolist() end
  return all
end

local function same_values(a, b)
  for name, list in pairs(a) do compare.same_bits(b[name], list, name) end
  for name in pairs(b) do lu.assertNotNil(a[name], name) end
end

local function hidden_of(model)
  return scope.run(function()
    return model.net(tensor.ints { 1, 5, 69 }, segments.new { { count = 3 } }):tolist()
  end)
end

function tests.test_save_and_open()
  for _, tied in ipairs { true, false } do
    shell.in_folder(function(folder)
      local model = model_of.random(config { tie_word_embeddings = tied }, 3)
      model_of.save(model, folder .. '/w', 'f32')
      lu.assertTrue(files.complete(folder .. '/w'))
      local again = assert(model_of.open(folder .. '/w'))
      same_values(values(model), values(again))
      compare.same_bits(hidden_of(again), hidden_of(model), 'hidden')
      lu.assertEquals(again.config.tie_word_embeddings, tied)
    end)
  end
end

--- A policy kept in bf16: saved and opened, its values are those that were rounded, in f32 too.
function tests.test_bf16()
  shell.in_folder(function(folder)
    local rounded = values(model_of.random(config(), 3, { values = 'bf16' }))
    local model = model_of.random(config(), 3)
    lu.assertNotEquals(values(model)['model.embed_tokens.weight'],
      rounded['model.embed_tokens.weight'])
    model_of.save(model, folder .. '/w', 'bf16')
    lu.assertTrue(files.size(folder .. '/w/model.safetensors')
      < 2.2 * #rounded['model.embed_tokens.weight'] * 10)
    same_values(values(assert(model_of.open(folder .. '/w'))), rounded)
    same_values(values(assert(model_of.open(folder .. '/w', { dtype = 'bf16' }))), rounded)
    same_values(values(model_of.random(config(), 3, { dtype = 'bf16' })), rounded)
  end)
end

--- A model in two shards with an index, as large checkpoints are.
local function write_shards(folder, model, rename)
  local lists = { {}, {} }
  local map = {}
  for i, p in ipairs(nn.parameters(model.net)) do
    local shard = i % 2 + 1
    local t = p.owner[p.key]
    table.insert(lists[shard], { name = p.name, dtype = 'f32', shape = t.shape, tensor = t })
    map[p.name] = rename and rename[shard] or ('model-%05d-of-00002.safetensors'):format(shard)
  end
  for shard, list in ipairs(lists) do
    local w = files.safetensors_writer(
      ('%s/model-%05d-of-00002.safetensors'):format(folder, shard), list)
    for _, entry in ipairs(list) do
      w:write(entry.tensor.layout == 'panels' and ops.unpack(entry.tensor) or entry.tensor)
    end
    w:close()
  end
  files.write(folder .. '/config.json', json.encode(config()))
  files.write(folder .. '/model.safetensors.index.json',
    json.encode { metadata = {}, weight_map = map })
end

function tests.test_shards()
  shell.in_folder(function(folder)
    local model = model_of.random(config(), 4)
    write_shards(folder, model)
    same_values(values(assert(model_of.open(folder))), values(model))
  end)
end

--- Names in an index are file names of the same folder, nothing else.
function tests.test_hostile_shard_names()
  local model = model_of.random(config(), 4)
  local names = {
    '../secret.safetensors', '/etc/passwd', '..', '.hidden', 'a/b.safetensors', 'a\\b', '',
    'a\0b',
  }
  for _, name in ipairs(names) do
    shell.in_folder(function(folder)
      write_shards(folder, model, { name, name })
      local opened, err = model_of.open(folder)
      lu.assertNil(opened)
      lu.assertStrContains(err, 'model.safetensors.index.json: ')
      lu.assertStrContains(err, 'is not a plain file name')
    end)
  end
  for text, want in pairs {
    ['{"weight_map": {"a": 3}}'] = 'is not a plain file name',
    ['{"weight_map": 3}'] = 'no weight_map',
    ['3'] = 'no weight_map', ['null'] = 'no weight_map', ['{'] = 'json',
    ['{"weight_map": {"a": "none.safetensors"}}'] = 'none.safetensors: ',
    ['{"weight_map": {}}'] = 'no tensor',
  } do
    shell.in_folder(function(folder)
      files.write(folder .. '/config.json', json.encode(config()))
      files.write(folder .. '/model.safetensors.index.json', text)
      local opened, err = model_of.open(folder)
      lu.assertNil(opened)
      lu.assertStrContains(err, want)
    end)
  end
end

--- A folder whose config says something else than its weights.
function tests.test_other_shapes()
  shell.in_folder(function(folder)
    model_of.save(model_of.random(config(), 4), folder .. '/w', 'f32')
    files.write(folder .. '/w/config.json', json.encode(config { vocab_size = 71 }))
    local opened, err = model_of.open(folder .. '/w')
    lu.assertNil(opened)
    lu.assertStrContains(err, 'model.embed_tokens.weight is [70, 32], the model wants [71, 32]')
    files.write(folder .. '/w/config.json', json.encode(config { num_hidden_layers = 3 }))
    opened, err = model_of.open(folder .. '/w')
    lu.assertNil(opened)
    lu.assertStrContains(err, 'no tensor model.layers.2.')
    files.write(folder .. '/w/config.json', json.encode(config { tie_word_embeddings = false }))
    opened, err = model_of.open(folder .. '/w')
    lu.assertNil(opened)
    lu.assertStrContains(err, 'no tensor lm_head.weight')
  end)
end

function tests.test_bad_configs()
  local function fails(text, want)
    shell.in_folder(function(folder)
      files.write(folder .. '/config.json', text)
      files.write(folder .. '/model.safetensors', '\2\0\0\0\0\0\0\0{}')
      local opened, err = model_of.open(folder)
      lu.assertNil(opened, text)
      lu.assertStrContains(err, want)
      lu.assertStrContains(err, folder)
      lu.assertEquals(engine.kind_of(err), 'format', err)
    end)
  end
  local function with(changes) return json.encode(config(changes)) end
  fails('', 'config.json: json')
  fails('[1, 2]', 'model_type')
  fails('3', 'not an object')
  fails('{"model_type": "llama"}', 'vocab_size must be an integer in 1..16777216, got nil')
  fails(with { model_type = 'lama' }, 'unknown model_type \'lama\' (did you mean \'llama\'?)')
  fails(with { hidden_size = 'many' }, 'hidden_size must be an integer in 1..1048576, got \'many\'')
  fails(with { hidden_size = 30 }, 'head_dim must be an integer in 2..256, got 7.5')
  fails(with { num_hidden_layers = 1e9 },
    'num_hidden_layers must be an integer in 1..4096, got 1000000000')
  fails(with { num_hidden_layers = 0 }, 'num_hidden_layers must be an integer in 1..4096, got 0')
  fails(with { num_key_value_heads = 3 }, '4 attention heads for 3 key/value heads')
  fails(with { num_key_value_heads = 8 }, 'num_key_value_heads must be an integer in 1..4, got 8')
  fails(with { num_key_value_heads = 'x' },
    'num_key_value_heads must be an integer in 1..4, got \'x\'')
  fails(with { rope_scaling = { type = 'linear' } },
    'config.json: rope_scaling.factor must be a number in 0.001..1000000, got nil')
  fails(with { rope_scaling = { rope_type = 'yarn', factor = 4 } },
    'rope_scaling.rope_type is \'yarn\'; this version has \'default\', \'linear\', \'llama3\'')
  fails(with { rope_scaling = 3 }, 'rope_scaling is 3, not an object')
  local llama3 = { rope_type = 'llama3', factor = 8, low_freq_factor = 4, high_freq_factor = 1,
    original_max_position_embeddings = 64 }
  fails(with { rope_parameters = llama3 },
    'rope_parameters.high_freq_factor is 1, not more than low_freq_factor, 4')
  llama3.original_max_position_embeddings = nil
  fails(with { rope_parameters = llama3 },
    'rope_parameters.original_max_position_embeddings must be an integer in 1..1073741824, got nil')
  fails(with { rope_parameters = { full_attention = { rope_theta = 1 } } },
    'rope_parameters.full_attention is an object: one for each kind of layer is not supported')
  fails(with { rope_parameters = { rope_theta = 1e4, partial_rotary_factor = 0.5 } },
    'rope_parameters.partial_rotary_factor is 0.5, this version computes 1')
  fails(with { attention_bias = 1 }, 'attention_bias must be true or false, got 1')
  fails(with { hidden_act = 'relu' }, 'hidden_act is \'relu\', this version computes \'silu\'')
  fails(with { head_dim = 7 }, 'head_dim is 7, rope needs it even')
  fails(with { eos_token_id = 70 }, 'eos_token_id must be an integer in 0..69, got 70')
  fails(with { model_type = 'mistral', sliding_window = 0 },
    'sliding_window must be an integer in 1..2147483647, got 0')
  fails(with { model_type = 'gemma2', attn_logit_softcapping = -1 },
    'attn_logit_softcapping must be a number in 0.001..1000000, got -1')
  fails(with { model_type = 'gemma2', layer_types = { 'full_attention' } },
    'layer_types has 1 entries, num_hidden_layers is 2')
  fails(with { model_type = 'gemma2', layer_types = { 'full_attention', 'mamba' } },
    'layer_types[1] is \'mamba\'')
end

--- Hugging Face writes null for what is not set.
function tests.test_nulls()
  local null = json.null
  local given = config {
    head_dim = null, rope_scaling = null, num_key_value_heads = null, rope_parameters = null,
    rope_theta = null, rms_norm_eps = null, max_position_embeddings = null,
    attention_bias = null,
  }
  local c = model_of.random(given, 1).config
  lu.assertEquals(
    { c.head_dim, c.num_key_value_heads, c.rope_theta, c.rms_norm_eps, c.max_position_embeddings },
    { 8, 4, 10000, 1e-6, 2048 })
end

--- Numbers that are there but make no sense.
function tests.test_bad_numbers()
  for key, text in pairs {
    rope_theta = 'rope_theta', rms_norm_eps = 'rms_norm_eps',
    max_position_embeddings = 'max_position_embeddings',
  } do
    for _, value in ipairs { -1, 'x', {} } do
      local ok, err = pcall(model_of.random, config { [key] = value }, 1)
      lu.assertFalse(ok, ('%s = %s'):format(key, tostring(value)))
      lu.assertStrContains(err, text)
    end
  end
end

--- Too large for this machine: said before anything is allocated, with how much and what to set.
function tests.test_too_large()
  local large = config {
    hidden_size = 65536, num_attention_heads = 256, num_key_value_heads = 256,
    intermediate_size = 2^20, vocab_size = 2^20, num_hidden_layers = 64,
  }
  local gib = ('this machine has %.1f GiB'):format(host.total_memory() / 2^30)
  local function check(fn, dtype, advice)
    local before = require('sppo').memory().peak
    local ok, err = pcall(fn)
    lu.assertFalse(ok)
    lu.assertStrMatches(err, '.*: its weights take %d+%.%d GiB in ' .. dtype .. ', .*')
    lu.assertStrContains(err, gib)
    lu.assertStrContains(err, advice)
    lu.assertEquals(engine.kind_of(err), 'memory')
    lu.assertEquals(require('sppo').memory().peak, before)
  end
  check(function() model_of.random(large, 1) end, 'f32', 'set policy.dtype = \'bf16\'')
  check(function() model_of.random(large, 1, { dtype = 'bf16' }) end,
    'bf16', 'a smaller model or more memory')
  shell.in_folder(function(folder)
    files.write(folder .. '/config.json', json.encode(large))
    files.write(folder .. '/model.safetensors', '\2\0\0\0\0\0\0\0{}')
    check(function() assert(model_of.open(folder)) end, 'f32', 'set policy.dtype = \'bf16\'')
  end)
end

function tests.test_no_model_there()
  local opened, err = model_of.open 'no/such/model'
  lu.assertNil(opened)
  lu.assertEquals(err, 'no/such/model: no model there: ' ..
    'neither a GGUF file nor a folder with config.json or model.gguf')
  lu.assertEquals(engine.kind_of(err), 'io')
  opened, err = model_of.open 'no/such/smollm2'
  lu.assertNil(opened)
  lu.assertStrContains(err, '(fetch it with tools/fetch-model smollm2)')
  shell.in_folder(function(folder)
    lu.assertNil((model_of.open(folder)))
    files.write(folder .. '/model.gguf', 'no GGUF')
    opened, err = model_of.open(folder)
    lu.assertNil(opened)
    lu.assertStrContains(err, folder .. '/model.gguf: not a GGUF file')
    lu.assertEquals(engine.kind_of(err), 'format')
  end)
end

--- What a random model is made of depends on its seed alone; opening changes nothing in the table
--- given.
function tests.test_random()
  local given = config()
  local a, b, c = model_of.random(given, 5), model_of.random(given, 5), model_of.random(given, 6)
  same_values(values(a), values(b))
  lu.assertNotEquals(values(a)['model.embed_tokens.weight'], values(c)['model.embed_tokens.weight'])
  lu.assertEquals(given, config())
end

function tests.test_release()
  local sppo = require 'sppo'
  collectgarbage()
  collectgarbage()
  local before = sppo.memory().used
  local model = model_of.random(config(), 5)
  lu.assertTrue(sppo.memory().used > before + 4 * 70 * 32)
  model_of.release(model)
  lu.assertEquals(sppo.memory().used, before)
end

return tests
