--- `sppo data`: what files of prompts and pairs hold.

local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo data stats train.jsonl.gz eval.csv --model smollm2-135m-instruct',
    'sppo data head --rows 2 train.jsonl.gz',
  },
}

local actions = { 'stats', 'head' }

local function positive(name)
  return function(text)
    local n = tonumber(text)
    if n and n >= 1 and n <= 2^31 and n % 1 == 0 then return n end
    return nil, ('%s must be an integer of at least 1, got \'%s\''):format(name, text)
  end
end

function M.define(parser)
  parser:argument('action', 'stats (lengths, duplicates, what files share) or head (rows).')
  parser:argument('files', 'JSON lines, a JSON list, CSV, TSV or text; also .gz and .zst.')
    :args('+'):argname('FILE')
  parser:option('--column', 'The prompt\'s column (default: the usual names).'):argname('NAME')
  parser:option('--model', 'stats: lengths in tokens, as this model sees prompts.'):argname('MODEL')
  parser:option('--rows', 'head: how many.'):argname('N'):default('3'):convert(positive '--rows')
  parser:option('--format', 'json, csv, tsv or text, whatever the name ends with.'):argname('F')
  parser:option('--separator', 'Of CSV: one character.'):argname('C')
  parser:flag('--plain-quotes', 'Quotes in CSV and TSV are characters as any other.')
  parser:flag('--json', 'One JSON object; head: a row a line.')
end

--- Texts of files must not reach the terminal's controls; a long one is cut.
local function printable(text, width)
  text = tostring(text):gsub('%c', ' '):gsub('\194[\128-\159]', ' ')
  if #text > width then
    text = text:sub(1, width - 3):gsub('[\192-\255]?[\128-\191]*$', '') .. '...'
  end
  return text
end

local function grouped(n)
  local text = ('%d'):format(n)
  repeat
    local count
    text, count = text:gsub('^(%d+)(%d%d%d)', '%1,%2')
  until count == 0
  return text
end

local function line(...)
  output.write((...):format(select(2, ...)):gsub(' +$', '') .. '\n')
end

local function kinds_text(kinds)
  local names = {}
  for name in pairs(kinds) do names[#names + 1] = name end
  table.sort(names, function(a, b)
    if kinds[a] ~= kinds[b] then return kinds[a] > kinds[b] end
    return a < b
  end)
  return table.concat(names, ', ')
end

local function lengths_text(q)
  if not q then return '' end
  return ('%7d %7d %7d %7d %7d %7d'):format(q.min, q.p25, q.median, q.p75, q.p95, q.max)
end

local function print_stats(s)
  line('%s: %s%s, %s rows, %s bytes', s.path, s.format,
    s.packing ~= 'none' and ' in ' .. s.packing or '', grouped(s.rows), grouped(s.bytes))
  line('  %-20s %9s %6s  %-10s %7s %7s %7s %7s %7s %7s', 'column', 'rows', 'empty', 'characters',
    'min', '25 %', 'median', '75 %', '95 %', 'max')
  for _, c in ipairs(s.columns) do
    line('  %-20s %9d %6d  %-10s %s', printable(c.name, 20), c.rows, c.empty,
      printable(kinds_text(c.kinds), 14), lengths_text(c.characters))
  end
  if s.more_columns > 0 then line('  and %d columns more', s.more_columns) end
  local p = s.prompt
  if p then
    line('prompts, of column %s: %s', printable(p.column, 40), grouped(p.rows))
    for _, which in ipairs { 'empty', 'unusable' } do
      local first = p['first_' .. which]
      if first then
        line('  %s: %d, the first in line %d: %s', which, p[which], first.line,
          printable(first.why, 200))
      end
    end
    if p.lengths then
      line('  %s: min %d, 25 %% %d, median %d, 75 %% %d, 95 %% %d, max %d, mean %.1f', p.unit,
        p.lengths.min, p.lengths.p25, p.lengths.median, p.lengths.p75, p.lengths.p95,
        p.lengths.max, p.lengths.mean)
      local most = 0
      for _, bin in ipairs(p.histogram) do most = math.max(most, bin.count) end
      for _, bin in ipairs(p.histogram) do
        line('  %7d..%-7d %8d %s', bin.from, bin.to, bin.count,
          ('#'):rep(math.ceil(bin.count / most * 40)))
      end
    end
  else
    line('no column of a usual name for prompts; --column names it')
  end
  line('repeated %s: %s (%s but for case and white space)', p and 'prompts' or 'rows',
    grouped(s.duplicates), grouped(s.near_duplicates))
end

local function stats(args, options)
  local data_stats = require 'sppo.data.stats'
  if args.model then
    local model, err = require('sppo.model').open(args.model, { tokenizer_only = true })
    if not model then exit.data(err) end
    if not model.tokenizer then exit.data(model.path .. ': has no tokenizer') end
    options.model = model
  end
  local list, sets, overlaps = {}, {}, {}
  for i, path in ipairs(args.files) do
    list[i], sets[i] = data_stats.of(path, options)
    if not args.json then
      if i > 1 then output.write('\n') end
      print_stats(list[i])
      output.flush()
    end
  end
  for i = 1, #list do
    for j = i + 1, #list do
      local o = data_stats.overlap(sets[i], sets[j])
      o.first, o.second = list[i].path, list[j].path
      overlaps[#overlaps + 1] = o
      if not args.json then
        line('\n%s of %s rows of %s are in %s too (%s but for case and white space)',
          grouped(o.exact), grouped(list[j].rows), o.second, o.first, grouped(o.normal))
      end
    end
  end
  if args.json then
    local json = require 'sppo.json'
    output.write(json.encode({ files = list, overlaps = json.array(overlaps) }), '\n')
  end
end

local function head(args, options)
  local data, json = require 'sppo.data', require 'sppo.json'
  local columns = require 'sppo.data.columns'
  for _, path in ipairs(args.files) do
    local n = 0
    for row, number in data.rows(path, options) do
      n = n + 1
      if args.json then output.write(json.encode(row), '\n')
      else
        line('%s:%d', path, number)
        for _, name in ipairs(columns.names(row)) do
          local value = row[name]
          local text = type(value) == 'string' and value or json.encode(value)
          line('  %-20s %s', printable(name, 20), printable(text, 100))
        end
      end
      if n == args.rows then break end
    end
    if n == 0 and not args.json then line('%s: no rows', path) end
  end
end

function M.run(args)
  local options = { format = args.format, separator = args.separator,
    quote = not args.plain_quotes }
  if args.action == 'head' then return head(args, options) end
  if args.action == 'stats' then
    options.column = args.column
    return stats(args, options)
  end
  exit.usage('data: ' .. require('sppo.check').unknown('action', args.action, actions),
    'sppo data --help')
end

return M
