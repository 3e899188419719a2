--- The command line: finds the verb, runs it, and turns what it raises into one clear line and an
--- exit code. Each verb is a file beside this one: { examples, define(parser)?, run(args) -> code?
--- }.

local exit = require 'sppo.cli.exit'
local host = require 'sppo.host'

local M = {}

--- In the order of `sppo help`.
local verbs = {
  { 'run', 'run a recipe, or go on with one that was stopped' },
  { 'new', 'begin a recipe of your own as a copy of another' },
  { 'validate', 'say what is wrong with a recipe before it runs' },
  { 'ls', 'models that are there, runs and how far they are' },
  { 'report', 'a page that shows what happened in a run, or several side by side' },
  { 'data', 'what files of prompts and pairs hold, and share' },
  { 'plan', 'memory, work and time of a recipe, without running it' },
  { 'eval', 'how often a model\'s answers win, on a recipe\'s held-out prompts' },
  { 'train', 'a recipe\'s training on pairs that are there already' },
  { 'gen', 'text from a model' },
  { 'chat', 'a conversation with a model, line by line' },
  { 'rank', 'answers from best to worst, by PairRM' },
  { 'tok', 'text to token ids and back' },
  { 'export', 'a model for llama.cpp (GGUF) or for Hugging Face\'s tools' },
  { 'cat', 'any file of a run or a model as JSON lines' },
  { 'inspect', 'what a file or folder holds, for people' },
  { 'repl', 'Lua prompt with tensors' },
  { 'test', 'run the tests of a checkout' },
  { 'bench', 'measure this machine and the engine on it' },
  { 'doctor', 'what a bug report needs, and whether the kernels compute rightly' },
  { 'completion', 'completion for bash, zsh or fish' },
  { 'version', 'version, processor, devices' },
  { 'help', 'this text, or the help of a verb; --man DIR writes manual pages' },
}

local examples = {
  'sppo run recipes/tiny.lua seed=2 out=runs/two',
  'sppo gen smollm2-135m-instruct "Describe the sea in one sentence."',
}

local status = {
  '0 ok, 1 failed, 2 usage or recipe, 3 malformed file, 4 out of memory,',
  '5 not finite, 6 disk or permission, 7 device missing, 75 stopped and resumable,',
  '130 interrupted.',
}

