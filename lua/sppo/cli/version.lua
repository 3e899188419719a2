--- `sppo version`

local host = require 'sppo.host'
local output = require 'sppo.cli.output'

local M = { examples = { 'sppo version', 'SPPO_CPU=avx2 sppo version' } }

function M.run()
  local sppo = require 'sppo'
  local build = host.build
  local commit = build.commit ~= '' and (' (%s)'):format(build.commit) or ''
  output.write(('sppo %s%s\n'):format(build.version, commit))
  output.write(('compiler  %s, %s\n'):format(build.compiler, jit.version))
  output.write(('cpu       %s\n'):format(sppo.cpu_name()))
  output.write(('threads   %d of %d processors\n'):format(sppo.threads(), host.cpu_count()))
  output.write(('memory    %.1f GiB\n'):format(host.total_memory() / 2^30))
  output.write('devices   cpu, meta\n')
end

return M
