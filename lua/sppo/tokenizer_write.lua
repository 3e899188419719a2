--- Writes a tokenizer's files into a model folder: those it was read from, or tokenizer.json in the
--- form of byte-level BPE, which `transformers` and lua/sppo/tokenizer_json.lua read.

local files = require 'sppo.files'
local json = require 'sppo.json'

local M = {}

local LLAMA3 = [[(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|]] ..
  [[ ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+]]
local QWEN2 = [[(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|]] ..
  [[ ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+]]

local function byte_level(use_regex)
  return { type = 'ByteLevel', add_prefix_space = false, trim_offsets = true,
    use_regex = use_regex }
end

local function sequence(first, use_regex)
  return { type = 'Sequence', pretokenizers = { first, byte_level(use_regex) } }
end

local function split(regex)
  return sequence({ type = 'Split', pattern = { Regex = regex }, behavior = 'Isolated',
    invert = false }, false)
end

--- Pattern of the engine -> pre_tokenizer of tokenizer.json.
M.pre_tokenizers = {
  gpt2 = byte_level(true),
  smollm = sequence({ type = 'Digits', individual_digits = true }, true),
  ['llama-bpe'] = split(LLAMA3),
  qwen2 = split(QWEN2),
}

--- GPT-2's letter for each byte.
local letters = {}
do
  local next_letter = 0x100
  for byte = 0, 255 do
    local code = byte
    if byte <= 0x20 or (byte >= 0x7F and byte <= 0xA0) or byte == 0xAD then
      code, next_letter = next_letter, next_letter + 1
    end
    letters[string.char(byte)] = code < 0x80 and string.char(code) or
      string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64)
  end
end

--- What tokenizer.json and GGUF call each token, by id from 0.
---@param t sppo.Tokenizer
---@return table<integer, string>
function M.token_names(t)
  local names = {}
  for id = 0, t.vocab_size - 1 do
    local bytes = t:bytes(id)
    names[id] = t.form == 'PIECES' and bytes or bytes:gsub('.', letters)
  end
  for _, token in ipairs(t.specials) do names[token.id] = token.text end
  return names
end

--- "key": value lines of an object, in the order given; json.encode would sort 49,152 ids by name.
local function object(lines) return '{\n' .. table.concat(lines, ',\n') .. '\n}' end

local function added_token(token)
  return { content = token.text, single_word = false, lstrip = token.lstrip or false,
    rstrip = token.rstrip or false, normalized = false, special = token.special }
end

local function model_text(t, names)
  local vocab, merges = {}, {}
  for id = 0, t.vocab_size - 1 do
    vocab[id + 1] = ('%s: %d'):format(json.encode(names[id]), id)
  end
  for rank = 0, t:merge_count() - 1 do
    local left, right = t:merge(rank)
    merges[rank + 1] = json.encode(names[left] .. ' ' .. names[right])
  end
  return object {
    '"type": "BPE"', '"dropout": null', '"unk_token": null', '"continuing_subword_prefix": ""',
    '"end_of_word_suffix": ""', '"fuse_unk": false', '"byte_fallback": false',
    '"ignore_merges": ' .. tostring(t.whole_words),
    '"vocab": ' .. object(vocab),
    '"merges": [\n' .. table.concat(merges, ',\n') .. '\n]',
  }
end

local function write_document(t, folder, names, added)
  for i, token in ipairs(t.specials) do added[i].id = token.id end
  files.write(folder .. '/tokenizer.json', object {
    '"version": "1.0"', '"truncation": null', '"padding": null',
    '"added_tokens": ' .. json.encode(json.array(added)),
    '"normalizer": ' .. (t.nfc and '{"type": "NFC"}' or 'null'),
    '"pre_tokenizer": ' .. json.encode(M.pre_tokenizers[t.pattern]),
    '"post_processor": null',
    '"decoder": ' .. json.encode(byte_level(true)),
    '"model": ' .. model_text(t, names),
  } .. '\n')
end

--- Writes the files that hold tokenizer `t` into `folder`: those it was read from, where its text
--- goes through more than byte-level BPE; a SentencePiece model of a GGUF as tokenizer.model.
---@param t sppo.Tokenizer
---@param folder string
function M.write(t, folder)
  if t.copies then
    for name, text in pairs(t.copies) do files.write(folder .. '/' .. name, text) end
    return
  end
  local names, added, decoder = M.token_names(t), {}, {}
  for i, token in ipairs(t.specials) do
    added[i] = added_token(token)
    decoder[tostring(token.id)] = added_token(token)
  end
  if t.form == 'PIECES' then files.write(folder .. '/tokenizer.model', t:model_bytes())
  else write_document(t, folder, names, added) end

  local ends = { bos_token = names[t.bos_id], eos_token = names[t.eos_ids[1]] }
  local function write(name, value)
    files.write(folder .. '/' .. name, json.encode(json.object(value), { indent = true }) .. '\n')
  end
  write('special_tokens_map.json', ends)
  write('tokenizer_config.json', {
    tokenizer_class = t.form == 'PIECES' and 'LlamaTokenizer' or 'PreTrainedTokenizerFast',
    added_tokens_decoder = json.object(decoder),
    bos_token = ends.bos_token,
    eos_token = ends.eos_token,
    chat_template = t.chat_template,
    clean_up_tokenization_spaces = false,
  })
  write('generation_config.json', {
    bos_token_id = t.bos_id,
    eos_token_id = json.array({ unpack(t.eos_ids) }),
  })
end

return M
