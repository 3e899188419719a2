--- The option --device of verbs that compute with a model.

local exit = require 'sppo.cli.exit'

local M = {}

local known = { 'cpu', 'cuda' }

--- Adds the option to a verb.
---@param parser table  argparse's, of the verb
function M.define(parser)
  parser:option('--device', 'Where it is computed: cpu or cuda.'):default('cpu')
end

--- A usage error unless args.device is one of them. A device that is not there is an error of the
--- engine, exit code 7.
---@param verb string
---@param args table
function M.check(verb, args)
  for _, name in ipairs(known) do
    if args.device == name then return end
  end
  exit.usage(verb .. ': ' .. require('sppo.check').unknown('device', args.device, known),
    ('sppo %s --help'):format(verb))
end

return M
