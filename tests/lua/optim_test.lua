--- Optimizers against PyTorch's (tests/golden/optim.json, made by tools/golden/optim.py), and what
--- they refuse.

local compare = require 'support.compare'
local lu = require 'luaunit'
local optim = require 'sppo.optim'
local shell = require 'support.shell'
local sppo = require 'sppo'

local engine = require 'sppo.ffi'

local C = engine.C
local tests = {}

local names = {
  rmsprop = { state = { v = 'square_avg' } },
  adamw = { state = { m = 'exp_avg', v = 'exp_avg_sq' } },
  sgd = { state = {} },
}

--- The golden case's options as ours; nil if it needs one that we do not have (momentum).
local function options_of(case)
  local o = case.options
  if o.momentum and o.momentum ~= 0 then return end
  return {
    alpha = o.alpha, eps = o.eps, weight_decay = o.weight_decay,
    beta1 = o.betas and o.betas[1], beta2 = o.betas and o.betas[2],
  }
end

--- The parameters after each step, and the state at the end; in rows or in panels.
local function steps(golden, case, layout)
  local optimizer = optim.new(case.optimizer, options_of(case))
  local n = #golden.start
  local function place(values)
    local t = sppo.tensor(values, { 3, n / 3 })
    return layout == 'panels' and t:pack('f32') or t
  end
  local p, state, after = place(golden.start), {}, {}
  for _, s in ipairs(optimizer.states) do state[s] = optim.zeros_like(p) end
  for i, grad in ipairs(golden.grads) do
    optimizer.step(p, place(grad).h, state, case.lr[i], 1, i)
    after[i] = p:tolist()
  end
  return after, state
end

local function check_golden(name)
  local golden, count = shell.golden('optim.json'), 0
  for number, case in ipairs(golden.cases) do
    if case.optimizer == name and options_of(case) then
      count = count + 1
      for _, layout in ipairs { 'rows', 'panels' } do
        for _, isa in ipairs { 'plain', 'avx2', 'avx512', 'avx512vnni' } do
          local was = sppo.cpu_name()
          if pcall(sppo.cpu_use, isa) then
            local after, state = steps(golden, case, layout)
            sppo.cpu_use(was)
            for i, want in ipairs(case.after) do
              compare.close(after[i], want, 1e-6,
                ('case %d, %s, step %d'):format(number, isa, i), 0.1)
            end
            for ours, theirs in pairs(names[name].state) do
              local what = ('case %d, %s, %s'):format(number, isa, theirs)
              compare.close(state[ours]:tolist(), case.state_at_end[theirs], 1e-6, what, 0.1)
            end
          end
        end
      end
    end
  end
  lu.assertTrue(count >= 2, name .. ': too few golden cases')
end

for name in pairs(names) do
  tests['test_' .. name .. '_is_pytorchs'] = function() check_golden(name) end
end

