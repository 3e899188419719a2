--- `sppo test`: runs tests/**/*_test.lua of a checkout. A file returns a table of functions named
--- test_*; luaunit has the assertions and `skip`, this file the running and the printing.

local exit = require 'sppo.cli.exit'
local host = require 'sppo.host'
local output = require 'sppo.cli.output'

local M = {
  examples = { 'sppo test', 'sppo test ops/matmul --verbose', 'sppo test tests/lua/cli_test.lua',
    'sppo test --list' },
}

function M.define(parser)
  parser:argument('filter', 'Run tests whose name holds this text, or those of this *_test.lua.')
    :args('?')
  parser:option('--except', 'Leave out tests whose name holds this text.'):argname('TEXT')
  parser:flag('--list', 'Print the names and run nothing.')
  parser:option('--seed', 'Seed of the random numbers in tests.'):argname('N'):default('1')
    :convert(require('sppo.cli.number').option('--seed', 'number', -2^53, 2^53))
end

local function load_luaunit()
  local paths = '/usr/share/lua/5.1/?.lua;/usr/local/share/lua/5.1/?.lua'
  package.path = package.path .. ';' .. paths
  local found = package.searchpath('luaunit', package.path)
  if not found then
    error({ message = 'test: luaunit is not installed', try = 'apt-get install lua-unit' }, 0)
  end
  return require 'luaunit'
end

