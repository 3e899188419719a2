--- The five stages of a round: each reads the files of the one before it and writes its own.

local check = require 'sppo.check'
local comm = require 'sppo.comm'
local compat = require 'sppo.compat'
local deal_of = require 'sppo.selfplay.deal'
local engine = require 'sppo.ffi'
local evaluate = require 'sppo.evaluate'
local files = require 'sppo.files'
local host = require 'sppo.host'
local json = require 'sppo.json'
local model_of = require 'sppo.model'
local msgpack = require 'sppo.msgpack'
local preference = require 'sppo.preference'
local prompts = require 'sppo.selfplay.prompts'
local recipe_file = require 'sppo.selfplay.recipe_file'
local recipe_of = require 'sppo.selfplay.recipe'
local report_run = require 'sppo.report.run'
local run_folder = require 'sppo.selfplay.run_folder'
local sample = require 'sppo.sample'
local scope = require 'sppo.scope'
local score = require 'sppo.score'
local select_of = require 'sppo.select'
local tensor = require 'sppo.tensor'
local train = require 'sppo.train'

local C = engine.C

---@class sppo.Run
---@field recipe sppo.Recipe
---@field folder sppo.RunFolder   in processes beside the first one that writes nothing (follower)
---@field rounds integer
---@field preference? sppo.Preference
---@field stopped? boolean  the user asked to stop: stages return at once
---@field say fun(self, text: string)  a line of the log
local Run = {}
Run.__index = Run

local M = { Run = Run }

local function write_recipe(recipe, folder)
  files.write(folder:file('recipe.lua'), recipe.source)
  local resolved = json.encode(recipe_of.resolved(recipe), { indent = true })
  files.write(folder:file('recipe.resolved.json'), resolved .. '\n')
  local listing = {}
  for i, entry in ipairs(recipe_of.listing(recipe)) do listing[i] = json.encode(entry) end
  files.write(folder:file('recipe.origins.jsonl'), table.concat(listing, '\n') .. '\n')
end

--- A run of a recipe over its open folder. Writes the recipe into it, as text and resolved.
---@param recipe sppo.Recipe
---@param folder sppo.RunFolder
---@param options { only?: string, progress?: function, say?: function, stop?: fun(): boolean,
---  smaller?: fun(overrides?: string) }  smaller: told what makes the stage need less memory
---@return sppo.Run
function M.new(recipe, folder, options)
  local log = folder:file('log.txt')
  if comm.first() then write_recipe(recipe, folder) end
  return setmetatable({
    recipe = recipe, folder = folder, rounds = recipe.values.rounds,
    preference = recipe.values.preference and preference.new(recipe.values.preference),
    only = options.only, stop = options.stop or function() return false end,
    progress = function(_, ...) if options.progress then options.progress(...) end end,
    smaller = function(_, text) if options.smaller then options.smaller(text) end end,
    say = function(_, text)
      if not comm.first() then return end
      files.append(log, text .. '\n', false)
      if options.say then options.say(text) end
    end,
  }, Run)
end

--- Opens the weights that round `t` starts from (those of round t - 1), stored as `dtype`. Their
--- values are those of the policy's dtype: training starts from what was sampled from.
---@param t integer
---@param dtype 'f32'|'bf16'|'q8_0'
---@return sppo.Model
function Run:open_model(t, dtype)
  local policy = self.recipe.values.policy
  local options = { dtype = dtype, values = policy.dtype, device = policy.device }
  if t == 1 and type(policy.model) == 'table' then
    return model_of.random(policy.model, self.recipe.values.seed, options)
  end
  local name = t == 1 and policy.model or self.folder:file(('round-%d/weights'):format(t - 1))
  local model, err = model_of.open(name, options)
  if not model then error(err, 0) end
  return model
end

--- The model of round t stored as `dtype`, kept between stages until another is asked for.
local function kept_model(self, t, dtype)
  if self.model_round ~= t or self.model.dtype ~= dtype then
    self:drop_model()
    self.model, self.model_round = self:open_model(t, dtype), t
  end
  return self.model
end

--- The model as it is sampled from, kept between stages until its weights change.
---@param t integer
---@return sppo.Model
function Run:sampling_model(t) return kept_model(self, t, self.recipe.values.policy.dtype) end

