--- One round of training: from the rows of selection to new weights.
---
--- Deterministic and resumable: the order of the rows is a function of (seed, round, epoch), so a
--- checkpoint is the parameters, the optimizer's state and the step. The processes of a run take
--- contiguous parts of a step's micro-batches (lua/sppo/data_parallel.lua); a checkpoint is whole.

local comm = require 'sppo.comm'
local data_parallel = require 'sppo.data_parallel'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local host = require 'sppo.host'
local json = require 'sppo.json'
local log_z = require 'sppo.log_z'
local losses = require 'sppo.losses'
local nn = require 'sppo.nn'
local ops = require 'sppo.ops'
local optim = require 'sppo.optim'
local scope = require 'sppo.scope'
local score = require 'sppo.score'
local shards = require 'sppo.shards'
local tensor = require 'sppo.tensor'

local C = engine.C

local M = {}

local SHUFFLE = 0x73687566 -- marks the draws that order the rows

--- The groups (one per prompt) in the order of an epoch.
---@param groups table[]
---@param seed integer
---@param round integer
---@param epoch integer  counts from 0
---@return table[]
function M.shuffled(groups, seed, round, epoch)
  local order = {}
  for i = 1, #groups do order[i] = groups[i] end
  for i = #order, 2, -1 do
    local j = 1 + math.floor(i * C.sppo_philox_uniform(seed, round, epoch, i, SHUFFLE))
    order[i], order[j] = order[j], order[i]
  end
  return order
end

