--- `sppo plan`: what lua/sppo/plan counts, as a table for people or as JSON.

local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo plan recipes/llama3.lua --hardware h100',
    'sppo plan recipes/llama3.lua --hardware h100 gpus=8',
    'sppo plan recipes/llama3.lua train.recompute=true --answer-tokens 450',
  },
}

local counts = { 'answer-tokens', 'prompts', 'prompt-tokens' }

function M.define(parser)
  parser:argument('recipe', 'The recipe, a Lua file.')
  parser:argument('overrides', 'key=value: changes a value of the recipe. gpus=N: what each ' ..
    'of N GPUs would hold, too.'):args('*'):argname('key=value')
  parser:option('--hardware', 'Plan for: ' ..
    table.concat(require('sppo.plan.hardware').names(), ', ') .. '. This machine, measured now, ' ..
    'if left out.'):argname('NAME')
  parser:option('--answer-tokens', 'Tokens of an answer (the recipe\'s max_new_tokens).')
    :argname('N')
  parser:option('--prompts', 'Prompts a round, instead of the recipe\'s.'):argname('N')
  parser:option('--prompt-tokens', 'Tokens of a prompt, instead of the recipe\'s.'):argname('N')
  parser:flag('--json', 'The same numbers as one JSON object: bytes, FLOPs, seconds.')
end

local MOST_GPUS = 1024

