--- Text from a model for people to read: answers to a conversation, as they are drawn.

local chat = require 'sppo.chat'
local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local sample = require 'sppo.sample'

local M = {}

--- Token ids of a conversation as the model's template has it, ready for its answer. Nothing is put
--- before what the template writes: whether there is a bos token is its business.
---@param model sppo.Model
---@param messages { role: string, content: string }[]
---@param options? { add_generation_prompt?: boolean, now?: number }
---   add_generation_prompt: with what comes before an answer, unless false; now: what a template
---   that asks for the date sees (chat.STILL), the clock if absent
---@return integer[]
function M.prompt_tokens(model, messages, options)
  options = options or {}
  local t = model.tokenizer
  if not t then engine.raise('argument', model.path .. ': has no tokenizer', 2) end
  local pieces, err = chat.render(model.template, messages, {
    add_generation_prompt = options.add_generation_prompt ~= false,
    variables = {
      bos_token = t.bos_id and t:decode { t.bos_id },
      eos_token = t.eos_ids[1] and t:decode { t.eos_ids[1] },
    },
    now = options.now,
  })
  if not pieces then engine.raise('format', ('%s: %s'):format(model.path, err)) end
  return t:encode_pieces(pieces)
end

local known = { 'k', 'temperature', 'top_p', 'top_k', 'min_p', 'max_new_tokens', 'seed', 'raw' }

--- An iterator over (answer, text): pieces of text as they come, answers numbered from 1.
---@param model sppo.Model
---@param messages table|string   a conversation, or with options.raw a text to continue
---@param options? table          as sample.Options, and raw
---@return fun(): integer?, string?
function M.stream(model, messages, options)
  options = check.options('generate', options, known)
  local t = model.tokenizer
  if not t then engine.raise('argument', model.path .. ': has no tokenizer', 2) end
  local tokens = options.raw and t:encode(messages) or M.prompt_tokens(model, messages)
  local streams, stops = {}, {}
  for _, id in ipairs(t.eos_ids) do stops[id] = true end
  return coroutine.wrap(function()
    sample.run(model, { { id = 0, tokens = tokens } }, {
      k = options.k or 1,
      temperature = options.temperature or 0.7,
      top_p = options.top_p or 0.9,
      top_k = options.top_k,
      min_p = options.min_p,
      max_new_tokens = options.max_new_tokens or 256,
      seed = options.seed,
      stop_ids = t.eos_ids,
      on_token = function(_, answer, id)
        if stops[id] then return end
        streams[answer] = streams[answer] or t:stream()
        local text = streams[answer]:push(id)
        if text ~= '' then coroutine.yield(answer, text) end
      end,
    }, function() end)
    for answer, stream in pairs(streams) do
      local text = stream:finish()
      if text ~= '' then coroutine.yield(answer, text) end
    end
  end)
end

return M
