--- What the official code (uclaml/SPPO) does otherwise than the paper, or than anybody would on
--- purpose, each as a switch of its own. `compat = 'uclaml'` in a recipe is all of them;
--- docs/compat.md lists what each changes, and what stands elsewhere (the temperature, the ranker's
--- conventions).

local chat = require 'sppo.chat'
local generate = require 'sppo.generate'

local M = {}

local function switch(doc) return { type = 'boolean', default = false, doc = doc } end

--- The recipe's section `compat`.
M.keys = {
  cut_at_none = switch 'prompts end where they say "None" (scripts/generate.py)',
  double_bos = switch 'prompts begin with two bos tokens (vLLM and the trainer add one)',
  same_draws = switch 'each round draws with the same seeds (scripts/generate.py)',
  header_in_answer = switch 'what the template puts before answers is trained on (Llama-3, Gemma)',
  end_twice = switch 'answers that ended get another eos token (sppo/trainer.py)',
  keep_end = switch 'long prompts keep their end, long answers max_length - max_prompt tokens',
  schedule = switch 'the learning rate is 0 at the first step (transformers)',
}

--- All of them.
M.uclaml = {}
for key in pairs(M.keys) do M.uclaml[key] = true end

--- A prompt's messages as the official code reads them.
---@param compat table<string, boolean>
---@param messages { role: string, content: string }[]
function M.messages(compat, messages)
  if not compat.cut_at_none then return messages end
  local out = {}
  for i, m in ipairs(messages) do
    local at = m.content:find('None', 1, true)
    out[i] = { role = m.role, content = at and m.content:sub(1, at - 1) or m.content }
  end
  return out
end

--- A prompt's tokens with what is put before them.
---@param compat table<string, boolean>
---@param model sppo.Model
---@param tokens integer[]
function M.tokens(compat, model, tokens)
  if compat.double_bos and model.bos_id then table.insert(tokens, 1, model.bos_id) end
  return tokens
end

--- The tokens that a template puts between a conversation and its answer.
local function header_of(model)
  local messages = { { role = 'user', content = 'x' } }
  local with = generate.prompt_tokens(model, messages, { now = chat.STILL })
  local without = generate.prompt_tokens(model, messages,
    { now = chat.STILL, add_generation_prompt = false })
  local header = {}
  for i = #without + 1, #with do header[#header + 1] = with[i] end
  return header
end

--- Cuts a row as the official trainer does: where prompt and longest answer do not fit, the prompt
--- keeps its last max_prompt tokens; where they still do not, answers their first max_length -
--- max_prompt. (sppo/trainer.py, tokenize_row)
local function keep_end(row, options)
  local longest = 0
  for _, a in ipairs(row.answers) do longest = math.max(longest, #a.tokens) end
  if #row.prompt + longest > options.max_length then
    local cut = math.max(0, #row.prompt - options.max_prompt)
    row.prompt = { unpack(row.prompt, cut + 1) }
  end
  if #row.prompt + longest > options.max_length then
    local room = options.max_length - options.max_prompt
    for _, a in ipairs(row.answers) do
      if #a.tokens > room then a.tokens, a.truncated = { unpack(a.tokens, 1, room) }, true end
    end
  end
end

--- Whether rows are changed after sampling: log pi_t of their answers must be computed anew then.
---@param compat table<string, boolean>
---@return boolean?
function M.changes_rows(compat)
  return compat.header_in_answer or compat.end_twice or compat.keep_end
end

--- Changes the rows of selection: prompt and tokens of the answers.
---@param compat table<string, boolean>
---@param model sppo.Model
---@param rows { prompt: integer[], answers: { tokens: integer[], stopped: boolean }[] }[]
---@param options { max_prompt: integer, max_length: integer }
function M.rows(compat, model, rows, options)
  local header = compat.header_in_answer and header_of(model) or {}
  for _, row in ipairs(rows) do
    row.shared = 0
    if #header > 0 and #row.prompt > #header then
      row.prompt = { unpack(row.prompt, 1, #row.prompt - #header) }
    end
    for _, a in ipairs(row.answers) do
      local tokens = { unpack(header) }
      for _, id in ipairs(a.tokens) do tokens[#tokens + 1] = id end
      if compat.end_twice and a.stopped then tokens[#tokens + 1] = model.eos_ids[1] end
      a.tokens = tokens
    end
    if compat.keep_end then keep_end(row, options) end
  end
end

return M
