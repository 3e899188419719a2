--- tools/cuda-resources on a log of two kernels: each thing that may change is seen.

local files = require 'sppo.files'
local lu = require 'luaunit'
local shell = require 'support.shell'

local tests = {}

local tool = shell.root() .. '/tools/cuda-resources'

local function kernel(symbol, registers, rest)
  return ([[
ptxas info    : Compiling entry function '%s' for 'sm_90'
    %d bytes stack frame, %d bytes spill stores, 0 bytes spill loads
ptxas info    : Used %d registers, used 1 barriers, %d bytes smem
]]):format(symbol, rest.stack or 0, rest.spills or 0, registers, rest.shared or 128)
end

--- The check's code and words where the file was made from one log and the other is compared.
local function check(before, after, ptx)
  local code, out, err
  shell.in_folder(function(folder)
    local function verb(name, log)
      files.write(folder .. '/log', '== engine/cuda/norm.cu\n' .. log)
      files.write(folder .. '/norm.ptx', ptx[name] or '')
      return shell.run(('%s %s %s/log --ptx %s --golden %s/golden.tsv'):format(tool, name, folder,
        folder, folder))
    end
    code, out, err = verb('update', before)
    if code == 0 then code, out, err = verb('check', after) end
  end)
  return code, out .. err
end

local symbol = '_Z9dx_kernelPfPKfS1_S1_S1_lf' -- dx_kernel(float*, float const*, ..)
local same = kernel(symbol, 40, {})

local function fails(text, after, ptx, before)
  local code, out = check(before or same, after, ptx or {})
  lu.assertEquals(code, 1, out)
  lu.assertStrContains(out, 'error: norm.cu: ' .. text)
end

function tests.test_same()
  local code, out = check(same, kernel(symbol, 48, {}), {})
  lu.assertEquals(code, 0, out)
  lu.assertStrContains(out, '1 kernels, at most 48 registers a thread')
end

function tests.test_figures()
  fails('dx_kernel (sm_90): 49 registers, 40 before', kernel(symbol, 49, {}))
  fails('dx_kernel (sm_90): 31 registers, 40 before', kernel(symbol, 31, {}))
  fails('dx_kernel (sm_90): 8 bytes stack, 0 before', kernel(symbol, 40, { stack = 8 }))
  fails('dx_kernel (sm_90): 64 bytes shared, 128 before', kernel(symbol, 40, { shared = 64 }))
  fails('dx_kernel (sm_90): spills 4 bytes', kernel(symbol, 40, { spills = 4 }))
  fails('dx_kernel (sm_90): 66 registers, its blocks allow 64', kernel(symbol, 66, {}), nil,
    kernel(symbol, 60, {}))
end

function tests.test_spills_are_not_recorded()
  fails('dx_kernel (sm_90): spills 4 bytes', same, nil, kernel(symbol, 40, { spills = 4 }))
end

function tests.test_kernels_more_or_less()
  local other = kernel('_Z9dy_kernelPf', 20, {})
  fails('dy_kernel (sm_90): is new: 20 registers', same .. other)
  fails('dy_kernel (sm_90): is gone: 0 kernels of that name, 20 registers before', same, nil,
    same .. other)
end

function tests.test_ptx()
  local entry = '.visible .entry ' .. symbol .. '()\n{\n%s\n}\n'
  local shuffles, none = entry:format('shfl.sync.bfly.b32 %f1;'), entry:format('ret;')
  fails('dx_kernel (sm_90): shuffles: no, yes before', same, { update = shuffles, check = none })
  local loads = entry:format('ld.global.nc.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1];')
  fails('dx_kernel (sm_90): vectors: no, yes before', same, { update = loads, check = none })
  fails('dx_kernel (sm_90): its PTX has local memory', same,
    { update = none, check = entry:format('.local .b8 __local_depot0[8];') })
end

function tests.test_a_log_without_kernels()
  shell.in_folder(function(folder)
    files.write(folder .. '/log', 'nothing\n')
    local code, out = shell.run(('%s check %s/log'):format(tool, folder))
    lu.assertEquals(code, 2, out)
    lu.assertStrContains(out, 'error: no kernels in ')
  end)
end

return tests
