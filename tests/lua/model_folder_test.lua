--- Model folders as Hugging Face's tools leave them: the cache read in place, what ends an answer,
--- and folders that do not hold what they say.

local engine = require 'sppo.ffi'
local ffi = require 'ffi'
local files = require 'sppo.files'
local hub = require 'sppo.hub'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local shell = require 'support.shell'
local tensor = require 'sppo.tensor'

ffi.cdef [[
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
int symlink(const char *target, const char *path);
]]

local tests = {}

local function config(changes)
  local c = {
    model_type = 'llama', vocab_size = 70, hidden_size = 32, intermediate_size = 48,
    num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2, rms_norm_eps = 1e-5,
    max_position_embeddings = 64, tie_word_embeddings = true,
  }
  for key, value in pairs(changes or {}) do c[key] = value end
  return c
end

--- A saved random model, gone after fn(folder).
local function with_folder(fn, changes)
  shell.in_folder(function(folder)
    model_of.save(model_of.random(config(changes), 4), folder .. '/w', 'f32')
    fn(folder .. '/w')
  end)
end

local function fails(path, want, kind)
  local opened, err = model_of.open(path)
  lu.assertNil(opened, want)
  lu.assertStrContains(err, want)
  lu.assertEquals(engine.kind_of(err), kind or 'format')
end

--- Runs fn with these environment variables, and puts the old ones back.
local function with_environment(values, fn)
  local before = {}
  local function put(key, value)
    if value then ffi.C.setenv(key, value, 1) else ffi.C.unsetenv(key) end
  end
  for _, key in ipairs { 'HF_HUB_CACHE', 'HF_HOME', 'XDG_CACHE_HOME', 'HOME' } do
    before[key] = os.getenv(key) or false
    put(key, values[key])
  end
  local ok, err = pcall(fn)
  for key, value in pairs(before) do put(key, value) end
  if not ok then error(err, 0) end
end

function tests.test_hub_folder()
  with_environment({ HOME = '/h' }, function()
    lu.assertEquals(hub.folder(), '/h/.cache/huggingface/hub')
  end)
  with_environment({ HOME = '/h', XDG_CACHE_HOME = '/c' }, function()
    lu.assertEquals(hub.folder(), '/c/huggingface/hub')
  end)
  with_environment({ HOME = '/h', HF_HOME = '/f' }, function()
    lu.assertEquals(hub.folder(), '/f/hub')
  end)
  with_environment({ HF_HOME = '/f', HF_HUB_CACHE = '/g' }, function()
    lu.assertEquals(hub.folder(), '/g')
  end)
end

--- A cache as huggingface_hub lays it out: snapshots of links to blobs, and refs.
function tests.test_hub()
  shell.in_folder(function(folder)
    with_environment({ HF_HOME = folder }, function()
      local root = folder .. '/hub/models--some-org--tiny.model'
      local first, second = ('a1'):rep(20), ('b2'):rep(20)
      model_of.save(model_of.random(config(), 4), folder .. '/w', 'f32')
      files.make_folder(root .. '/blobs')
      for _, commit in ipairs { first, second } do
        files.make_folder(root .. '/snapshots/' .. commit)
        for _, name in ipairs { 'config.json', 'model.safetensors' } do
          files.write(root .. '/blobs/' .. name, shell.read(folder .. '/w/' .. name))
          lu.assertEquals(ffi.C.symlink('../../blobs/' .. name,
            ('%s/snapshots/%s/%s'):format(root, commit, name)), 0)
        end
      end
      -- Two snapshots and no ref: which one is not known.
      fails('some-org/tiny.model',
        'has no revision \'main\' with a config.json; it has: ' .. first, 'io')
      files.make_folder(root .. '/refs/pr')
      files.write(root .. '/refs/main', second)
      files.write(root .. '/refs/pr/1', first .. '\n')
      lu.assertEquals(model_of.find('some-org/tiny.model'), root .. '/snapshots/' .. second)
      lu.assertEquals(model_of.find('some-org/tiny.model@pr/1'), root .. '/snapshots/' .. first)
      lu.assertEquals(model_of.find('some-org/tiny.model@' .. first),
        root .. '/snapshots/' .. first)
      model_of.release(assert(model_of.open('some-org/tiny.model')))
      fails('some-org/tiny.model@v2', 'has no revision \'v2\'', 'io')
      fails('some-org/tiny.model@../../x', 'has no revision \'../../x\'', 'io')
      fails('some-org/other',
        'some-org/other: no model there: neither a GGUF file nor a folder with config.json ' ..
        'or model.gguf, nor a repository in ' .. folder .. '/hub', 'io')
      files.write(root .. '/refs/main', '../../../../w')
      fails('some-org/tiny.model', 'has no revision \'main\'', 'io')
      files.remove(root .. '/refs')
      files.remove(root .. '/snapshots/' .. second)
      lu.assertEquals(model_of.find('some-org/tiny.model'), root .. '/snapshots/' .. first)
    end)
  end)
end

