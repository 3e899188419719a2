--- `sppo doctor`: what a bug report needs to say, and whether this machine computes rightly.

local output = require 'sppo.cli.output'

local M = { examples = { 'sppo doctor', 'sppo doctor > doctor.txt' } }

local function line(name, ...)
  output.write(('%-10s'):format(name), (...):format(select(2, ...)), '\n')
end

--- The largest difference of a product by this machine's kernels from the same by plain C.
local function kernels()
  local sppo, scope = require 'sppo', require 'sppo.scope'
  local best = sppo.cpu_name()
  local function product()
    return scope.run(function()
      local tensor = require 'sppo.tensor'
      local x = tensor.zeros({ 7, 96 }):normal_(0, 1, 1)
      local w = tensor.zeros({ 80, 96 }):normal_(0, 1, 2):pack('f32')
      return sppo.ops.linear(x, { w }):tolist()
    end)
  end
  local ours = product()
  sppo.cpu_use('plain')
  local plain, most = product(), 0
  sppo.cpu_use(best)
  for i = 1, #plain do most = math.max(most, math.abs(ours[i] - plain[i])) end
  return best, most
end

function M.run()
  require('sppo.cli.version').run()
  local files, model_of = require 'sppo.files', require 'sppo.model'
  local home = model_of.home()
  line('home', '%s%s', home, files.is_folder(home) and '' or ' (not there yet)')
  local names = files.list(home .. '/models') or {}
  line('models', '%s', #names > 0 and table.concat(names, ', ') or
    'none (tools/fetch-model smollm2 fetches one)')
  line('disk', '%.1f GiB free here', files.disk_free('.') / 2^30)
  for _, name in ipairs { 'SPPO_HOME', 'SPPO_CPU', 'SPPO_LUA', 'SPPO_CHECKED_MEMORY',
    'SPPO_RECIPE_SECONDS' } do
    if os.getenv(name) then line('set', '%s=%s', name, os.getenv(name)) end
  end
  local cpu, most = kernels()
  if most > 1e-4 then
    error({ message = ('the %s kernels are %.3g away from plain C; please report this, and run ' ..
      'with SPPO_CPU=plain until then'):format(cpu, most), kind = 'runtime' }, 0)
  end
  line('kernels', '%s agree with plain C (largest difference %.1e)', cpu, most)
end

return M