--- Takes gpus=N out of a list of key=value; returns the rest, and N.
local function take_gpus(words)
  local rest, gpus = {}, nil
  for _, text in ipairs(words) do
    local value = text:match('^gpus=(.*)$')
    if value then
      gpus = tonumber(value)
      if not gpus or gpus % 1 ~= 0 or gpus < 1 or gpus > MOST_GPUS then
        exit.usage(('plan: gpus must be an integer in 1..%d, got %s'):format(MOST_GPUS, value),
          'sppo plan --help')
      end
    else
      rest[#rest + 1] = text
    end
  end
  return rest, gpus
end

local function options_of(args)
  local overrides, gpus = take_gpus(args.overrides)
  local options = { overrides = require('sppo.cli.run').split(overrides, 'plan'),
    hardware = args.hardware, gpus = gpus }
  local limits = require('sppo.selfplay.schema').keys.plan.section
  for _, name in ipairs(counts) do
    local key = name:gsub('%-', '_')
    local most = limits[key].high
    local given, n = args[key], tonumber(args[key])
    if given and (not n or n % 1 ~= 0 or n < 1 or n > most) then
      exit.usage(('plan: --%s must be an integer in 1..%d, got %s'):format(name, most, given),
        'sppo plan --help')
    end
    options[key] = n
  end
  return options
end

--- GiB, of which a table may want hundredths.
local function gib(bytes) return ('%.2f'):format(bytes / 2^30) end

local units = { { 1e18, 'EFLOP' }, { 1e15, 'PFLOP' }, { 1e12, 'TFLOP' }, { 1e9, 'GFLOP' } }

local function flop(n)
  for _, u in ipairs(units) do
    if n >= u[1] then return ('%.3g %s'):format(n / u[1], u[2]) end
  end
  return ('%.3g MFLOP'):format(n / 1e6)
end

local function bytes_text(n)
  if n >= 2^50 then return ('%.1f PiB'):format(n / 2^50) end
  if n >= 2^40 then return ('%.1f TiB'):format(n / 2^40) end
  if n >= 2^30 then return ('%.1f GiB'):format(n / 2^30) end
  if n >= 2^20 then return ('%.1f MiB'):format(n / 2^20) end
  return ('%.1f KiB'):format(n / 2^10)
end

--- 8030261248 as '8,030,261,248'.
local function grouped(n)
  local text = ('%.0f'):format(n):reverse():gsub('(%d%d%d)', '%1,'):reverse()
  return (text:gsub('^,', ''))
end

local function time(seconds)
  if seconds >= 36000 then return grouped(seconds / 3600) .. ' hours' end
  if seconds >= 3600 then return ('%.1f hours'):format(seconds / 3600) end
  if seconds >= 60 then return ('%.1f min'):format(seconds / 60) end
  return ('%.2g s'):format(seconds)
end

local function line(...) output.write((...):format(select(2, ...)), '\n') end

--- Two spaces, a name and what is said of it.
local function row(name, ...) line('  %-10s %s', name, (...):format(select(2, ...))) end

local function prompts_row(name, p)
  row(name, '%s a round, %.0f tokens each (longest %d%s)', grouped(p.count), p.mean, p.longest,
    p.shared > 0 and (', %d shared'):format(p.shared) or '')
  if p.note then row('', '%s', p.note) end
end

local function head(plan)
  local a, h = plan.about, plan.hardware
  line('%s: %s parameters, policy kept in %s', plan.recipe, grouped(plan.parameters), plan.dtype)
  row('model', '%s%s', plan.config, plan.tokenizer and '' or ' (no tokenizer)')
  prompts_row('prompts', a.prompts)
  if a.held_out then prompts_row('held out', a.held_out) end
  row('answers', '%d a prompt, %d tokens each%s', a.k, a.answer_tokens,
    a.answer_tokens == a.max_new_tokens and ' (max_new_tokens; --answer-tokens counts fewer)' or '')
  row('hardware', '%s: %.1f GiB memory, %.4g TFLOP/s of %s, %.4g GB/s', h.name, h.memory / 2^30,
    h.flops / 1e12, h.arithmetic, h.bandwidth / 1e9)
  row('', 'rates: %s', h.source)
end

local kinds = {
  { 'weights', 'weights' }, { 'optimizer', 'optimizer' }, { 'gradients', 'gradients' },
  { 'activations', 'activations' }, { 'kv', 'keys+values' }, { 'workspace', 'workspace' },
  { 'program', 'program' },
}

--- Bytes of a stage by the name of a kind, as they are printed.
local function bytes_of(stage, kind)
  if kind == 'program' then return require('sppo.plan.fit').PROGRAM end
  local memory = stage.memory
  return memory.kinds[kind] + (kind == 'workspace' and memory.scratch or 0)
end

--- A table of stages' memory; `name` of each is as wide as `width`.
local function memory_table(plan, title, stages, width)
  -- A tiny recipe has its table in MiB.
  local small = plan.total.worst and plan.total.worst.total < 2^30
  local first = ('  %%-%ds'):format(width)
  local function cell(bytes)
    local text = ('%.2f'):format(bytes / (small and 2^20 or 2^30))
    return ('%11s'):format(bytes == 0 and '-' or text == '0.00' and '< 0.01' or text)
  end
  line('\n%s, %s', title, small and 'MiB' or 'GiB')
  local titles = { first:format('stage') }
  for _, k in ipairs(kinds) do titles[#titles + 1] = ('%11s'):format(k[2]) end
  line('%s %10s', table.concat(titles, ' '), 'in all')
  for _, s in ipairs(stages) do
    local cells = { first:format((s.name or s.stage) .. (s.optional and '*' or '')) }
    if s.memory then
      for _, k in ipairs(kinds) do
        cells[#cells + 1] = cell(bytes_of(s, k[1]))
      end
      line('%s%s', table.concat(cells, ' '), cell(s.total))
    else
      line('%s %s', cells[1], '  ' .. (s.note or ''))
    end
  end
end

local function work_table(plan)
  line('\nwork of a round')
  line('  %-9s %5s %14s %11s %11s %11s  %s', 'stage', 'runs', 'operations', 'read', 'disk',
    'time', 'limited by')
  for _, s in ipairs(plan.stages) do
    local c, runs = s.cost, math.max(1, s.runs)
    line('  %-9s %5d %14s %11s %11s %11s  %s', s.stage .. (s.optional and '*' or ''), s.runs,
      c and flop(c.flops / runs) or '-', c and bytes_text(c.read / runs) or '-',
      bytes_text(s.disk / runs), c and time(c.seconds / runs) or '-',
      c and c.seconds > 0 and (c.waiting > c.seconds / 2 and 'memory' or 'arithmetic') or '')
  end
end

local function dominating(plan)
  local t = plan.total
  if t.slowest and t.cost.seconds > 0 then
    line('time: %s takes %.0f %%, limited by %s', t.slowest.stage,
      100 * t.slowest.cost.seconds / t.cost.seconds,
      t.slowest.cost.waiting > t.slowest.cost.seconds / 2 and 'memory' or 'arithmetic')
  end
  if t.worst then
    local top, most = nil, -1
    for _, k in ipairs(kinds) do
      local bytes = bytes_of(t.worst, k[1])
      if bytes > most then top, most = k[2], bytes end
    end
    line('memory: %s takes most, %s; %.0f %% of it is %s', t.worst.stage,
      bytes_text(t.worst.total), 100 * most / t.worst.total, top)
  end
end

local function too_large(plan)
  for _, e in ipairs(plan.too_large) do
    line('does not fit: %s needs %s GiB, %s has %s GiB', e.stage, gib(e.needs), plan.hardware.name,
      gib(e.has))
    if e.way then row('', '%s fits: %s GiB', e.way, gib(e.with))
    elseif e.least then
      row('', 'nor does it with %s: %s GiB', e.tried[#e.tried], gib(e.least))
    end
  end
  if #plan.too_large == 0 then line('all stages fit into %.1f GiB', plan.hardware.memory / 2^30) end
end

local function notes(plan)
  if plan.own_run then
    line('the recipe has a `run` of its own; planned are %d rounds of self-play by Algorithm 1',
      plan.about.rounds)
  end
  for _, s in ipairs(plan.stages) do
    if s.note and (s.memory or s.cost) or s.optional then
      line('%s%s: %s', s.stage, s.optional and '*' or '', s.note)
    end
    if s.stage == 'train' and (s.too_long or 0) > 0 then
      line('train: %d prompts are longer than train.max_prompt and left out', s.too_long)
    end
  end
  if not plan.hardware.here then
    line('memory is that of this engine\'s CPU backend: f32 activations, keys and values, and ' ..
      'f32 weights to train')
  end
end

--- What each of several GPUs holds, with and without shards of the optimizer's state.
local function gpus_table(plan)
  local g = plan.gpus
  memory_table(plan, ('memory of each of %d GPUs, the one that needs most'):format(g.count),
    g.stages, 15)
  if g.sent then
    line('  a training step sends %s from the GPU that sends most', bytes_text(g.sent))
  end
  for _, s in ipairs(g.stages) do
    if s.memory and not s.optional then
      line('  %s: %s %s %s', s.name, bytes_text(s.total),
        s.total <= plan.hardware.memory and 'fits into' or 'does not fit into',
        plan.hardware.name)
    end
  end
end

local function print_table(plan)
  local t, rounds = plan.total, plan.about.rounds
  head(plan)
  memory_table(plan, 'memory at each stage\'s peak', plan.stages, 9)
  if plan.gpus then gpus_table(plan) end
  work_table(plan)
  line('\n%d round%s: %s, at least %s at these rates; %s on disk%s', rounds,
    rounds > 1 and 's' or '', flop(t.cost.flops), time(t.cost.seconds), bytes_text(t.disk),
    t.checkpoint > 0 and ', and ' .. bytes_text(t.checkpoint) .. ' for a checkpoint' or '')
  dominating(plan)
  too_large(plan)
  notes(plan)
end

local function plain_memory(s)
  return { peak = s.memory.peak, scratch = s.memory.scratch, kinds = s.memory.kinds,
    program = bytes_of(s, 'program'), total = s.total }
end

local function plain_gpus(gpus)
  local out = { count = gpus.count, sent = gpus.sent, stages = {} }
  for i, s in ipairs(gpus.stages) do
    out.stages[i] = { stage = s.stage, name = s.name, optional = s.optional, sharded = s.sharded,
      note = s.note, memory = s.memory and plain_memory(s) }
  end
  return out
end

--- A plan as plain data: numbers as they are, in bytes, FLOPs and seconds.
local function plain(plan)
  local out = { recipe = plan.recipe, name = plan.name, config = plan.config, dtype = plan.dtype,
    parameters = plan.parameters, hardware = plan.hardware, about = plan.about, stages = {},
    too_large = require('sppo.json').array(plan.too_large) }
  for i, s in ipairs(plan.stages) do
    local entry = { stage = s.stage, runs = s.runs, optional = s.optional, disk = s.disk,
      checkpoint = s.checkpoint, note = s.note, steps = s.steps, pairs = s.pairs,
      tokens = s.tokens, too_long = s.too_long }
    if s.memory then entry.memory = plain_memory(s) end
    if s.cost then entry.cost = s.cost:plain() end
    out.stages[i] = entry
  end
  out.total = { cost = plan.total.cost:plain(), disk = plan.total.disk,
    checkpoint = plan.total.checkpoint, slowest = plan.total.slowest and plan.total.slowest.stage,
    largest = plan.total.worst and plan.total.worst.stage }
  out.gpus = plan.gpus and plain_gpus(plan.gpus)
  return out
end

function M.run(args)
  local plan = require('sppo.plan').of(args.recipe, options_of(args))
  if args.json then output.write(require('sppo.json').encode(plain(plan)), '\n')
  else print_table(plan) end
end

return M
