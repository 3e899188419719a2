--- Work whose instructions are counted (instructions_test.py): WORK names it, TIMES says how often
--- it is done after the first time. Tiny shapes; everything on one thread and interpreted.

jit.off()

local model_of = require 'sppo.model'
local ops = require 'sppo.ops'
local sample = require 'sppo.sample'
local scope = require 'sppo.scope'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'
local train = require 'sppo.train'

local times = tonumber(os.getenv 'TIMES')

local function model(dtype)
  return model_of.random({
    model_type = 'llama', vocab_size = 1024, hidden_size = 64, intermediate_size = 128,
    num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2, rope_theta = 10000,
    rms_norm_eps = 1e-5, max_position_embeddings = 512, tie_word_embeddings = true,
  }, 1, { dtype = dtype })
end

local function ids(n, seed)
  local list = {}
  for i = 1, n do list[i] = (seed * 37 + i * 101) % 1024 end
  return list
end

local work = {}

--- A decode step of 16 answers of 2 prompts.
local function decode(dtype)
  sample.run(model(dtype), { { id = 1, tokens = ids(20, 1) }, { id = 2, tokens = ids(20, 2) } }, {
    k = 8, batch = 16, stop_ids = {}, max_new_tokens = 3 + times, temperature = 0.7, top_p = 0.9,
  }, function() end)
end

function work.decode() decode('bf16') end
function work.decode_q8_0() decode('q8_0') end

--- An optimizer step over 2 prompts with 2 answers.
function work.train()
  local groups = {}
  for i = 1, 2 do
    groups[i] = { prompt = ids(24, i), pair = 0.95, answers = {
      { tokens = ids(20, 10 + i), logprob = -100, win = 0.95 },
      { tokens = ids(20, 20 + i), logprob = -100, win = 0.05 } } }
  end
  train.run(model('f32'), groups, {
    loss = 'sppo', eta = 1000, log_z = 'half', normalise = 'none', optimizer = 'rmsprop', lr = 0,
    schedule = 'constant', warmup = 0, clip = 1, batch = 2, epochs = 1 + times, micro_tokens = 512,
    checkpoint_seconds = math.huge,
  }, {
    round = 1, seed = 1, checkpoint = '/tmp/sppo-never-written', on_step = function() end,
    note = function() return {} end, stop = function() return false end,
  })
end

--- Log-probs of 192 tokens over 2,048 words, and their gradients.
function work.head()
  local hidden = tensor.zeros({ 192, 64 }):normal_(0, 1, 1):requires_grad_()
  local weight = ops.pack(tensor.zeros({ 2048, 64 }):normal_(0, 0.1, 2), 'f32'):requires_grad_()
  local target = tensor.ints(ids(192, 3))
  for _ = 0, times do
    scope.run(function() ops.token_logprob(hidden, weight, target):sum():backward() end)
    hidden:clear_grad_()
    weight:clear_grad_()
  end
end

sppo.threads(1)
work[os.getenv 'WORK']()
