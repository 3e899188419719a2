--- `sppo rank`: answers to prompts from best to worst, by PairRM.

local device = require 'sppo.cli.device'
local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo rank PairRM answers.jsonl',
    'echo \'{"prompt": "hello!", "answers": ["hi!", "Go away."]}\' | sppo rank PairRM --json',
  },
}

local conventions = { 'sigma', 'symmetric', 'aggregated' }
local dtypes = { 'f32', 'bf16', 'q8_0' }

function M.define(parser)
  parser:argument('model', 'Folder of llm-blender/PairRM, or the name of a fetched one.')
  parser:argument('file', 'JSON lines {"prompt": text or messages, "answers": [texts]}; - or ' ..
    'nothing: read from stdin.'):args('?')
  parser:option('--convention', 'How logits become the matrix P(i beats j): sigma (the ' ..
    'paper\'s), symmetric, aggregated (the official code\'s).'):argname('NAME')
    :default('sigma')
  parser:option('--dtype', 'How weights are kept: f32, bf16 or q8_0.'):argname('T'):default('f32')
  device.define(parser)
  parser:flag('--json', 'A JSON object a prompt: ranks, scores, matrix, logits.')
end

local function among(what, value, list)
  for _, name in ipairs(list) do
    if name == value then return end
  end
  exit.usage('rank: ' .. require('sppo.check').unknown(what, value, list), 'sppo rank --help')
end

--- What is wrong with a line's value, or nil.
local function wrong(value)
  if type(value) ~= 'table' then return 'not an object' end
  local prompt = value.prompt
  if type(prompt) ~= 'string' and (type(prompt) ~= 'table' or #prompt == 0) then
    return 'prompt must be a text or a list of messages'
  end
  for i, message in ipairs(type(prompt) == 'table' and prompt or {}) do
    if type(message) ~= 'table' or type(message.role) ~= 'string' or
      type(message.content) ~= 'string' then
      return ('prompt[%d] must have a role and a content, both texts'):format(i)
    end
  end
  if type(value.answers) ~= 'table' or #value.answers == 0 then
    return 'answers must be a list of texts'
  end
  for i, answer in ipairs(value.answers) do
    if type(answer) ~= 'string' then
      return ('answers[%d] must be a text, got %s'):format(i, type(answer))
    end
  end
end

--- Calls fn(value, number) for each line that is not empty.
local function each_line(args, fn)
  local json, name, file = require 'sppo.json', 'stdin', io.stdin
  if args.file and args.file ~= '-' then
    local opened, err = io.open(args.file, 'rb')
    if not opened then error({ message = err, kind = 'io' }, 0) end
    name, file = args.file, opened
  end
  local number = 0
  for line in file:lines() do
    number = number + 1
    if line:find('%S') then
      local value, err = json.decode(line)
      err = err or wrong(value)
      if err then
        error({ message = ('%s:%d: %s'):format(name, number, err), kind = 'format' }, 0)
      end
      fn(value, number)
    end
  end
  if file ~= io.stdin then file:close() end
end

--- A text as one line of at most `most` bytes, cut between characters.
local function short(text, most)
  text = text:gsub('%s+', ' ')
  if #text <= most then return text end
  while text:byte(most + 1) and text:byte(most + 1) >= 128 and text:byte(most + 1) < 192 do
    most = most - 1
  end
  return text:sub(1, most) .. '..'
end

local function print_table(value, r)
  local prompt = value.prompt
  if type(prompt) == 'table' then prompt = prompt[#prompt].content end
  output.write(short(prompt, 90), '\n')
  local order, wins = {}, require('sppo.preference').wins(r.matrix)
  for i = 1, #r.ranks do order[i] = i end
  table.sort(order, function(a, b)
    if r.ranks[a] ~= r.ranks[b] then return r.ranks[a] < r.ranks[b] end
    return a < b
  end)
  for _, i in ipairs(order) do
    output.write(('%5d  score %8.4f  wins %.3f  %s\n'):format(r.ranks[i], r.scores[i], wins[i],
      short(value.answers[i], 60)))
  end
end

local function run(args)
  among('convention', args.convention, conventions)
  among('dtype', args.dtype, dtypes)
  local model, err = require('sppo.pairrm').open(args.model, { dtype = args.dtype })
  if not model then exit.data(err) end
  if not model.tokenizer then exit.data(model.path .. ': has no tokenizer.json') end
  local rank, json = require 'sppo.rank', require 'sppo.json'
  each_line(args, function(value)
    local prompt = value.prompt
    if type(prompt) == 'table' then prompt = { messages = prompt } end
    local r = rank.rank(model, prompt, value.answers, { convention = args.convention })
    if args.json then
      output.write(json.encode {
        prompt = value.prompt, convention = args.convention, ranks = r.ranks, scores = r.scores,
        matrix = r.matrix, logits = r.logits,
      }, '\n')
    else
      print_table(value, r)
    end
    output.flush()
  end)
end

function M.run(args) return device.run('rank', args, run) end

return M
