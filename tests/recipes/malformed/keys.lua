--- Keys that there are not: each with what was probably meant.

local function top(key, hint)
  return { 'rounds = 3,', key .. ' = 3,', ('unknown key \'%s\' (did you mean \'%s\'?)'):format(key,
    hint) }
end
local function train(key, hint)
  return { 'loss = \'sppo\', eta = 10,', key .. ' = 3,', ('unknown key \'train.%s\' (did you ' ..
    'mean \'train.%s\'?)'):format(key, hint) }
end
local function sample(key, hint)
  return { 'k = 4, max_new_tokens = 12,', key .. ' = 3,', ('unknown key \'sample.%s\' (did you ' ..
    'mean \'sample.%s\'?)'):format(key, hint) }
end

return {
  top('seeed', 'seed'), top('round', 'rounds'), top('trian', 'train'), top('smaple', 'sample'),
  top('promts', 'prompts'), top('heldout', 'held_out'), top('prefernce', 'preference'),
  top('Name', 'name'), top('polcy', 'policy'), top('evalute', 'evaluate'),
  top('on_steps', 'on_step'),
  top('eta', 'train.eta'), top('lr', 'train.lr'), top('temperature', 'sample.temperature'),
  top('epochs', 'train.epochs'), top('optimizer', 'train.optimizer'), top('dtype', 'policy.dtype'),
  top('iterations', 'rounds'), top('beta', 'train.eta'),
  train('lrr', 'lr'), train('learning_rate', 'lr'), train('beta', 'eta'),
  train('optimiser', 'optimizer'),
  train('batch_size', 'batch'), train('epoch', 'epochs'), train('warm_up', 'warmup'),
  train('max_len', 'max_length'), train('max_prompts', 'max_prompt'),
  train('normalize', 'normalise'),
  train('micro_token', 'micro_tokens'), train('logz', 'log_z'), train('ETA', 'eta'),
  sample('temprature', 'temperature'), sample('topp', 'top_p'), sample('top_n', 'top_k'),
  sample('n', 'k'),
  sample('max_tokens', 'max_new_tokens'), sample('K', 'k'), sample('minp', 'min_p'),
  { 'evaluate = { k = 4 }', 'evaluate = { k = 4, no = 1 }', 'unknown key \'evaluate.no\'' },
  { 'policy = {', 'policy = { modle = 1,', '(did you mean \'policy.model\'?)' },
  { 'policy = {', 'policy = { [1] = 1,', 'unknown key \'policy.1\'' },
  { 'policy = {', 'policy = { \'x\',', 'unknown key \'policy.1\'' },
  { 'rounds = 3,', 'compat = { double_boss = true },', '(did you mean \'compat.double_bos\'?)' },
  { 'rounds = 3,', 'plan = { prompt = 3 },', '(did you mean \'plan.prompts\'?)' },
  { 'rounds = 3,', '[true] = 3,', line = false, want = 'unknown key \'true\'' },
  { 'rounds = 3,', '[{}] = 3,', line = false, want = 'unknown key \'(a table)\'' },
  { 'rounds = 3,', '[1.5] = 3,', line = false, want = 'unknown key \'1.5\'' },
  { 'rounds = 3,', '[\'a\\nb\'] = 3,', line = false, want = 'unknown key \'a\\10b\'' },
  { 'rounds = 3,', '[(\'x\'):rep(9999)] = 3,', line = false, want = 'xxx...\'' },
  { 'rounds = 3,', '{ \'x\' },', line = false, want = 'unknown key \'1\'' },
}
