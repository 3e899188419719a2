--- `sppo cat`: any file of a run or a model as JSON lines on stdout.

local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo cat runs/tiny/metrics.jsonl runs/tiny/round-1/preference.msgpack',
    'sppo cat runs/tiny/round-3/weights/model.safetensors | head',
    'sppo cat --resolved recipes/tiny.lua train.lr=1e-3 | grep train',
  },
}

function M.define(parser)
  parser:argument('files', 'Record files, JSON, JSON lines, safetensors, GGUF, text.'):args('+')
    :argname('FILE')
  parser:flag('--resolved', 'Of a recipe (and key=value) or a run: every value, and where it is ' ..
    'from: the file and line, the command line, the environment, the default.')
end

local function json_line(value)
  output.write(require('sppo.json').encode(value), '\n')
end

--- Copies a file; a last line without its end gets one.
local function copy(path)
  local file, err = io.open(path, 'rb')
  if not file then error({ message = err, kind = 'io' }, 0) end
  local last = '\n'
  for block in function() return file:read(65536) end do
    output.write(block)
    last = block:sub(-1)
  end
  file:close()
  if last ~= '\n' then output.write('\n') end
end

local writers = { jsonl = copy, text = copy }

function writers.records(path)
  local records, err = require('sppo.files').records(path)
  if not records then exit.data(err) end
  for i = 1, records:count() do json_line(records:read(i)) end
  records:close()
end

function writers.json(path)
  local value, err = require('sppo.files').json(path)
  if err then exit.data(err) end
  json_line(value)
end

function writers.safetensors(path)
  local file, err = require('sppo.files').safetensors(path)
  if not file then exit.data(err) end
  for _, t in ipairs(require('sppo.cli.kind').tensors(file, 'safetensors')) do json_line(t) end
end

function writers.gguf(path)
  local file, err = require('sppo.files').gguf(path)
  if not file then exit.data(err) end
  local kind = require 'sppo.cli.kind'
  for _, entry in ipairs(kind.metadata(file)) do json_line(entry) end
  for _, t in ipairs(kind.tensors(file, 'gguf')) do json_line(t) end
end

--- Every value of a recipe, or of the one that a run was made with.
local function resolved(args)
  local path = args.files[1]
  local folder = path:gsub('(.)/+$', '%1')
  if require('sppo.files').exists(folder .. '/recipe.origins.jsonl') then
    if args.files[2] then
      exit.usage(('cat: %s is a run, whose values are what they were'):format(path),
        'sppo cat --resolved ' .. path)
    end
    return copy(folder .. '/recipe.origins.jsonl')
  end
  local run = require 'sppo.cli.run'
  local overrides = run.split({ unpack(args.files, 2) }, 'cat')
  local recipe_of = require 'sppo.selfplay.recipe'
  local recipe, err = recipe_of.load(path, overrides)
  if not recipe then run.bad_recipe(path, err) end
  for _, entry in ipairs(recipe_of.listing(recipe)) do json_line(entry) end
end

function M.run(args)
  if args.resolved then return resolved(args) end
  for _, path in ipairs(args.files) do
    local kind, err = require('sppo.cli.kind').of(path)
    if not kind then exit.data(err) end
    if not writers[kind] then
      exit.usage(('%s: a folder; cat takes files'):format(path), 'sppo inspect ' .. path)
    end
    writers[kind](path)
  end
end

return M
