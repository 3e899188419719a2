--- How cost grows with the work: tokens a second and memory of decoding against the batch, the
--- context and K, beside what the counted work would take at the machine's own rates (the larger of
--- multiply-adds and bytes).

local bench_model = require 'sppo.bench.model'
local cost = require 'sppo.bench.cost'
local decoding = require 'sppo.bench.decoding'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local measure = require 'sppo.bench.measure'
local model_of = require 'sppo.model'
local plot = require 'sppo.plot'

local C = engine.C

--- What grows, and what stays.
local curves = {
  { name = 'batch', label = 'answers of one prompt at once',
    values = { 1, 2, 4, 8, 16, 32, 64, 128, 256 },
    config = function(n) return { batch = n, prompts = 1, prompt_tokens = 128 } end },
  { name = 'context', label = 'prompt tokens, 8 answers',
    values = { 128, 256, 512, 1024, 2048, 4096, 8000 },
    config = function(n) return { batch = 8, prompts = 1, prompt_tokens = n } end },
  { name = 'K', label = 'answers a prompt, 8 prompts', values = { 1, 2, 4, 8, 16, 32 },
    config = function(n) return { batch = 8 * n, prompts = 8, prompt_tokens = 128 } end },
}

--- Tokens a second if a step took the longer of its multiply-adds and its bytes.
local function predicted(c, config, dtype, flops, bytes)
  local own = config.new_tokens / 2 + 2
  local keys = config.prompt_tokens + own
  local work = config.batch * cost.row_flops(c, keys, true) / (flops * 1e9)
  local read = cost.weight_bytes(c, dtype) + cost.kv_bytes(c) *
    (config.prompts * config.prompt_tokens + config.batch * own)
  return config.batch / math.max(work, read / (bytes * 1e9))
end

--- The curves as one picture a file: PATH-batch.svg and so on.
local function draw(path, curve, points)
  local name = ('%s-%s.svg'):format(path:gsub('%.svg$', ''), curve.name)
  files.write(name, plot.standalone(plot.lines {
    title = 'Decoding: tokens a second', x_label = curve.label, y_label = 'tokens/s', x_log = true,
    width = 640, include = 0,
    series = {
      { name = 'measured', points = points.measured, dots = true },
      { name = 'of the counted work', points = points.predicted, dash = true },
    },
  }))
end

return function(bench)
  local dtype = bench.dtype or 'bf16'
  local model, note = bench_model.open(bench, dtype)
  local fma, read = measure.fma(bench.threads), measure.read(bench.threads)
  for _, curve in ipairs(curves) do
    local points = { measured = {}, predicted = {} }
    for i, n in ipairs(curve.values) do
      local config = curve.config(n)
      config.new_tokens = bench.new_tokens or 16
      if not bench.most or n <= bench.most then
        C.sppo_memory_reset_peak(0)
        local tokens
        local figure = measure.steady(fma, bench.repeats or 3, function()
          local seconds
          seconds, tokens = decoding.run(model, config)
          return seconds
        end)
        local rate = tokens / figure.seconds
        local want = predicted(model.config, config, dtype, figure.limit, read.rate())
        points.measured[i], points.predicted[i] = { n, rate }, { n, want }
        bench.result {
          name = ('%s %d'):format(curve.name, n), value = rate, unit = 'tokens/s',
          low = tokens / figure.slowest, high = tokens / figure.fastest, repeats = figure.repeats,
          limit = want, limit_unit = 'tokens/s', share = rate / want, steady = figure.steady,
          dtype = dtype, batch = config.batch, prompts = config.prompts,
          note = ('%s%.0f MB at the peak'):format(note, tonumber(C.sppo_memory_peak(0)) / 1e6),
        }
      end
    end
    if bench.plot and #points.measured > 0 then draw(bench.plot, curve, points) end
  end
  model_of.release(model)
end
