--- Files and folders that are not what they should be.

local files = require 'sppo.files'

--- A case on a path that `make(folder)` gives.
local function at(make, want, more)
  local case = { path = make, want = want }
  for key, value in pairs(more or {}) do case[key] = value end
  return case
end
--- recipes/tiny.lua run into what `make` left in FOLDER/out.
local function into(make, want, more)
  local case = at(function(folder)
    make(folder .. '/out', folder)
    local path = folder .. '/r.lua'
    files.write(path, "return require('sppo.selfplay.recipe').base 'recipes/tiny.lua'")
    return path
  end, want, more)
  case.args = { 'run', 'RECIPE', 'out=FOLDER/out', 'rounds=1', '-q' }
  return case
end
--- recipes/tiny.lua with what `make` left in FOLDER/m as its model.
local function model(make, want)
  return at(function(folder)
    make(folder .. '/m')
    local path = folder .. '/r.lua'
    files.write(path, ('local r = require(\'sppo.selfplay.recipe\').base \'recipes/tiny.lua\'\n' ..
      'r.policy.model = \'%s/m\'\nreturn r'):format(folder))
    return path
  end, want, { line = 2 })
end
local function text_file(text) return function(path) files.write(path, text) end end
local function folder_with(name, text)
  return function(path)
    files.make_folder(path)
    files.write(path .. '/' .. name, text)
  end
end
--- A model folder with this config.json, and a file of weights without a tensor.
local function weights_and(config)
  return function(path)
    folder_with('config.json', config)(path)
    files.write(path .. '/model.safetensors', '\2\0\0\0\0\0\0\0{}')
  end
end
local MODEL = 'policy.model: '

return {
  -- The recipe.
  at(function(f) return f .. '/none.lua' end, 'cannot open: No such file', { next = 'new --list' }),
  at(function(f) return f .. '/no/such/folder/r.lua' end, 'cannot open: No such file'),
  at(function(f) return f end, 'is a folder; a recipe is a Lua file'),
  at(function(f)
    files.write(f .. '/recipe.lua', 'return {}')
    return f
  end, 'is a run folder; its recipe is'),
  at(function(f)
    files.write(f .. '/mine.lua', 'return {}')
    return f .. '/mine'
  end, 'mine.lua\'?)'),
  at(function() return 'tiny' end, '(did you mean \'recipes/tiny.lua\'?)'),
  at(function() return '' end, 'the recipe\'s name is empty'),
  at(function() return 'recipes/none.lua' end, 'recipes/none.lua: cannot open'),
  at(function(f)
    files.write(f .. '/a', '')
    return f .. '/a/r.lua'
  end, 'Not a directory'),
  at(function(f) return f .. '/' .. ('x'):rep(300) .. '.lua' end, 'File name too long'),
  at(function(f)
    os.execute(('ln -s r.lua \'%s/r.lua\''):format(f))
    return f .. '/r.lua'
  end, 'symbolic links'),
  at(function(f)
    os.execute(('ln -s none \'%s/r.lua\''):format(f))
    return f .. '/r.lua'
  end, 'No such file'),
  at(function() return '/dev/null' end, '/dev/null: is not a regular file'),
  at(function() return '/dev/zero' end, '/dev/zero'),
  at(function() return '/proc/self/mem' end, '/proc/self/mem'),
  at(function(f)
    files.write(f .. '/r.lua', ('-'):rep(2^24 + 1))
    return f .. '/r.lua'
  end, 'r.lua'),
  at(function(f)
    files.write(f .. '/r.lua', ('return {} --\n'):rep(1000000))
    return f .. '/r.lua'
  end, '\'<eof>\' expected'),
  at(function(f)
    files.write(f .. '/r.lua', 'return { ' .. ('x = 1, '):rep(300000) .. '}')
    return f .. '/r.lua'
  end, 'unknown key \'x\'', { line = 1 }),
  at(function(f)
    local based_on = 'return require(\'sppo.selfplay.recipe\').base \'%s/%s.lua\''
    files.write(f .. '/a.lua', based_on:format(f, 'b'))
    files.write(f .. '/b.lua', based_on:format(f, 'a'))
    return f .. '/a.lua'
  end, 'based on each other in a circle'),
  -- The run folder.
  into(text_file 'x', 'File exists', { code = 6 }),
  into(function(path, folder)
    files.write(folder .. '/file', 'x')
    os.execute(('ln -s \'%s/file/in\' \'%s\''):format(folder, path))
  end, 'out', { code = 6 }),
  into(folder_with('recipe.lua', 'mine'), 'is no run folder, and a run would write over its'),
  into(folder_with('log.txt', 'mine'), 'is no run folder, and a run would write over its log.txt'),
  into(folder_with('metrics.jsonl', '{}'), 'would write over its metrics.jsonl'),
  into(function(path)
    folder_with('recipe.resolved.json', '{"name":"other"}')(path)
    files.write(path .. '/manifest.json', '{"format":1,"stages":[]}')
  end, 'holds the run of a recipe with the name \'other\', this one is \'tiny\''),
  into(folder_with('manifest.json', '{'), 'manifest.json', { code = 3 }),
  into(folder_with('manifest.json', '[]'), 'has no list of stages', { code = 3 }),
  into(folder_with('manifest.json', '{"stages":3}'), 'has no list of stages', { code = 3 }),
  into(folder_with('manifest.json', '{"stages":[3]}'), 'has no list of stages', { code = 3 }),
  into(folder_with('manifest.json', '\0'), 'manifest.json', { code = 3 }),
  -- The model.
  model(text_file 'x', MODEL), model(text_file 'GGUF', MODEL), model(text_file '', MODEL),
  model(text_file(('GGUF'):rep(1000)), MODEL), model(folder_with('x', ''), 'no model there'),
  model(folder_with('config.json', ''), 'config.json'),
  model(folder_with('config.json', '{'), 'config.json: json: 1:1: string or \'}\' expected'),
  model(folder_with('config.json', '3'), 'config.json: not an object'),
  model(folder_with('config.json', '{}'), 'neither model.safetensors nor'),
  model(weights_and '{}', 'unknown model_type'),
  model(weights_and '{"model_type":"gpt2"}', 'config.json: unknown model_type \'gpt2\''),
  model(weights_and '{"model_type":3}', 'config.json: unknown model_type'),
  model(weights_and '{"model_type":"llama","vocab_size":-1}', 'config.json: vocab_size must be'),
  model(weights_and '{"model_type":"llama","vocab_size":8}', 'config.json: hidden_size must be'),
}
