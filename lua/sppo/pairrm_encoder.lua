--- PairRM as its authors made it (models/pairrm.lua): opening and writing one, and what it reads of
--- a prompt and its answers. A pair is
---     [CLS] <|source|> SOURCE [SEP] [CLS] <|candidate1|> I [SEP] [CLS] <|candidate2|> J [SEP]
--- as llm_blender/pair_ranker/collator.py makes it for one prompt at a time.

local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local json = require 'sppo.json'
local nn = require 'sppo.nn'
local segments = require 'sppo.segments'
local tensor = require 'sppo.tensor'
local tokenizer = require 'sppo.tokenizer'
local weights = require 'sppo.weights'

local M = {}

--- Of microsoft/deberta-v3-*: hidden_size, num_hidden_layers, num_attention_heads,
--- intermediate_size.
local published = {
  xsmall = { 384, 12, 6, 1536 }, small = { 768, 6, 12, 3072 }, base = { 768, 12, 12, 3072 },
  large = { 1024, 24, 16, 4096 },
}

--- The config of microsoft/deberta-v3-NAME with the four tokens that PairRM adds.
---@param name 'xsmall'|'small'|'base'|'large'
---@return sppo.deberta.Config
function M.published(name)
  local s = published[name]
  if not s then
    engine.raise('argument', 'pairrm: ' .. check.unknown('size', name,
      { 'xsmall', 'small', 'base', 'large' }), 2)
  end
  return {
    model_type = 'deberta-v2', architectures = { 'DebertaV2PairRM' }, vocab_size = 128005,
    hidden_size = s[1], num_hidden_layers = s[2], num_attention_heads = s[3],
    intermediate_size = s[4], hidden_act = 'gelu', layer_norm_eps = 1e-7,
    relative_attention = true, share_att_key = true, pos_att_type = { 'p2c', 'c2p' },
    norm_rel_ebd = 'layer_norm', position_buckets = 256, max_relative_positions = -1,
    max_position_embeddings = 512, position_biased_input = false, type_vocab_size = 0,
  }
end

--- Tokens with a meaning: key in config.json, text, id in llm-blender/PairRM.
local marks = {
  cls = { 'cls_token_id', '[CLS]', 1 }, sep = { 'sep_token_id', '[SEP]', 2 },
  source = { 'source_prefix_id', '<|source|>', 128001 },
  first = { 'cand1_prefix_id', '<|candidate1|>', 128002 },
  second = { 'cand2_prefix_id', '<|candidate2|>', 128003 },
}

--- A config.json checked: llm-blender/PairRM's own, which names the encoder it began with, or that
--- of llm-blender/PairRM-hf, which has its sizes. nil, text.
local function check_config(given)
  local c = {}
  for key, value in pairs(given) do
    if value ~= json.null then c[key] = value end
  end
  if c.ranker_type ~= nil and c.ranker_type ~= 'pairranker' then
    return nil, ('ranker_type must be \'pairranker\', got \'%s\''):format(tostring(c.ranker_type))
  end
  if c.n_tasks ~= nil and c.n_tasks ~= 1 then
    return nil, ('n_tasks must be 1, got %s'):format(tostring(c.n_tasks))
  end
  if c.ranker_type then
    local base = type(c.model_name) == 'string' and
      c.model_name:match('^microsoft/deberta%-v3%-(%w+)$')
    if not published[base] then
      return nil, ('model_name must be microsoft/deberta-v3-xsmall, -small, -base or -large, ' ..
        'got \'%s\''):format(tostring(c.model_name))
    end
    local limits = { c.source_maxlength, c.candidate_maxlength }
    c = M.published(base)
    c.source_maxlength, c.candidate_maxlength = limits[1], limits[2]
  end
  c.source_maxlength = c.source_maxlength or 1224
  c.candidate_maxlength = c.candidate_maxlength or 412
  local text = check.number_text('source_maxlength', c.source_maxlength, 'integer', 4, 2^20)
    or check.number_text('candidate_maxlength', c.candidate_maxlength, 'integer', 4, 2^20)
  if text then return nil, text end
  return require('models.deberta').check(c)
end

--- Ids of the tokens with a meaning; nil, text where config, tokenizer and vocabulary disagree.
local function special_ids(config, reader)
  local ids = {}
  for name, mark in pairs(marks) do
    local key, text, default = unpack(mark)
    local known = reader and reader:id(text)
    local id = config[key] or known or default
    local wrong = check.number_text(key, id, 'integer', 0, config.vocab_size - 1)
    if wrong then return nil, wrong end
    if known and known ~= id then
      return nil, ('%s is %d, the tokenizer has %s as %d'):format(key, id, text, known)
    end
    ids[name] = id
  end
  return ids
end

local function failed(kind, ...)
  local text = (...):format(select(2, ...))
  engine.kind(kind, text)
  return nil, text
end

--- A source of weights of a folder; nil, err, with the way out where there are only pickles.
local function open_weights(path, config)
  local single, index = path .. '/model.safetensors', path .. '/model.safetensors.index.json'
  local pickle = path .. '/pytorch_model.bin'
  if not files.exists(single) and not files.exists(index) and files.exists(pickle) then
    return failed('format', '%s: is a pickle, which could run code and is not read; convert it ' ..
      'once, in its folder: python3 -c "import torch, safetensors.torch as s; s.save_file({k: ' ..
      'v.contiguous() for k, v in torch.load(\'pytorch_model.bin\', ' ..
      'weights_only=True).items()}, \'model.safetensors\')"', pickle)
  end
  return weights.folder(path, config)
