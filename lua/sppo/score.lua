--- Log-probs of given answers: prompts and their answers laid out as segments, one copy of each
--- prompt, and one of the tokens that prompts share. Training and rescoring go through here, with
--- the layout that sampling had: the same cuts give the same bits.

local ops = require 'sppo.ops'
local segments = require 'sppo.segments'
local tensor = require 'sppo.tensor'

local M = {}

--- Tokens that a group puts into a forward pass: the last token of an answer is only predicted, and
--- `shared` tokens of the prompt are there once for all groups.
---@param group { prompt: integer[], shared?: integer, answers: { tokens: integer[] }[] }
function M.tokens(group)
  local n = #group.prompt - (group.shared or 0)
  for _, a in ipairs(group.answers) do n = n + math.max(0, #a.tokens - 1) end
  return n
end

--- Cuts groups into micro-batches of at most `budget` tokens (a larger group stands alone).
---@param groups table[]
---@param budget integer
---@param tokens? fun(group: table): integer  by default M.tokens
function M.micro_batches(groups, budget, tokens)
  local batches, size = {}, 0
  for _, g in ipairs(groups) do
    local n = (tokens or M.tokens)(g)
    if #batches == 0 or size + n > budget then
      batches[#batches + 1], size = {}, 0
    end
    table.insert(batches[#batches], g)
    size = size + n
  end
  return batches
end

--- True if the prompts begin with the same `n` tokens.
local function same_start(a, b, n)
  for i = 1, n do
    if a[i] ~= b[i] then return false end
  end
  return true
end

local function token_logprobs(net, groups, options)
  local ids, list, rows, targets, answer = {}, {}, {}, {}, {}
  local number, prefix, owner = 0, nil, nil
  for _, g in ipairs(groups) do
    local shared = g.shared or 0
    if shared == 0 then
      prefix = nil
    elseif not (prefix and owner.shared == shared
      and same_start(owner.prompt, g.prompt, shared)) then
      for i = 1, shared do ids[#ids + 1] = g.prompt[i] end
      list[#list + 1] = { count = shared }
      prefix, owner = #list, g
    end
    for i = shared + 1, #g.prompt do ids[#ids + 1] = g.prompt[i] end
    local last = #ids - 1
    list[#list + 1] = { parent = prefix, count = #g.prompt - shared }
    local parent = #list
    for _, a in ipairs(g.answers) do
      local start = #ids
      for i = 1, #a.tokens - 1 do ids[#ids + 1] = a.tokens[i] end
      list[#list + 1] = { parent = parent, count = #a.tokens - 1 }
      for i = 1, #a.tokens do
        rows[#rows + 1] = i == 1 and last or start + i - 2
        targets[#targets + 1] = a.tokens[i]
        answer[#answer + 1] = number
      end
      number = number + 1
    end
  end
  local hidden = net(tensor.ints(ids), segments.new(list), options)
  local used = ops.take_rows(hidden, tensor.ints(rows))
  local logprobs = net.lm_head:logprob(used, tensor.ints(targets))
  return logprobs, tensor.ints(answer), number
end

--- Log-prob of each token of each answer of the groups, in order: [tokens], differentiable; and the
--- answer each belongs to: [tokens] i32.
---@param net table
---@param groups table[]
---@param options? { recompute: boolean }
---@return sppo.Tensor logprobs, sppo.Tensor answer, integer answers
function M.token_logprobs(net, groups, options)
  local device = net.lm_head.weight.device
  return tensor.on_device(device, token_logprobs, net, groups, options)
end

--- Log-prob of each answer, the sum over its tokens: [answers].
---@param net table
---@param groups table[]
---@param options? { recompute: boolean }
---@return sppo.Tensor logprobs, integer answers
function M.logprobs(net, groups, options)
  local each, answer, n = M.token_logprobs(net, groups, options)
  return ops.segment_sum(each, answer, n), n
end

return M
