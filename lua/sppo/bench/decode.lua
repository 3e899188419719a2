--- Decoding: whole steps, with the sampler and the bookkeeping; prompts are computed before the
--- clock starts. One sequence is compared with reading memory, many with multiply-adds.

local bench_model = require 'sppo.bench.model'
local cost = require 'sppo.bench.cost'
local measure = require 'sppo.bench.measure'
local model_of = require 'sppo.model'
local sample = require 'sppo.sample'

local C = require('sppo.ffi').C

--- The configurations that are measured when none is asked for.
local usual = {
  { dtype = 'f32', batch = 1, prompts = 1 }, { dtype = 'bf16', batch = 1, prompts = 1 },
  { dtype = 'q8_0', batch = 1, prompts = 1 },
  { dtype = 'bf16', batch = 8, prompts = 1 }, { dtype = 'q8_0', batch = 8, prompts = 1 },
  { dtype = 'f32', batch = 64, prompts = 1 }, { dtype = 'bf16', batch = 64, prompts = 1 },
  { dtype = 'q8_0', batch = 64, prompts = 1 },
  { dtype = 'bf16', batch = 64, prompts = 16, mixed = true },
  { dtype = 'q8_0', batch = 64, prompts = 16, mixed = true },
}

--- Prompts that share nothing, each with K answers; `mixed`: of 16 to twice `new` - 16 tokens.
local function prompts_of(model, config)
  local list, k = {}, config.batch / config.prompts
  for i = 1, config.prompts do
    list[i] = { id = i, tokens = bench_model.tokens(model.config, config.prompt_tokens, i) }
    if config.mixed then
      local lengths, spread = {}, 2 * config.new_tokens - 31
      for j = 1, k do lengths[j] = 16 + ((i - 1) * k + j) * 37 % spread end
      list[i].lengths = lengths
    end
  end
  return list, k
end

--- Seconds of decoding and the tokens that came out: steps after the first three, or of a mixed
--- batch everything, prompts included.
local function run(model, config)
  local prompts, k = prompts_of(model, config)
  local times, rows = {}, {}
  local started, last, tokens = C.sppo_clock(), nil, 0
  sample.run(model, prompts, {
    -- One token comes with the prompt, two steps size and make the arena.
    k = k, batch = config.batch, max_new_tokens = config.mixed and 2 * config.new_tokens
      or config.new_tokens + 4,
    stop_ids = {}, temperature = 0.7, top_p = 0.9, seed = 1,
    on_step = function(n)
      last = C.sppo_clock()
      times[#times + 1], rows[#rows + 1] = last, n
    end,
  }, function(_, answers)
    for _, a in ipairs(answers) do tokens = tokens + #a.tokens end
  end)
  if config.mixed then return C.sppo_clock() - started, tokens end
  return times[config.new_tokens + 2] - times[2], config.new_tokens * config.batch
end

local function report(bench, model, config, note)
  local probe = measure.fma(bench.threads)
  if config.batch == 1 then probe = measure.read(bench.threads)
  elseif config.dtype == 'q8_0' then probe = measure.dot(bench.threads) end
  local tokens
  local figure = measure.steady(probe, bench.repeats or 3, function()
    local seconds
    seconds, tokens = run(model, config)
    return seconds
  end)
  -- Keys that a row sees on average, while a step's answers have grown by half.
  local keys = config.prompt_tokens + config.new_tokens / 2 + 2
  local rate, share = tokens / figure.seconds, nil
  if config.batch == 1 then
    local bytes = cost.weight_bytes(model.config, config.dtype)
      + keys * cost.kv_bytes(model.config)
    share = bytes * rate / 1e9 / figure.limit
  elseif not config.mixed then
    share = cost.row_flops(model.config, keys, true) * rate / 1e9 / figure.limit
  end
  bench.result {
    name = ('%s, %d of %d prompts%s'):format(config.dtype, config.batch, config.prompts,
      config.mixed and ', mixed lengths' or ''),
    value = rate, unit = 'tokens/s', low = tokens / figure.slowest, high = tokens / figure.fastest,
    repeats = figure.repeats, limit = figure.limit, limit_unit = probe.unit, share = share,
    steady = figure.steady, dtype = config.dtype, batch = config.batch, prompts = config.prompts,
    note = ('%s%.2f ms a step'):format(note,
      1000 * figure.seconds / tokens * config.batch),
  }
end

return function(bench)
  local configs = usual
  if bench.dtype or bench.batch or bench.prompts or bench.mixed or bench.llama8b then
    local batch = bench.batch or 64
    configs = { {
      dtype = bench.dtype or 'bf16', batch = batch, prompts = bench.prompts or 1,
      mixed = bench.mixed,
    } }
    if bench.llama8b and not bench.batch then
      configs = { { dtype = configs[1].dtype, batch = 1, prompts = 1 }, configs[1] }
    end
  end
  local model, dtype, note
  for _, config in ipairs(configs) do
    config.prompt_tokens, config.new_tokens = bench.prompt_tokens or 128, bench.new_tokens or 64
    if dtype ~= config.dtype then
      if model then model_of.release(model) end
      model, note = bench_model.open(bench, config.dtype)
      dtype = config.dtype
    end
    report(bench, model, config, note)
  end
  model_of.release(model)
end