--- Test files below a folder, sorted.
local function find(folder, list)
  local files = require 'sppo.files'
  for _, name in ipairs(files.list(folder) or {}) do
    local path = folder .. '/' .. name
    if name:match('_test%.lua$') then list[#list + 1] = path
    elseif not name:match('%.%w+$') and files.is_folder(path) then find(path, list) end
  end
  return list
end

--- The file's tests as { name, fn, class }, sorted. 'tests/lua/cli_test.lua' gives 'lua/cli.help'.
local function tests_of(path, root)
  local chunk, err = loadfile(path)
  if not chunk then error({ message = err }, 0) end
  local class = chunk(path)
  if type(class) ~= 'table' then
    error({ message = ('%s: returns %s, not a table of tests'):format(path, type(class)) }, 0)
  end
  local prefix = path:sub(#root + #'/tests/' + 1):gsub('_test%.lua$', '')
  local list = {}
  for key, fn in pairs(class) do
    local name = type(key) == 'string' and key:match('^test_?(.+)$')
    if name and type(fn) == 'function' then
      list[#list + 1] = { name = prefix .. '.' .. name, fn = fn, class = class }
    end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- The text to look for in names. 'tests/lua/cli_test.lua' gives 'lua/cli.', that file's tests.
local function filter_of(text)
  local file = text and text:match('^(.*)_test%.lua$')
  return file and file:gsub('^%./', ''):gsub('^tests/', '') .. '.' or text
end

--- Runs one test; 'passed', 'failed' or 'skipped', and the text.
local function run_one(test, luaunit, seed)
  math.randomseed(seed)
  local trace
  local function handler(err)
    trace = debug.traceback('', 2)
    return err
  end
  local class = test.class
  local set_up, tear_down = class.set_up or class.setUp, class.tear_down or class.tearDown
  local ok, err = true, nil
  if set_up then ok, err = xpcall(set_up, handler, class) end
  if ok then ok, err = xpcall(test.fn, handler, class) end
  if tear_down then
    local fine, why = xpcall(tear_down, handler, class)
    if not fine and ok then ok, err = fine, why end
  end
  require('sppo.ffi').C.sppo_tape_clear()
  collectgarbage()
  if ok then return 'passed' end
  err = tostring(err)
  local skip = err:find(luaunit.SKIP_PREFIX, 1, true)
  if skip then return 'skipped', err:sub(skip + #luaunit.SKIP_PREFIX) end
  if err:find(luaunit.SUCCESS_PREFIX, 1, true) then return 'passed' end
  local failure = err:find(luaunit.FAILURE_PREFIX, 1, true)
  if failure then
    return 'failed', err:sub(1, failure - 1) .. err:sub(failure + #luaunit.FAILURE_PREFIX), trace
  end
  return 'failed', err, trace
end

--- The root of the checkout whose tests run.
local function find_root()
  local files = require 'sppo.files'
  local root = os.getenv('SPPO_LUA')
  root = root and root ~= '' and root or '.'
  if files.is_folder(root .. '/tests') then return root end
  exit.usage(('test: no folder %s/tests'):format(root),
    'run it in a checkout of sppo, or set SPPO_LUA to one')
end

function M.run(args)
  local luaunit = load_luaunit()
  local root = find_root()
  package.path = ('%s/?.lua;%s/tests/?.lua;%s'):format(root, root, package.path)
  M.seed, M.root = args.seed, root
  local filter = filter_of(args.filter)
  -- Every op of every test: its kernel takes the work memory that meta counts for it.
  require('sppo.ffi').C.sppo_workspace_check(1)

  local counts = { passed = 0, failed = 0, skipped = 0 }
  local failures = {}
  local clock = require('sppo.ffi').C.sppo_clock
  local function note(name, state, seconds, text, trace)
    counts[state] = counts[state] + 1
    if state ~= 'passed' or seconds then
      local mark = state == 'passed' and 'ok  ' or state == 'skipped' and 'skip' or 'FAIL'
      output.write(('%s  %-58s %8.1f ms%s\n'):format(mark, name, (seconds or 0) * 1000,
        state == 'skipped' and '  ' .. text or ''))
    end
    if state == 'failed' then
      failures[#failures + 1] = name
      output.write('      ', (text:gsub('\n', '\n      ')), '\n')
      if args.verbose and trace then
        output.write('      ', (trace:gsub('\n', '\n      ')), '\n')
      end
      local lua = root ~= '.' and ('SPPO_LUA=%s '):format(root) or ''
      output.write(('      again: %s%s test --seed %d %s --verbose\n'):format(lua,
        host.executable() or 'sppo', args.seed, name))
    end
    output.flush()
  end

  for _, path in ipairs(find(root .. '/tests', {})) do
    local short = path:sub(#root + #'/tests/' + 1)
    local prefix = short:gsub('_test%.lua$', '')
    -- A filter that names another file's test spares loading this file.
    local whole = filter and filter:match('^([%w_/]+)%.') or nil
    if not whole or prefix:find(whole, 1, true) then
      local ok, list = xpcall(tests_of, function(err)
        return { message = tostring(type(err) == 'table' and err.message or err),
          traceback = debug.traceback('', 2) }
      end, path, root)
      if not ok then
        note(prefix .. '.load', 'failed', 0, list.message, list.traceback)
        list = {}
      elseif #list == 0 then
        note(prefix .. '.load', 'failed', 0, path .. ': has no functions named test_*')
      end
      for _, test in ipairs(list) do
        if (not filter or test.name:find(filter, 1, true))
          and not (args.except and test.name:find(args.except, 1, true)) then
          if args.list then
            output.write(test.name, '\n')
          else
            local begin = clock()
            local state, text, trace = run_one(test, luaunit, args.seed)
            note(test.name, state, clock() - begin, text, trace)
          end
        end
      end
    end
  end
  if args.list then return counts.failed > 0 and 1 or 0 end
  output.write(('%d passed, %d failed, %d skipped\n'):format(counts.passed, counts.failed,
    counts.skipped))
  if counts.passed + counts.failed + counts.skipped == 0 then
    io.stderr:write(('sppo: test: no test %s\n'):format(args.filter
      and ('has \'%s\' in its name; \'sppo test --list\' prints the names'):format(args.filter)
      or 'was found'))
    return 1
  end
  return counts.failed > 0 and 1 or 0
end

return M
