--- What recipes/llama3.lua runs on, at toy size: a random Llama-3 of two layers, a random PairRM,
--- and prompts. `vocabulary(name)` is a published vocabulary: its text; without it both tokenizers
--- know bytes alone.

local files = require 'sppo.files'
local json = require 'sppo.json'
local model_of = require 'sppo.model'
local pairrm = require 'sppo.pairrm'
local weights = require 'sppo.weights'

local M = {}

-- Llama-3's form: a header with the role, the text, and the token that ends a turn.
local TEMPLATE = '{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}' ..
  '<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}' ..
  '{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}'

--- tokenizer.json of 256 bytes and special tokens behind them.
local function write_bytes(folder, specials)
  local vocab, added, free = {}, {}, 0x100
  for byte = 0, 255 do
    -- GPT-2's letter for a byte: itself where it can be shown, else the next from U+0100 on.
    local code = byte
    if byte <= 0x20 or (byte >= 0x7F and byte <= 0xA0) or byte == 0xAD then
      code, free = free, free + 1
    end
    vocab[code < 0x80 and string.char(code) or
      string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64)] = byte
  end
  for i, text in ipairs(specials) do
    added[i] = { id = 255 + i, content = text, special = true }
  end
  files.write(folder .. '/tokenizer.json', json.encode {
    added_tokens = added, normalizer = json.null,
    pre_tokenizer = { type = 'ByteLevel', add_prefix_space = false, trim_offsets = true },
    model = { type = 'BPE', unk_token = json.null, merges = json.array {}, vocab = vocab },
  })
end

local function write_policy(folder, vocabulary)
  local first = vocabulary and 128000 or 256
  local model = model_of.random({
    model_type = 'llama', architectures = { 'LlamaForCausalLM' },
    vocab_size = vocabulary and 128256 or 260,
    hidden_size = 32, intermediate_size = 48, num_hidden_layers = 2, num_attention_heads = 4,
    num_key_value_heads = 2, max_position_embeddings = 512, rope_theta = 500000,
    rms_norm_eps = 1e-5, bos_token_id = first, eos_token_id = vocabulary and 128009 or 259,
  }, 5, { deviation = 0.3 })
  model_of.save(model, folder, 'bf16')
  model_of.release(model)
  if vocabulary then
    files.write(folder .. '/tokenizer.model', vocabulary 'llama3.tiktoken')
  else
    write_bytes(folder, { '<|begin_of_text|>', '<|start_header_id|>', '<|end_header_id|>',
      '<|eot_id|>' })
  end
  files.write(folder .. '/tokenizer_config.json', json.encode {
    bos_token = '<|begin_of_text|>', eos_token = '<|eot_id|>', chat_template = TEMPLATE })
end

local function write_ranker(folder, vocabulary)
  local config = pairrm.published 'large'
  config.hidden_size, config.num_hidden_layers = 16, 2
  config.num_attention_heads, config.intermediate_size = 2, 24
  if not vocabulary then
    config.vocab_size = 262
    for i, name in ipairs { 'cls_token_id', 'sep_token_id', 'source_prefix_id', 'cand1_prefix_id',
      'cand2_prefix_id', 'cand_prefix_id' } do config[name] = 255 + i end
  end
  local ranker = pairrm.random(config, 6)
  files.make_folder(folder)
  files.write(folder .. '/config.json', json.encode(config))
  weights.save(ranker.net, folder .. '/model.safetensors', 'f32')
  local marks = { '<|source|>', '<|candidate1|>', '<|candidate2|>', '<|candidate|>' }
  if not vocabulary then
    write_bytes(folder, { '[CLS]', '[SEP]', unpack(marks) })
    return
  end
  files.write(folder .. '/spm.model', vocabulary 'deberta-v3.spm.model')
  local added = { ['128000'] = { content = '[MASK]', special = true } }
  for i, text in ipairs(marks) do
    added[tostring(128000 + i)] = { content = text, special = true }
  end
  files.write(folder .. '/tokenizer_config.json', json.encode { added_tokens_decoder = added })
end

local function write_prompts(path, first)
  local lines = {}
  for i = 1, 3 do
    lines[i] = json.encode { prompt = ('Say number %d in one word, please.'):format(first + i) }
  end
  files.write(path, table.concat(lines, '\n') .. '\n')
end

--- Writes all of it where `SPPO_HOME=home sppo run recipes/llama3.lua` finds it.
---@param home string
---@param vocabulary? fun(name: string): string
function M.write(home, vocabulary)
  for _, name in ipairs { '/models', '/data', '/data/prompts' } do
    files.make_folder(home .. name)
  end
  write_policy(home .. '/models/llama3-8b', vocabulary)
  write_ranker(home .. '/models/pairrm', vocabulary)
  for round = 1, 3 do
    write_prompts(('%s/data/prompts/ultrafeedback-%d.jsonl'):format(home, round), 3 * round)
  end
  write_prompts(home .. '/data/prompts/ultrafeedback-test.jsonl', 20)
end

--- The recipe's words for `sppo run` that make it small.
M.sizes = { 'sample.max_new_tokens=6', 'train.batch=2' }

return M
