--- Verbs around a run, by running the program: new, validate, ls, tok, doctor, completion.

local files = require 'sppo.files'
local json = require 'sppo.json'
local lu = require 'luaunit'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'

local tests = {}

local function fails(code, arguments, text, environment)
  local got, out, err = shell.sppo(arguments, environment)
  lu.assertEquals({ got, out }, { code, '' })
  lu.assertStrContains(err, text)
end

function tests.test_new()
  shell.in_folder(function(folder)
    local path = folder .. '/my first.lua'
    local code, out = shell.sppo { 'new', path, '--from', 'tiny' }
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, 'sppo validate ' .. path)
    lu.assertStrContains(files.read(path), "  name = 'my-first',\n  seed = 1,")
    code, out = shell.sppo { 'validate', path }
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, 'fine')
    fails(2, { 'new', path }, 'is there already')
    fails(2, { 'new', folder .. '/x.lua', '--from', 'tinny' }, "(did you mean 'tiny'?)")
    fails(2, { 'new', folder .. '/x' }, 'does not end with .lua')
    fails(2, { 'new' }, 'where to?')
    code, out = shell.sppo { 'new', '--list' }
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, '\ntiny  ')
    for line in out:gmatch('[^\n]+') do lu.assertStrMatches(line, '[%w_/-]+ +%u.*%.') end
  end)
end

function tests.test_validate()
  shell.in_folder(function(folder)
    local path = folder .. '/r.lua'
    local function recipe(body)
      files.write(path, ("local r = require('sppo.selfplay.recipe').base '%s/recipes/tiny.lua'\n" ..
        '%s\nreturn r'):format(shell.root(), body))
    end
    recipe 'r.train.lr, r.sample.k = -1, 1'
    fails(2, { 'validate', path }, 'train.lr must be a number in 0..1, got -1\n')
    fails(2, { 'validate', path }, 'sample.k must be an integer in 2..4096, got 1')
    recipe 'r.policy.model = "no-such-model"'
    local code, _, err = shell.sppo { 'validate', path }
    lu.assertEquals(code, 2)
    lu.assertStrContains(err, 'no-such-model: no model there')
    recipe 'r.held_out = nil'
    local out
    code, out = shell.sppo { 'validate', path, 'rounds=2' }
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, 'warning: there is no held_out')
    lu.assertStrContains(out, 'prompts, round 2: 16')
    lu.assertNil(out:find('round 3', 1, true))
    recipe ('local function p(i) return { tokens = { i } } end\n' ..
      'r.prompts, r.held_out = { p(1), p(2) }, { p(2), p(3) }')
    code, out = shell.sppo { 'validate', path }
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, 'warning: 1 of 2 held_out prompts are training prompts too')
    -- Held-out prompts of the training of different rounds; a schedule of max_prompt.
    recipe('local function p(i) return { tokens = { i } } end\n' ..
      'r.train.max_prompt = { 3, 2, 1 }\n' ..
      'r.prompts, r.held_out = function(t) return { p(t) } end, { p(1), p(2), p(3), p(4) }')
    code, out = shell.sppo { 'validate', path }
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, 'warning: 3 of 4 held_out prompts are training prompts too')
    -- Held-out answers of different rounds that are drawn differently.
    recipe 'r.sample.temperature, r.rounds = { 1, 0.5 }, 2'
    code, out = shell.sppo { 'validate', path }
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, 'warning: evaluate.temperature is 1 at the start and 0.5 in ' ..
      'round 2: win rates tell of that, too; evaluate.temperature=1 draws all rounds alike')
    _, out = shell.sppo { 'validate', path, 'evaluate.temperature=1' }
    lu.assertNil(out:find('warning', 1, true))
    recipe 'r.prompts = function(round) return round < 3 and { { tokens = { 1 } } } or {} end'
    fails(2, { 'validate', path }, 'prompts: round 3 has no prompts')
    fails(2, { 'validate', path, 'rounds' }, "validate: 'rounds' is not key=value")
  end)
