--- What a recipe may hold: every key with its type, range, default and meaning, in one table.
--- Validation, the resolved recipe, `sppo validate --keys` and docs/recipes.md are made from it.
---
--- `required`: 'always', or 'selfplay': unless the recipe has a `run` of its own.
--- `presets`: names that stand for a whole section.
--- `schedule = true`: the value may also be a list (one entry a round) or a function of the round.

local compat = require 'sppo.compat'
local log_z = require 'sppo.log_z'
local losses = require 'sppo.losses'
local optim = require 'sppo.optim'

local M = {}

local function names(t)
  local list = {}
  for key in pairs(t) do list[#list + 1] = key end
  table.sort(list)
  return list
end

local function of_type(kind)
  return function(low, high, default, doc)
    return { type = kind, low = low, high = high, default = default, schedule = true, doc = doc }
  end
end
local number, integer = of_type 'number', of_type 'integer'
local function one_of(list, default, doc)
  return { type = 'string', one_of = list, default = default, doc = doc }
end

--- A positive number that is the same in all rounds.
local function count(most, doc) return { type = 'integer', low = 1, high = most, doc = doc } end

local sampling = {
  k = integer(1, 4096, nil, 'answers of each prompt'),
  temperature = number(0, 100, 1, '0: the likeliest token'),
  top_p = number(1e-9, 1, 1, 'draw from the likeliest tokens of this total probability; 1: off'),
  top_k = integer(0, 2^30, 0, 'draw from the k likeliest tokens; 0: off'),
  min_p = number(0, 1, 0, 'draw from tokens at least this likely, relative to the likeliest'),
  max_new_tokens = integer(1, 2^20, nil, 'tokens at which an answer is cut'),
  batch = { type = 'integer', low = 1, high = 4096, default = 64,
    doc = 'answers drawn side by side' },
}

local function with(base, changes)
  local t = {}
  for key, value in pairs(base) do t[key] = value end
  for key, value in pairs(changes) do t[key] = value end
  return t
end

--- Sections hold keys, leaves have a type.
M.keys = {
  name = { type = 'string', required = 'always', pattern = '^[%w][%w._-]*$', most = 100,
    pattern_text = 'letters, digits, . _ - only, a letter or digit first',
    doc = 'letters, digits, . _ -' },
  out = { type = 'string', doc = 'the run folder; runs/NAME if left out' },
  seed = { type = 'integer', low = 0, high = 2^53, default = 1,
    doc = 'what is drawn depends on it, the round, the prompt, the answer and the token alone' },
  rounds = { type = 'integer', low = 1, high = 1000, default = 3, doc = 'rounds of self-play' },
  policy = { section = {
    model = { type = 'string or table', required = 'selfplay',
      doc = 'a folder, a GGUF file, a fetched model\'s name; or the config of a random model' },
    dtype = one_of({ 'f32', 'bf16' }, 'f32', 'what weights are rounded to between rounds'),
    device = one_of({ 'cpu', 'cuda' }, 'cpu', 'where it is sampled, scored and trained'),
  } },
  prompts = { type = 'table or function or string', required = 'selfplay',
    doc = 'list of texts or { text, messages or tokens, .. }, a function of the round, or the ' ..
      'path of a JSON lines file with a "prompt" in each line ({round} stands for the round)' },
  held_out = { type = 'table or function or string', doc = 'prompts that evaluation uses' },
  validation = { type = 'table or function or string',
    doc = 'prompts to choose values by (evaluate.on = \'validation\')' },
  sample = { section = with(sampling, {
    k = integer(2, 4096, 5, 'answers of each prompt'),
    max_new_tokens = integer(1, 2^20, 256, 'tokens at which an answer is cut'),
  }) },
  preference = { type = 'table or function', required = 'selfplay',
    doc = 'prompt and answers to the matrix of P(answer i beats answer j)' },
  select = {
    type = 'string or function', one_of = { 'best_and_worst', 'all' }, default = 'best_and_worst',
    doc = 'which answers of a prompt are trained on',
  },
  train = { section = {
    loss = { type = 'string or function', one_of = names(losses), default = 'sppo',
      doc = 'a name, or a function of the batch (lua/sppo/losses.lua)' },
    eta = number(1e-9, 1e9, 1000, 'how far log(pi / pi_t) is to move: eta (P - 1/2)'),
    log_z = one_of(names(log_z), 'half', 'what stands for log Z (lua/sppo/log_z.lua)'),
    normalise = one_of({ 'none', 'tokens' }, 'none', 'tokens: log-probs are means over tokens'),
    label_smoothing = number(0, 0.5, 0, 'of dpo: how often a preference is taken to be wrong'),
    optimizer = one_of(optim.names, 'rmsprop', 'as PyTorch defines them'),
    optimizer_options = { type = 'table', default = {}, doc = 'its own values: alpha, eps, ..' },
    lr = number(0, 1, 5e-7, 'learning rate at its highest'),
    schedule = one_of(optim.schedules, 'linear', 'of the learning rate over a round'),
    warmup = number(0, 1, 0.1, 'share of the steps over which the learning rate rises'),
    batch = integer(1, 2^20, 64, 'prompts of an optimizer step'),
    epochs = integer(1, 1000, 1, 'passes over a round\'s rows'),
    clip = number(0, 1e9, 1, 'norm that gradients are cut to; 0: off'),
    max_prompt = integer(1, 2^20, 512, 'longer prompts are left out, in tokens'),
    max_length = integer(2, 2^20, 1024, 'prompt and answer; longer answers are cut'),
    micro_tokens = { type = 'integer', low = 1, high = 2^24, default = 512,
      doc = 'tokens computed at a time; memory depends on it' },
    recompute = { type = 'boolean', default = false,
      doc = 'compute layers again in backward: less memory, a third more work' },
    checkpoint_seconds = { type = 'number', low = 0, high = 1e9, default = 120,
      doc = 'time between checkpoints' },
  } },
  compat = { section = compat.keys, presets = { uclaml = compat.uclaml, none = {} } },
  evaluate = { section = with(sampling, {
    k = integer(1, 4096, 2, 'answers of each held-out prompt'),
    on = one_of({ 'held_out', 'validation' }, 'held_out', 'which prompts'),
  }) },
  run = { type = 'function', doc = 'function(run): another algorithm than Algorithm 1' },
  on_step = { type = 'function', doc = 'function(metrics, run) after each optimizer step' },
  on_round = { type = 'function',
    doc = 'function(t, metrics, run) after each round; may return \'stop\'' },
  plan = { section = {
    prompts = count(2^17, 'prompts a round that `sppo plan` assumes where they are not there'),
    held_out = count(2^17, 'the same of held-out prompts'),
    prompt_tokens = count(2^20, 'tokens of each of these'),
    answer_tokens = count(2^20,
      'mean length of answers that `sppo plan` counts; max_new_tokens if left out'),
  } },
}

for key, spec in pairs(M.keys.evaluate.section) do
  if M.keys.sample.section[key] and key ~= 'k' and key ~= 'batch' then
    M.keys.evaluate.section[key] = with(spec, { doc = 'as sample.' .. key .. ' if left out' })
  end
end

--- Every key in one list, sorted: { name = 'train.lr', type, range, default, doc } as texts.
---@return { name: string, type: string, range: string, default: string, doc: string }[]
function M.list()
  local out = {}
  local function walk(section, prefix)
    for _, key in ipairs(names(section)) do
      local spec, name = section[key], prefix .. key
      if spec.section then walk(spec.section, name .. '.')
      else
        local default = spec.default
        if type(default) == 'table' then default = '{}' end
        if spec.doc:find('^as sample%.') then default = nil end
        local range = spec.one_of and table.concat(spec.one_of, ', ') or
          spec.low and ('%.16g..%.16g'):format(spec.low, spec.high) or ''
        out[#out + 1] = { name = name, range = range, doc = spec.doc,
          type = spec.type .. (spec.schedule and ' *' or ''),
          default = spec.required and 'required' or default == nil and '' or tostring(default) }
      end
    end
  end
  walk(M.keys, '')
  return out
end

return M