--- scale multiplies the gradient first, as clipping does.
function tests.test_scale()
  local golden = shell.golden('optim.json')
  local function stepped(grad, scale)
    local p, v = sppo.tensor(golden.start), sppo.zeros { #golden.start }
    engine.try(C.sppo_rmsprop_step(p.h, sppo.tensor(grad).h, v.h, 0.01, 0.99, 1e-8, 0.1, scale))
    return p:tolist()
  end
  local quarter = {}
  for i, g in ipairs(golden.grads[1]) do quarter[i] = g / 4 end
  compare.same_bits(stepped(golden.grads[1], 0.25), stepped(quarter, 1), 'scale 1/4')
end

--- A step over enough values for several threads: each value's bits are its own.
function tests.test_threads()
  local was, n = sppo.threads(), 100003
  local want
  for threads = 1, 3 do
    sppo.threads(threads)
    local p, g = sppo.zeros({ n }):normal_(0, 1, 1), sppo.zeros({ n }):normal_(0, 1, 2)
    local m, v = sppo.zeros({ n }):normal_(0, 1, 3), sppo.zeros({ n }):uniform_(0, 1, 4)
    engine.try(C.sppo_adamw_step(p.h, g.h, m.h, v.h, 0.1, 0.9, 0.999, 1e-8, 0.01, 0.5, 3))
    engine.try(C.sppo_rmsprop_step(p.h, g.h, v.h, 0.1, 0.99, 1e-8, 0.01, 0.5))
    engine.try(C.sppo_sgd_step(p.h, g.h, 0.1, 0.01, 0.5))
    want = want or p:tolist()
    compare.same_bits(p:tolist(), want, threads .. ' threads')
  end
  sppo.threads(was)
end

--- clip_grad_norm_ over all tensors by one norm.
function tests.test_clipping_is_pytorchs()
  for i, case in ipairs(shell.golden('optim.json').clip) do
    local parameters, sum = {}, 0
    for k, values in ipairs(case.grads) do
      local t = sppo.tensor(values):requires_grad_()
      parameters[k] = { owner = { w = t }, key = 'w', name = 'w' .. k }
      sppo.ops.sum(sppo.ops.mul(t, sppo.tensor(values))):backward()
    end
    -- sgd at rate 1 from the gradients themselves: what is left is gradient - clipped.
    local norm = optim.step(optim.new('sgd'), parameters, {}, 1, 1, case.max_norm)
    lu.assertAlmostEquals(norm / case.norm, 1, 1e-6, 'norm of case ' .. i)
    for k, values in ipairs(case.grads) do
      local left, want = parameters[k].owner.w:tolist(), {}
      for j, v in ipairs(values) do want[j] = v - case.clipped[k][j] end
      compare.close(left, want, 1e-6, ('clip %d, tensor %d'):format(i, k), 100)
      sum = sum + #values
    end
    lu.assertTrue(sum > 0)
  end
end

--- A gradient that is not finite changes no weight.
function tests.test_nonfinite_gradient()
  for _, bad in ipairs { 0 / 0, math.huge } do
    local t = sppo.tensor { 1, 2 }:requires_grad_()
    sppo.ops.sum(sppo.ops.mul(t, sppo.tensor { 1, bad })):backward()
    local parameters = { { owner = { w = t }, key = 'w', name = 'w' } }
    lu.assertErrorMsgContains('no weight was changed',
      optim.step, optim.new('sgd'), parameters, {}, 1, 7, 1)
    lu.assertEquals(t:tolist(), { 1, 2 })
  end
end

local function refused(message, step, ...)
  lu.assertErrorMsgEquals(message, function(...) engine.try(step(...)) end, ...)
end

function tests.test_refusals()
  local p, g, v = sppo.zeros { 2, 3 }, sppo.zeros { 2, 3 }, sppo.zeros { 2, 3 }
  local sgd, rmsprop, adamw = C.sppo_sgd_step, C.sppo_rmsprop_step, C.sppo_adamw_step
  refused('sgd: p is [3, 2], grad is [2, 3]', sgd, sppo.zeros({ 3, 2 }).h, g.h, 1, 0, 1)
  refused('sgd: p is bf16, it must be f32', sgd, p:to('bf16').h, g.h, 1, 0, 1)
  refused('sgd: grad is bf16, it must be f32', sgd, p.h, g:to('bf16').h, 1, 0, 1)
  refused('sgd: p is in panels, it must be in rows', sgd, p:pack('f32').h, g.h, 1, 0, 1)
  refused('sgd: p has gaps (shape [2, 3]); it is changed in place and must have none', sgd,
    sppo.zeros({ 3, 2 }):transpose(1, 2).h, g.h, 1, 0, 1)
  refused('sgd: inputs 0 and 1 are on different devices, cpu and meta',
    sgd, sppo.zeros({ 2, 3 }, 'f32', 'meta').h, g.h, 1, 0, 1)
  refused('sgd: a setting is NaN or infinite, or becomes so in f32', sgd, p.h, g.h, 0 / 0, 0, 1)
  refused('rmsprop: v is [6], grad is [2, 3]',
    rmsprop, p.h, g.h, sppo.zeros({ 6 }).h, 1, 0.9, 1e-8, 0, 1)
  refused('adamw: m is [6], grad is [2, 3]',
    adamw, p.h, g.h, sppo.zeros({ 6 }).h, v.h, 1, 0.9, 0.99, 1e-8, 0, 1, 1)
  refused('adamw: step must be in 1..9223372036854775807, got 0',
    adamw, p.h, g.h, v.h, v.h, 1, 0.9, 0.99, 1e-8, 0, 1, 0)
  refused('rmsprop: a setting is NaN or infinite, or becomes so in f32',
    rmsprop, p.h, g.h, v.h, 1e300, 0.9, 1e-8, 0, 1)
end

function tests.test_options()
  lu.assertErrorMsgContains('unknown optimizer \'rmsporp\' (did you mean \'rmsprop\'?)',
    optim.new, 'rmsporp')
  lu.assertErrorMsgContains('rmsprop: unknown option \'alpah\' (did you mean \'alpha\'?)',
    optim.new, 'rmsprop', { alpah = 0.9 })
end

return tests
