--- Functions of a recipe that give junk, or fail, when they are called in a run.

--- A recipe of one round with another preference: the body of `prefer(prompt, answers)`.
local function prefer(body, want, line)
  return { 'preference = {', ('preference = function(_, answers) %s end, plan = nil and {'):format(
    body), line = line, want = want }
end
--- With a key more.
local function with(text, want, code)
  return { 'rounds = 3,', text, want = want, code = code }
end
local function loss(body, want)
  return { 'loss = \'sppo\'', ('loss = function(b) %s end'):format(body), want = want }
end
--- answers as a matrix of one value.
local function all(value)
  return ('local p = {} for i in ipairs(answers) do p[i] = {} for j in ipairs(answers) do ' ..
    'p[i][j] = %s end end return p'):format(value)
end

local cases = {
  -- The matrix.
  prefer('', 'preference: prompt 0: a matrix of 4 rows was expected, got nil'),
  prefer('return 1', 'a matrix of 4 rows was expected, got number'),
  prefer('return \'p\'', 'a matrix of 4 rows was expected, got string'),
  prefer('return {}', 'a matrix of 4 rows was expected, got 0 rows'),
  prefer('return { 0.1, 0.2, 0.3, 0.4 }', 'preference: prompt 0: row 1 must have 4 numbers, got ' ..
    '0.1: P[i][j] is the probability that answer i beats answer j'),
  prefer('return { {}, {}, {}, {} }', 'row 1 must have 4 numbers, got 0'),
  prefer('return { { 1, 1, 1, 1 }, 2, 3, 4 }', 'row 2 must have 4 numbers, got 2'),
  prefer('return answers', 'row 1 must have 4 numbers, got string'),
  prefer(all '0 / 0', 'P[1][1] must be in 0..1, got '),
  prefer(all '1 / 0', 'P[1][1] must be in 0..1, got inf'),
  prefer(all '-0.1', 'P[1][1] must be in 0..1, got -0.1'),
  prefer(all '1.5', 'P[1][1] must be in 0..1, got 1.5'),
  prefer(all '\'0.5\'', 'P[1][1] must be in 0..1, got 0.5'),
  prefer(all 'i', 'P[2][1] must be in 0..1, got 2'),
  prefer(all 'true', 'P[1][1] must be in 0..1, got true'),
  prefer(all '1', 'P[2][1] + P[1][2] is 2, it must be near 1'),
  prefer(all '0', 'P[2][1] + P[1][2] is 0, it must be near 1'),
  prefer(all '#answers[i] > 0 and 1 or 0', 'it must be near 1'),
  prefer('local p = { { 0.5, 0.5, 0.5, 0.5 } } p[2] = p[1] p[3] = p[1] return p', 'got 3 rows'),
  -- Errors in it.
  prefer('return answers.x.y', 'attempt to index field \'x\''),
  prefer('error(\'no judge\')', 'no judge'),
  prefer('error(\'no judge\', 0)', 'no judge'),
  prefer('error({ code = 0 })', 'error(a table) says nothing'),
  prefer('error()', 'error(nil) says nothing'),
  prefer('best = answers[1]', 'sets the global \'best\''),
  prefer('os.exit(0)', 'calls os.exit'),
  prefer('local function f() return 1 + f() end f()', 'stack overflow', false),
  prefer('local x = answers[1] + 1 return x .. {}', 'attempt to'),
  { 'return even_share(answer) > 0.5', 'return 0', want = 'preference.pass: prompt 2147483648: ' ..
    'true or false is wanted, got 0' },
  { 'return even_share(answer) > 0.5', 'return nil',
    want = 'true or false is wanted, got nil' },
  { 'return even_share(answer) > 0.5', 'return answer > 0.5', want = 'attempt to compare' },
  -- Which answers are trained on.
  with('select = function() return 3 end,', 'select: indices of at least two answers are wanted'),
  with('select = function() return {} end,', 'are wanted, chosen first, got 0 of them'),
  with('select = function() return { 1 } end,', 'are wanted, chosen first, got 1 of them'),
  with('select = function() return { 0, 1 } end,', 'select: index 1 is 0, the answers are 1..4'),
  with('select = function() return { 1, 5 } end,', 'select: index 2 is 5, the answers are 1..4'),
  with('select = function() return { 1, 1.5 } end,', 'select: index 2 is 1.5'),
  with('select = function() return { 1, \'2\' } end,', 'select: index 2 is 2, the answers are'),
  with('select = function() return { 2, 2 } end,', 'select: answer 2 is there twice'),
  with('select = function() return { 1, 2 }, 3 end,', 'the estimates must be a number for each'),
  with('select = function() return { 1, 2 }, { 1 } end,', 'the estimates must be a number'),
  with('select = function() return { 1, 2 }, { 1, 2, 3, 4 } end,', 'estimate 2 must be a number'),
  with('select = function() return nil, 3 end,', 'after nil comes a text that says why'),
  with('select = function() error(\'no pair\') end,', 'no pair'),
  with('select = function(a) return a.x.y end,', 'attempt to index field \'x\''),
  -- The loss.
  loss('', 'train.loss: a tensor of one value is wanted, got a nil'),
  loss('return 1', 'train.loss: a tensor of one value is wanted, got a number'),
  loss('return b.logprob', 'train.loss: a tensor of one value is wanted, got one of '),
  loss('return b.logprop:sum()', 'attempt to index field \'logprop\''),
  loss('error(\'no loss\')', 'no loss'),
  loss('return (b.logprob + b.pair):sum()', 'add: a is ['),
  -- What is told about it.
  with('on_step = function() error(\'no step\') end,', 'no step'),
  with('on_step = function(m) return m.x.y end,', 'attempt to index field \'x\''),
  with('on_round = function() return \'halt\' end,', 'on_round: gave halt after round 1'),
  with('on_round = function() return true end,', 'on_round: gave true after round 1'),
  with('on_round = function() error(\'no round\') end,', 'no round'),
  with('run = function(r) r:sampel(1) end,', 'attempt to call method \'sampel\''),
  with('run = function(r) r:sample() end,', 'run:sample: the round must be an integer'),
  with('run = function() error() end,', 'error(nil) says nothing'),
  with('run = function() error({}) end,', 'error(a table) says nothing'),
  with('run = function(r) r:branch(\'a/b\', {}, print) end,', 'is not a name for a folder'),
  with('run = function(r) r:branch(\'b\', { trian = {} }, print) end,', 'unknown key \'trian\''),
  with('run = function(r) r:branch(\'b\', { train = { lr = 2 } }, print) end,',
    'train.lr must be a number in 0..1, got 2'),
  with('run = function(r) r:train(1) end,', 'round-1/rows.msgpack: cannot open', 6),
  -- Prompts that are known only in the run.
  { 'prompts = prompts,', 'prompts = function() return { { tokens = { 99 } } } end,', line = false,
    want = 'prompts[1].tokens[1] must be an integer in 0..47, got 99' },
  -- Nothing to learn from.
  { 'sample = { k = 4,', 'sample = { k = 4, top_p = 1e-9,',
    want = 'no prompt gives a pair', code = 1,
    line = false },
  { 'loss = \'sppo\', eta = 10,', 'loss = function(b) return (b.logprob * (0 / 0)):sum() end,',
    want = 'train: the loss is ', code = 5, line = false },
}

for _, case in ipairs(cases) do
  case.args = { 'run', 'RECIPE', 'out=FOLDER/run', '-q', 'rounds=1', 'sample.max_new_tokens=4',
    'evaluate.k=1', 'train.epochs=1', 'train.checkpoint_seconds=99' }
end
return cases
