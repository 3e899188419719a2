--- How long the prompts of a recipe are: counted where the tokenizer is there, estimated from
--- characters where it is not, assumed where the prompts themselves are not there.

local engine = require 'sppo.ffi'
local prompts_of = require 'sppo.selfplay.prompts'
local sample = require 'sppo.sample'

local M = {}

M.CHARACTERS = 4 -- a token, about, of English text with today's vocabularies
M.TEMPLATE = 16 -- tokens, about, that a chat template adds
M.COUNT, M.TOKENS = 1000, 200 -- where neither recipe nor command line says more

--- n token ids, the same table for the same n.
local function dummy(made, n)
  if not made[n] then
    made[n] = {}
    for i = 1, n do made[n][i] = 0 end
  end
  return made[n]
end

local function characters(p)
  if not p.messages then return #p.text end
  local n = 0
  for _, m in ipairs(p.messages) do
    local content = type(m) == 'table' and m.content
    n = n + (type(content) == 'string' and #content or 0)
  end
  return n
end

---@class sppo.plan.Prompts
---@field list { id: integer, tokens: integer[] }[]
---@field shared integer   tokens that all begin with
---@field mean number      tokens
---@field longest integer  tokens
---@field note? string     what was estimated or assumed

local function summary(list, shared, note)
  local sum, longest = 0, 0
  for _, p in ipairs(list) do
    sum, longest = sum + #p.tokens, math.max(longest, #p.tokens)
  end
  return { list = list, shared = shared, mean = sum / #list, longest = longest, note = note }
end

--- Those of the process that has the longest prompt, where process r of n takes the prompts r + 1,
--- r + 1 + n and so on.
---@param prompts sppo.plan.Prompts
---@param processes integer
---@return sppo.plan.Prompts
function M.part(prompts, processes)
  local first
  for i, p in ipairs(prompts.list) do
    if #p.tokens == prompts.longest then
      first = (i - 1) % processes + 1
      break
    end
  end
  local list = {}
  for i = first, #prompts.list, processes do list[#list + 1] = prompts.list[i] end
  return summary(list, prompts.shared)
end

--- n prompts of equally many tokens: one list for all rounds, so that a stage is planned once.
local function alike(options, name, n, tokens, note)
  local key = ('%s %d %d'):format(name, n, tokens)
  options.made = options.made or {}
  if not options.made[key] then
    local made, list = {}, {}
    for i = 1, n do list[i] = { id = i - 1, tokens = dummy(made, tokens) } end
    options.made[key] = summary(list, 0, note)
  end
  return options.made[key]
end

--- The prompts' own tokens, or as many as their texts are estimated to have.
local function measured(source, list, switches)
  if source.model then
    local fine, tokens = pcall(prompts_of.tokens, source.model, list, switches)
    if fine then return tokens end
    if engine.kind_of(tokens) ~= 'format' then error(tokens, 0) end
  end
  local made, out, note = {}, {}, nil
  for i, p in ipairs(list) do
    if not p.tokens then
      note = ('estimated: a token for %d characters and %d for the template'):format(M.CHARACTERS,
        M.TEMPLATE)
    end
    local n = p.tokens and #p.tokens or math.ceil(characters(p) / M.CHARACTERS) + M.TEMPLATE
    out[i] = { id = p.id, tokens = p.tokens or dummy(made, n) }
  end
  return out, note
end

--- n prompts: the first of a list, and where it ends its first again.
local function repeated(list, n)
  local out = {}
  for i = 1, n do out[i] = { id = i - 1, tokens = list[(i - 1) % #list + 1].tokens } end
  return out
end

---@class sppo.plan.PromptOptions
---@field prompts? integer        as the command line says: a round's prompts
---@field prompt_tokens? integer  as the command line says: tokens of each prompt
---@field hint table              the recipe's `plan`, for prompts that are not there
---@field compat table            the recipe's

--- The prompts of a round.
---@param source sppo.plan.Source
---@param given table|function|string   the recipe's prompts or held_out
---@param round integer
---@param name 'prompts'|'held_out'|'validation'
---@param options sppo.plan.PromptOptions
---@return sppo.plan.Prompts
function M.of(source, given, round, name, options)
  local ok, list = pcall(prompts_of.list, given, round, name)
  if not ok and engine.kind_of(list) ~= 'io' then error(list, 0) end
  local hint, n = options.hint, name == 'prompts' and options.prompts
  if not ok then
    local count = name == 'prompts' and hint.prompts or name ~= 'prompts' and hint.held_out
    return alike(options, name, n or count or M.COUNT,
      options.prompt_tokens or hint.prompt_tokens or M.TOKENS,
      ('assumed, %s'):format(tostring(list)))
  end
  if options.prompt_tokens then
    return alike(options, name, n or #list, options.prompt_tokens,
      'length as the command line says')
  end
  local tokens, note = measured(source, list, options.compat)
  if n then tokens = repeated(tokens, n) end
  return summary(tokens, note and 0 or sample.shared(tokens), note)
end

return M
