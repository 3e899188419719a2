--- Decoding: whole steps, with the sampler and the bookkeeping; prompts are computed before the
--- clock starts. One sequence is compared with reading memory, many with multiply-adds.

local bench_model = require 'sppo.bench.model'
local cost = require 'sppo.bench.cost'
local decoding = require 'sppo.bench.decoding'
local measure = require 'sppo.bench.measure'
local model_of = require 'sppo.model'

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

local function report(bench, model, config, note)
  local probe = measure.fma(bench.threads)
  if config.batch == 1 then probe = measure.read(bench.threads)
  elseif config.dtype == 'q8_0' then probe = measure.dot(bench.threads) end
  local tokens
  local figure = measure.steady(probe, bench.repeats or 3, function()
    local seconds
    seconds, tokens = decoding.run(model, config)
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
