--- `sppo tok`: text to token ids and back, and a conversation as a model is given it.

local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo tok smollm2-135m-instruct "How many tokens is this?"',
    'sppo tok smollm2-135m-instruct --chat "Hello" --show',
  },
}

function M.define(parser)
  parser:argument('model', 'Folder or GGUF file, or the name of a fetched model.')
  parser:argument('text', 'The text; - or nothing: read from stdin.'):args('?')
  parser:flag('--chat', 'The text as a message, in the model\'s chat template.')
  parser:flag('--decode', 'The text is token ids; print what they say.')
  parser:flag('--show', 'A line for each token: its id and its text.')
end

local function given(args)
  if args.text and args.text ~= '-' then return args.text end
  local text, err = io.stdin:read('*a')
  if not text then error({ message = 'stdin: ' .. tostring(err), kind = 'io' }, 0) end
  return text
end

function M.run(args)
  local model, err = require('sppo.model').open(args.model, { tokenizer_only = true })
  if not model then exit.data(err) end
  if not model.tokenizer then exit.data(model.path .. ': has no tokenizer') end
  local t, text = model.tokenizer, given(args)
  local ids
  if args.decode then
    ids = {}
    for word in text:gmatch('[^%s,]+') do
      local id = tonumber(word)
      if not id or id % 1 ~= 0 or id < 0 or id >= t.vocab_size then
        exit.usage(('tok: \'%s\' is not a token id in 0..%d'):format(word, t.vocab_size - 1),
          'sppo tok --help')
      end
      ids[#ids + 1] = id
    end
    if not args.show then return output.write(t:decode(ids), '\n') end
  elseif args.chat then
    ids = require('sppo.generate').prompt_tokens(model, { { role = 'user', content = text } })
  else
    ids = t:encode(text)
  end
  if not args.show then return output.write(table.concat(ids, ' '), '\n') end
  local json = require 'sppo.json'
  for _, id in ipairs(ids) do
    output.write(('%7d  %s\n'):format(id, json.encode(t:decode { id })))
  end
  io.stderr:write(('%d tokens\n'):format(#ids))
end

return M
