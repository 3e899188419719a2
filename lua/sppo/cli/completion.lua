--- `sppo completion`: what a shell needs to complete sppo's verbs and options.

local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'source <(sppo completion bash)',
    'sppo completion fish > ~/.config/fish/completions/sppo.fish',
  },
}

local shells = { 'bash', 'zsh', 'fish' }

function M.define(parser)
  parser:argument('shell', 'bash, zsh or fish.')
end

function M.run(args)
  local known = {}
  for _, shell in ipairs(shells) do known[shell] = true end
  if not known[args.shell] then
    exit.usage('completion: ' .. require('sppo.check').unknown('shell', args.shell, shells),
      'sppo completion --help')
  end
  local parser = require('sppo.cli').whole_parser()
  output.write(parser['get_' .. args.shell .. '_complete'](parser))
end

return M
