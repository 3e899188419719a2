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
  parser:flag('-i', 'The prompt after the file or the code.')
end

function M.run(args)
  return require('sppo.repl').run { code = args.e, file = args.file, stay = args.i }
end

return M
