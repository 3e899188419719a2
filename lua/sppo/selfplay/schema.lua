--- What a recipe may hold: every key with its type, range and default, in one table. Validation,
--- the resolved recipe and the docs are made from it.
---
--- `required`: 'always', or 'selfplay': unless the recipe has a `run` of its own.
--- `schedule = true`: the value may also be a list (one entry a round) or a function of the round.

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
  return function(low, high, default)
    return { type = kind, low = low, high = high, default = default, schedule = true }
  end
end
local number, integer = of_type 'number', of_type 'integer'
local function one_of(list, default)
  return { type = 'string', one_of = list, default = default }
end

local sampling = {
  k = integer(1, 4096),
  temperature = number(0, 100, 1),
  top_p = number(0, 1, 1),
  top_k = integer(0, 2^30, 0),
  min_p = number(0, 1, 0),
  max_new_tokens = integer(1, 2^20),
  batch = { type = 'integer', low = 1, high = 4096, default = 64 },
}

local function with(base, changes)
  local t = {}
  for key, value in pairs(base) do t[key] = value end
  for key, value in pairs(changes) do t[key] = value end
  return t
end

--- Sections hold keys, leaves have a type.
M.keys = {
  name = { type = 'string', required = 'always', pattern = '^[%w][%w._-]*$' },
  out = { type = 'string' },
  seed = { type = 'integer', low = 0, high = 2^53, default = 1 },
  rounds = { type = 'integer', low = 1, high = 1000, default = 3 },
  policy = { section = {
    model = { type = 'string or table', required = 'selfplay' },
    dtype = one_of({ 'f32', 'bf16' }, 'f32'),
    device = one_of({ 'cpu' }, 'cpu'),
  } },
  prompts = { type = 'table or function', required = 'selfplay' },
  held_out = { type = 'table or function' },
  validation = { type = 'table or function' },
  sample = { section = with(sampling, {
    k = integer(2, 4096, 5),
    max_new_tokens = integer(1, 2^20, 256),
  }) },
  preference = { type = 'table or function', required = 'selfplay' },
  select = {
    type = 'string or function', one_of = { 'best_and_worst', 'all' }, default = 'best_and_worst',
  },
  train = { section = {
    loss = { type = 'string or function', one_of = names(losses), default = 'sppo' },
    eta = number(1e-9, 1e9, 1000),
    optimizer = one_of(optim.names, 'rmsprop'),
    optimizer_options = { type = 'table', default = {} },
    lr = number(0, 1, 5e-7),
    schedule = one_of(optim.schedules, 'linear'),
    warmup = number(0, 1, 0.1),
    batch = integer(1, 2^20, 64),
    epochs = integer(1, 1000, 1),
    clip = number(0, 1e9, 1),
    max_prompt = integer(1, 2^20, 512),
    max_length = integer(2, 2^20, 1024),
    micro_tokens = { type = 'integer', low = 1, high = 2^24, default = 512 },
    recompute = { type = 'boolean', default = false },
    checkpoint_seconds = { type = 'number', low = 0, high = 1e9, default = 120 },
    compat = one_of({ 'none', 'uclaml' }, 'none'),
  } },
  evaluate = { section = with(sampling, {
    k = integer(1, 4096, 2),
    on = one_of({ 'held_out', 'validation' }, 'held_out'),
  }) },
  run = { type = 'function' },
  -- on_step(metrics, run); on_round(t, metrics, run) may return 'stop'.
  on_step = { type = 'function' },
  on_round = { type = 'function' },
}

return M