local function overview()
  local lines = {
    'Usage: sppo VERB [arguments]', '       sppo RECIPE.lua [key=value ...]', '',
    'Self-play preference optimisation of language models.', '',
  }
  for _, verb in ipairs(verbs) do lines[#lines + 1] = ('  %-10s  %s'):format(verb[1], verb[2]) end
  lines[#lines + 1] = ''
  lines[#lines + 1] = 'Examples:'
  for _, text in ipairs(examples) do lines[#lines + 1] = '  ' .. text end
  lines[#lines + 1] = ''
  lines[#lines + 1] = '`sppo VERB --help` tells more of each. In the environment, ' ..
    'SPPO_ARG_TRAIN_LR=1e-6'
  lines[#lines + 1] = 'is as train.lr=1e-6 on every command line that has none.'
  lines[#lines + 1] =
    'Results go to stdout, progress and errors to stderr; neither is coloured.'
  lines[#lines + 1] = 'Exit status: ' .. table.concat(status, '\n')
  return table.concat(lines, '\n') .. '\n'
end

local function verb_names()
  local names = {}
  for i, verb in ipairs(verbs) do names[i] = verb[1] end
  return names
end

local function summary_of(name)
  for _, verb in ipairs(verbs) do
    if verb[1] == name then return verb[2] end
  end
end

--- Gives a parser what a verb takes, with the options that every verb has.
local function define(parser, module)
  if module.define then module.define(parser) end
  parser:option('--threads', 'Threads that ops use (default: one a processor).'):argname('N')
    :convert(require('sppo.cli.number').option('--threads', 'integer', 1, 256))
  parser:flag('-v --verbose', 'More to see; tracebacks of errors.')
  parser:flag('-q --quiet', 'No progress on stderr.')
  return parser
end

local function sentence(text) return text:sub(1, 1):upper() .. text:sub(2) .. '.' end

--- argparse's parser for a verb, or nil if there is no such verb.
---@param name string
---@return table?
function M.parser(name)
  if name == 'help' or not summary_of(name) then return end
  local module = require('sppo.cli.' .. name)
  local parser = require 'argparse'('sppo ' .. name, sentence(summary_of(name)))
  parser:help_max_width(96)
  parser:epilog('Examples:\n  ' .. table.concat(module.examples, '\n  '))
  return define(parser, module)
end

--- Manual pages: their names and texts.
---@return table<string, string>
function M.manual()
  local man = require 'sppo.cli.man'
  local pages = { sppo = man.program(verbs, examples, table.concat(status, ' ')) }
  for _, verb in ipairs(verbs) do
    local parser = M.parser(verb[1])
    if parser then
      pages['sppo-' .. verb[1]] =
        man.verb(verb[1], verb[2], parser, require('sppo.cli.' .. verb[1]).examples)
    end
  end
  return pages
end

--- One parser with every verb as a command, for shells to complete by.
function M.whole_parser()
  local parser = require 'argparse'('sppo', 'Self-play preference optimisation.')
  for _, verb in ipairs(verbs) do
    if verb[1] ~= 'help' then
      define(parser:command(verb[1], sentence(verb[2])), require('sppo.cli.' .. verb[1]))
    end
  end
  return parser
end

local function run_verb(name, arguments)
  local module = require('sppo.cli.' .. name)
  local parser = M.parser(name)
  local ok, args = parser:pparse(arguments)
  if not ok then
    local text = args:gsub('\n', ' '):gsub(' Did you mean (.-)%?$', ' (did you mean %1?)')
    exit.usage(text:gsub('^%u', string.lower), 'sppo ' .. name .. ' --help')
  end
  M.verbose, M.verb, M.recipe = args.verbose, name, args.recipe
  if args.threads then require('sppo').threads(args.threads) end
  return module.run(args, parser)
end

local function help(arguments)
  local name = arguments[1]
  if name == '--man' then
    if not arguments[2] then
      exit.usage('help: --man wants a folder', 'sppo help --man man/man1')
    end
    return require('sppo.cli.man').write(arguments[2], M.manual())
  end
  if not name or name == 'help' or name:sub(1, 1) == '-' then
    io.stdout:write(overview())
    return
  end
  if not summary_of(name) then
    exit.usage(require('sppo.check').unknown('verb', name, verb_names()), 'sppo help')
  end
  io.stdout:write(M.parser(name):get_help(), '\n')
end

local function dispatch(argv)
  local first, rest = argv[1], { unpack(argv, 2) }
  if not first then
    if host.isatty(0) and host.isatty(1) then return run_verb('repl', {}) end
    io.stderr:write(overview())
    return exit.codes.usage
  end
  if first == '-h' or first == '--help' or first == 'help' then return help(rest) end
  if first == '--version' then return run_verb('version', rest) end
  if summary_of(first) then return run_verb(first, rest) end
  if first:match('%.lua$') then return run_verb('run', argv) end
  local what = first:sub(1, 1) == '-' and 'option' or 'verb'
  exit.usage(require('sppo.check').unknown(what, first, verb_names()), 'sppo help')
end

--- Keeps the traceback beside the message, for -v.
local function handler(err)
  if type(err) == 'table' then return err end
  return { message = tostring(err), traceback = debug.traceback('', 2) }
end

--- What to type next after an error that does not say it itself; nil if nothing comes to mind.
local function next_step(err)
  local code, recipe = exit.code(err), M.recipe
  local message = tostring(err.message)
  if message:find(': no model there', 1, true) and not message:find('did you mean', 1, true) then
    return 'sppo ls'
  end
  if message:find('not a run folder', 1, true) then return 'sppo ls' end
  -- These have said it.
  local said
  for _, text in ipairs { '(out=DIR)', ': is a run', ': is a round of a run, its model' } do
    said = said or message:find(text, 1, true)
  end
  if code ~= exit.codes.usage or not M.verb or said then return end
  if recipe and err.message:find(recipe .. ': cannot open', 1, true) then
    return 'sppo new --list'
  end
  if recipe and message:find(': no such file', 1, true) then
    return ('correct it, then sppo validate %s'):format(recipe)
  end
  if not recipe or exit.kind(err) ~= 'recipe' then return ('sppo %s --help'):format(M.verb) end
  if M.verb == 'validate' then return 'sppo validate --keys' end
  return 'sppo validate ' .. recipe
end

--- Reports a caught error; where it is one of several processes that failed, it ends the others.
--- What all of them fail with alike, the first one says: the others wait to be ended, by a SIGTERM
--- and, a second later, SIGKILL.
local function report(err)
  local comm = package.loaded['sppo.comm']
  local size = comm and comm.size() or 1
  if size == 1 then return exit.report(err, M.verbose) end
  local asked = host.stop_requested()
  if comm.rank() > 0 then host.sleep(asked and 3 or math.min(comm.rank(), 4)) end
  if asked or not host.stop_requested() then
    err.message = ('process %d of %d: %s'):format(comm.rank(), size, tostring(err.message))
    exit.report(err, M.verbose)
  end
  local code = exit.code(err)
  comm.leave(code)
  return code
end

--- Runs the command line; returns the exit code.
---@param argv string[]
---@return integer
function M.main(argv)
  M.verbose, M.verb, M.recipe = nil, nil, nil
  local ok, result = xpcall(dispatch, handler, argv)
  local code = ok and (result or 0)
  if ok then ok, result = xpcall(require('sppo.cli.output').flush, handler) end
  if ok then
    local comm = package.loaded['sppo.comm']
    if comm then comm.leave(0) end
    return code
  end
  if result.code then return result.code end -- exit.leave
  result.try = result.try or next_step(result)
  return report(result)
end

return M