local function floats(list) return tensor.tensor(list, { #list }) end

--- What a loss gets, for the groups of a micro-batch.
local function loss_batch(logprob, groups, prompts, options)
  local reference, win, share, per_token, excess = {}, {}, {}, {}, {}
  local chosen, rejected, pair = {}, {}, {}
  local eta, stands_for = options.eta, log_z[options.log_z]
  for _, g in ipairs(groups) do
    chosen[#chosen + 1] = #win
    rejected[#rejected + 1] = #win + #g.answers - 1
    pair[#pair + 1] = g.pair
    local above = stands_for(eta, g.wins) - eta / 2
    for _, a in ipairs(g.answers) do
      local n = #win + 1
      reference[n], win[n], share[n] = a.logprob, a.win, 1 / #g.answers
      per_token[n], excess[n] = 1 / math.max(1, #a.tokens), above
    end
  end
  return {
    logprob = logprob, reference = floats(reference), win = floats(win), share = floats(share),
    per_token = floats(per_token), excess = floats(excess),
    chosen = tensor.ints(chosen), rejected = tensor.ints(rejected), pair = floats(pair),
    prompts = prompts, eta = eta, normalise = options.normalise,
    label_smoothing = options.label_smoothing,
  }
end

--- Means that a step's metrics need, collected over its micro-batches.
local function measure(sums, groups, logprobs)
  local i = 0
  for _, g in ipairs(groups) do
    local first, last = i + 1, i + #g.answers
    local w, l = g.answers[1], g.answers[#g.answers]
    local dw, dl = logprobs[first] - w.logprob, logprobs[last] - l.logprob
    sums.chosen, sums.rejected = sums.chosen + logprobs[first], sums.rejected + logprobs[last]
    sums.ratio_w, sums.ratio_l = sums.ratio_w + dw, sums.ratio_l + dl
    sums.accuracy = sums.accuracy + (dw > dl and 1 or 0)
    sums.p_win, sums.p_lose = sums.p_win + w.win, sums.p_lose + l.win
    i = last
  end
end

---@class sppo.Objective   what an optimizer step lowers
---@field tokens fun(group: table): integer   that a group puts into a forward pass
---@field begin? fun(run: table, micros: table[][], groups: integer, first: integer, last: integer)
---   before a step's micro-batches, of which first .. last are this process's
---@field loss fun(run: table, micro: table[], groups: integer, sums: table): sppo.Tensor
---   of a micro-batch, divided by the groups of the whole step; adds what metrics need to `sums`
---@field metrics fun(sums: table, groups: integer, options: table): table

--- Losses of answers against pi_t (lua/sppo/losses.lua): what a round of self-play lowers.
---@type sppo.Objective
M.preference = { tokens = score.tokens }

--- Log-probs of a micro-batch's answers and its part of the loss of a step over `groups` prompts.
---@param run { model: sppo.Model, loss: function, options: table }
---@param micro table[]
---@param groups integer
---@return sppo.Tensor logprob, sppo.Tensor loss
function M.forward(run, micro, groups)
  local logprob = score.logprobs(run.model.net, micro, { recompute = run.options.recompute })
  return logprob, run.loss(loss_batch(logprob, micro, groups, run.options))
end

--- Losses whose terms depend on other prompts of the step.
local coupled = { kto_pair = true }

--- For these: all log-probs of the step without gradients, the loss of the whole step as a function
--- of them, and its derivative by each, which `loss` then carries on into the weights.
function M.preference.begin(run, micros, groups, first, last)
  run.ahead = nil
  if not coupled[run.options.loss] then return end
  local all, mine, list, before = {}, {}, {}, 0
  for i = first, last do
    local logprobs =
      scope.run(function() return score.logprobs(run.model.net, micros[i]):tolist() end)
    for _, x in ipairs(logprobs) do mine[#mine + 1] = x end
  end
  for rank, part in ipairs(comm.gather(mine)) do
    if rank - 1 < comm.rank() then before = before + #part end
    for _, x in ipairs(part) do list[#list + 1] = x end
  end
  for _, micro in ipairs(micros) do
    for _, g in ipairs(micro) do all[#all + 1] = g end
  end
  run.ahead = scope.run(function()
    local leaf = floats(list):requires_grad_()
    local value = run.loss(loss_batch(leaf, all, groups, run.options))
    value:backward()
    return { value = value:item(), slopes = leaf.grad:tolist(), taken = before }
  end)
end

function M.preference.loss(run, micro, groups, sums)
  local ahead = run.ahead
  if not ahead then
    local logprob, loss = M.forward(run, micro, groups)
    measure(sums, micro, logprob:tolist())
    return loss
  end
  local logprob = score.logprobs(run.model.net, micro, { recompute = run.options.recompute })
  local list = logprob:tolist()
  measure(sums, micro, list)
  local slopes, at = {}, 0
  for i, x in ipairs(list) do
    slopes[i] = ahead.slopes[ahead.taken + i]
    at = at + slopes[i] * x
  end
  -- Its value is the step's loss with the first micro-batch and nothing with the others.
  local value = ahead.taken == 0 and ahead.value or 0
  ahead.taken = ahead.taken + #list
  return ops.sum(ops.mul(logprob, floats(slopes))) + (value - at)
end

function M.preference.metrics(sums, n, t)
  local beta = 1 / t.eta
  return {
    ['logps/chosen'] = sums.chosen / n, ['logps/rejected'] = sums.rejected / n,
    ['rewards/chosen'] = beta * sums.ratio_w / n, ['rewards/rejected'] = beta * sums.ratio_l / n,
    ['rewards/margins'] = beta * (sums.ratio_w - sums.ratio_l) / n,
    ['rewards/accuracies'] = sums.accuracy / n,
    ['sppo/residual_w'] = (sums.ratio_w - t.eta * (sums.p_win - n / 2)) / n,
    ['sppo/residual_l'] = (sums.ratio_l - t.eta * (sums.p_lose - n / 2)) / n,
    ['sppo/eta'] = t.eta,
  }
end

local function zero() return 0 end

--- Losses of all micro-batches in their order, tokens and sums of all processes.
local function together(losses_of, tokens, sums)
  local loss, all, whole = 0, 0, setmetatable({}, { __index = zero })
  for _, part in ipairs(comm.gather { losses = losses_of, tokens = tokens, sums = sums }) do
    for _, x in ipairs(part.losses) do loss = loss + x end
    all = all + part.tokens
    for name, x in pairs(part.sums) do whole[name] = whole[name] + x end
  end
  return loss, all, whole
end

--- The update, by one process or by all.
local function update(run, lr, number)
  local clip = run.options.clip
  if comm.size() == 1 then
    return optim.step(run.optimizer, run.parameters, run.state, lr, number, clip)
  end
  return data_parallel.step(run.optimizer, run.parameters, run.owners, run.state, lr, number, clip)
end

--- One optimizer step over some groups: gradients of all micro-batches, then the update. nil if
--- `stop` asks for an end between two micro-batches: nothing has changed then. (Several processes
--- end after a step.)
local function step(run, groups, number, total)
  local t, n, objective = run.options, #groups, run.objective
  local sums, list, tokens = setmetatable({}, { __index = zero }), {}, 0
  local micros = score.micro_batches(groups, t.micro_tokens, objective.tokens)
  local first, last = shards.part(#micros, comm.rank(), comm.size())
  if objective.begin then objective.begin(run, micros, n, first, last) end
  for i = first, last do
    local micro = micros[i]
    if i > 1 and comm.size() == 1 and run.stop() then
      for _, p in ipairs(run.parameters) do p.owner[p.key]:clear_grad_() end
      return nil
    end
    list[#list + 1] = scope.run(function()
      local value = objective.loss(run, micro, n, sums)
      value:backward()
      return value:item()
    end)
    for _, g in ipairs(micro) do tokens = tokens + objective.tokens(g) end
    if run.on_micro then run.on_micro(tokens) end
  end
  local loss
  loss, tokens, sums = together(list, tokens, sums)
  if loss ~= loss or math.abs(loss) == math.huge then
    engine.raise('nonfinite', ('train: the loss is %s at step %d; no weight was changed'):format(
      tostring(loss), number))
  end
  local lr = t.lr * optim.schedule(t.schedule, number - 1, total, t.warmup, t.from_zero)
  local norm = update(run, lr, number)
  local metrics = objective.metrics(sums, n, t)
  metrics.round, metrics.step, metrics.loss, metrics.grad_norm = run.round, number, loss, norm
  metrics.learning_rate, metrics.num_tokens = lr, tokens
  metrics.epoch = number / total * t.epochs
  return metrics
end

-- ---- checkpoints ----

--- Every tensor of a checkpoint with its name, in a fixed order; `owner`: the process that has it,
--- nil: all.
local function checkpoint_tensors(run)
  local list = {}
  for _, p in ipairs(run.parameters) do
    local t = p.owner[p.key]
    list[#list + 1] = { name = p.name, dtype = 'f32', shape = t.shape, tensor = t }
    local state = run.state[p.name] or {}
    for _, s in ipairs(run.optimizer.states) do
      list[#list + 1] = { name = ('%s#%s'):format(p.name, s), dtype = 'f32', shape = t.shape,
        tensor = state[s], like = t, owner = run.owners[p.name] }
    end
  end
  return list
end

--- Writes a tensor of a checkpoint, once its owner has handed it over.
local function write_tensor(w, entry)
  scope.run(function()
    local t = entry.tensor
    if not t then
      t = optim.zeros_like(entry.like)
      comm.move(t, entry.owner, 0)
    end
    if t.layout == 'panels' then t = t:unpack() end
    w:write(t:on 'cpu')
  end)
end

--- Saves the run's state at a step, whole or not at all. The first process writes.
---@param run table
---@param path string
---@param note table  kept beside it, as JSON
function M.save(run, path, note)
  local list = checkpoint_tensors(run)
  if not comm.first() then
    for _, entry in ipairs(list) do
      if entry.owner == comm.rank() then comm.move(entry.tensor, entry.owner, 0) end
    end
    return
  end
  files.atomic_folder(path, function(folder)
    files.write(folder .. '/state.json', json.encode(note))
    local w = files.safetensors_writer(folder .. '/state.safetensors', list)
    for _, entry in ipairs(list) do write_tensor(w, entry) end
    w:close()
  end)
end

--- Loads a checkpoint into the run; nil if there is none.
local function restore(run, path)
  if not files.complete(path) then return end
  local note, err = files.json(path .. '/state.json')
  if not note then engine.raise('format', err) end
  local f
  f, err = files.safetensors(path .. '/state.safetensors')
  if not f then engine.raise('format', err) end
  for _, entry in ipairs(checkpoint_tensors(run)) do
    -- Of the optimizer's state a process wants its own.
    if entry.tensor then scope.run(function()
      local t = f:tensor(entry.name):on(entry.tensor.device)
      entry.tensor:copy_(entry.tensor.layout == 'panels' and t:pack('f32') or t)
    end) end
  end
  return note
end

--- Raises if what training keeps for each parameter (value, gradient, optimizer's state) can't fit
--- into this machine's memory, or a checkpoint and the new weights onto the disk.
local function check_room(run)
  local parameters, states, own = 0, #run.optimizer.states, 0
  for _, p in ipairs(run.parameters) do parameters = parameters + p.owner[p.key]:count() end
  for _, p in ipairs(run.owned) do own = own + p.owner[p.key]:count() end
  local total, need = host.total_memory(), 4 * (2 * parameters + own * states)
  if run.model.device == 'cpu' and need > total * 0.95 then
    engine.raise('memory', ('train: %d parameters with gradients and %s\'s state take %.1f GiB, ' ..
      'this machine has %.1f GiB; set train.optimizer = \'sgd\' or take a smaller model'):format(
      parameters, run.options.optimizer, need / 2^30, total / 2^30))
  end
  if not comm.first() then return end
  local folder = run.checkpoint:match('^(.*)/') or '.'
  local free, wanted = files.disk_free(folder), 4 * parameters * (2 + states)
  if wanted > free then
    engine.raise('io', ('%s: a checkpoint and the new weights take %.1f GiB, the disk has ' ..
      '%.1f GiB free; make room or set out=DIR on another disk'):format(folder, wanted / 2^30,
      free / 2^30))
  end
end

local function train_on_device(model, groups, options, run)
  local total = math.ceil(#groups / options.batch) * options.epochs
  run.model, run.options = model, options
  run.objective = run.objective or M.preference
  run.loss = type(options.loss) == 'function' and options.loss or losses[options.loss]
  run.optimizer = optim.new(options.optimizer, options.optimizer_options)
  run.parameters = nn.parameters(model.net)
  run.owners = shards.owners(run.parameters, comm.size())
  run.owned = shards.owned(run.parameters, run.owners, comm.rank())
  check_room(run)
  for _, p in ipairs(run.parameters) do p.owner[p.key]:requires_grad_() end
  run.state = optim.state(run.optimizer, run.owned)

  local note = restore(run, run.checkpoint)
  local number = note and note.step or 0
  if note and run.on_resume then run.on_resume(note) end
  local saved = C.sppo_clock()
  local function save()
    local n = comm.first() and run.note() or {}
    n.step = number
    M.save(run, run.checkpoint, n)
    saved = C.sppo_clock()
  end
  -- Whether any process was asked to stop, and whether the first one wants to save.
  local function agreed()
    local stop = run.stop()
    local save_now = number < total and C.sppo_clock() - saved >= options.checkpoint_seconds
    for i, one in ipairs(comm.gather { stop = stop, save = save_now }) do
      stop = stop or one.stop
      if i == 1 then save_now = one.save end
    end
    return stop, save_now
  end

  local per_epoch = math.ceil(#groups / options.batch)
  local finished = true
  while number < total do
    local epoch = math.floor(number / per_epoch)
    local order = M.shuffled(groups, run.seed, run.round, epoch)
    local batch = {}
    local first = (number % per_epoch) * options.batch
    for i = first + 1, math.min(#order, first + options.batch) do batch[#batch + 1] = order[i] end
    local metrics = step(run, batch, number + 1, total)
    if metrics then
      number = number + 1
      run.on_step(metrics, number, total)
    end
    local stop, save_now = true, false
    if metrics then stop, save_now = agreed() end
    if stop then
      save()
      finished = false
      break
    end
    if save_now then save() end
  end
  for _, p in ipairs(run.parameters) do p.owner[p.key]:requires_grad_(false) end
  for _, state in pairs(run.state) do
    for _, s in pairs(state) do s:release() end
  end
  return finished
end

--- Trains `model` (f32) in place.
---@param model sppo.Model
---@param groups table[]   { prompt, answers = { { tokens, win, logprob } }, pair }, or what another
---   objective takes
---@param options table    the recipe's `train`, resolved for this round
---@param run { objective?: sppo.Objective, round: integer, seed: integer, checkpoint: string,
---   on_step: fun(metrics, step, total),
---   on_micro?: fun(tokens), on_resume?: fun(note), note: fun(): table, stop: fun(): boolean }
---@return boolean finished  false if `stop` asked to end early; the checkpoint is saved then
function M.run(model, groups, options, run)
  return tensor.on_device(model.device, train_on_device, model, groups, options, run)
end

return M
