--- `sppo export`: a model for other programs.

local exit = require 'sppo.cli.exit'
local files = require 'sppo.files'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo export runs/quickstart/round-3/weights my-model',
    'sppo export runs/quickstart/round-3/weights my-model.gguf --dtype q8_0',
    'sppo export runs/quickstart/round-1 pairs.jsonl',
  },
}

local dtypes = {
  folder = { 'bf16', 'f32' },
  gguf = { 'f16', 'bf16', 'q8_0', 'f32' },
}

function M.define(parser)
  parser:argument('model', 'A folder (weights of a run, too) or GGUF file, or a fetched model.')
  parser:argument('to', 'FILE.gguf for llama.cpp; FILE.jsonl: a round\'s pairs, with the ' ..
    'official code\'s columns; else a new folder as Hugging Face has it.')
  parser:option('--dtype', 'Of matrices. Folder: bf16, f32. GGUF: f16, bf16, q8_0, f32.')
    :argname('DTYPE')
  parser:flag('--force', 'Replace what is there.')
end

--- The pairs of a round's folder.
local function write_pairs(args)
  local folder, round = args.model:gsub('/+$', ''):match('^(.*)/round%-(%d+)$')
  if not folder then
    exit.usage(('export: %s is not a round of a run'):format(args.model),
      'sppo export runs/quickstart/round-1 pairs.jsonl')
  end
  local text, err = require('sppo.data.uclaml').lines(folder, tonumber(round))
  if not text then exit.data(err) end
  files.write(args.to, text)
  output.write(('%s: %d pairs\n'):format(args.to, select(2, text:gsub('\n', '\n'))))
end

function M.run(args)
  local kind = args.to:match('%.gguf$') and 'gguf' or 'folder'
  local allowed, pairs_only = dtypes[kind], args.to:match('%.jsonl$') ~= nil
  local dtype = args.dtype or allowed[1]
  local known = {}
  for _, d in ipairs(allowed) do known[d] = true end
  if not known[dtype] then
    exit.usage(('export: %s; a %s has %s'):format(
      require('sppo.check').unknown('dtype', dtype, allowed), kind == 'gguf' and 'GGUF' or kind,
      table.concat(allowed, ', ')), 'sppo export --help')
  end
  if files.exists(args.to) or files.is_folder(args.to) then
    if not args.force then
      exit.usage(('export: %s is there already'):format(args.to),
        ('sppo export %s %s%s --force'):format(args.model, args.to,
          args.dtype and ' --dtype ' .. args.dtype or ''))
    end
    if kind == 'folder' and not files.exists(args.to .. '/config.json') then
      exit.usage(('export: %s is there and is no model folder; it is not replaced'):format(args.to),
        'sppo export --help')
    end
  end
  if pairs_only then return write_pairs(args) end
  local model_of = require 'sppo.model'
  local model, err = model_of.open(args.model, { dtype = 'f32' })
  if not model then exit.data(err) end
  if kind == 'gguf' then
    local ok
    ok, err = require('sppo.gguf').write(model, args.to, dtype)
    if not ok then exit.data(err) end
  else
    model_of.save(model, args.to, dtype, require('sppo.model_card').text(model, dtype))
  end
  local size = 0
  for _, name in ipairs(kind == 'gguf' and { '' } or files.list(args.to)) do
    size = size + (files.size(args.to .. (name == '' and '' or '/' .. name)) or 0)
  end
  output.write(('%s: %s, %.1f MB\n'):format(args.to, dtype, size / 1e6))
end

return M
