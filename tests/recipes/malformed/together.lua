--- Values that are right one by one and do not go together.

local function top(text, want, line) return { 'rounds = 3,', text, line = line, want = want } end
local function sample(text, want) return { 'k = 4, max_new_tokens = 12,', text, want } end
local NO_ROOM = 'leaves no room for answers in train.max_length'
local SAME = 'all answers of a prompt are the same'

return {
  { 'max_prompt = 32', 'max_prompt = 64', 'train.max_prompt = 64 ' .. NO_ROOM .. ' = 64' },
  { 'max_prompt = 32', 'max_prompt = 65', 'train.max_prompt = 65 ' .. NO_ROOM },
  { 'max_length = 64', 'max_length = 32', 'train.max_prompt = 32 ' .. NO_ROOM },
  { 'max_prompt = 32', 'max_prompt = { 8, 8, 64 }', 'round 3: train.max_prompt = 64' },
  { 'max_prompt = 32', 'max_prompt = function(t) return 32 * t end', 'round 2: train.max_prompt' },
  sample('temperature = 0,', 'sample.temperature = 0 draws the likeliest token alone: ' .. SAME),
  sample('temperature = { 1, 0, 1 },', 'round 2: sample.temperature = 0'),
  sample('temperature = function(t) return 3 - t end,', 'round 3: sample.temperature = 0'),
  sample('top_k = 1,', 'sample.top_k = 1 draws the likeliest token alone: ' .. SAME),
  sample('min_p = 1,', 'sample.min_p = 1 draws the likeliest token alone: ' .. SAME),
  { 'evaluate = { k = 4 }', 'evaluate = { on = \'validation\' }',
    'evaluate.on is \'validation\', and there is no validation' },
  { 'held_out = held_out', 'held_out = prompts', 'all of held_out are training prompts too' },
  { 'held_out = held_out', 'held_out = { prompts[2] }',
    'all of held_out are training prompts too' },
  { 'held_out = held_out', 'held_out = { { tokens = { 1, 3, 39 } } }', 'all of held_out are' },
  { 'held_out = held_out', 'held_out = held_out, validation = prompts', 'all of validation are' },
  { 'held_out = held_out', 'held_out = function() return prompts end', 'all of held_out are' },
  { 'prompts = prompts', 'prompts = function() return held_out end', line = 33,
    want = 'all of held_out are training prompts too' },
  { 'optimizer = \'rmsprop\'', 'optimizer_options = { alhpa = 0.9 }',
    'rmsprop: unknown option \'alhpa\' (did you mean \'alpha\'?)' },
  { 'optimizer = \'rmsprop\'', 'optimizer_options = { beta1 = 0.9 }',
    'rmsprop: unknown option \'beta1\'' },
  { 'optimizer = \'rmsprop\'', 'optimizer = \'sgd\', optimizer_options = { eps = 1 }',
    'sgd: unknown option \'eps\'' },
  { 'optimizer = \'rmsprop\'', 'optimizer_options = { alpha = \'x\' }',
    'rmsprop: alpha must be a number in 0..1, got \'x\'' },
  { 'optimizer = \'rmsprop\'', 'optimizer_options = { alpha = 1.5 }', 'rmsprop: alpha must be' },
  { 'optimizer = \'rmsprop\'', 'optimizer = \'adamw\', optimizer_options = { beta1 = 1 }',
    'adamw: beta1 must be a number in 0..0.999999, got 1' },
  { 'max_position_embeddings = 64', 'max_position_embeddings = 12', line = false,
    want = 'are over the model\'s 12 positions' },
  sample('max_new_tokens = 62,', 'a prompt of 3 tokens and max_new_tokens = 62 are over'),
  { 'evaluate = { k = 4 }', 'evaluate = { max_new_tokens = 62 }',
    'held_out: a prompt of 3 tokens' },
  top('rounds = 2, train_lr = 1,', 'unknown key \'train_lr\''),
}
