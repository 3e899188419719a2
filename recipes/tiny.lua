--- A two-layer random model learns to prefer even tokens: the whole of sppo in a few seconds,
--- without a download. The recipe that the tests run, kill, and run again.
---
---     sppo run recipes/tiny.lua

local prompts, held_out = {}, {}
for i = 1, 16 do
  prompts[i] = { tokens = { 1, 2 + i, 40 - i } }
  held_out[i] = { tokens = { 1, 20 + i, 3 + i } }
end

--- Share of even tokens in an answer (its text is its token ids).
local function even_share(answer)
  local even, n = 0, 0
  for id in answer:gmatch('%d+') do
    even, n = even + (id % 2 == 0 and 1 or 0), n + 1
  end
  return even / n
end

return {
  name = 'tiny',
  seed = 1,
  rounds = 3,
  policy = {
    model = {
      model_type = 'llama', vocab_size = 48, hidden_size = 32, intermediate_size = 64,
      num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2,
      max_position_embeddings = 64, tie_word_embeddings = true, eos_token_id = 0,
    },
  },
  prompts = prompts,
  held_out = held_out,
  sample = { k = 4, max_new_tokens = 12, batch = 16 },
  preference = {
    key = 'even tokens',
    pass = function(_, answer) return even_share(answer) > 0.5 end,
    prefer = function(_, answers)
      local p = {}
      for i, a in ipairs(answers) do
        p[i] = {}
        for j, b in ipairs(answers) do
          p[i][j] = 1 / (1 + math.exp(4 * (even_share(b) - even_share(a))))
        end
      end
      return p
    end,
  },
  train = {
    loss = 'sppo', eta = 10, optimizer = 'rmsprop', lr = 2e-3, batch = 4, epochs = 2,
    max_prompt = 32, max_length = 64, micro_tokens = 64, checkpoint_seconds = 0,
  },
  evaluate = { k = 4 },
}
