--- `sppo inspect`: what a file or folder holds, as a short table for people.

local exit = require 'sppo.cli.exit'
local files = require 'sppo.files'
local kinds = require 'sppo.cli.kind'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo inspect runs/quickstart',
    'sppo inspect runs/quickstart/round-3/weights',
  },
}

function M.define(parser)
  parser:argument('path', 'A run, a model folder, GGUF, safetensors or a record file.')
end

local function row(name, ...)
  output.write(('  %-28s '):format(name), (...):format(select(2, ...)), '\n')
end

local function head(path, what) output.write(path, ': ', what, '\n') end

local function count_text(n)
  if n >= 1e9 then return ('%.2f B'):format(n / 1e9) end
  if n >= 1e6 then return ('%.1f M'):format(n / 1e6) end
  return ('%d'):format(n)
end

--- Control characters of what a file says must not reach the terminal.
local function printable(text, width)
  text = tostring(text):gsub('%c', ' ')
  if #text > width then
    text = text:sub(1, width - 3):gsub('[\192-\255]?[\128-\191]*$', '') .. '...'
  end
  return text
end

local function tensor_rows(list)
  local values, of_dtype, dtypes = 0, {}, {}
  for _, t in ipairs(list) do
    local n = 1
    for _, size in ipairs(t.shape) do n = n * size end
    values = values + n
    if not of_dtype[t.dtype] then dtypes[#dtypes + 1] = t.dtype end
    of_dtype[t.dtype] = (of_dtype[t.dtype] or 0) + 1
  end
  table.sort(dtypes)
  local parts = {}
  for i, dtype in ipairs(dtypes) do parts[i] = ('%d %s'):format(of_dtype[dtype], dtype) end
  row('tensors', '%d (%s), %s values', #list, table.concat(parts, ', '), count_text(values))
  for i, t in ipairs(list) do
    if i > 12 then
      row('...', '%d more: sppo cat shows all', #list - 12)
      break
    end
    row('', '%-44s %-5s [%s]', printable(t.name, 44), t.dtype, table.concat(t.shape, ', '))
  end
end

local function size_row(path)
  local bytes, err = files.size(path)
  if not bytes then exit.data(err) end
  row('bytes', '%d', bytes)
end

local show = {}

function show.gguf(path)
  local file, err = files.gguf(path)
  if not file then exit.data(err) end
  head(path, 'GGUF')
  size_row(path)
  for _, entry in ipairs(kinds.metadata(file)) do
    if entry.count then row(printable(entry.key, 40), '%d x %s', entry.count, entry.of)
    else row(printable(entry.key, 40), '%s', printable(entry.value, 60)) end
  end
  tensor_rows(kinds.tensors(file, 'gguf'))
end

function show.safetensors(path)
  local file, err = files.safetensors(path)
  if not file then exit.data(err) end
  head(path, 'safetensors')
  size_row(path)
  tensor_rows(kinds.tensors(file, 'safetensors'))
end

--- The first prompt of a run's answers, held-out answers or matrices, as `sppo repl` shows them;
--- false of other records.
local function show_first(path)
  local run, t, name = path:match('^(.*)/round%-(%d+)/(%l+)%.msgpack$')
  local what = { answers = 'answers', evaluation = 'answers', preference = 'matrix' }
  local view = what[name] and require('sppo.report.view').open(run)
  if not view then return false end
  local ok, value = pcall(view[what[name]], view, tonumber(t), 1, name == 'evaluation')
  if ok then output.write('\nthe first of them:\n', tostring(value), '\n') end
  return ok
end

function show.records(path)
  local records, err = files.records(path)
  if not records then exit.data(err) end
  head(path, 'records')
  size_row(path)
  row('records', '%d', records:count())
  if records:count() > 0 and not show_first(path) then
    local first = records:read(1)
    row('first', '%s', printable(require('sppo.json').encode(first), 200))
  end
  records:close()
end

local function show_json(path)
  local value, err = files.json(path)
  if err then exit.data(err) end
  head(path, 'JSON')
  if type(value) ~= 'table' then return row('', '%s', printable(value, 200)) end
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = tostring(key) end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local v = value[key]
    if v == nil then v = value[tonumber(key)] end
    local text = type(v) == 'table' and require('sppo.json').encode(v) or v
    row(printable(key, 40), '%s', printable(text, 60))
  end
end
show.json = show_json

local function show_lines(path)
  local lines = 0
  for _ in io.lines(path) do lines = lines + 1 end
  head(path, 'text')
  size_row(path)
  row('lines', '%d', lines)
end
show.jsonl, show.text = show_lines, show_lines

function show.model(path)
  head(path, 'model folder')
  for _, name in ipairs(files.list(path)) do
    local bytes = files.size(path .. '/' .. name)
    row(printable(name, 40), '%s', bytes and ('%d bytes'):format(bytes) or 'folder')
  end
  show_json(path .. '/config.json')
  local weights = path .. '/model.safetensors'
  if files.exists(weights) then show.safetensors(weights) end
end

--- A round of a run: its files, and how to read them.
function show.round(path)
  head(path, 'round of a run')
  for _, name in ipairs(files.list(path)) do
    local bytes, file = files.size(path .. '/' .. name), path .. '/' .. name
    local does = bytes and ('%d bytes; sppo inspect %s'):format(bytes, file) or 'folder; sppo gen '
      .. file .. ' \'..\''
    row(printable(name, 40), '%s', printable(does, 200))
  end
end

function show.run(path)
  head(path, 'run')
  local round = 1
  while files.is_folder(('%s/round-%d'):format(path, round)) do
    local parts = {}
    for _, stage in ipairs { 'answers', 'preference', 'rows', 'evaluation' } do
      local file = ('%s/round-%d/%s.msgpack'):format(path, round, stage)
      if files.exists(file) then
        local records, err = files.records(file)
        if not records then exit.data(err) end
        parts[#parts + 1] = ('%s %d'):format(stage, records:count())
        records:close()
      end
    end
    local weights = files.complete(('%s/round-%d/weights'):format(path, round))
    row('round ' .. round, '%s%s', table.concat(parts, ', '), weights and ', weights' or '')
    round = round + 1
  end
  local view = require('sppo.report.view').open(path)
  if view then output.write(tostring(view:table({}, true)), '\n') end
end

function M.run(args)
  local path = args.path:gsub('(.)/+$', '%1')
  local kind, err = kinds.of(path)
  if not kind then exit.data(err) end
  show[kind](path)
end

return M
