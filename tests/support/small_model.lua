--- A random language model of twenty thousand weights with a tokenizer of the letters a and b.

local files = require 'sppo.files'
local json = require 'sppo.json'
local model_of = require 'sppo.model'

local M = {}

local TEMPLATE = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + " ..
  "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}" ..
  "{{ '<|im_start|>assistant\\n' }}{% endif %}"

--- Writes it as a folder that model.open takes; another seed gives other weights.
---@param folder string
---@param seed integer
function M.write(folder, seed)
  local config = { model_type = 'llama', architectures = { 'LlamaForCausalLM' }, vocab_size = 8,
    hidden_size = 32, intermediate_size = 64, num_hidden_layers = 2, num_attention_heads = 4,
    num_key_value_heads = 2, max_position_embeddings = 1024, tie_word_embeddings = true,
    eos_token_id = 6 }
  local model = model_of.random(config, seed)
  model_of.save(model, folder, 'f32')
  model_of.release(model)
  files.write(folder .. '/tokenizer.json', json.encode {
    added_tokens = { { id = 5, content = '<|im_start|>', special = true },
      { id = 6, content = '<|im_end|>', special = true } },
    normalizer = json.null,
    pre_tokenizer = { type = 'ByteLevel', add_prefix_space = false, trim_offsets = true },
    model = { type = 'BPE', unk_token = json.null, merges = { 'a b' },
      vocab = { a = 0, b = 1, ab = 2, ['Ġ'] = 3, ['Ċ'] = 4, c = 7 } },
  })
  files.write(folder .. '/tokenizer_config.json', json.encode {
    eos_token = '<|im_end|>', chat_template = TEMPLATE })
end

return M
