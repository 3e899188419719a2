--- A recipe stage by stage (lua/sppo/selfplay/step.lua): the same bytes as a run of it, also after
--- an error and when the recipe brings its own `run`.

local files = require 'sppo.files'
local lu = require 'luaunit'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'
local step = require 'sppo.selfplay.step'

local tests = {}

local function options(folder, name)
  return { overrides = { { 'rounds', '1' }, { 'out', folder .. '/' .. name } } }
end

local function recipe(name) return shell.root() .. '/recipes/' .. name end

--- The stages that are left, as text.
local function walk(steps)
  local list = {}
  for done in steps.next, steps do
    list[#list + 1] = ('%d %s%s'):format(done.round, done.stage, done.worked and '' or ' (done)')
  end
  return list
end

function tests.test_same_bytes_as_a_run()
  shell.in_folder(function(folder)
    local steps = step.open(recipe 'tiny.lua', options(folder, 'steps'))
    lu.assertEquals(files.list(folder .. '/steps/round-0'), nil) -- nothing is run by opening
    local first = steps:next()
    lu.assertEquals({ first.stage, first.round, first.worked }, { 'evaluate', 0, true })
    steps:close() -- gone on with by another one
    lu.assertNil(steps:next())
    lu.assertFalse(steps.finished)
    steps = step.open(recipe 'tiny.lua', options(folder, 'steps'))
    lu.assertEquals(walk(steps), { '0 evaluate (done)', '1 sample', '1 prefer', '1 select',
      '1 train', '1 evaluate' })
    lu.assertTrue(steps.finished)
    lu.assertNotNil(files.read(folder .. '/steps/report.html'))
    lu.assertEquals(selfplay.run(recipe 'tiny.lua', options(folder, 'run')), 'done')
    lu.assertEquals(shell.run_bytes(folder .. '/steps'), shell.run_bytes(folder .. '/run'))
  end)
end

function tests.test_an_error_gives_the_folder_back()
  shell.in_folder(function(folder)
    local path = folder .. '/mine.lua'
    local text = ([[
      local r = require('sppo.selfplay.recipe').base '%s'
      local prefer = r.preference.prefer
      r.preference.prefer = function(...) %%s return prefer(...) end
      return r]]):format(recipe 'tiny.lua')
    files.write(path, text:format 'error "not today"')
    local steps = step.open(path, options(folder, 'out'))
    steps:next()
    steps:next()
    lu.assertErrorMsgContains('not today', steps.next, steps)
    files.write(path, text:format '')
    steps = step.open(path, options(folder, 'out')) -- raises if the lock were still held
    lu.assertEquals(steps:next().worked, false)
    steps:close()
  end)
end

function tests.test_a_run_of_its_own()
  shell.in_folder(function(folder)
    local path = folder .. '/mine.lua'
    files.write(path, ([[
      local r = require('sppo.selfplay.recipe').base '%s'
      function r.run(run) run:sample(1) run:prefer(1) end
      return r]]):format(recipe 'tiny.lua'))
    local steps = step.open(path, options(folder, 'out'))
    lu.assertEquals(walk(steps), { '1 sample', '1 prefer' })
  end)
end

return tests
