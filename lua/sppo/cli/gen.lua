--- `sppo gen`: text from a model, as it is drawn.

local device = require 'sppo.cli.device'
local exit = require 'sppo.cli.exit'
local number = require 'sppo.cli.number'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo gen smollm2-135m-instruct "Describe the sea in one sentence." --seed 3',
    'echo "Name three birds." | sppo gen runs/quickstart/round-3/weights -k 5',
    'sppo gen runs/quickstart "Describe the sea." -k 5 --mixture',
  },
}

local options = {
  { '--temperature', 'Flattens (above 1) or sharpens what is drawn; 0: the likeliest token.', 0.7 },
  { '--top-p', 'Draw from the likeliest tokens of this total probability; 1: off.', 0.9 },
  { '--top-k', 'Draw from the K likeliest tokens; 0: off.', 0 },
  { '--min-p', 'Draw from tokens at least this likely, relative to the likeliest; 0: off.', 0 },
  { '--max-new-tokens', 'Length at which an answer is cut.', 256 },
  { '--seed', 'Another seed, another answer; the same one, the same answer.', 0 },
}

function M.define(parser)
  parser:argument('model', 'Folder or GGUF file, or the name of a fetched model.')
  parser:argument('prompt', 'What to say to it; - or nothing: read from stdin.'):args('?')
  parser:option('-k', 'Number of answers.'):argname('K'):default('1')
    :convert(number.drawing '-k')
  for _, o in ipairs(options) do
    parser:option(o[1], o[2]):argname('N'):default(tostring(o[3]))
      :convert(number.drawing(o[1]))
  end
  parser:option('--dtype', 'How weights are kept: f32, bf16 or q8_0.'):default('f32')
  device.define(parser)
  parser:flag('--raw', 'Continue the text as it is, without the chat template.')
  parser:flag('--mixture', 'MODEL is a run folder: each answer comes from one of its rounds, ' ..
    'drawn by the von Neumann winner of the game between them.')
end

local function prompt_of(args)
  local prompt = args.prompt
  if not prompt or prompt == '-' then
    local err
    prompt, err = io.stdin:read('*a')
    if not prompt then error({ message = 'stdin: ' .. tostring(err), kind = 'io' }, 0) end
    if not args.raw then prompt = prompt:gsub('%s+$', '') end
  end
  if prompt == '' then exit.usage('gen: the prompt is empty', 'sppo gen --help') end
  return prompt
end

--- Answers of a run's rounds, mixed.
local function write_mixture(args, prompt)
  if args.raw then exit.usage('gen: --raw does not go with --mixture', 'sppo gen --help') end
  local mixtures = require 'sppo.mixture'
  local mixture, err = mixtures.of_run(args.model)
  if not mixture then exit.data(err) end
  local answers
  answers, err = mixtures.sample(mixture, { { { role = 'user', content = prompt } } }, {
    k = args.k, temperature = args.temperature, top_p = args.top_p, top_k = args.top_k,
    min_p = args.min_p, max_new_tokens = args.max_new_tokens, seed = args.seed,
  }, args.dtype)
  if not answers then exit.data(err) end
  for i, a in ipairs(answers[1]) do
    output.write(('%s--- answer %d of %d (%s)\n%s\n'):format(i > 1 and '\n' or '', i, args.k,
      a.policy, a.text))
  end
end

local function run(args)
  local known_dtypes = { f32 = true, bf16 = true, q8_0 = true }
  if not known_dtypes[args.dtype] then
    local known = { 'f32', 'bf16', 'q8_0' }
    exit.usage('gen: ' .. require('sppo.check').unknown('dtype', args.dtype, known),
      'sppo gen --help')
  end
  local prompt = prompt_of(args)
  if args.mixture then return write_mixture(args, prompt) end
  local model, err = require('sppo.model').open(args.model, { dtype = args.dtype })
  if not model then exit.data(err) end

  local messages = args.raw and prompt or { { role = 'user', content = prompt } }
  local texts = {}
  for answer, text in require('sppo.generate').stream(model, messages, {
    k = args.k, temperature = args.temperature, top_p = args.top_p, top_k = args.top_k,
    min_p = args.min_p, max_new_tokens = args.max_new_tokens, seed = args.seed, raw = args.raw,
  }) do
    if args.k == 1 then
      output.write(text)
      output.flush()
    else
      texts[answer] = (texts[answer] or '') .. text
    end
  end
  if args.k == 1 then return output.write('\n') end
  for i = 1, args.k do
    output.write(('%s--- answer %d of %d\n%s\n'):format(i > 1 and '\n' or '', i, args.k,
      texts[i] or ''))
  end
end

function M.run(args) return device.run('gen', args, run) end

return M
