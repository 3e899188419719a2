--- Sampling: K answers of many prompts in one batch that refills as answers finish.
---
--- A prompt is computed once; its answers continue its keys and values. What all prompts begin
--- with, such as a system message, is computed once for all of them. What is drawn depends on
--- (seed, round, prompt, answer, token) and on how much is shared: neither the batch nor a restart
--- changes it. The log-prob of each token is that of the untempered distribution, by the kernels
--- that train.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local ops = require 'sppo.ops'
local scope = require 'sppo.scope'
local segments = require 'sppo.segments'
local tensor = require 'sppo.tensor'

local ffi, C, try = engine.ffi, engine.C, engine.try

local M = {}

M.PREFILL = 512 -- prompt tokens computed at once
local WORTH_SHARING = 8 -- tokens: a page of keys and values more for each row to look through
local ARENA = 0

---@class sppo.sample.Options
---@field k integer                 answers a prompt
---@field max_new_tokens integer
---@field stop_ids integer[]        an answer's tokens include the one that stopped it
---@field temperature? number       1; 0: the likeliest token
---@field top_p? number             1: off
---@field top_k? integer            0: off
---@field min_p? number             0: off
---@field seed? integer             0
---@field round? integer            0
---@field batch? integer            64; answers decoded at once
---@field shared? integer           0; tokens that all prompts begin with (M.shared)
---@field on_token? fun(prompt: integer, answer: integer, id: integer)
---@field on_step? fun(rows: integer)

local known = {
  'k', 'max_new_tokens', 'stop_ids', 'temperature', 'top_p', 'top_k', 'min_p', 'seed', 'round',
  'batch', 'shared', 'on_token', 'on_step',
}

---@class sppo.sample.Prompt
---@field id integer       its number in the random draws
---@field tokens integer[] its token ids, not empty
---@field lengths? integer[] most tokens of each of its answers, where that is less than
---                         max_new_tokens

---@class sppo.sample.Answer
---@field tokens integer[]
---@field logprobs number[]   log pi_t of each token
---@field stopped boolean     false if it was clipped at max_new_tokens

