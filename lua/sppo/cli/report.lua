--- `sppo report`

local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo report runs/quickstart && xdg-open runs/quickstart/report.html',
    'sppo report --compare runs/one runs/two -o both.html',
    'sppo report runs/quickstart --tensorboard tb && tensorboard --logdir tb',
  },
}

function M.define(parser)
  parser:argument('runs', 'Run folders.'):args('+'):argname('RUN')
  parser:flag('--compare', 'One page with all of them side by side, not a page for each.')
  parser:option('-o', 'The page (default: report.html in the run folder, or compare.html here).')
    :argname('FILE'):target('output'):hidden_name('--output')
  parser:option('--csv', 'Write all metrics of one run as CSV instead.'):argname('FILE')
  parser:option('--tensorboard', 'Write all metrics of one run as event files instead.')
    :argname('DIR')
end

--- Metrics of one run in another form.
local function export(args, kind, path)
  if #args.runs > 1 or args.compare then
    exit.usage(('report: --%s takes one run'):format(kind), 'sppo report --help')
  end
  local ok, err = require('sppo.report.export')[kind](args.runs[1], path)
  if not ok then exit.data(err) end
  output.write(path, '\n')
end

function M.run(args)
  for _, kind in ipairs { 'csv', 'tensorboard' } do
    if args[kind] then return export(args, kind, args[kind]) end
  end
  local report = require 'sppo.report'
  if args.compare then
    local path, err = report.compare(args.runs, args.output or 'compare.html')
    if not path then exit.data(err) end
    output.write(path, '\n')
    return
  end
  if args.output and #args.runs > 1 then
    exit.usage('report: one page for several runs needs --compare', 'sppo report --help')
  end
  for _, run in ipairs(args.runs) do
    local path, err = report.write(run, args.output)
    if not path then exit.data(err) end
    output.write(path, '\n')
  end
end

return M
