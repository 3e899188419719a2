--- `sppo bench`: lua/sppo/bench/*.lua measure, this file prints.

local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = { 'sppo bench machine', 'sppo bench decode --threads 2 --json' },
}

local names = { 'machine', 'ops', 'decode', 'train' }

function M.define(parser)
  parser:argument('what', 'One of: machine, ops, decode, train. All of them if none is named.')
    :args('?')
  parser:option('--model', 'Model of decode and train; random weights of its shape if missing.')
    :argname('DIR'):default('smollm2-135m-instruct')
  parser:option('--steps', 'Steps to measure in decode and train (default: 64 and 3).')
    :argname('N'):convert(tonumber)
  parser:flag('--json', 'One JSON object a measure.')
end

function M.run(args)
  local chosen = args.what and { args.what } or names
  if args.what then
    local known = {}
    for _, name in ipairs(names) do known[name] = true end
    if not known[args.what] then
      exit.usage('bench: ' .. require('sppo.check').unknown('measure', args.what, names),
        'sppo bench --help')
    end
  end
  if args.steps and (args.steps < 1 or args.steps % 1 ~= 0) then
    exit.usage('bench: --steps must be an integer of at least 1', 'sppo bench --help')
  end

  local sppo = require 'sppo'
  local bench = { threads = sppo.threads(), model = args.model, steps = args.steps }
  local group
  --- Prints a measure as soon as it is there.
  function bench.result(name, value, unit, note)
    if args.json then
      output.write(require('sppo.json').encode {
        bench = group, name = name, value = value, unit = unit,
        note = note, threads = bench.threads, cpu = sppo.cpu_name() }, '\n')
    else
      output.write(('  %-40s %10.2f %-10s %s\n'):format(name, value, unit, note or ''))
    end
    output.flush()
  end
  for _, name in ipairs(chosen) do
    group = name
    if not args.json then
      output.write(('%s, %d threads, %s\n'):format(name, bench.threads, sppo.cpu_name()))
    end
    require('sppo.bench.' .. name)(bench)
  end
end

return M