--- The model whose log-probs training starts from. On the CPU those of the model that is sampled
--- from have the same bits; elsewhere products with bf16 weights round their input, and training
--- has f32 weights.
---@param t integer
---@return sppo.Model
function Run:scoring_model(t)
  local policy = self.recipe.values.policy
  return kept_model(self, t, policy.device == 'cpu' and policy.dtype or 'f32')
end

--- Releases the model that is kept for sampling.
function Run:drop_model()
  if self.model then model_of.release(self.model) end
  self.model, self.model_round = nil, nil
end

--- What ends an answer of a model.
---@param model sppo.Model
---@return integer[]
function M.stop_ids(model)
  return #model.eos_ids > 0 and model.eos_ids or { 0 }
end

local MEET = 16 -- decoding steps between two meetings of the processes of a run

--- The record file of a stage, open in the first process alone, and its number of records.
local function open_records(path)
  if not comm.first() then return nil, 0 end
  local records, err = files.records(path, true)
  if not records then error(err, 0) end
  return records, records:count()
end

--- Raises what a stage failed with, once its records are closed.
local function fail(records, failure)
  if records then pcall(records.close, records) end
  error(failure, 0)
end

local function close(records)
  if not records then return end
  records:sync()
  records:close()
end

--- Sums of each process's counts, by name.
local function sums_of(counts)
  local sums = {}
  for _, entry in ipairs(comm.gather(counts)) do
    for name, n in pairs(entry) do sums[name] = (sums[name] or 0) + n end
  end
  return sums
end

--- A line of perf.jsonl: rates, and memory at the peak; with several processes, of each, and the
--- bytes that it has sent since `sent`.
local function perf(run, line, seconds, device, sent)
  local memory = tensor.memory_peak(device)
  line.seconds, line.tokens_per_second = seconds, line.tokens / math.max(seconds, 1e-9)
  line.memory_peak, line.memory, line.memory_scratch = memory.peak, memory.kinds, memory.scratch
  if comm.size() > 1 then
    line.processes = comm.gather { memory_peak = memory.peak, memory = memory.kinds,
      sent = tonumber(C.sppo_comm_bytes()) - sent }
  end
  run.folder:perf(line)
end