end

--- A run says what validate would warn of, and when hardly an answer came to its end.
function tests.test_run_warns()
  shell.in_folder(function(folder)
    local path = folder .. '/r.lua'
    files.write(path, ("local r = require('sppo.selfplay.recipe').base '%s/recipes/tiny.lua'\n" ..
      'r.sample.max_new_tokens, r.sample.temperature, r.rounds = 2, { 1, 0.5 }, 2\nreturn r')
      :format(shell.root()))
    local arguments = { 'run', path, 'out=' .. folder .. '/run', '--only', 'sample' }
    local code, _, err = shell.sppo(arguments)
    lu.assertEquals(code, 0)
    lu.assertStrContains(err, 'warning: evaluate.temperature is 1 at the start and 0.5 in round 2')
    lu.assertStrMatches(err, '.*warning: round 1: %d+ of 64 answers do not end within ' ..
      'sample.max_new_tokens = 2\n.*')
    arguments[3], arguments[6] = 'out=' .. folder .. '/other', 'sample.max_new_tokens=12'
    arguments[7] = 'evaluate.temperature=1'
    code, _, err = shell.sppo(arguments)
    lu.assertEquals(code, 0)
    lu.assertNil(err:find('warning', 1, true), err)
  end)
end

function tests.test_ls()
  shell.in_folder(function(folder)
    local home = { SPPO_HOME = folder .. '/home' }
    local code, out = shell.sppo({ 'ls', folder .. '/none' }, home)
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, 'none; tools/fetch-model smollm2 fetches one')
    lu.assertStrContains(out, 'none; sppo run recipes/quickstart.lua makes one')

    local recipe, calls = shell.root() .. '/recipes/tiny.lua', 0
    selfplay.run(recipe, { overrides = { { 'out', folder .. '/runs/a' }, { 'rounds', '1' } } })
    selfplay.run(recipe, { overrides = { { 'out', folder .. '/runs/b' } }, stop = function()
      calls = calls + 1
      return calls > 20
    end })
    files.make_folder(folder .. '/runs/no-run')
    code, out = shell.sppo({ 'ls', folder .. '/runs/' }, home)
    lu.assertEquals(code, 0)
    lu.assertStrMatches(out, '.*\n  a +done +round 1 of 1  win rate [%d.]+  pass rate .*')
    lu.assertStrMatches(out, '.*\n  b +in round%-%d/%a+ +round %d of 3  .*')
    lu.assertNil(out:find('no-run', 1, true))
    code, out = shell.sppo({ 'ls', folder .. '/runs', '--json' }, home)
    lu.assertEquals(code, 0)
    local first = json.decode(out:match('^[^\n]+'))
    lu.assertEquals({ first.kind, first.state, first.rounds }, { 'run', 'done', 1 })
  end)
end

function tests.test_doctor()
  local code, out = shell.sppo { 'doctor' }
  lu.assertEquals(code, 0)
  lu.assertStrMatches(out, '.*\nkernels +%w+ agree with plain C .*')
end

function tests.test_completion()
  for _, name in ipairs { 'bash', 'zsh', 'fish' } do
    local code, out = shell.sppo { 'completion', name }
    lu.assertEquals(code, 0)
    for _, verb in ipairs { 'run', 'validate', 'eval', 'train', 'completion' } do
      lu.assertStrContains(out, verb)
    end
    lu.assertStrContains(out, 'temperature')
  end
  fails(2, { 'completion', 'bsh' }, "unknown shell 'bsh' (did you mean 'bash'?)")
end

