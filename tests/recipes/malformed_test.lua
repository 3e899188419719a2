--- Malformed recipes and command lines: each ends with the documented exit code, and with a text
--- that says where, what is wrong and what to type next. The cases stand in malformed/*.lua, a
--- table for each family; a case is run in this process, as the program would run it.
---
--- A case: { from, to, want }: recipes/tiny.lua with `from` replaced by `to`; or text = the whole
--- recipe; or path = function(folder) that makes a file. Then
---   want      what the error says (default: the last of the list; more in `also`)
---   args      the command line; RECIPE and FOLDER stand for paths (default: validate RECIPE)
---   code      exit code (default 2)
---   line      where the error is said to be: a number, or false for no line (default: that of the
---             replaced text, and none for others)
---   next      what the last line says to type (default: something)

local cli = require 'sppo.cli'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local host = require 'sppo.host'
local lu = require 'luaunit'
local recipe_file = require 'sppo.selfplay.recipe_file'
local shell = require 'support.shell'

local tests = {}

local MOST_SECONDS = 10

--- A stream that collects what is written to it.
local function stream(parts)
  return {
    write = function(self, ...)
      for i = 1, select('#', ...) do parts[#parts + 1] = tostring((select(i, ...))) end
      return self
    end,
    flush = function() return true end,
    setvbuf = function() return true end,
  }
end

--- As shell.in_folder, in memory where there is such a place: a run waits for the disk otherwise.
local function in_folder(fn)
  if not files.is_folder('/dev/shm') then return shell.in_folder(fn) end
  local path = ('/dev/shm/sppo-malformed-%d'):format(host.process_id())
  files.make_folder(path)
  local ok, err = pcall(fn, path)
  files.remove(path)
  if not ok then error(err, 0) end
end

--- Exit code, stdout and stderr of a command line, in this process.
local function sppo(arguments)
  local out, err, stdout, stderr = {}, {}, io.stdout, io.stderr
  local catch_stop, limit = host.catch_stop, recipe_file.seconds
  rawset(io, 'stdout', stream(out))
  rawset(io, 'stderr', stream(err))
  host.catch_stop, recipe_file.seconds = function() end, 0.3
  local ok, code = pcall(cli.main, arguments)
  rawset(io, 'stdout', stdout)
  rawset(io, 'stderr', stderr)
  host.catch_stop, recipe_file.seconds = catch_stop, limit
  return ok and code or ('raised ' .. tostring(code)), table.concat(out), table.concat(err)
end

local function replaced(text, from, to)
  local first, last = text:find(from, 1, true)
  assert(first, 'recipes/tiny.lua has no ' .. from)
  local line = 1 + select(2, text:sub(1, first):gsub('\n', ''))
  return text:sub(1, first - 1) .. to .. text:sub(last + 1), line
end

--- Nothing of the program's inside reaches the user: no traceback, no line of sppo's own.
local function assert_clean(err, what)
  for _, sign in ipairs { 'stack traceback', 'lua/sppo/', 'tests/', 'table: 0x', 'function: 0x',
    '(null)' } do
    lu.assertNil(err:find(sign, 1, true), ('%s: shows %s:\n%s'):format(what, sign, err))
  end
  lu.assertNil(err:find('[%z\1-\8\11-\31\127]'), what .. ': has a control character')
  lu.assertTrue(#err < 4000, what .. ': is too long')
end

local function check(case, what, folder)
  local path, line = folder .. '/r.lua', case.line
  local want = case.want or case[3] or case[1]
  if case.path then path = case.path(folder) or path
  elseif case.text then files.write(path, case.text)
  else
    local text = shell.read(shell.root() .. '/recipes/tiny.lua')
    if case[1] then
      local at
      text, at = replaced(text, case[1], case[2])
      if line == nil then line = at end
    end
    files.write(path, text)
  end
  local arguments = {}
  for i, a in ipairs(case.args or { 'validate', 'RECIPE' }) do
    arguments[i] = a:gsub('RECIPE', path):gsub('FOLDER', folder)
  end
  local started = engine.C.sppo_clock()
  local code, out, err = sppo(arguments)
  local seconds = engine.C.sppo_clock() - started
  what = ('%s (%s)'):format(what, want)
  lu.assertEquals(code, case.code or 2, what .. '\n' .. err)
  lu.assertEquals(out, '', what)
  lu.assertTrue(seconds < MOST_SECONDS, ('%s: took %.1f s'):format(what, seconds))
  lu.assertStrContains(err, want, false, false, what)
  for _, text in ipairs(case.also or {}) do lu.assertStrContains(err, text, false, false, what) end
  if line then lu.assertStrContains(err, ('%s:%d: '):format(path, line), false, false, what) end
  lu.assertStrMatches(err, 'sppo: .*\n')
  assert_clean(err, what)
  if code == 2 then
    local try = err:match('\ntry: ([^\n]+)\n$') or err:match('%(out=DIR%)')
    lu.assertNotNil(try, what .. ': does not say what to type next:\n' .. err)
    if case.next then lu.assertStrContains(try, case.next, false, false, what) end
  end
end

local families = { 'command', 'file', 'keys', 'overrides', 'prompts', 'runtime', 'sections',
  'syntax', 'together', 'values' }

local function cases_of(family)
  return assert(loadfile(('%s/tests/recipes/malformed/%s.lua'):format(shell.root(), family)))()
end

function tests.test_count()
  local total = 0
  for _, family in ipairs(families) do total = total + #cases_of(family) end
  lu.assertTrue(total >= 300, total)
end

for _, family in ipairs(families) do
  tests['test_' .. family] = function()
    local cases = cases_of(family)
    local failures = {}
    for i, case in ipairs(cases) do
      in_folder(function(folder)
        local ok, text = pcall(check, case, ('case %d'):format(i), folder)
        if not ok then failures[#failures + 1] = tostring(text):gsub('LuaUnit_[%u_]+: ?', '') end
      end)
    end
    if #failures > 0 then
      lu.fail(('malformed/%s.lua: %d of %d cases:\n%s'):format(family, #failures, #cases,
        table.concat(failures, '\n')))
    end
  end
end

return tests
