--- PairRM: tokens a second at deberta-v3-large's size (or that of --model deberta-v3-small, ..),
--- for pairs of some lengths, as a share of the machine's multiply-adds.

local cost = require 'sppo.bench.cost'
local measure = require 'sppo.bench.measure'
local nn = require 'sppo.nn'
local pairrm = require 'sppo.pairrm'

local C = require('sppo.ffi').C

local TOKENS = 2048 -- of a measurement
local LENGTHS = { 128, 512, 2048 }

--- A pair of `n` tokens: half of it source, a quarter each answer.
local function pair_of(n, seed, vocabulary)
  local function ids(count)
    local list = {}
    for i = 1, count do list[i] = 4 + (seed * 7919 + i * 104729) % (vocabulary - 10) end
    return list
  end
  local answer = math.floor((n - 9) / 4)
  local group = { source = ids(n - 9 - 2 * answer), answers = { ids(answer), ids(answer) } }
  return { group = group, i = 1, j = 2 }
end

return function(bench)
  local dtype = bench.dtype or 'f32'
  local size = bench.model:match('^deberta%-v3%-(%w+)$') or 'large'
  local config = pairrm.published(size)
  -- The table of words is only looked up: a short one is as fast and saves 0.5 GB.
  config.vocab_size, config.source_prefix_id = 1024, 1001
  config.cand1_prefix_id, config.cand2_prefix_id = 1002, 1003
  local model = pairrm.random(config, 1, { dtype = dtype })
  local probe = dtype == 'q8_0' and measure.dot(bench.threads) or measure.fma(bench.threads)
  local lengths = bench.prompt_tokens and { math.max(12, bench.prompt_tokens) } or LENGTHS
  for _, n in ipairs(lengths) do
    local count = math.max(1, math.floor(TOKENS / n))
    local list = {}
    for i = 1, count do list[i] = pair_of(n, i, config.vocab_size) end
    local function run()
      local begin = C.sppo_clock()
      pairrm.compare(model, list, TOKENS)
      return C.sppo_clock() - begin
    end
    if n == lengths[1] then run() end
    local figure = measure.steady(probe, bench.repeats or 3, run)
    local flops = cost.pair_flops(model.config, n)
    bench.result {
      name = ('%s, pairs of %d tokens'):format(dtype, n), value = count * n / figure.seconds,
      unit = 'tokens/s', low = count * n / figure.slowest, high = count * n / figure.fastest,
      repeats = figure.repeats, limit = figure.limit, limit_unit = probe.unit,
      share = count * flops / figure.seconds / 1e9 / figure.limit, steady = figure.steady,
      dtype = dtype, batch = count,
      note = ('random weights of deberta-v3-%s\'s shape; %.2f pairs/s'):format(size,
        count / figure.seconds),
    }
  end
  for _, p in ipairs(nn.parameters(model.net)) do p.owner[p.key]:release() end
end
