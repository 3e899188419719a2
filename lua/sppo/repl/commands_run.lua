--- Commands about recipes and run folders. Each takes (session, rest of the line), runs inside
--- Session:protected and raises its errors.

local files = require 'sppo.files'
local reload = require 'sppo.repl.reload'

local M = {}

local function words(text)
  local list = {}
  for word in text:gmatch('%S+') do list[#list + 1] = word end
  return list
end

--- The stepper of the recipe that was opened last, opened again if an error closed it.
local function steps_of(session)
  local opened = session.opened
  if not opened then
    error('no recipe is open; type :open recipes/tiny.lua', 0)
  end
  if session.steps and session.steps.thread then return session.steps end
  if session.steps and session.steps.finished then return nil end
  session.steps = require('sppo.selfplay.step').open(opened.path, {
    overrides = opened.overrides,
    say = function(text) session.write('  ' .. text .. '\n') end,
  })
  return session.steps
end

--- The run folder to look at, read anew: `run` of the session.
local function view_of(session)
  local path = session.steps and session.steps.run.folder.path or session.folder
  if not path then
    error('no run is open; type :open and a run folder or a recipe', 0)
  end
  local view, err = require('sppo.report.view').open(path)
  if not view then error(err, 0) end
  session.env.run = view
  return view
end

local function open_recipe(session, path, overrides)
  session.opened, session.folder = { path = path, overrides = overrides }, nil
  local run = steps_of(session).run
  view_of(session)
  session.write(('  %s: %d round%s into %s; :step runs the next stage\n'):format(path, run.rounds,
    run.rounds == 1 and '' or 's', run.folder.path))
end

function M.open(session, rest)
  local list, overrides = words(rest), {}
  local path = table.remove(list, 1)
  for i, text in ipairs(list) do
    local key, value = text:match('^([%a_][%w_.]*)=(.*)$')
    if not key then error(('\'%s\' is not key=value'):format(text), 0) end
    overrides[i] = { key, value }
  end
  local folder = files.is_folder(path)
  if folder and #overrides > 0 then
    error(path .. ': a run folder is looked at as it is; key=value is for recipes', 0)
  end
  -- Checked first: what was open stays open if this can't be.
  if folder then
    local view, err = require('sppo.report.view').open(path)
    if not view then error(err, 0) end
  end
  if session.steps then session.steps:close() end
  session.steps, session.opened = nil, nil
  if not folder then return open_recipe(session, path, overrides) end
  session.folder = path
  session.write(tostring(view_of(session)) .. '\n')
end

function M.step(session, rest)
  local most = rest == '' and 1 or tonumber(rest)
  if not most or most < 1 or most % 1 ~= 0 then
    error(('type :step, or :step and a number of stages, got \'%s\''):format(rest), 0)
  end
  local steps, skipped = steps_of(session), 0
  while most > 0 do
    local done = steps and steps:next()
    if not done then
      local stopped = steps and not steps.finished
      session.write(stopped and '  stopped; :step goes on\n' or
        '  the recipe has no stage left; look at `run`, or :open another\n')
      break
    end
    if done.worked then
      most = most - 1
      session.write(('  round %d: %s done\n'):format(done.round, done.stage))
    else
      skipped = skipped + 1
    end
  end
  if skipped > 0 then session.write(('  %d stages were done before\n'):format(skipped)) end
  view_of(session)
end

--- ROUND PROMPT as two numbers.
local function round_and_prompt(rest, name)
  local t, i = rest:match('^(%d+)%s+(%d+)$')
  if not t then
    error(('type :%s ROUND PROMPT, such as :%s 1 1, got \'%s\''):format(name, name, rest), 0)
  end
  return tonumber(t), tonumber(i)
end

local function show(session, value)
  session.env._2, session.env._1, session.env._ = session.env._1, session.env._, value
  session.write(tostring(value) .. '\n')
end

function M.answers(session, rest)
  local t, i = round_and_prompt(rest, 'answers')
  show(session, view_of(session):answers(t, i))
end

function M.matrix(session, rest)
  local t, i = round_and_prompt(rest, 'matrix')
  show(session, view_of(session):matrix(t, i))
end

function M.compare(session, rest)
  local view = view_of(session)
  local t, u, i = rest:match('^(%d+)%s+(%d+)%s+(%d+)$')
  if t then return show(session, view:compare(tonumber(t), tonumber(u), tonumber(i))) end
  local others = {}
  for n, path in ipairs(words(rest)) do
    local other, err = require('sppo.report.view').open(path)
    others[n] = other or error(err, 0)
  end
  show(session, view:table(others))
end

function M.reload(session, rest)
  local names, any = words(rest), false
  if #names == 0 then names = reload.changed() end
  for _, name in ipairs(names) do
    session.write(('  %s from %s\n'):format(name, reload.module(name)))
    any = true
  end
  local opened = rest == '' and session.opened
  if opened then
    if session.steps then session.steps:close() end
    session.steps = nil
    open_recipe(session, opened.path, opened.overrides)
  elseif not any then
    session.write('  no file of a loaded module has changed\n')
  end
end

return M