--- Number of tokens that all of two or more prompts begin with, if it is worth computing them
--- apart; at least one token of each prompt is not among them.
---@param prompts sppo.sample.Prompt[]
---@return integer
function M.shared(prompts)
  if #prompts < 2 then return 0 end
  local first, n = prompts[1].tokens, math.huge
  for _, p in ipairs(prompts) do
    local same, most = 0, math.min(n, #first - 1, #p.tokens - 1)
    while same < most and p.tokens[same + 1] == first[same + 1] do same = same + 1 end
    n = same
  end
  return n >= WORTH_SHARING and n or 0
end

local function check_shared(prompts, shared)
  local first = prompts[1].tokens
  for i, p in ipairs(prompts) do
    for j = 1, shared do
      if p.tokens[j] ~= first[j] or #p.tokens == j then
        engine.raise('argument', ('sample: shared = %d, but prompt %d differs from the first ' ..
          'after %d tokens'):format(shared, i, j - 1), 3)
      end
    end
  end
end

local function check_lengths(i, p, options)
  for k = 1, options.k do
    check.number(('sample: prompt %d: lengths[%d]'):format(i, k), p.lengths[k], 'integer', 1, 2^20)
  end
end

local function check_prompts(prompts, options, config)
  local longest = 0
  for i, p in ipairs(prompts) do
    if p.lengths then check_lengths(i, p, options) end
    if #p.tokens == 0 then engine.raise('argument', ('sample: prompt %d is empty'):format(i), 3) end
    if #p.tokens + options.max_new_tokens > config.max_position_embeddings then
      engine.raise('argument', ('sample: prompt %d has %d tokens; with max_new_tokens = %d that ' ..
        'is more than the context of %d'):format(i, #p.tokens, options.max_new_tokens,
        config.max_position_embeddings), 3)
    end
    longest = math.max(longest, #p.tokens)
  end
  return longest
end

local function sampler(options)
  local o = ffi.new('sppo_sample_options')
  o.temperature = check.number('sample.temperature', options.temperature or 1, 'number', 0, 100)
  o.top_p = check.number('sample.top_p', options.top_p or 1, 'number', 0, 1)
  o.min_p = check.number('sample.min_p', options.min_p or 0, 'number', 0, 1)
  o.top_k = check.number('sample.top_k', options.top_k or 0, 'integer', 0, 2^30)
  return o
end

local Sampler = {}
Sampler.__index = Sampler

--- Draws a token for each row of `hidden` and gives it to its answer.
---@param hidden sppo.Tensor  [n, hidden]
---@param rows sppo.sample.Answer[]
function Sampler:draw(hidden, rows)
  local n, keys = #rows, self.keys
  for i, a in ipairs(rows) do
    local key = keys + 4 * (i - 1)
    key[0], key[1], key[2], key[3] = self.round, a.prompt.id, a.number - 1, #a.tokens
  end
  local logits = self.net.lm_head(hidden)
  try(C.sppo_sample_tokens(logits.h, self.sampler, self.seed, keys, self.ids, self.logprobs))
  for i = 1, n do
    local a, id = rows[i], self.ids[i - 1]
    a.tokens[#a.tokens + 1] = id
    a.logprobs[#a.logprobs + 1] = tonumber(self.logprobs[i - 1])
    a.stopped = self.stops[id] == true
    a.done = a.stopped or #a.tokens >= a.most
    if self.on_token then self.on_token(a.prompt.number, a.number, id) end
  end
end

--- Computes what all prompts begin with.
function Sampler:start()
  if self.shared == 0 then return end
  self.prefix = self.kv:open(nil, self.shared)
  self.at:add_slot(self.prefix, self.shared)
  local tokens = {}
  for i = 1, self.shared do tokens[i] = self.prompts[1].tokens[i] end
  scope.run(function()
    self.net(tensor.ints(tokens), self.at)
    self.at:commit()
  end)
  self.at:reset()
end

--- Takes as many of the next prompts as fit, computes them, and draws the first token of each
--- answer.
function Sampler:prefill()
  local batch, tokens, last = {}, {}, {}
  while self.next_prompt <= #self.prompts do
    local p = self.prompts[self.next_prompt]
    local own = #p.tokens - self.shared
    local too_many = #tokens + own > M.PREFILL or (#batch + 1) * self.k > self.capacity
    if #batch > 0 and too_many then break end
    -- Leaves room for at least one answer, so that the batch always goes on.
    local pages = math.ceil(own / segments.PAGE)
    if self.kv:pages_free() < self.answer_pages + pages then break end
    local slot = self.kv:open(self.prefix, own)
    self.at:add_slot(slot, own)
    for i = self.shared + 1, #p.tokens do tokens[#tokens + 1] = p.tokens[i] end
    local state = { id = p.id, number = self.next_prompt, slot = slot, left = self.k, answers = {} }
    for k = 1, self.k do
      local most = math.min(p.lengths and p.lengths[k] or math.huge, self.max_new_tokens)
      state.answers[k] = { prompt = state, number = k, most = most, tokens = {}, logprobs = {} }
      last[#last + 1] = #tokens - 1
    end
    batch[#batch + 1] = state
    self.next_prompt = self.next_prompt + 1
  end
  if #batch == 0 then return false end
  local rows = {}
  for _, state in ipairs(batch) do
    for _, a in ipairs(state.answers) do rows[#rows + 1] = a end
  end
  scope.run(function()
    local hidden = self.net(tensor.ints(tokens), self.at)
    -- The prompt's last row serves the first token of all its answers.
    for from = 1, #rows, self.capacity do
      local some, index = {}, {}
      for i = from, math.min(#rows, from + self.capacity - 1) do
        some[#some + 1], index[#index + 1] = rows[i], last[i]
      end
      self:draw(ops.take_rows(hidden, tensor.ints(index)), some)
    end
    self.at:commit()
  end)
  self.at:reset()
  for _, a in ipairs(rows) do
    if a.done then self:finish(a) else self.waiting[#self.waiting + 1] = a end
  end
  return true
end

--- The answer is whole; with the last of its prompt, the prompt's pages go back too.
---@param a table  one of `active`
function Sampler:finish(a)
  if a.slot then self.kv:close(a.slot) end
  local p = a.prompt
  p.left = p.left - 1
  if p.left > 0 then return end
  self.kv:close(p.slot)
  local answers = {}
  for i, answer in ipairs(p.answers) do
    answers[i] = { tokens = answer.tokens, logprobs = answer.logprobs, stopped = answer.stopped }
  end
  self.emit(p.number, answers)
end

--- Fills the batch: waiting answers first, then new prompts.
function Sampler:refill()
  while #self.active < self.capacity do
    local a = self.waiting[self.first_waiting]
    if a then
      a.slot = self.kv:open(a.prompt.slot, a.most)
      if not a.slot then return end
      self.waiting[self.first_waiting] = nil
      self.first_waiting = self.first_waiting + 1
      self.active[#self.active + 1] = a
    else
      self.waiting, self.first_waiting = {}, 1
      if not self:prefill() then return end
    end
  end
end

--- One token for each active answer.
function Sampler:step()
  local active, n = self.active, #self.active
  try(C.sppo_arena_begin(ARENA))
  local ok, err = pcall(scope.run, function()
    local last = self.last
    for i, a in ipairs(active) do
      last[i] = a.tokens[#a.tokens]
      self.at:add_slot(a.slot, 1)
    end
    self:draw(self.net(tensor.ints(last, n), self.at), active)
    self.at:commit()
  end)
  local status = C.sppo_arena_end(ARENA)
  self.at:reset()
  if not ok then error(err, 0) end
  try(status)
  local left = {}
  for _, a in ipairs(active) do
    if a.done then self:finish(a) else left[#left + 1] = a end
  end
  self.active = left
end

--- A sampler that has drawn nothing yet, with its store; nil if there are no prompts. `run` is what
--- most want.
---@param model sppo.Model
---@param prompts sppo.sample.Prompt[]
---@param options sppo.sample.Options
---@param emit fun(i: integer, answers: sppo.sample.Answer[])
function M.new(model, prompts, options, emit)
  check.options('sample', options, known)
  local k = check.number('sample.k', options.k, 'integer', 1, 4096)
  local max_new = check.number('sample.max_new_tokens', options.max_new_tokens, 'integer', 1, 2^20)
  local longest = check_prompts(prompts, options, model.config)
  local batch = check.number('sample.batch', options.batch or 64, 'integer', 1, 4096)
  local shared = check.number('sample.shared', options.shared or 0, 'integer', 0, 2^20)
  local capacity = math.min(batch, #prompts * k)
  if #prompts == 0 then return end
  check_shared(prompts, shared)

  -- Pages for a full batch, the prompts it continues, and as many whose last answers linger.
  local function pages(tokens) return math.ceil(tokens / segments.PAGE) end
  local prompts_alive = math.min(#prompts, 2 * math.ceil(capacity / k) + 2)
  local kv = segments.kv_cache(model.config,
    capacity * pages(max_new) + prompts_alive * pages(longest - shared) + pages(shared))
  local stops = {}
  for _, id in ipairs(options.stop_ids) do stops[id] = true end
  local rows = math.max(capacity, k)
  return setmetatable({
    net = model.net, prompts = prompts, k = k, max_new_tokens = max_new, stops = stops, kv = kv,
    answer_pages = pages(max_new),
    shared = shared, at = kv:segments(), capacity = capacity, active = {}, waiting = {},
    first_waiting = 1, next_prompt = 1, last = {},
    seed = options.seed or 0, round = options.round or 0, sampler = sampler(options),
    emit = emit,
    on_token = options.on_token, keys = ffi.new('uint32_t[?]', 4 * rows),
    ids = ffi.new('int32_t[?]', rows),
    logprobs = ffi.new('float[?]', rows),
  }, Sampler)
end

--- Gives the store and the arena back.
function Sampler:close()
  C.sppo_arena_free(ARENA)
  self.at:free()
  self.kv:free()
end

local function sample_on_device(model, prompts, options, emit)
  local s = M.new(model, prompts, options, emit)
  if not s then return end
  local recording = C.sppo_grad_enable(0)
  local ok, err = pcall(function()
    s:start()
    s:refill()
    while #s.active > 0 do
      s:step()
      if options.on_step then options.on_step(#s.active) end
      s:refill()
    end
  end)
  C.sppo_grad_enable(recording)
  s:close()
  if not ok then error(err, 0) end
end

--- Samples `options.k` answers of each prompt. `emit(number, answers)` is called once a prompt's
--- answers are whole; prompts finish in any order.
---@param model sppo.Model
---@param prompts sppo.sample.Prompt[]
---@param options sppo.sample.Options
---@param emit fun(number: integer, answers: sppo.sample.Answer[])
function M.run(model, prompts, options, emit)
  return tensor.on_device(model.device, sample_on_device, model, prompts, options, emit)
end

return M