--- A path that is nearly one that is there; a run where a model is wanted.
function tests.test_what_was_meant()
  shell.in_folder(function(folder)
    local run = folder .. '/tiny-run'
    local code = shell.sppo { 'run', shell.root() .. '/recipes/tiny.lua', 'rounds=1',
      'out=' .. run }
    lu.assertEquals(code, 0)
    local weights = run .. '/round-1/weights'
    fails(2, { 'gen', run, 'x' }, run .. ': is a run, its last model is ' .. weights .. '\n')
    fails(2, { 'export', run .. '/round-1/', folder .. '/x.gguf' },
      run .. '/round-1/: is a round of a run, its model is ' .. weights .. '\n')
    files.remove(weights)
    fails(2, { 'chat', run }, ': is a run that has no weights yet')
    fails(6, { 'gen', folder .. '/tiny-ron', 'x' }, "(did you mean '" .. run .. "'?)")
    fails(6, { 'inspect', folder .. '/tiny-ron' }, "(did you mean '" .. run .. "'?)")
    fails(6, { 'cat', run .. '/round-1/answer.msgpack' },
      "(did you mean '" .. run .. "/round-1/answers.msgpack'?)")
    fails(2, { 'report', folder .. '/tiny-ron' },
      "not a run folder (did you mean '" .. run .. "'?)\ntry: sppo ls\n")
    fails(2, { 'report', folder }, ': not a run folder: it has no recipe.resolved.json\n')
    files.write(folder .. '/mine.lua', 'return {}')
    files.write(folder .. '/p.lua', 'return { prompts = "none.jsonl" }')
    fails(2, { 'validate', folder .. '/p.lua' }, ('try: correct it, then sppo validate %s/p.lua\n'
      ):format(folder))
    fails(2, { 'run', folder .. '/mien.lua' }, "(did you mean '" .. folder .. "/mine.lua'?)")

    -- What a run, a round and its files hold, for people.
    local _, out = shell.sppo { 'inspect', run }
    lu.assertStrMatches(out, '.*\nmetric +start +round 1\n.*')
    lu.assertStrMatches(out, '.*\neval/win_rate +0%.4954\n.*')
    lu.assertStrMatches(out, '.*\nsppo/residual_w +[-%d.]+\n.*')
    _, out = shell.sppo { 'inspect', run .. '/round-1' }
    lu.assertStrContains(out, 'answers.msgpack ')
    lu.assertStrContains(out, '; sppo inspect ' .. run .. '/round-1/answers.msgpack\n')
    _, out = shell.sppo { 'inspect', run .. '/round-1/answers.msgpack' }
    lu.assertStrContains(out, 'records                      16\n')
    lu.assertStrContains(out, '\n[1] win rate ')
    _, out = shell.sppo { 'inspect', run .. '/round-0/evaluation.msgpack' }
    lu.assertStrContains(out, '\n[1] 12 tokens')
    _, out = shell.sppo { 'inspect', run .. '/round-1/preference.msgpack' }
    lu.assertStrContains(out, 'P(row beats column)')
  end)
end

function tests.test_tok()
  fails(6, { 'tok', 'no-such-model', 'x' }, 'no model there')
end

--- A conversation goes on; /again draws its last answer anew, /new forgets it.
function tests.test_chat()
  shell.in_folder(function(folder)
    require('support.small_model').write(folder .. '/m', 4)
    local function talk(lines, ...)
      local words = { 'chat', folder .. '/m', '--max-new-tokens', '6', ... }
      local code, out, err = shell.run(('printf %%s \'%s\' | %s'):format(lines,
        shell.program(words)))
      lu.assertEquals(code, 0, err)
      return out
    end
    local once = talk('ab\n') -- answers of this model may hold newlines
    lu.assertTrue(#once > 1)
    local long = talk('ab\n\nba\n/new\nab\n/quit\nab\n')
    lu.assertTrue(#long > 2 * #once)
    lu.assertEquals({ long:sub(1, #once), long:sub(-#once) }, { once, once })
    local again = talk('ab\n/again\n')
    lu.assertEquals(again:sub(1, #once), once)
    lu.assertTrue(#again > #once and again:sub(#once + 1) ~= once)
    fails(2, { 'chat', folder .. '/m', '--dtype', 'f8' }, "unknown dtype 'f8'")
  end)
end

return tests
