--- recipes/tiny.lua from end to end: it learns, in seconds, and the same bytes come out of every
--- run.

local compare = require 'support.compare'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local scope = require 'sppo.scope'
local score = require 'sppo.score'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'
local sppo = require 'sppo'

local tests = {}

local function recipe() return shell.root() .. '/recipes/tiny.lua' end

--- Runs the recipe in this process.
local function run(out, overrides)
  local list = { { 'out', out } }
  for key, value in pairs(overrides or {}) do list[#list + 1] = { key, value } end
  lu.assertEquals(selfplay.run(recipe(), { overrides = list }), 'done')
  return shell.run_bytes(out)
end

local function same(got, want, what)
  for name, bytes in pairs(want) do
    lu.assertNotNil(got[name], ('%s: %s is missing'):format(what, name))
    lu.assertTrue(got[name] == bytes, ('%s: %s differs'):format(what, name))
  end
  for name in pairs(got) do
    lu.assertNotNil(want[name], ('%s: %s is left over'):format(what, name))
  end
end

--- What a run holds: nothing is compared that is not there.
local function assert_whole(bytes, rounds)
  for round = 1, rounds do
    for _, name in ipairs {
      'answers.msgpack', 'preference.msgpack', 'rows.msgpack', 'evaluation.msgpack',
      'weights/model.safetensors', 'weights/config.json', 'weights/COMPLETE',
    } do
      lu.assertNotNil(bytes[('round-%d/%s'):format(round, name)],
        ('round %d: %s'):format(round, name))
    end
  end
  lu.assertNotNil(bytes['round-0/evaluation.msgpack'])
  lu.assertNotNil(bytes['metrics.jsonl'])
end

--- Under 5 seconds of work; the disk may take its time over fsync.
function tests.test_learns()
  shell.in_folder(function(folder)
    local cpu, clock = os.clock(), engine.C.sppo_clock()
    local bytes = run(folder .. '/run')
    lu.assertTrue(os.clock() - cpu < 5, ('%.1f s of processor time'):format(os.clock() - cpu))
    lu.assertTrue(engine.C.sppo_clock() - clock < 60,
      ('%.1f s'):format(engine.C.sppo_clock() - clock))
    assert_whole(bytes, 3)
    local pass, last, steps = {}, nil, 0
    for _, line in ipairs(shell.metrics(folder .. '/run')) do
      if line['eval/pass_rate'] then
        pass[line.round] = line['eval/pass_rate']
        last = line
      end
      if line.step then
        steps = steps + 1
        if line.step == 1 then
          -- The first step of a round starts from the very weights that were sampled from.
          lu.assertAlmostEquals(line['rewards/chosen'], 0, 1e-6)
          lu.assertAlmostEquals(line['rewards/rejected'], 0, 1e-6)
        end
      end
    end
    lu.assertEquals(steps, 3 * 8)
    lu.assertTrue(pass[3] > pass[0] + 0.15, ('pass rate %.3f, then %.3f'):format(pass[0], pass[3]))
    lu.assertTrue(last['eval/win_rate_low'] > 0.5)
    lu.assertTrue(last['eval/win_rate_low'] < last['eval/win_rate'])
    lu.assertTrue(last['eval/win_rate'] < last['eval/win_rate_high'])
  end)
end

function tests.test_the_same_bytes()
  local before = sppo.threads()
  local ok, err = pcall(shell.in_folder, function(folder)
    sppo.threads(1)
    local want = run(folder .. '/first')
    assert_whole(want, 3)
    same(run(folder .. '/second'), want, 'again')
    for threads = 2, 3 do
      sppo.threads(threads)
      same(run(folder .. '/threads-' .. threads), want, threads .. ' threads')
    end
    for _, batch in ipairs { '1', '64' } do
      local got = run(folder .. '/batch-' .. batch,
        { ['sample.batch'] = batch, ['evaluate.batch'] = batch })
      same(got, want, 'batch ' .. batch)
    end
    local other = run(folder .. '/seed', { seed = '2' })
    lu.assertFalse(other['round-1/answers.msgpack'] == want['round-1/answers.msgpack'])
  end)
  sppo.threads(before)
  if not ok then error(err, 0) end
end

--- Nothing is done, nothing is written but the recipe and the lock.
function tests.test_finished_run()
  shell.in_folder(function(folder)
    local out = folder .. '/run'
    local want = run(out, { rounds = '1' })
    local perf, log = shell.read(out .. '/perf.jsonl'), shell.read(out .. '/log.txt')
    same(run(out, { rounds = '1' }), want, 'again')
    lu.assertEquals(shell.read(out .. '/perf.jsonl'), perf)
    lu.assertEquals(shell.read(out .. '/log.txt'), log)
    -- More rounds go on from there.
    local more = run(out, { rounds = '2' })
    assert_whole(more, 2)
    for name, bytes in pairs(want) do
      if name ~= 'metrics.jsonl' then lu.assertTrue(more[name] == bytes, name) end
    end
    lu.assertEquals(more['metrics.jsonl']:sub(1, #want['metrics.jsonl']), want['metrics.jsonl'])
    same(more, run(folder .. '/two', { rounds = '2' }), 'at once')
  end)
end

--- SIGTERM while sampling, or in the middle of training: exit code 75, and the same command goes
--- on to the same bytes.
function tests.test_stopped()
  shell.in_folder(function(folder)
    local want = run(folder .. '/whole', { rounds = '6' })
    for _, moment in ipairs {
      'round-2/answers.msgpack', 'round-2/rows.msgpack', 'round-2/checkpoint/COMPLETE',
    } do
      local out = folder .. '/' .. moment:gsub('%W', '-')
      local command = shell.program { 'run', recipe(), 'out=' .. out, 'rounds=6', '-q' }
      local code, _, err = shell.run((
        '%s & until [ -e "%s/%s" ]; do kill -0 $! || exit 99; sleep 0.003; done; ' ..
        'kill -TERM $!; wait $!'):format(command, out, moment))
      lu.assertEquals({ code, err }, { 75, 'sppo: stopped; the same command goes on from here\n' })
      lu.assertFalse(files.exists(out .. '/round-6/weights/COMPLETE'))
      lu.assertEquals(shell.run(command), 0)
      same(shell.run_bytes(out), want, moment)
    end
  end)
end

--- A policy kept in bf16 is sampled from bf16 weights and trained from their very values.
function tests.test_bf16()
  shell.in_folder(function(folder)
    local out = folder .. '/run'
    local bytes = run(out, { rounds = '2', ['policy.dtype'] = 'bf16' })
    assert_whole(bytes, 2)
    local whole = run(folder .. '/f32', { rounds = '2' })
    lu.assertTrue(#bytes['round-2/weights/model.safetensors']
      < 0.6 * #whole['round-2/weights/model.safetensors'])
    lu.assertFalse(bytes['round-1/answers.msgpack'] == whole['round-1/answers.msgpack'])
    -- Round 2's answers, rescored as training opens its weights.
    local model = assert(
      model_of.open(out .. '/round-1/weights', { dtype = 'f32', values = 'bf16' }))
    for i, record in ipairs(assert(files.read_records(out .. '/round-2/answers.msgpack'))) do
      local recorded = {}
      for _, a in ipairs(record.answers) do
        for _, x in ipairs(a.logprobs) do recorded[#recorded + 1] = x end
      end
      scope.run(function()
        local each = score.token_logprobs(model.net,
          { { prompt = record.prompt, shared = record.shared, answers = record.answers } })
        compare.same_bits(each:tolist(), recorded, ('prompt %d'):format(i))
      end)
    end
    for _, line in ipairs(shell.metrics(out)) do
      if line.step == 1 then lu.assertAlmostEquals(line['rewards/chosen'], 0, 1e-6) end
    end
  end)
end

--- Every selector, loss and optimizer through the whole pipe, with recompute and small
--- micro-batches.
function tests.test_other_ways()
  shell.in_folder(function(folder)
    local function tail(overrides)
      overrides.rounds = '1'
      local out = folder .. '/' .. tostring(overrides):gsub('%W', '')
      assert_whole(run(out, overrides), 1)
      local all = shell.metrics(out)
      return all[#all - 1]
    end
    local plain = tail { select = 'all' }
    lu.assertEquals(plain.step, 8)
    -- Recompute and the size of micro-batches change the order of sums at most.
    local other = tail {
      select = 'all', ['train.recompute'] = 'true', ['train.micro_tokens'] = '4096',
    }
    lu.assertAlmostEquals(other.loss, plain.loss, 1e-3 * math.abs(plain.loss))
    for _, name in ipairs { 'sppo_single', 'sppo_hard', 'dpo', 'ipo', 'hinge' } do
      local line = tail { ['train.loss'] = name, ['train.optimizer'] = 'adamw' }
      lu.assertTrue(line.loss == line.loss and line['rewards/margins'] > 0, name)
    end
    lu.assertTrue(tail({ ['train.optimizer'] = 'sgd', ['train.lr'] = '0.05' }).grad_norm > 0)
  end)
end

--- A loss that is not finite stops before a weight is touched: exit code 5, the reason, no new
--- weights.
function tests.test_nonfinite()
  shell.in_folder(function(folder)
    files.write(folder .. '/r.lua', ([[
      local t = dofile('%s')
      t.train.loss = function(b) return require('sppo.ops').sum(b.logprob) * (0 / 0) end
      return t]]):format(recipe()))
    local code, out, err = shell.sppo {
      'run', folder .. '/r.lua', 'out=' .. folder .. '/run', '-q',
    }
    lu.assertEquals({ code, out }, { 5, '' })
    lu.assertStrContains(err, 'train: the loss is ')
    lu.assertStrContains(err, 'at step 1; no weight was changed')
    lu.assertFalse(files.exists(folder .. '/run/round-1/weights/model.safetensors'))
  end)
end

--- The repository's recipes are in the binary: they run from any folder.
function tests.test_from_anywhere()
  shell.in_folder(function(folder)
    local function run_there(...)
      return shell.run(('cd %s && %s'):format(folder, shell.program { 'run', ... }))
    end
    local code, _, err = run_there('recipes/tiny.lua', 'rounds=1')
    lu.assertEquals(code, 0, err)
    lu.assertTrue(files.complete(folder .. '/runs/tiny/round-1/weights'))
    code, _, err = run_there('recipes/none.lua')
    lu.assertEquals(code, 2)
    lu.assertStrContains(err, 'recipes/none.lua: cannot open')
  end)
end

return tests
