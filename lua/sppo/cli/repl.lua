--- `sppo repl`

local M = {
  examples = {
    'sppo repl',
    'sppo repl -e "x = sppo.tensor{{1, 2}, {3, 4}} print(x + x)"',
  },
}

function M.define(parser)
  parser:argument('file', 'Lua file to run first; then the prompt, if stdin is a terminal.')
    :args('?')
  parser:option('-e', 'Run this code and leave.'):argname('CODE')
end

function M.run(args)
  return require('sppo.repl').run { code = args.e, file = args.file, verbose = args.verbose }
end

return M