--- Samples `list` into a record file, in the order of the prompts; goes on after what is there.
--- The processes of a run take prompts in turn.
---@param path string
---@param t integer
---@param list table[]     prompts
---@param options table    the recipe's `sample` or `evaluate`, of this round
---@param label 'sample'|'evaluate'
---@return boolean finished
function Run:sample_into(path, t, list, options, label)
  tensor.reset_memory_peak(self.recipe.values.policy.device)
  self:smaller() -- nothing shrinks weights
  local model = self:sampling_model(t)
  self:smaller(('%s.batch=%d'):format(label, math.ceil(options.batch / 2)))
  local records, have = open_records(path)
  local deal = deal_of.new(have, #list, function(record) records:append_packed(record) end)
  local switches = self.recipe.values.compat
  local all, tokens = prompts.tokens(model, list, switches), {}
  for n, i in ipairs(deal.mine) do tokens[n] = all[i] end
  local shared = sample.shared(all)

  local counts, started = { drawn = 0, whole = 0, cut_off = 0 }, C.sppo_clock()
  local last_sync, steps, sent = started, 0, tonumber(C.sppo_comm_bytes())
  local stopped = {}
  local ok, failure = pcall(sample.run, model, tokens, {
    k = options.k, temperature = options.temperature, top_p = options.top_p, top_k = options.top_k,
    min_p = options.min_p, max_new_tokens = options.max_new_tokens, batch = options.batch,
    seed = self.recipe.values.seed, round = switches.same_draws and label == 'sample' and 1 or t,
    stop_ids = M.stop_ids(model), shared = shared,
    on_step = function(rows)
      counts.drawn, steps = counts.drawn + rows, steps + 1
      local now = C.sppo_clock()
      if records and now - last_sync > 1 then
        records:sync()
        last_sync = now
      end
      local rate = ('%.0f tok/s'):format(counts.drawn / (now - started))
      self:progress(label, deal.written, #list, { rate })
      if comm.size() > 1 and steps % MEET > 0 then return end
      if deal:meet(self.stop()) then error(stopped, 0) end
    end,
  }, function(number, answers)
    for _, a in ipairs(answers) do
      local how = a.stopped and 'whole' or 'cut_off'
      counts[how] = counts[how] + 1
      a.text = prompts.answer_text(model, a)
      a.tokens, a.logprobs = msgpack.i32(a.tokens), msgpack.f32(a.logprobs)
    end
    local item = deal.mine[number]
    deal:give(item, msgpack.pack { id = list[item].id, kind = list[item].kind,
      text = list[item].text, messages = list[item].messages,
      prompt = msgpack.i32(tokens[number].tokens), shared = shared, answers = answers })
  end)
  if not ok and failure ~= stopped then fail(records, failure) end
  if ok and comm.size() > 1 then ok = deal:finish(self.stop) end
  close(records)
  local sums = sums_of(counts)
  perf(self, { stage = label, round = t, tokens = sums.drawn }, C.sppo_clock() - started,
    model.device, sent)
  if ok and sums.cut_off > 9 * sums.whole then
    local round = label == 'evaluate' and t - 1 or t -- the start's is round 0
    self:say(('warning: round %d: %d of %d answers do not end within %s.max_new_tokens = %d')
      :format(round, sums.cut_off, sums.cut_off + sums.whole, label, options.max_new_tokens))
  end
  return ok
end

local function read(path)
  local list, err = files.read_records(path)
  if not list then error(err, 0) end
  return list
end

--- K answers of each prompt of round t.
---@param t integer  the round, from 1
function Run:sample(t)
  local options = recipe_of.at_round(self.recipe, 'sample', t)
  local list = self:prompts_of(t)
  local name = ('round-%d/answers.msgpack'):format(t)
  self.folder:make_folder('round-' .. t)
  local inputs = {
    'sample', options, prompts.digest(list), self.recipe.values.seed, self:policy_key(),
  }
  self:stage('sample', t, inputs,
    { name }, function()
      return self:sample_into(self.folder:file(name), t, list, options, 'sample')
    end)
end

--- Texts of a prompt's answers, and how each ended.
local function answer_texts(record)
  local texts, details = {}, {}
  for k, a in ipairs(record.answers) do
    texts[k], details[k] = a.text, { stopped = a.stopped, tokens = #a.tokens }
  end
  return texts, details
end

--- The matrix of each prompt's answers. The processes of a run take prompts in turn.
---@param t integer  the round, from 1
function Run:prefer(t)
  local name = ('round-%d/preference.msgpack'):format(t)
  self:stage('prefer', t, { 'prefer', self:preference_key() }, { name }, function()
    local list = self:prompts_of(t)
    local answers = read(self.folder:file(('round-%d/answers.msgpack'):format(t)))
    local records, have = open_records(self.folder:file(name))
    local deal = deal_of.new(have, #answers, function(record) records:append_packed(record) end)
    local stopped = false
    -- An error of the recipe's keeps its traceback: nothing is caught here.
    for n, i in ipairs(deal.mine) do
      local texts, details = answer_texts(answers[i])
      local p = preference.matrix(self.preference, list[i], texts, details)
      deal:give(i, msgpack.pack { id = answers[i].id, matrix = p, wins = preference.wins(p) })
      self:progress('prefer', deal.written, #answers)
      if comm.size() == 1 or n % MEET == 0 then stopped = deal:meet(self.stop()) end
      if stopped then break end
    end
    if comm.size() > 1 and not stopped then stopped = not deal:finish(self.stop) end
    if not stopped and records then
      self.folder:metrics(M.preference_metrics(t, answers, records))
    end
    close(records)
    if stopped then return false end
  end)
end

--- What a round's answers and their matrices say, as metrics.
---@param t integer
---@param answers table[]
---@param records sppo.Records   a matrix of each
---@return table<string, number>
function M.preference_metrics(t, answers, records)
  local sums = { clipped = 0, answers = 0, length = 0, ties = 0, pairs = 0, cycles = 0,
    triples = 0 }
  for i, record in ipairs(answers) do
    for _, a in ipairs(record.answers) do
      sums.answers, sums.length = sums.answers + 1, sums.length + #a.tokens
      sums.clipped = sums.clipped + (a.stopped and 0 or 1)
    end
    M.count_ties(records, i, sums)
  end
  return {
    round = t, ['pref/tie_ratio'] = sums.ties / math.max(1, sums.pairs),
    ['pref/cycle_ratio'] = sums.cycles / math.max(1, sums.triples),
    ['completions/mean_length'] = sums.length / sums.answers,
    ['completions/clipped_ratio'] = sums.clipped / sums.answers,
  }
end

--- Counts equal pairs and intransitive triples of record i's matrix into `sums`.
---@param records sppo.Records
---@param i integer
---@param sums { ties: integer, pairs: integer, cycles: integer, triples: integer }
function M.count_ties(records, i, sums)
  local p = records:read(i).matrix
  local k = #p
  for a = 1, k do
    for b = a + 1, k do
      sums.pairs = sums.pairs + 1
      if p[a][b] == 0.5 then sums.ties = sums.ties + 1 end
      for c = b + 1, k do
        sums.triples = sums.triples + 1
        local ab, bc, ca = p[a][b] > 0.5, p[b][c] > 0.5, p[c][a] > 0.5
        local ba, cb, ac = p[b][a] > 0.5, p[c][b] > 0.5, p[a][c] > 0.5
        if (ab and bc and ca) or (ba and cb and ac) then sums.cycles = sums.cycles + 1 end
      end
    end
  end
end

--- The first `room` tokens of an answer, and whether there were more.
local function cut(answer, room)
  if #answer.tokens <= room then return answer.tokens, false end
  local tokens = {}
  for i = 1, room do tokens[i] = answer.tokens[i] end
  return tokens, true
end

--- The row of a prompt's selected answers, with log pi_t as it was recorded while sampling; nil and
--- the reason if it can't be trained on.
local function row_of(record, judged, selector, options, switches)
  local wins, matrix = judged.wins, judged.matrix
  local indices, reason = select_of.call(selector, record.answers, wins, matrix)
  if not indices then return nil, reason end
  local estimates = reason or wins
  if #record.prompt > options.max_prompt and not switches.keep_end then return nil, 'too_long' end
  local row = { id = record.id, prompt = record.prompt, shared = record.shared, answers = {},
    wins = wins, pair = matrix[indices[1]][indices[#indices]] }
  for n, k in ipairs(indices) do
    local a = record.answers[k]
    local tokens, truncated = a.tokens, false
    if not switches.keep_end then
      tokens, truncated = cut(a, options.max_length - #record.prompt)
    end
    row.answers[n] = { index = k, tokens = tokens, truncated = truncated, stopped = a.stopped,
      win = estimates[k], logprob = select_of.answer_logprob(a.logprobs, #tokens) }
  end
  return row
end

--- log pi_t of rows' answers by pi_t itself, where they are not what was sampled, or where recorded
--- and rescored log-probs may differ. Returns the largest difference from what was recorded.
---@param t integer
---@param rows table[]   changed in place
---@param options table  the recipe's `train`, of this round
---@return number largest
function Run:rescore(t, rows, options)
  local model, largest = self:scoring_model(t), 0
  for _, micro in ipairs(score.micro_batches(rows, options.micro_tokens)) do
    local logprobs, i = scope.run(function()
      return score.logprobs(model.net, micro):tolist()
    end), 0
    for _, row in ipairs(micro) do
      for _, answer in ipairs(row.answers) do
        i = i + 1
        local recorded = answer.logprob or logprobs[i]
        largest = math.max(largest, math.abs(logprobs[i] - recorded))
        answer.logprob = logprobs[i]
      end
    end
  end
  return largest
end

local CHUNK = 64 -- rows that are held at once

--- Writes what `next_row` gives (a row, false for none of a prompt, nil at the end) as round t's
--- rows, changed by the recipe's `compat` first. `score_all`: log pi_t was not recorded, or by sums
--- in other orders than training's.
---@param t integer
---@param path string
---@param options table         the recipe's `train`, of this round
---@param next_row fun(): table|false|nil
---@param score_all? boolean
---@return integer written, integer truncated answers, number largest difference by rescoring
function Run:write_rows(t, path, options, next_row, score_all)
  local switches, written, truncated, largest = self.recipe.values.compat, 0, 0, 0
  files.remove(path)
  local records, err = files.records(path, true)
  if not records then error(err, 0) end
  local rows = {}
  local function flush()
    local changed = compat.changes_rows(switches)
    if changed then compat.rows(switches, self:sampling_model(t), rows, options) end
    if changed or score_all then
      largest = math.max(largest, self:rescore(t, rows, options))
    end
    for _, row in ipairs(rows) do
      row.prompt = msgpack.i32(row.prompt)
      for _, a in ipairs(row.answers) do
        truncated = truncated + (a.truncated and 1 or 0)
        a.tokens, a.truncated, a.stopped = msgpack.i32(a.tokens), nil, nil
      end
      records:append(row)
    end
    written, rows = written + #rows, {}
  end
  for row in next_row do
    rows[#rows + 1] = row or nil
    if #rows == CHUNK then flush() end
  end
  flush()
  records:sync()
  records:close()
  return written, truncated, largest
end

--- The rows that training reads: a prompt with its chosen answers, their estimates and log pi_t.
---@param t integer  the round, from 1
function Run:select(t)
  local options = recipe_of.at_round(self.recipe, 'train', t)
  local how, switches = self.recipe.values.select, self.recipe.values.compat
  local name = ('round-%d/rows.msgpack'):format(t)
  local key = type(how) == 'function' and self:source_key() or how
  local inputs = { 'select', key, options.max_prompt, options.max_length, switches }
  self:stage('select', t, inputs, { name }, function()
    if not comm.first() then return end
    local selector = type(how) == 'function' and how or select_of[how]
    local answers = read(self.folder:file(('round-%d/answers.msgpack'):format(t)))
    local matrices = read(self.folder:file(('round-%d/preference.msgpack'):format(t)))
    local counts, i = { tie = 0, identical = 0, too_long = 0 }, 0
    -- cuBLAS may add in another order for another number of rows, and rounds for bf16 weights.
    local approximate = self.recipe.values.policy.device ~= 'cpu'
    local used, truncated, rescored = self:write_rows(t, self.folder:file(name), options, function()
      i = i + 1
      if not answers[i] then return nil end
      local row, reason = row_of(answers[i], matrices[i], selector, options, switches)
      if row then return row end
      counts[reason] = (counts[reason] or 0) + 1
      return false
    end, approximate)
    self.folder:metrics { round = t, ['select/used'] = used, ['select/tie'] = counts.tie,
      ['select/identical'] = counts.identical, ['select/too_long'] = counts.too_long,
      ['data/truncated_ratio'] = truncated / math.max(1, used),
      ['select/rescored_difference'] = approximate and rescored or nil }
    self:say(('round %d: %d of %d prompts give a pair (%d tie, %d identical, %d too long)'):format(
      t, used, #answers, counts.tie, counts.identical, counts.too_long))
  end)
end

--- Rows from pairs that are there already (lua/sppo/data/uclaml.lua), in place of sampling, judging
--- and selecting: for recipes with a `run` of their own. log pi_t is computed by pi_t.
---@param t integer
---@param pairs_of { messages: table[], chosen: string, rejected: string, pair: number, win: number,
---   lose: number }[]
function Run:given(t, pairs_of)
  local options = recipe_of.at_round(self.recipe, 'train', t)
  local name = ('round-%d/rows.msgpack'):format(t)
  self.folder:make_folder('round-' .. t)
  local inputs = { 'given', pairs_of, options.max_prompt, options.max_length, self:policy_key() }
  self:stage('given', t, inputs, { name }, function()
    local switches, model, i = self.recipe.values.compat, self:sampling_model(t), 0
    local function row(pair)
      local list = { { id = i - 1, messages = pair.messages } }
      local made = { id = i - 1, prompt = prompts.tokens(model, list, switches)[1].tokens,
        shared = 0, answers = {}, pair = pair.pair, wins = { pair.win, pair.lose } }
      if #made.prompt > options.max_prompt and not switches.keep_end then return false end
      for n, text in ipairs { pair.chosen, pair.rejected } do
        local tokens, truncated = model.tokenizer:encode(text), false
        tokens[#tokens + 1] = model.eos_ids[1]
        if not switches.keep_end then
          tokens, truncated = cut({ tokens = tokens }, options.max_length - #made.prompt)
        end
        made.answers[n] = { index = n, tokens = tokens, truncated = truncated, stopped = true,
          win = made.wins[n] }
      end
      return made
    end
    local used, truncated = self:write_rows(t, self.folder:file(name), options, function()
      i = i + 1
      return pairs_of[i] and row(pairs_of[i])
    end, true)
    self.folder:metrics { round = t, ['select/used'] = used,
      ['select/too_long'] = #pairs_of - used, ['data/truncated_ratio'] = truncated /
        math.max(1, used) }
    self:say(('round %d: %d of %d given pairs are used (%d too long)'):format(t, used, #pairs_of,
      #pairs_of - used))
  end)
end

--- Raises with what to change if selection left nothing to train on.
local function check_rows(rows, t)
  if #rows == 0 then
    engine.raise('runtime', ('round %d: no prompt gives a pair: all answers tie or are ' ..
      'identical; more answers (sample.k), a higher sample.temperature, or other prompts are ' ..
      'needed'):format(t))
  end
end

--- A loss of the recipe's own, whose mistakes are said at its line.
local function checked_loss(loss, path)
  return function(b)
    local ok, value = xpcall(loss, recipe_file.explain(path), b)
    if not ok then error(value, 0) end
    if not (tensor.is_tensor(value) and value:count() == 1) then
      engine.raise('argument', ('%strain.loss: a tensor of one value is wanted, got %s'):format(
        check.place(loss), tensor.is_tensor(value) and ('one of %d'):format(value:count()) or
        'a ' .. type(value)))
    end
    return value
  end
end

--- Trains a model on groups for an objective, with checkpoints, progress and metrics, and saves it
--- as round t's weights. To be called inside a stage whose outputs are the two paths below.
---@param t integer
---@param model sppo.Model|sppo.PairRM   f32; released
---@param groups table[]
---@param options table      as the recipe's `train`, of this round
---@param objective sppo.Objective
---@return boolean finished
function Run:fit(t, model, groups, options, objective)
  local name, checkpoint = ('round-%d/weights'):format(t), ('round-%d/checkpoint'):format(t)
  self.folder:make_folder('round-' .. t)
  if type(options.loss) == 'function' then
    options.loss = checked_loss(options.loss, self.recipe.path)
  end
  local started, tokens, sent = C.sppo_clock(), 0, tonumber(C.sppo_comm_bytes())
  local before, current = self.folder:metrics_size(), 0
  local steps = math.ceil(#groups / options.batch) * options.epochs
  self:smaller(('train.micro_tokens=%d train.recompute=true'):format(
    math.ceil(options.micro_tokens / 2)))
  local finished = train.run(model, groups, options, {
    objective = objective, round = t, seed = self.recipe.values.seed,
    checkpoint = self.folder:file(checkpoint),
    note = function() return { metrics = self.folder:metrics_since(before) } end,
    on_resume = function(note)
      self.folder:metrics_text(note.metrics)
      current = note.step
      self:say(('round %d: training goes on after step %d of %d'):format(t, note.step, steps))
    end,
    on_micro = function(done)
      local rate = (tokens + done) / (C.sppo_clock() - started)
      self:progress('train', current, steps, { ('%.0f tok/s'):format(rate) })
    end,
    on_step = function(metrics, number)
      current, tokens = number, tokens + metrics.num_tokens
      self.folder:metrics(metrics)
      local on_step = comm.first() and self.recipe.values.on_step
      if on_step then on_step(metrics, self) end
      self:progress('train', number, steps, {
        ('loss %.4g'):format(metrics.loss), ('margin %.3f'):format(metrics['rewards/margins']),
        ('%.0f tok/s'):format(tokens / (C.sppo_clock() - started)),
      })
    end,
    stop = self.stop,
  })
  perf(self, { stage = 'train', round = t, tokens = tokens }, C.sppo_clock() - started,
    model.device, sent)
  if finished and comm.first() then
    local save = model.save or model_of.save
    save(model, self.folder:file(name), self.recipe.values.policy.dtype)
    files.remove(self.folder:file(checkpoint))
  end
  model_of.release(model)
  return finished
end

--- New weights from the rows.
---@param t integer  the round, from 1
function Run:train(t)
  local options = recipe_of.at_round(self.recipe, 'train', t)
  local name = ('round-%d/weights'):format(t)
  local checkpoint = ('round-%d/checkpoint'):format(t)
  options.from_zero = self.recipe.values.compat.schedule
  local key = {}
  for k, v in pairs(options) do
    if k ~= 'checkpoint_seconds' then key[k] = type(v) == 'function' and self:source_key() or v end
  end
  local inputs = { 'train', key, self.recipe.values.policy.dtype }
  self:stage('train', t, inputs, { name, checkpoint }, function()
    local rows = read(self.folder:file(('round-%d/rows.msgpack'):format(t)))
    check_rows(rows, t)
    self:drop_model()
    tensor.reset_memory_peak(self.recipe.values.policy.device)
    return self:fit(t, self:open_model(t, 'f32'), rows, options, train.preference)
  end)
end

--- Answers of round t's weights to the held-out prompts (t = 0: the start), and what they say.
---@param t integer  the round, 0: the start
function Run:evaluate(t)
  local options = recipe_of.at_round(self.recipe, 'evaluate', t)
  local given = self.recipe.values[options.on]
  if not given or not self.preference then return end
  local list = prompts.list(given, t, options.on)
  local name = ('round-%d/evaluation.msgpack'):format(t)
  self.folder:make_folder('round-' .. t)
  self:stage('evaluate', t, { 'evaluate', options, prompts.digest(list), self.recipe.values.seed,
    self:preference_key(), self:policy_key() }, { name }, function()
    local path = self.folder:file(name)
    if not self:sample_into(path, t + 1, list, options, 'evaluate') then return false end
    local new = read(path)
    local old = t == 0 and new or read(self.folder:file('round-0/evaluation.msgpack'))
    local seed = self.recipe.values.seed
    local metrics = evaluate.metrics(self.preference, list, new, old, seed)
    for earlier = 1, t - 1 do
      local answers = read(self.folder:file(('round-%d/evaluation.msgpack'):format(earlier)))
      local rates = evaluate.win_rates(self.preference, list, new, answers)
      metrics['eval/win_rate_against/' .. earlier],
        metrics['eval/win_rate_against_low/' .. earlier],
        metrics['eval/win_rate_against_high/' .. earlier] = evaluate.bootstrap(rates, seed)
    end
    metrics.round = t
    self.folder:metrics(metrics)
    self:say(M.evaluation_text(t, metrics))
  end)
end

--- True if the recipe's `on_round` wants no round after t. It is asked anew when a run goes on,
--- with the metrics that stand in the run folder.
---@param t integer
---@return boolean
function Run:ends_after(t)
  local on_round = self.recipe.values.on_round
  if self.stopped or self.only or not on_round then return false end
  if not comm.first() then return comm.share() end
  local metrics = assert(report_run.load(self.folder.path)).rounds[t] or {}
  local answer = on_round(t, metrics, self)
  if answer ~= nil and answer ~= 'stop' then
    engine.raise('recipe', ('%son_round: gave %s after round %d; \'stop\' or nothing is wanted'
      ):format(check.place(on_round), tostring(answer), t))
  end
  return comm.share(answer == 'stop')
end

--- "round 2: pass rate 0.53, win rate 0.61 (0.56..0.66) against the start, mean length 38"
---@param t integer
---@param metrics table<string, number>
---@return string
function M.evaluation_text(t, metrics)
  local parts = {}
  if metrics['eval/pass_rate'] then
    parts[#parts + 1] = ('pass rate %.3f'):format(metrics['eval/pass_rate'])
  end
  if metrics['eval/win_rate'] then
    parts[#parts + 1] = ('win rate %.3f (95 %%: %.3f..%.3f) against the start'):format(
      metrics['eval/win_rate'], metrics['eval/win_rate_low'], metrics['eval/win_rate_high'])
  end
  parts[#parts + 1] = ('mean length %.1f tokens'):format(metrics['eval/mean_length'])
  return ('round %d: %s'):format(t, table.concat(parts, ', '))
end

--- How far training moved the log-probs of round t's rows: with D = log pi_t+1(y) - log pi_t(y),
--- summed over the answer's tokens, the means of D over chosen and over rejected answers, and the
--- share of each that rose. The paper says of these that SPPO raises the chosen and lowers the
--- rejected, which losses of the difference alone need not do (section 4.5).
---@param t integer  the round, from 1
function Run:likelihood(t)
  self:stage('likelihood', t, { 'likelihood' }, {}, function()
    local rows = read(self.folder:file(('round-%d/rows.msgpack'):format(t)))
    local model = self:scoring_model(t + 1)
    local sums = { chosen = 0, rejected = 0, chosen_up = 0, rejected_up = 0 }
    local done = 0
    for _, micro in ipairs(score.micro_batches(rows, 512)) do
      local logprobs = scope.run(function()
        return score.logprobs(model.net, micro):tolist()
      end)
      local i = 0
      for _, g in ipairs(micro) do
        for n, a in ipairs(g.answers) do
          local which = n == 1 and 'chosen' or n == #g.answers and 'rejected'
          local d = logprobs[i + n] - a.logprob
          if which then
            sums[which] = sums[which] + d
            sums[which .. '_up'] = sums[which .. '_up'] + (d > 0 and 1 or 0)
          end
        end
        i, done = i + #g.answers, done + 1
      end
      self:progress('likelihood', done, #rows)
      if self.stop() then return false end
    end
    self.folder:metrics { round = t,
      ['likelihood/chosen'] = sums.chosen / #rows, ['likelihood/rejected'] = sums.rejected / #rows,
      ['likelihood/chosen_up'] = sums.chosen_up / #rows,
      ['likelihood/rejected_up'] = sums.rejected_up / #rows }
  end)
end

-- A recipe's own `run` calls these: a missing round is its mistake, said at its line.
for _, name in ipairs { 'sample', 'prefer', 'select', 'given', 'train', 'evaluate',
  'likelihood' } do
  local method, least = Run[name], name == 'evaluate' and 0 or 1
  Run[name] = function(self, t, ...)
    check.number(('run:%s: the round'):format(name), t, 'integer', least, 1e6)
    return method(self, t, ...)
  end
end

-- ---- keys ----

--- What a stage's key says of the policy.
---@return table
function Run:policy_key()
  local policy = self.recipe.values.policy
  local device = policy.device ~= 'cpu' and policy.device or nil
  return { policy.model, policy.dtype, self.recipe.values.compat, device }
end

--- Recipes' functions can't be hashed: their text stands for them.
function Run:source_key() return files.sha256(self.recipe.sources) end

--- What a stage's key says of the preference: its `key`, else the recipe's text.
---@return string
function Run:preference_key() return self.preference.key or self:source_key() end

--- The prompts of round t (sppo.selfplay.prompts).
---@param t integer
---@return table[]
function Run:prompts_of(t) return prompts.list(self.recipe.values.prompts, t, 'prompts') end

--- The processor's own name, nil where there is none to read.
local function processor()
  local file = io.open('/proc/cpuinfo')
  if not file then return end
  local text = file:read(2^16) or ''
  file:close()
  return text:match('model name%s*:%s*([^\n]+)')
end

--- Where a run was made, for its report.
local function environment()
  local build = host.build
  local version = build.commit ~= '' and ('%s (%s)'):format(build.version, build.commit)
  return { stage = 'start', version = version or build.version,
    cpu = engine.ffi.string(engine.C.sppo_cpu_name()), threads = engine.C.sppo_threads(),
    processor = processor(), total_memory = host.total_memory() }
end

--- One stage of the run folder, with the key chained to the stage before it.
---@param stage string
---@param t integer
---@param inputs any[]        what its key hashes
---@param outputs string[]    its files
---@param work fun(fresh: boolean): boolean?
function Run:stage(stage, t, inputs, outputs, work)
  if self.stopped then return end
  local key = run_folder.key(self.last_key or '', inputs)
  self.last_key = key
  local name = ('round-%d/%s'):format(t, stage)
  if self.only and (self.only ~= stage or self.only_done) then
    self.folder:skip(name, key)
    return
  end
  local told = not comm.first()
  local function tell(works, fresh)
    if not told then comm.share { key = key, work = works, fresh = fresh } end
    told = true
  end
  local finished, worked = self.folder:stage(name, key, outputs, function(fresh)
    tell(true, fresh)
    if not self.noted then self.folder:perf(environment()) end
    self.noted = true
    -- What the stage before left to the collector is not this one's peak.
    collectgarbage()
    collectgarbage()
    return work(fresh)
  end)
  tell(false, false)
  comm.barrier() -- what the first process wrote is there for the others
  -- With --only, one stage is done: the first of its name that was not.
  self.only_done = worked
  self.stopped = not finished
  self:progress()
end

return M
