--- `sppo bench`: lua/sppo/bench/*.lua measure, this file prints.

local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = { 'sppo bench machine', 'sppo bench decode --dtype q8_0 --batch 8 --json' },
}

local names = { 'machine', 'ops', 'decode', 'prefill', 'train', 'head', 'load', 'growth', 'rank' }
local dtypes = { 'f32', 'bf16', 'q8_0' }

--- Counts that options set: argument, least.
local counts = {
  batch = 1, prompts = 1, ['prompt-tokens'] = 1, ['new-tokens'] = 16, ['micro-tokens'] = 1,
  repeats = 1, most = 1,
}

function M.define(parser)
  parser:argument('what', 'One of: ' .. table.concat(names, ', ') .. '. All if none is named.')
    :args('?')
  parser:option('--model', 'Model to measure with; random weights of its shape if missing.')
    :argname('DIR'):default('smollm2-135m-instruct')
  parser:option('--dtype', 'decode, prefill, load, rank: f32, bf16 or q8_0 weights.'):argname('T')
  parser:option('--batch', 'decode: sequences at once (64).'):argname('N')
  parser:option('--prompts', 'decode: prompts that they continue (1).'):argname('N')
  parser:option('--prompt-tokens', 'decode: 128; prefill: 512; rank: of a pair.'):argname('N')
  parser:option('--new-tokens', 'decode: steps that are measured (64).'):argname('N')
  parser:flag('--mixed', 'decode: answers of different length, prompts counted.')
  parser:flag('--recompute', 'train: keep no layer\'s values for the backward pass.')
  parser:option('--micro-tokens', 'train: tokens of a forward pass (512).'):argname('N')
  parser:flag('--llama8b', 'ops, decode, prefill: four layers of Llama-3-8B\'s shape.')
  parser:option('--most', 'growth: the largest batch, context and K.'):argname('N')
  parser:option('--plot', 'growth: PATH-batch.svg, PATH-context.svg, PATH-K.svg.'):argname('PATH')
  parser:option('--repeats', 'Measurements of a figure (3 or 5).'):argname('N')
  parser:flag('--json', 'One JSON object a figure.')
  parser:flag('--csv', 'Comma-separated values with a header.')
end

local function fail(text) exit.usage('bench: ' .. text, 'sppo bench --help') end

local function among(kind, value, list)
  for _, name in ipairs(list) do
    if name == value then return end
  end
  fail(require('sppo.check').unknown(kind, value, list))
end

--- Options that a section reads, beside --model and --repeats.
local takes = {
  machine = '', head = '', ops = 'llama8b', load = 'dtype', train = 'recompute micro_tokens',
  decode = 'dtype batch prompts prompt_tokens new_tokens mixed llama8b',
  prefill = 'dtype prompt_tokens llama8b', growth = 'dtype new_tokens most plot',
  rank = 'dtype prompt_tokens',
}

--- Raises for an option that the named section would not look at.
local function check_options(args)
  if not args.what then return end
  for _, list in pairs(takes) do
    for option in list:gmatch('%S+') do
      if args[option] and not (' ' .. takes[args.what] .. ' '):find(' ' .. option .. ' ', 1, true)
      then
        fail(('%s does not look at --%s'):format(args.what, (option:gsub('_', '-'))))
      end
    end
  end
end

local function read_counts(args)
  local out = {}
  for name, least in pairs(counts) do
    local key = name:gsub('%-', '_')
    local given, n = args[key], tonumber(args[key])
    if given and (not n or n % 1 ~= 0 or n < least or n > 2^20) then
      fail(('--%s must be an integer of at least %d, got %s'):format(name, least, given))
    end
    out[key] = n
  end
  local batch, prompts = out.batch or 64, out.prompts or 1
  if batch % prompts ~= 0 then
    fail(('--batch %d is not a multiple of --prompts %d'):format(batch, prompts))
  end
  return out
end

local columns = {
  'bench', 'name', 'value', 'unit', 'low', 'high', 'repeats', 'limit', 'limit_unit', 'share',
  'steady', 'dtype', 'batch', 'prompts', 'note', 'threads', 'cpu', 'commit',
}

local function csv_field(value)
  if value == nil then return '' end
  local text = tostring(value)
  return text:find('[,"\n]') and '"' .. text:gsub('"', '""') .. '"' or text
end

local function csv_line(figure)
  local fields = {}
  for i, column in ipairs(columns) do fields[i] = csv_field(figure[column]) end
  return table.concat(fields, ',') .. '\n'
end

local function text_line(f)
  local parts = { ('  %-34s %10s %-9s'):format(f.name,
    f.value and ('%.4g'):format(f.value) or '', f.unit) }
  if f.low then parts[#parts + 1] = ('%.4g..%.4g'):format(f.low, f.high) end
  if f.share then
    parts[#parts + 1] = ('%.0f %% of %.4g %s'):format(100 * f.share, f.limit, f.limit_unit)
  end
  if f.steady == false then parts[#parts + 1] = 'unsteady' end
  if f.note and f.note ~= '' then parts[#parts + 1] = f.note end
  return table.concat(parts, '  ') .. '\n'
end

function M.run(args)
  local chosen = args.what and { args.what } or names
  if args.what then among('measure', args.what, names) end
  if args.dtype then among('dtype', args.dtype, dtypes) end
  check_options(args)

  local sppo = require 'sppo'
  local bench = read_counts(args)
  bench.threads, bench.model, bench.dtype = sppo.threads(), args.model, args.dtype
  bench.mixed, bench.recompute, bench.llama8b = args.mixed, args.recompute, args.llama8b
  bench.plot = args.plot
  local group
  --- Prints a figure as soon as it is there.
  function bench.result(figure)
    figure.bench, figure.threads = group, bench.threads
    figure.cpu, figure.commit = sppo.cpu_name(), require('sppo.host').build.commit
    if args.json then output.write(require('sppo.json').encode(figure), '\n')
    elseif args.csv then output.write(csv_line(figure))
    else output.write(text_line(figure)) end
    output.flush()
  end
  if args.csv then output.write(table.concat(columns, ','), '\n') end
  for _, name in ipairs(chosen) do
    group = name
    if not args.json and not args.csv then
      output.write(('%s, %d threads, %s\n'):format(name, bench.threads, sppo.cpu_name()))
    end
    require('sppo.bench.' .. name)(bench)
  end
end

return M