--- All ids that the files name end an answer; nulls name none.
function tests.test_special_ids()
  with_folder(function(folder)
    local function opened(generation, changes)
      files.write(folder .. '/config.json', json.encode(config(changes)))
      files.write(folder .. '/generation_config.json', json.encode(generation))
      local model = assert(model_of.open(folder))
      local eos, bos = model.eos_ids, model.bos_id
      model_of.release(model)
      return { eos, bos }
    end
    lu.assertEquals(opened({ eos_token_id = { 7, 9 }, bos_token_id = 3 }, { eos_token_id = 9 }),
      { { 7, 9 }, 3 })
    lu.assertEquals(opened({ eos_token_id = 7 }, { eos_token_id = { 8, 7 }, bos_token_id = 5 }),
      { { 7, 8 }, 5 })
    lu.assertEquals(opened({ eos_token_id = json.null }, { eos_token_id = json.null }), { {} })
    for _, bad in ipairs { 70, -1, 1.5, 'x' } do
      files.write(folder .. '/generation_config.json', json.encode { eos_token_id = { 1, bad } })
      fails(folder, 'generation_config.json: eos_token_id must be an integer in 0..69, got')
    end
    files.write(folder .. '/generation_config.json', '[')
    fails(folder, 'generation_config.json: json')
  end)
end

--- What config.json says and what the tensors are.
function tests.test_other_than_said()
  with_folder(function(folder)
    local function says(changes, want)
      files.write(folder .. '/config.json', json.encode(config(changes)))
      fails(folder, want)
    end
    local file = folder .. '/config.json: '
    says({ vocab_size = 71 }, 'model.embed_tokens.weight is [70, 32], the model wants [71, 32] (' ..
      file .. 'vocab_size = 71, hidden_size = 32)')
    says({ num_key_value_heads = 4 }, 'self_attn.k_proj.weight is [16, 32], the model wants ' ..
      '[32, 32] (' .. file .. 'num_key_value_heads = 4, head_dim = 8, hidden_size = 32)')
    says({ intermediate_size = 40 }, 'intermediate_size = 40, hidden_size = 32)')
    says({ num_hidden_layers = 3 }, 'no tensor model.layers.2.input_layernorm.weight, ' ..
      'model.layers.2.mlp.down_proj.weight, model.layers.2.mlp.gate_proj.weight and 6 more (' ..
      file .. 'model_type = llama, num_hidden_layers = 3, tie_word_embeddings = true)')
    says({ num_hidden_layers = 1 }, 'the model has no parameter for tensor ' ..
      'model.layers.1.input_layernorm.weight, ')
    says({ attention_bias = true }, 'no tensor model.layers.0.self_attn.k_proj.bias, ')
    says({ model_type = 'gemma2', head_dim = 8 },
      'no tensor model.layers.0.post_feedforward_layernorm.weight, ')
  end)
  with_folder(function(folder)
    files.write(folder .. '/config.json', json.encode(config()))
    fails(folder, 'the model has no parameter for tensor model.layers.0.self_attn.k_proj.bias, ' ..
      'model.layers.0.self_attn.q_proj.bias, model.layers.0.self_attn.v_proj.bias and 3 more (')
  end, { model_type = 'qwen2' })
end

--- Tensors that older checkpoints store beside the parameters do no harm; a tensor in two files
--- does.
function tests.test_extra_tensors()
  with_folder(function(folder)
    local extra = folder .. '/extra.safetensors'
    local function add(name, shape)
      local w = files.safetensors_writer(extra, { { name = name, dtype = 'f32', shape = shape } })
      w:write(tensor.zeros(shape))
      w:close()
      files.write(folder .. '/model.safetensors.index.json', json.encode {
        weight_map = { a = 'model.safetensors', b = 'extra.safetensors' } })
    end
    for name, shape in pairs {
      ['model.layers.0.self_attn.rotary_emb.inv_freq'] = { 4 }, ['lm_head.weight'] = { 70, 32 },
    } do
      add(name, shape)
      model_of.release(assert(model_of.open(folder)))
    end
    add('model.norm.weight', { 32 })
    fails(folder, 'tensor model.norm.weight is in ')
    add('v_head.weight', { 1, 32 })
    fails(folder, 'the model has no parameter for tensor v_head.weight (')
  end)
end

--- Pickles are named, never opened, and the way out is a line of Python.
function tests.test_pickles()
  for _, name in ipairs {
    'pytorch_model.bin', 'pytorch_model-00001-of-00002.bin', 'consolidated.pth', 'model.pt',
  } do
    with_folder(function(folder)
      files.remove(folder .. '/model.safetensors')
      files.write(folder .. '/' .. name, 'cos\nsystem\n')
      local want = name .. ': pickles can run programs and are not read; convert it, in its ' ..
        'folder: python3 -c "import glob, torch, safetensors.torch as s; '
      fails(folder, want)
      fails(folder .. '/' .. name, want)
    end)
  end
  with_folder(function(folder)
    fails(folder .. '/model.safetensors', 'name the folder that it is in')
    files.write(folder .. '/training_args.bin', 'x')
    model_of.release(assert(model_of.open(folder)))
    files.remove(folder .. '/model.safetensors')
    fails(folder, folder .. ': neither model.safetensors nor model.safetensors.index.json')
  end)
end

return tests
