--- The option --device of verbs that compute with a model.

local exit = require 'sppo.cli.exit'

local M = {}

local known = { 'cpu', 'cuda' }

--- Adds the option to a verb.
---@param parser table  argparse's, of the verb
function M.define(parser)
  parser:option('--device', 'Where it is computed: cpu or cuda.'):argname('NAME')
    :default('cpu')
end

--- Runs fn(args) with that device as the one that weights and tensors are made on. Another name is
--- a usage error; a device that is not there is the engine's error, exit code 7.
---@param verb string
---@param args table
---@param fn fun(args: table)
function M.run(verb, args, fn)
  local fine = false
  for _, name in ipairs(known) do fine = fine or args.device == name end
  if not fine then
    exit.usage(verb .. ': ' .. require('sppo.check').unknown('device', args.device, known),
      ('sppo %s --help'):format(verb))
  end
  return require('sppo.tensor').on_device(args.device, fn, args)
end

return M
