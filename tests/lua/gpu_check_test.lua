--- tools/gpu-check where there is no GPU, and its report with an nvidia-smi and an sppo that are
--- shell scripts.

local files = require 'sppo.files'
local lu = require 'luaunit'
local shell = require 'support.shell'

local tests = {}

local tool = shell.root() .. '/tools/gpu-check'

--- A program of this text in the folder.
local function program(folder, name, text)
  files.write(folder .. '/' .. name, '#!/bin/sh\n' .. text .. '\n')
  lu.assertEquals(shell.run(('chmod +x %s/%s'):format(folder, name)), 0)
end

--- gpu-check with what the folder holds before all else on the path.
local function check(folder, arguments)
  return shell.run(('PATH=%s:"$PATH" %s --report %s/report.md %s'):format(folder, tool, folder,
    arguments))
end

function tests.test_no_device()
  shell.in_folder(function(folder)
    program(folder, 'nvidia-smi', 'echo "has failed: no driver"; exit 9')
    program(folder, 'cmake', 'echo built >>' .. folder .. '/built')
    local code, _, err = check(folder, '')
    lu.assertEquals(code, 7, err)
    lu.assertStrContains(err, 'tools/gpu-check: no CUDA device')
    lu.assertStrContains(err, 'has failed: no driver')
    for _, what in ipairs { '/dev/nvidiactl: ', 'libcuda.so.1: ', 'CUDA_VISIBLE_DEVICES: ' } do
      lu.assertStrContains(err, what)
    end
    lu.assertNil((files.read(folder .. '/built')))
    lu.assertNil((files.read(folder .. '/report.md')))
  end)
end

local function report(sppo)
  local code, out, text
  shell.in_folder(function(folder)
    program(folder, 'nvidia-smi', 'echo "NVIDIA T9, 570.1, 9.0, 80 MiB"')
    program(folder, 'sppo', sppo)
    code, out = check(folder, ('--only parity --program %s/sppo'):format(folder))
    text = shell.read(folder .. '/report.md')
  end)
  return code, text, out
end

function tests.test_report()
  local code, text = report('echo "$@"; echo "4 passed, 0 failed"')
  lu.assertEquals(code, 0, text)
  for _, line in ipairs { '- date: 20%d%d%-', '- commit: %x+',
    'GPU: NVIDIA T9, compute capability 9.0, memory 80 MiB, driver 570.1',
    '| parity | ok: 4 passed, 0 failed | %d+ s |', '    test cuda/tiny\n' } do
    lu.assertStrMatches(text, '.*' .. line:gsub('^%- ', '%%- ') .. '.*')
  end
end

function tests.test_failure()
  local code, text = report('echo "FAIL cuda/tiny: no"; echo "3 passed, 1 failed"; exit 1')
  lu.assertEquals(code, 1)
  lu.assertStrContains(text, '| parity | **failed**, exit status 1: 3 passed, 1 failed |')
  lu.assertStrContains(text, '    FAIL cuda/tiny: no')
end

--- Tests that are all skipped are no success.
function tests.test_nothing_ran()
  local code, text = report('echo "0 passed, 0 failed, 5 skipped"')
  lu.assertEquals(code, 1)
  lu.assertStrContains(text, 'error: no test ran')
end

function tests.test_bad_arguments()
  for _, arguments in ipairs { '--only all', '--program', '--program nowhere/sppo', 'now' } do
    local code, _, err = shell.run(tool .. ' ' .. arguments)
    lu.assertEquals(code, 2, err)
    lu.assertStrContains(err, 'tools/gpu-check: ')
  end
end

return tests
