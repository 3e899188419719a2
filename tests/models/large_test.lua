--- Decoders of the paper's sizes, two layers of them, against transformers:
--- tests/golden/large_decoders.json, written by tools/golden/large_decoders.py.

local compare = require 'support.compare'
local large_model = require 'support.large_model'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local parity = require 'support.parity'
local shell = require 'support.shell'

local tests = {}

local RELATIVE = 1e-4

for _, name in ipairs(large_model.names) do
  tests['test_' .. name:gsub('%W', '_') .. '_slow'] = function()
    if not os.getenv('SPPO_SLOW') then
      lu.skip(('slow: two layers of %s, 3 GB of weights; SPPO_SLOW=1 runs it'):format(name))
    end
    local golden = shell.golden('large_decoders.json')
    local case = golden.models[name]
    local model = large_model.open(name)
    local ids = large_model.prompt(model.config)
    lu.assertEquals(ids, case.prompt)
    local got = large_model.logits(model, ids, golden.rows)
    model_of.release(model)
    local worst, scale, count = 0, 0, 0
    for _, row in ipairs(case.logits) do
      for _, x in ipairs(row) do scale = math.max(scale, math.abs(x)) end
    end
    for n, row in ipairs(case.logits) do
      lu.assertEquals(#got[n], #row)
      worst = math.max(worst, compare.close(got[n], row, RELATIVE, name, scale))
      count = count + #row
    end
    parity.note('model', name .. ', 2 layers', 'logits', 'transformers', worst, count)
  end
end

return tests
