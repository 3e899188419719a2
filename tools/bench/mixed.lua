--- Work for `peers run decode_mixed`: 16 prompts, 4 answers each, which end where the model ends
--- them. All 64 answers are decoded at once; the batch gets smaller as they finish.
---
---     sppo run tools/bench/mixed.lua --only sample out=DIR

local topics = {
  'the sea', 'a lighthouse', 'bread', 'winter', 'a violin', 'the moon', 'bees', 'a bridge',
  'old maps', 'rain', 'chess', 'a garden', 'trains', 'coffee', 'a mountain', 'paper',
}
local questions = {
  'Write one sentence about %s.', 'Tell me three facts about %s.',
  'Write a short story about %s.', 'Explain in a paragraph why people like %s.',
}

local prompts = {}
for i, topic in ipairs(topics) do
  prompts[i] = { text = questions[1 + (i - 1) % #questions]:format(topic) }
end

return {
  name = 'mixed',
  seed = 1,
  rounds = 1,
  policy = { model = 'smollm2-135m-instruct', dtype = 'bf16' },
  prompts = prompts,
  sample = { k = 4, temperature = 0.7, top_p = 0.9, max_new_tokens = 256, batch = 64 },
  preference = function(_, answers)
    local p = {}
    for i in ipairs(answers) do
      p[i] = {}
      for j in ipairs(answers) do p[i][j] = 0.5 end
    end
    return p
  end,
  train = { loss = 'sppo', eta = 1000, optimizer = 'rmsprop', lr = 1e-6, batch = 8 },
}