end

--- Writes the ranker as a folder that `open` reads; whole or not at all.
---@param model sppo.PairRM
---@param path string
---@param dtype 'f32'|'bf16'
local function save(model, path, dtype)
  local config = {}
  for key, value in pairs(model.config) do config[key] = value end
  for name, mark in pairs(marks) do config[mark[1]] = model.ids[name] end
  config.torch_dtype = dtype == 'bf16' and 'bfloat16' or 'float32'
  files.atomic_folder(path, function(folder)
    files.write(folder .. '/config.json', json.encode(config, { indent = true }) .. '\n')
    if model.tokenizer and model.tokenizer.write then model.tokenizer:write(folder) end
    weights.save(model.net, folder .. '/model.safetensors', dtype)
  end)
end

local function ranker(model)
  model.reads, model.save, model.device = M, save, 'cpu'
  return model
end

--- Opens a folder as Hugging Face ships it, of which `given` is the config.json; nil, err.
---@param path string
---@param given table
---@param options { dtype?: string, tokenizer?: table }
---@return sppo.PairRM?
function M.open(path, given, options)
  local config, text = check_config(given)
  if not config then return failed('format', '%s/config.json: %s', path, text) end
  local reader, err = options.tokenizer
  if not reader and tokenizer.in_folder(path) then
    reader, err = tokenizer.from_folder(path)
    if not reader then return nil, err end
  end
  local ids
  ids, text = special_ids(config, reader)
  if not ids then return failed('format', '%s/config.json: %s', path, text) end
  local source
  source, err = open_weights(path, config)
  if not source then return nil, err end
  local net = require 'models.pairrm'(config)
  local ok, wrong = pcall(weights.load, net, source, options.dtype or 'f32')
  source.close()
  if not ok then
    if engine.kind_of(wrong) == 'memory' then error(wrong, 0) end
    return nil, wrong
  end
  return ranker { net = net, config = config, ids = ids, tokenizer = reader, path = path,
    dtype = options.dtype or 'f32' }
end

--- A random PairRM of a config (M.published, or sizes of one's own), for tests and timing.
---@param config table
---@param seed integer
---@param options? { dtype?: string, tokenizer?: table }
---@return sppo.PairRM
function M.random(config, seed, options)
  options = check.options('pairrm.random', options, { 'dtype', 'tokenizer' })
  local checked, text = check_config(config)
  local ids
  if checked then ids, text = special_ids(checked, options.tokenizer) end
  if not ids then engine.raise('argument', 'pairrm.random: ' .. text, 2) end
  local net, number = require 'models.pairrm'(checked), 0
  nn.fill(net, function(_, shape, initial)
    number = number + 1
    local t = tensor.zeros(shape)
    if initial then return t + initial end
    return t:normal_(0, 0.02, seed * 1000 + number)
  end, options.dtype or 'f32')
  return ranker { net = net, config = checked, ids = ids, tokenizer = options.tokenizer,
    path = 'random', dtype = options.dtype or 'f32' }
end

local function cut(ids, most)
  local out = {}
  for i = 1, math.min(#ids, math.max(0, most)) do out[i] = ids[i] end
  return out
end

--- Token ids of a source text and its answers. A source keeps its first source_maxlength - 3 tokens
--- and answers their first candidate_maxlength - 3 and half of what the source leaves, as
--- llm-blender does with batches of one prompt. A "[SEP]" in a text becomes a space.
---@param model sppo.PairRM
---@param source string
---@param answers string[]
---@return sppo.pairrm.Group
function M.group(model, source, answers)
  if not model.tokenizer then
    engine.raise('state', model.path .. ': has no tokenizer (tokenizer.json), so texts cannot ' ..
      'be compared', 2)
  end
  local c = model.config
  local function encode(text) return model.tokenizer:encode((text:gsub('%[SEP%]', ' '))) end
  local group = { source = cut(encode(source), c.source_maxlength - 3), answers = {} }
  local left = c.source_maxlength - (#group.source + 3)
  local most = c.candidate_maxlength + math.floor(left / 2) - 3
  for i, answer in ipairs(answers) do group.answers[i] = cut(encode(answer), most) end
  return group
end

--- Tokens of the pair (i, j) of a group, with its marks.
---@param pair { group: sppo.pairrm.Group, i: integer, j: integer }
function M.pair_tokens(pair)
  local g = pair.group
  return #g.source + #g.answers[pair.i] + #g.answers[pair.j] + 9
end

--- Logits of pairs, [pairs], differentiable.
---@param model sppo.PairRM
---@param list { group: sppo.pairrm.Group, i: integer, j: integer }[]
---@param options? { recompute: boolean }
---@return sppo.Tensor
function M.logits(model, list, options)
  local ids, lengths, rows, special = {}, {}, {}, model.ids
  local function part(mark, tokens)
    ids[#ids + 1], ids[#ids + 2] = special.cls, special[mark]
    local at = #ids - 1
    for _, id in ipairs(tokens) do ids[#ids + 1] = id end
    ids[#ids + 1] = special.sep
    return at
  end
  for k, pair in ipairs(list) do
    local g, n = pair.group, #rows
    local source = part('source', g.source)
    rows[n + 1], rows[n + 3] = source, source
    rows[n + 2] = part('first', g.answers[pair.i])
    rows[n + 4] = part('second', g.answers[pair.j])
    lengths[k] = { count = M.pair_tokens(pair) }
  end
  return model.net(tensor.ints(ids), segments.new(lengths), tensor.ints(rows), options)
end

return M
