--- `sppo chat`: a conversation with a model, line by line.

local device = require 'sppo.cli.device'
local exit = require 'sppo.cli.exit'
local number = require 'sppo.cli.number'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo chat smollm2-135m-instruct',
    'sppo chat runs/quickstart/round-3/weights --system "Answer in one sentence." --seed 2',
  },
}

local options = {
  { '--temperature', 'Flattens (above 1) or sharpens what is drawn; 0: the likeliest token.', 0.7 },
  { '--top-p', 'Draw from the likeliest tokens of this total probability; 1: off.', 0.9 },
  { '--max-new-tokens', 'Length at which an answer is cut.', 512 },
  { '--seed', 'Another seed, other answers.', 0 },
}

function M.define(parser)
  parser:argument('model', 'Folder or GGUF file, or the name of a fetched model.')
  parser:option('--system', 'A system message.'):argname('TEXT')
  for _, o in ipairs(options) do
    parser:option(o[1], o[2]):argname('N'):default(tostring(o[3]))
      :convert(number.drawing(o[1]))
  end
  parser:option('--dtype', 'How weights are kept: f32, bf16 or q8_0.'):default('bf16')
  device.define(parser)
end

local HELP = 'An empty line does nothing; /again draws the last answer anew, /new forgets the ' ..
  'conversation, /quit (or Ctrl-D) ends it.\n'

--- One answer to the conversation, written as it comes.
local function answer(model, messages, args, seed)
  local parts = {}
  for _, text in require('sppo.generate').stream(model, messages, {
    temperature = args.temperature, top_p = args.top_p, max_new_tokens = args.max_new_tokens,
    seed = seed,
  }) do
    parts[#parts + 1] = text
    output.write(text)
    output.flush()
  end
  output.write '\n'
  return table.concat(parts)
end

local function run(args)
  local known = { 'f32', 'bf16', 'q8_0' }
  local fine = {}
  for _, d in ipairs(known) do fine[d] = true end
  if not fine[args.dtype] then
    exit.usage('chat: ' .. require('sppo.check').unknown('dtype', args.dtype, known),
      'sppo chat --help')
  end
  local model, err = require('sppo.model').open(args.model, { dtype = args.dtype })
  if not model then exit.data(err) end
  local function fresh()
    return args.system and { { role = 'system', content = args.system } } or {}
  end
  local messages, seed = fresh(), args.seed
  local prompting = require('sppo.host').isatty(0)
  if prompting then output.write(HELP) end
  local function read()
    if prompting then
      output.write '> '
      output.flush()
    end
    return io.stdin:read '*l'
  end
  for line in read do
    if line == '/quit' then break end
    if line == '/new' then messages, seed = fresh(), args.seed
    elseif line == '/help' then output.write(HELP)
    elseif line == '/again' and messages[#messages] and messages[#messages].role == 'assistant' then
      messages[#messages] = nil
      seed = seed + 1
      messages[#messages + 1] = { role = 'assistant',
        content = answer(model, messages, args, seed) }
    elseif line:find '%S' then
      messages[#messages + 1] = { role = 'user', content = line }
      messages[#messages + 1] = { role = 'assistant',
        content = answer(model, messages, args, seed) }
    end
  end
end

function M.run(args) return device.run('chat', args, run) end

return M
