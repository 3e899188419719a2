--- `sppo bench`: what it prints, what it refuses, and how a figure is taken on an unsteady machine.

local json = require 'sppo.json'
local lu = require 'luaunit'
local measure = require 'sppo.bench.measure'
local shell = require 'support.shell'

local C = require('sppo.ffi').C

local tests = {}

local function words(text)
  local list = { 'bench' }
  for word in text:gmatch('%S+') do list[#list + 1] = word end
  return list
end

--- The lines that it prints.
local function figures(args)
  local code, out, err = shell.sppo(words(args))
  lu.assertEquals(code, 0, err)
  local list = {}
  for line in out:gmatch('[^\n]+') do list[#list + 1] = line end
  return list
end

local tiny = '--batch 4 --prompts 2 --prompt-tokens 8 --new-tokens 16 --dtype q8_0 --repeats 1'

function tests.test_json()
  local f = assert(json.decode(figures('decode --json ' .. tiny)[1]))
  lu.assertEquals(f.bench, 'decode')
  lu.assertEquals(f.unit, 'tokens/s')
  lu.assertEquals({ f.dtype, f.batch, f.prompts, f.repeats }, { 'q8_0', 4, 2, 1 })
  lu.assertTrue(f.value > 0 and f.limit > 0 and f.share > 0 and f.share < 1)
  lu.assertTrue(f.low <= f.value and f.value <= f.high)
end

function tests.test_rank()
  local f = assert(json.decode(figures('rank --model deberta-v3-xsmall --prompt-tokens 64 ' ..
    '--repeats 1 --json')[1]))
  lu.assertEquals({ f.bench, f.unit, f.batch, f.dtype }, { 'rank', 'tokens/s', 32, 'f32' })
  lu.assertTrue(f.value > 0 and f.share > 0 and f.share < 1)
  lu.assertStrContains(f.note, 'deberta-v3-xsmall')
end

function tests.test_csv()
  local lines = figures('decode --csv ' .. tiny)
  lu.assertEquals(#lines, 2)
  local header = {}
  for name in lines[1]:gmatch('[^,]+') do header[#header + 1] = name end
  lu.assertEquals({ header[1], header[3], header[12] }, { 'bench', 'value', 'dtype' })
  lu.assertEquals(select(2, lines[2]:gsub('"[^"]*"', ''):gsub(',', '')), #header - 1)
end

--- Growth: a figure for each point, and a picture of each curve.
function tests.test_growth()
  shell.in_folder(function(folder)
    require('support.small_model').write(folder .. '/m', 1)
    local lines = figures(('growth --json --repeats 1 --most 2 --model %s/m --plot %s/g.svg')
      :format(folder, folder))
    lu.assertEquals(#lines, 4) -- batches and K of 1 and 2; contexts begin at 128
    for i, name in ipairs { 'batch 1', 'batch 2', 'K 1', 'K 2' } do
      local f = assert(json.decode(lines[i]))
      lu.assertEquals(f.name, name)
      lu.assertTrue(f.value > 0 and f.limit > 0)
    end
    lu.assertStrContains(shell.read(folder .. '/g-batch.svg'), 'of the counted work')
  end)
end

function tests.test_options_of_other_sections()
  local code, _, err = shell.sppo { 'bench', 'train', '--batch', '4' }
  lu.assertEquals(code, 2)
  lu.assertStrContains(err, 'train does not look at --batch')
end

--- The sections that need a model, with a small one.
function tests.test_sections()
  shell.in_folder(function(folder)
    require('support.small_model').write(folder .. '/m', 1)
    for section, unit in pairs { train = 's', prefill = 'tokens/s', load = 'ms' } do
      local lines = figures(('%s --json --repeats 1 --model %s/m'):format(section, folder))
      local f = assert(json.decode(lines[1]))
      lu.assertEquals({ f.bench, f.unit }, { section, unit })
      lu.assertTrue(f.value > 0, section)
    end
  end)
end

--- The machine's speeds are measured, and are in an order that no machine turns round.
function tests.test_rates()
  local fma, dot = C.sppo_bench_fma(1, 0.02), C.sppo_bench_dot(1, 0.02)
  local memory, cache = C.sppo_bench_read(1, 64 * 2^20, 0.05), C.sppo_bench_read(1, 2^17, 0.05)
  lu.assertTrue(fma > 0.1 and dot > fma, ('%g GFLOP/s, %g GOP/s'):format(fma, dot))
  lu.assertTrue(memory > 0.01 and cache > memory, ('%g, %g GB/s'):format(memory, cache))
  lu.assertTrue(C.sppo_bench_copy(2, 2^22, 0.02) > 0)
  local region = C.sppo_bench_region(2, 0.02)
  lu.assertTrue(region > 0 and region < 0.1, ('%g s'):format(region))
  lu.assertEquals(C.sppo_bench_read(0, 2^20, 0.01), 0)
end

--- A probe that reads its rates from a list.
local function probe_of(rates)
  local i = 0
  return { unit = 'x', rate = function()
    i = math.min(i + 1, #rates)
    return rates[i]
  end }
end

local function counted()
  local n = 0
  return function()
    n = n + 1
    return n
  end
end

function tests.test_steady()
  local f = measure.steady(probe_of { 100, 99, 101, 100 }, 3, counted())
  lu.assertEquals({ f.seconds, f.fastest, f.slowest, f.steady }, { 2, 1, 3, true })
  lu.assertEquals(f.limit, 100)
end

--- What was measured while the machine's speed moved by more than 15 % is measured again.
function tests.test_taken_again()
  local f = measure.steady(probe_of { 100, 70, 100, 100, 100, 100 }, 3, counted())
  lu.assertEquals({ f.seconds, f.fastest, f.slowest, f.steady }, { 4, 3, 5, true })
end

function tests.test_unsteady()
  local rates = {}
  for i = 1, 40 do rates[i] = i % 2 == 0 and 50 or 100 end
  local f = measure.steady(probe_of(rates), 3, counted())
  lu.assertFalse(f.steady)
  lu.assertEquals(f.fastest, measure.TRIES + 1)
end

local refused = {
  { 'decode --dtype f64', 'dtype' },
  { 'decode --batch 7 --prompts 2', 'bench: --batch 7 is not a multiple of --prompts 2' },
  { 'decode --batch 0', 'bench: --batch must be an integer of at least 1, got 0' },
  { 'decode --new-tokens 1.5', 'bench: --new-tokens must be an integer of at least 16, got 1.5' },
}
for i, case in ipairs(refused) do
  tests['test_refused_' .. i] = function()
    local code, out, err = shell.sppo(words(case[1]))
    lu.assertEquals({ code, out }, { 2, '' })
    lu.assertStrContains(err, case[2])
  end
end

return tests
