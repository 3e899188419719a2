--- Run folders: stages and their keys, metrics, locks, full disks.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local lu = require 'luaunit'
local run_folder = require 'sppo.selfplay.run_folder'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'

local tests = {}

--- A run of three stages with these keys in a folder; returns the names of those that worked.
local function run(path, keys, fail_at)
  local folder, worked = run_folder.open(path), {}
  local ok, err = pcall(function()
    for i, key in ipairs(keys) do
      folder:stage('stage-' .. i, key, { 'out-' .. i }, function(fresh)
        worked[#worked + 1] = ('%d%s'):format(i, fresh and '' or ' again')
        folder:metrics { stage = i, line = 1 }
        if fail_at == i then error('stop here', 0) end
        files.write(folder:file('out-' .. i), key)
        folder:metrics { stage = i, line = 2 }
      end)
    end
  end)
  folder:close()
  if not ok and err ~= 'stop here' then error(err, 0) end
  return worked
end

local function metrics(...)
  local lines = {}
  for _, stage in ipairs { ... } do
    for line = 1, 2 do lines[#lines + 1] = ('{"line":%d,"stage":%d}\n'):format(line, stage) end
  end
  return table.concat(lines)
end

function tests.test_stages()
  shell.in_folder(function(path)
    lu.assertEquals(run(path, { 'a', 'b', 'c' }), { '1', '2', '3' })
    lu.assertEquals(shell.read(path .. '/metrics.jsonl'), metrics(1, 2, 3))
    lu.assertEquals(run(path, { 'a', 'b', 'c' }), {})
    -- Another key: that stage and all after it.
    lu.assertEquals(run(path, { 'a', 'x', 'c' }), { '2', '3' })
    lu.assertEquals(shell.read(path .. '/metrics.jsonl'), metrics(1, 2, 3))
    lu.assertEquals(shell.read(path .. '/out-2'), 'x')
  end)
end

--- A stage that did not end is begun again, told so, and its lines of metrics are not there twice.
function tests.test_interrupted_stage()
  shell.in_folder(function(path)
    lu.assertEquals(run(path, { 'a', 'b', 'c' }, 2), { '1', '2' })
    lu.assertEquals(run(path, { 'a', 'b', 'c' }, 2), { '2 again' })
    lu.assertEquals(run(path, { 'a', 'b', 'c' }), { '2 again', '3' })
    lu.assertEquals(shell.read(path .. '/metrics.jsonl'), metrics(1, 2, 3))
    -- What an interrupted stage with another key left is no use.
    run(path, { 'y', 'b', 'c' }, 1)
    lu.assertFalse(files.exists(path .. '/out-1'))
    lu.assertEquals(run(path, { 'z', 'b', 'c' }), { '1', '2', '3' })
  end)
end

function tests.test_damaged_manifest()
  shell.in_folder(function(path)
    run(path, { 'a' })
    for _, text in ipairs { '', '{', '3', '{}', '{"stages": 3}', '{"stages": [1]}' } do
      files.write(path .. '/manifest.json', text)
      local ok, err = pcall(run, path, { 'a' })
      lu.assertFalse(ok, text)
      lu.assertStrContains(err, path .. '/manifest.json: ')
      lu.assertEquals(engine.kind_of(err), 'format')
      -- The lock went with the failure.
      files.write(path .. '/manifest.json', '{"format": 1, "stages": []}')
      lu.assertEquals(run(path, { 'a' }), { '1' })
    end
  end)
end

function tests.test_keys()
  local key = run_folder.key('before', { 'train', { lr = 1e-6, eta = 1000 } })
  lu.assertEquals(#key, 64)
  lu.assertEquals(run_folder.key('before', { 'train', { eta = 1000, lr = 1e-6 } }), key)
  lu.assertNotEquals(
    run_folder.key('before', { 'train', { eta = 1000, lr = 1.0000000000000002e-6 } }), key)
  lu.assertNotEquals(run_folder.key('other', { 'train', { eta = 1000, lr = 1e-6 } }), key)
end

-- ---- with recipes/tiny.lua ----

local function tiny(path, overrides, options)
  local list = { { 'out', path }, { 'rounds', '2' }, { 'train.checkpoint_seconds', '1000' } }
  for key, value in pairs(overrides or {}) do list[#list + 1] = { key, value } end
  options = options or {}
  options.overrides = list
  local before = files.exists(path .. '/perf.jsonl') and #shell.read(path .. '/perf.jsonl') or 0
  selfplay.run(shell.root() .. '/recipes/tiny.lua', options)
  local worked = {}
  local text = files.exists(path .. '/perf.jsonl') and shell.read(path .. '/perf.jsonl') or ''
  for stage, round in text:sub(before + 1):gmatch('"round":(%d+).-"stage":"(%w+)"') do
    worked[#worked + 1] = round .. ' ' .. stage
  end
  return worked
end

--- What a change of the recipe makes undone: the stages that it goes into, and those after them.
function tests.test_what_a_change_redoes()
  shell.in_folder(function(path)
    -- Sampling of the evaluation is noted with the round whose model it samples from.
    lu.assertEquals(tiny(path),
      { 'evaluate 1', 'sample 1', 'train 1', 'evaluate 2', 'sample 2', 'train 2', 'evaluate 3' })
    local answers = shell.read(path .. '/round-1/answers.msgpack')
    lu.assertEquals(tiny(path), {})
    lu.assertEquals(tiny(path, { ['train.lr'] = '1e-3' }),
      { 'train 1', 'evaluate 2', 'sample 2', 'train 2', 'evaluate 3' })
    lu.assertEquals(shell.read(path .. '/round-1/answers.msgpack'), answers)
    -- A schedule that differs in round 2 only.
    lu.assertEquals(tiny(path, { ['train.lr'] = '{1e-3, 5e-4}' }), { 'train 2', 'evaluate 3' })
    lu.assertEquals(tiny(path, { ['train.lr'] = '{1e-3, 5e-4}', rounds = '2' }), {})
    lu.assertEquals(#tiny(path, { seed = '2' }), 7)
    lu.assertNotEquals(shell.read(path .. '/round-1/answers.msgpack'), answers)
  end)
end

function tests.test_only()
  shell.in_folder(function(path)
    local whole, apart = path .. '/whole', path .. '/apart'
    tiny(whole)
    lu.assertEquals(tiny(apart, nil, { only = 'sample' }), { 'sample 1' })
    lu.assertFalse(files.exists(apart .. '/round-1/preference.msgpack'))
    lu.assertEquals(shell.read(apart .. '/round-1/answers.msgpack'),
      shell.read(whole .. '/round-1/answers.msgpack'))
    tiny(apart, nil, { only = 'prefer' })
    lu.assertTrue(files.exists(apart .. '/round-1/preference.msgpack'))
    lu.assertFalse(files.exists(apart .. '/round-1/rows.msgpack'))
    tiny(apart, nil, { only = 'select' })
    lu.assertEquals(tiny(apart, nil, { only = 'train' }), { 'train 1' })
    -- The first that was not done: the second round's.
    lu.assertEquals(tiny(apart, nil, { only = 'sample' }), { 'sample 2' })
    -- The rest, and nothing of the above again.
    lu.assertEquals(tiny(apart), { 'evaluate 1', 'evaluate 2', 'train 2', 'evaluate 3' })
    local got, want = shell.run_bytes(apart), shell.run_bytes(whole)
    got['metrics.jsonl'], want['metrics.jsonl'] = nil, nil -- the same lines in another order
    lu.assertEquals(got, want)
    lu.assertEquals(#shell.read(apart .. '/metrics.jsonl'), #shell.read(whole .. '/metrics.jsonl'))
  end)
end

function tests.test_only_before_its_input()
  shell.in_folder(function(path)
    local code, out, err = shell.sppo {
      'run', shell.root() .. '/recipes/tiny.lua', 'out=' .. path, '--only', 'train',
    }
    lu.assertEquals({ code, out }, { 6, '' })
    lu.assertStrContains(err, 'round-1/rows.msgpack')
    lu.assertEquals(select(2, err:gsub('\n', '')), 1)
  end)
end

function tests.test_locked()
  shell.in_folder(function(path)
    local folder = run_folder.open(path)
    local code, out, err = shell.sppo {
      'run', shell.root() .. '/recipes/tiny.lua', 'out=' .. path, '-q',
    }
    folder:close()
    lu.assertEquals({ code, out }, { 2, '' })
    lu.assertEquals(err, ('sppo: %s/LOCK: locked by process %d: wait for it, or take another ' ..
      'folder (out=DIR)\n'):format(path, require('sppo.host').process_id()))
    lu.assertEquals(files.list(path), { 'LOCK' })
  end)
end

--- Errors that are known before anything is done leave no folder behind.
function tests.test_nothing_is_left()
  shell.in_folder(function(path)
    local out = path .. '/run'
    for argument, text in pairs {
      ['sample.k=1'] = 'sample.k=1: sample.k must be an integer in 2..4096, got 1',
      ['trian.lr=1'] = 'unknown key \'trian\' (did you mean \'train\'?)',
      ['train.loss=ssppo'] = 'did you mean \'sppo\'?',
    } do
      local code, stdout, err = shell.sppo {
        'run', shell.root() .. '/recipes/tiny.lua', 'out=' .. out, argument,
      }
      lu.assertEquals({ code, stdout }, { 2, '' })
      lu.assertStrContains(err, text)
    end
    files.write(path .. '/r.lua', [[
      local t = dofile(']] .. shell.root() .. [[/recipes/tiny.lua')
      t.prompts = function(round) return round < 3 and t.held_out or {} end
      return t]])
    local code, _, err = shell.sppo { 'run', path .. '/r.lua', 'out=' .. out }
    lu.assertEquals({ code, err }, { 2,
      ('sppo: prompts: round 3 has no prompts\ntry: sppo validate %s/r.lua\n'):format(path) })
    lu.assertFalse(files.exists(out .. '/LOCK'))
  end)
end

--- A prompt that does not fit: which, and both numbers.
function tests.test_prompt_longer_than_the_context()
  shell.in_folder(function(path)
    files.write(path .. '/r.lua', [[
      local t = dofile(']] .. shell.root() .. [[/recipes/tiny.lua')
      t.prompts[2].tokens = {}
      for i = 1, 60 do t.prompts[2].tokens[i] = i % 48 end
      return t]])
    local code, out, err = shell.sppo { 'run', path .. '/r.lua', 'out=' .. path .. '/run', '-q' }
    lu.assertEquals({ code, out }, { 2, '' })
    lu.assertStrContains(err,
      'prompt 2 has 60 tokens; with max_new_tokens = 12 that is more than the context of 64')
    lu.assertStrContains(err, '\ntry: correct it; the same command goes on from here\n')
    lu.assertEquals(select(2, err:gsub('\n', '')), 2)
  end)
end

--- No room on the disk, at several sizes: one clear line, exit code 6, and with room again the run
--- goes on to the same bytes. A limit on the size of files stands in for a full disk.
function tests.test_disk_full()
  shell.in_folder(function(path)
    local recipe = shell.root() .. '/recipes/tiny.lua'
    selfplay.run(recipe, { overrides = { { 'out', path .. '/whole' }, { 'rounds', '1' } } })
    local want = shell.run_bytes(path .. '/whole')
    for _, blocks in ipairs { 1, 8, 60, 140 } do -- of 512 bytes
      local out = path .. '/run-' .. blocks
      local command = shell.program { 'run', recipe, 'out=' .. out, 'rounds=1', '-q' }
      local code, stdout, err = shell.run(
        ('trap "" XFSZ; ulimit -f %d; %s'):format(blocks, command))
      lu.assertEquals({ code, stdout }, { 6, '' }, err)
      lu.assertStrMatches(err, 'sppo: [^\n]*: cannot [^\n]*\n')
      lu.assertEquals(shell.run(command), 0)
      lu.assertEquals(shell.run_bytes(out), want)
      for _, name in ipairs(files.list(out)) do lu.assertNotStrContains(name, '.tmp-') end
    end
  end)
end

--- A folder that can't be made.
function tests.test_no_folder()
  shell.in_folder(function(path)
    files.write(path .. '/file', 'x')
    local code, out, err = shell.sppo {
      'run', shell.root() .. '/recipes/tiny.lua', 'out=' .. path .. '/file/run',
    }
    lu.assertEquals({ code, out }, { 6, '' })
    lu.assertStrContains(err, path .. '/file')
  end)
end

return tests
