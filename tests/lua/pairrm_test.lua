--- PairRM, the preference made of it and ranking, against llm-blender: tests/golden/pairrm.json,
--- written by tools/golden/pairrm.py; weights by tests/support/formula.lua.

local compare = require 'support.compare'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local formula = require 'support.formula'
local json = require 'sppo.json'
local lu = require 'luaunit'
local model_of = require 'sppo.model'
local nn = require 'sppo.nn'
local pairrm = require 'sppo.pairrm'
local parity = require 'support.parity'
local preference = require 'sppo.preference'
local pairrm_preference = require 'sppo.preference.pairrm'
local rank = require 'sppo.rank'
local scope = require 'sppo.scope'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'
local weights = require 'sppo.weights'

local tests = {}

local TOLERANCE = 1e-4

--- The golden file's tokenizer: a word is a token.
local words = {
  id = function(_, text)
    return ({ ['[CLS]'] = 1, ['[SEP]'] = 2, ['<|source|>'] = 160, ['<|candidate1|>'] = 161,
      ['<|candidate2|>'] = 162 })[text]
  end,
  encode = function(_, text)
    local ids = {}
    for word in text:gmatch('%S+') do
      local n = tonumber(word:match('^w(%d+)$'))
      ids[#ids + 1] = n and n < 150 and 10 + n or 3
    end
    return ids
  end,
}

local golden, model

local function setup()
  golden = golden or shell.golden('pairrm.json')
  if model then return end
  model = pairrm.random(golden.config, 1, { tokenizer = words })
  for _, p in ipairs(nn.parameters(model.net)) do p.owner[p.key]:release() end
  model.net = require 'models.pairrm'(model.config)
  nn.fill(model.net, formula.parameter, 'f32')
end

local function flat(matrix)
  local list = {}
  for _, row in ipairs(matrix) do
    for _, x in ipairs(row) do list[#list + 1] = x end
  end
  return list
end

function tests.test_reads_what_llm_blender_reads()
  setup()
  for i, p in ipairs(golden.prompts) do
    local g = pairrm.group(model, p.prompt, p.answers)
    local seen, special = {}, model.ids
    local function part(mark, ids)
      seen[#seen + 1], seen[#seen + 2] = special.cls, special[mark]
      for _, id in ipairs(ids) do seen[#seen + 1] = id end
      seen[#seen + 1] = special.sep
    end
    part('source', g.source)
    part('first', g.answers[1])
    part('second', g.answers[2])
    lu.assertEquals(seen, p.pair, 'prompt ' .. i)
    parity.note('ranker', 'PairRM', 'ids of pairs', 'llm-blender', 0, #p.pair)
    lu.assertEquals(model.reads.pair_tokens { group = g, i = 1, j = 2 }, #p.pair)
  end
end

function tests.test_logits_scores_ranks()
  setup()
  for i, p in ipairs(golden.prompts) do
    local r, what = rank.rank(model, p.prompt, p.answers), 'prompt ' .. i
    parity.note('ranker', 'PairRM', 'logits of pairs', 'llm-blender',
      compare.close(flat(r.logits), flat(p.logits), TOLERANCE, what .. ', logits', 1),
      #p.answers * (#p.answers - 1))
    compare.close(r.scores, p.scores, TOLERANCE, what .. ', scores', 1)
    lu.assertEquals(r.ranks, p.ranks, what)
    for mode, scores in pairs(p.with_ref) do
      compare.close(rank.rank_with_ref(model, p.prompt, p.answers, { mode = mode }).scores, scores,
        TOLERANCE, what .. ', against the ' .. mode, 1)
    end
    for mode, logit in pairs(p.compare) do
      lu.assertAlmostEquals(rank.compare(model, p.prompt, p.answers[1], p.answers[2], mode), logit,
        TOLERANCE)
    end
    for method, best in pairs(p.best) do
      lu.assertEquals(rank.best_of_n(model, p.prompt, p.answers, { method = method }), best + 1,
        what .. ', ' .. method)
    end
  end
end

function tests.test_reference_of_ones_own()
  setup()
  local p = golden.prompts[1]
  local r = rank.rank_with_ref(model, p.prompt, p.answers, { reference = p.answers[1] })
  compare.close(r.scores, p.with_ref.first, TOLERANCE, 'the first as a text', 1)
  lu.assertEquals(r.reference, p.answers[1])
end

function tests.test_conversations()
  setup()
  local c = golden.conversations
  for mode, logit in pairs(c.logits) do
    lu.assertAlmostEquals(rank.conversations(model, c.a, c.b, mode), logit, TOLERANCE)
  end
  -- A prompt of several messages is the same conversation without its last answer.
  local source, candidates = pairrm_preference.texts({ messages = { c.a[1], c.a[2], c.a[3] } },
    { 'x', c.a[4].content })
  local want_source, want = pairrm_preference.conversation(c.a)
  lu.assertEquals(source, want_source)
  lu.assertEquals(candidates[2], want)
  lu.assertEquals(candidates[1], '<Response 1>: w3\n<Response 2>: x')
  lu.assertErrorMsgContains('turns must be the same', rank.conversations, model, c.a,
    { { role = 'user', content = 'w8' }, { role = 'assistant', content = 'w3' } })
  lu.assertErrorMsgContains('message 1 must be one of the user, got role \'ASSISTANT\'',
    rank.conversations, model, { c.a[2] }, { c.a[2] })
  lu.assertErrorMsgContains('must end with a turn of the assistant', rank.conversations, model,
    { c.a[1] }, { c.a[1] })
  local with_system = pairrm_preference.texts({ messages = {
    { role = 'system', content = 'S' }, { role = 'user', content = 'U' } } }, { 'a' })
  lu.assertEquals(with_system, 'S\nU')
  lu.assertErrorMsgContains('neither text nor messages', pairrm_preference.texts,
    { tokens = { 1 }, id = 7 }, { 'a' })
end

function tests.test_gradients()
  setup()
  for _, p in ipairs(nn.parameters(model.net)) do
    p.owner[p.key]:requires_grad_():clear_grad_()
  end
  local p = golden.prompts[1]
  local group = pairrm.group(model, p.prompt, { p.answers[1], p.answers[2] })
  scope.run(function()
    local loss = pairrm.loss(model, { group })
    lu.assertAlmostEquals(loss:item(), golden.training.loss, TOLERANCE)
    loss:backward()
  end)
  local count = 0
  for _, q in ipairs(nn.parameters(model.net)) do
    local w, squares, some = golden.training.gradient[q.name], 0, {}
    lu.assertNotNil(w, q.name)
    local g = q.owner[q.key].grad:tolist()
    for _, x in ipairs(g) do squares = squares + x * x end
    for i, at in ipairs(w.at) do some[i] = g[at + 1] end
    compare.close({ math.sqrt(squares) }, { w.norm }, TOLERANCE, q.name .. ', norm', 1e-2)
    compare.close(some, w.values, TOLERANCE, q.name, math.max(w.norm / math.sqrt(#g), 1e-3))
    count = count + 1
  end
  for _ in pairs(golden.training.gradient) do count = count - 1 end
  lu.assertEquals(count, 0)
  model = nil -- its parameters want gradients now
end

--- What stands beside a pair in a forward pass does not change its bits, and nothing is recorded.
function tests.test_batches()
  setup()
  local groups = {}
  for i, p in ipairs(golden.prompts) do groups[i] = pairrm.group(model, p.prompt, p.answers) end
  local together = pairrm.matrices(model, groups, 1e6)
  lu.assertEquals(pairrm.matrices(model, groups, 60), together)
  for i, g in ipairs(groups) do
    lu.assertEquals(pairrm.matrices(model, { g }, 1)[1], together[i])
    lu.assertEquals(#together[i], #g.answers)
  end
  lu.assertEquals(tonumber(engine.C.sppo_tape_length()), 0)
end

function tests.test_conventions()
  setup()
  local p = golden.prompts[3]
  local l = p.logits
  local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
  for name in pairs(pairrm_preference.conventions) do
    local source = pairrm_preference.preference { model = model, convention = name }
    local m = preference.matrix(preference.new(source), { text = p.prompt }, p.answers, {})
    local s = p.scores
    for i = 1, #l do
      for j = 1, #l do
        local want = 0.5
        if name == 'aggregated' then want = sigmoid(s[i] - s[j])
        elseif i ~= j then
          want = name == 'sigma' and sigmoid(l[i][j]) or sigmoid((l[i][j] - l[j][i]) / 2)
        end
        lu.assertAlmostEquals(m[i][j], want, TOLERANCE, ('%s %d %d'):format(name, i, j))
        if name == 'symmetric' then lu.assertAlmostEquals(m[i][j] + m[j][i], 1, 1e-12) end
      end
    end
  end
  lu.assertErrorMsgContains('pairrm: unknown convention \'sgima\' (did you mean \'sigma\'?)',
    pairrm_preference.preference, { model = model, convention = 'sgima' })
  lu.assertErrorMsgContains('unknown option \'modle\'', pairrm_preference.preference,
    { modle = model })
  -- A source function decides what is read of a prompt.
  local own = pairrm_preference.preference { model = model, source = function(q) return q.x end }
  local plain = pairrm_preference.preference { model = model }
  lu.assertNil(own.key)
  lu.assertStrContains(plain.key, ' sigma ')
  lu.assertEquals(own.prefer({ x = p.prompt }, p.answers),
    plain.prefer({ text = p.prompt }, p.answers))
end

function tests.test_few_answers()
  setup()
  lu.assertEquals(rank.rank(model, 'w1', { 'w2' }).ranks, { 1 })
  lu.assertEquals(rank.rank(model, 'w1', { 'w2' }).matrix, { { 0.5 } })
  lu.assertEquals(rank.rank(model, '', { '', '' }).logits[1][1], 0)
  lu.assertEquals(rank.best_of_n(model, 'w1', { 'w2' }, { method = 'bubble' }), 1)
  lu.assertErrorMsgContains('there are no answers', rank.best_of_n, model, 'w1', {})
  lu.assertEquals(rank.ranks { 0.5, 2, 0.5, -1 }, { 2, 1, 2, 4 })
end

-- ---- folders ----

local function write(folder, config)
  setup()
  files.write(folder .. '/config.json', json.encode(config))
  weights.save(model.net, folder .. '/model.safetensors', 'f32')
end

local function changed(changes)
  local config = {}
  for key, value in pairs(golden.config) do config[key] = value end
  for key, value in pairs(changes or {}) do config[key] = value end
  return config
end

function tests.test_open()
  shell.in_folder(function(folder)
    setup()
    write(folder, golden.config)
    local opened = assert(pairrm.open(folder, { tokenizer = words }))
    local p = golden.prompts[1]
    lu.assertEquals(rank.rank(opened, p.prompt, p.answers).logits,
      rank.rank(model, p.prompt, p.answers).logits)
    lu.assertEquals(opened.ids, { cls = 1, sep = 2, source = 160, first = 161, second = 162 })
    local plain = assert(pairrm.open(folder))
    lu.assertErrorMsgContains('has no tokenizer', pairrm.group, plain, 'w1', { 'w2' })
    local source = pairrm_preference.preference { model = folder .. '/none' }
    lu.assertErrorMsgContains('no model there', source.prefer, { text = 'w1' }, { 'w2', 'w3' })
  end)
end

function tests.test_wrong_folders()
  shell.in_folder(function(folder)
    setup()
    local function fails(config, text, kind)
      if type(config) == 'table' then config = json.encode(config) end
      files.write(folder .. '/config.json', config)
      local opened, err = pairrm.open(folder, { tokenizer = words })
      lu.assertNil(opened)
      lu.assertStrContains(err, text)
      lu.assertEquals(engine.kind_of(err), kind or 'format')
    end
    fails(changed(), 'model.safetensors')
    files.write(folder .. '/pytorch_model.bin', 'x')
    fails(changed(), 'pytorch_model.bin: is a pickle')
    files.remove(folder .. '/pytorch_model.bin')
    write(folder, golden.config)
    fails('[]', 'model_type must be')
    fails('3', 'config.json: not an object')
    fails('{', 'config.json: json: 1:1:')
    fails(changed { n_tasks = 2 }, 'config.json: n_tasks must be 1, got 2')
    fails(changed { source_prefix_id = 164 }, 'source_prefix_id must be an integer in 0..163')
    fails(changed { source_prefix_id = 159 },
      'source_prefix_id is 159, the tokenizer has <|source|> as 160')
    fails(changed { source_maxlength = 2 }, 'source_maxlength must be an integer in 4..')
    fails(changed { hidden_size = 64 }, 'is [32], the model wants [64]')
    fails(changed { num_hidden_layers = 3 }, 'no tensor pretrained_model.encoder.layer.2.')
    fails({ ranker_type = 'pairranker', model_name = 'roberta-large' },
      'deberta-v3-xsmall, -small, -base or -large, got \'roberta-large\'')
    fails({ ranker_type = 'simcls' }, 'ranker_type must be \'pairranker\', got \'simcls\'')
    -- llm-blender/PairRM's own config, with this folder's weights.
    fails({ ranker_type = 'pairranker', model_type = 'deberta', model_name =
      'microsoft/deberta-v3-large', source_maxlength = 1224, candidate_maxlength = 412 },
      'is [32], the model wants [1024]')
  end)
end

-- ---- sppo rank ----

--- A folder with a tokenizer of a and b.
local function write_with_tokenizer(folder)
  local config = changed { vocab_size = 16, hidden_size = 16, intermediate_size = 16,
    cls_token_id = 4, sep_token_id = 5, source_prefix_id = 6, cand1_prefix_id = 7,
    cand2_prefix_id = 8 }
  local small, added = pairrm.random(config, 3), {}
  files.make_folder(folder)
  files.write(folder .. '/config.json', json.encode(config))
  weights.save(small.net, folder .. '/model.safetensors', 'f32')
  for i, text in ipairs { '[CLS]', '[SEP]', '<|source|>', '<|candidate1|>', '<|candidate2|>' } do
    added[i] = { id = 3 + i, content = text, special = true }
  end
  files.write(folder .. '/tokenizer.json', json.encode {
    added_tokens = added, normalizer = json.null,
    pre_tokenizer = { type = 'ByteLevel', add_prefix_space = false, trim_offsets = true },
    model = { type = 'BPE', unk_token = json.null, merges = { 'a b' },
      vocab = { a = 0, b = 1, ab = 2, ['Ġ'] = 3 } },
  })
end

function tests.test_rank_verb()
  shell.in_folder(function(folder)
    setup()
    write_with_tokenizer(folder .. '/m')
    local opened = assert(pairrm.open(folder .. '/m'))
    local list = folder .. '/list.jsonl'
    files.write(list, '{"prompt": "ab", "answers": ["a", "bb a", "b"]}\n\n' ..
      '{"prompt": [{"role": "user", "content": "a"}], "answers": ["b"]}\n')
    local code, out, err = shell.sppo { 'rank', folder .. '/m', list, '--json', '--convention',
      'symmetric' }
    lu.assertEquals({ code, err }, { 0, '' })
    local first, second = out:match('^([^\n]+)\n([^\n]+)\n$')
    first, second = json.decode(first), json.decode(second)
    local want = rank.rank(opened, 'ab', { 'a', 'bb a', 'b' }, { convention = 'symmetric' })
    compare.close(flat(first.matrix), flat(want.matrix), 1e-12, 'matrix')
    compare.close(flat(first.logits), flat(want.logits), 1e-12, 'logits', 1)
    compare.close(first.scores, want.scores, 1e-12, 'scores', 1)
    lu.assertEquals(first.ranks, want.ranks)
    lu.assertEquals(second.ranks, { 1 })

    code, out = shell.sppo { 'rank', folder .. '/m', list }
    lu.assertEquals(code, 0)
    local row = '    1  score +%-?%d+%.%d%d%d%d  wins 0%.%d+  .+'
    lu.assertStrMatches(out:match('^ab\n([^\n]+)'), row)

    local function fails(line, text, wanted)
      files.write(list, line)
      local got, _, message = shell.sppo { 'rank', folder .. '/m', list }
      lu.assertStrContains(message, text)
      lu.assertEquals(got, wanted)
    end
    fails('{"prompt": "a"}', 'list.jsonl:1: answers must be a list of texts', 3)
    fails('\n{"prompt": "a", "answers": ["a", 2]}', 'list.jsonl:2: answers[2] must be a text', 3)
    fails('{"prompt": 1, "answers": ["a"]}', ':1: prompt must be a text or a list of messages', 3)
    fails('{"prompt": [{"role": 1}], "answers": ["a"]}', ':1: prompt[1] must have a role', 3)
    fails('[', 'list.jsonl:1: ', 3)
    local got, _, message = shell.sppo { 'rank', folder .. '/m', folder .. '/none' }
    lu.assertEquals(got, 6)
    lu.assertStrContains(message, 'No such file')
    got, _, message = shell.sppo { 'rank', folder .. '/m', list, '--convention', 'sgima' }
    lu.assertEquals(got, 2)
    lu.assertStrContains(message, "unknown convention 'sgima' (did you mean 'sigma'?)")
    got, _, message = shell.sppo { 'rank', folder .. '/none', list }
    lu.assertEquals(got, 6)
    lu.assertStrContains(message, 'no model there')
    files.remove(folder .. '/m/tokenizer.json')
    got, _, message = shell.sppo { 'rank', folder .. '/m', list }
    lu.assertEquals(got, 3)
    lu.assertStrContains(message, 'has no tokenizer.json')
  end)
end

--- A run whose preference is PairRM: its matrices are those of the ranker.
function tests.test_in_a_recipe()
  shell.in_folder(function(folder)
    write_with_tokenizer(folder .. '/m')
    local policy = model_of.random({
      model_type = 'llama', vocab_size = 8, hidden_size = 32, intermediate_size = 64,
      num_hidden_layers = 1, num_attention_heads = 4, max_position_embeddings = 64,
      tie_word_embeddings = true, eos_token_id = 6, architectures = { 'LlamaForCausalLM' },
    }, 11)
    model_of.save(policy, folder .. '/policy', 'f32')
    files.write(folder .. '/policy/tokenizer.json', json.encode {
      added_tokens = { { id = 5, content = '<|im_start|>', special = true },
        { id = 6, content = '<|im_end|>', special = true } },
      normalizer = json.null,
      pre_tokenizer = { type = 'ByteLevel', add_prefix_space = false, trim_offsets = true },
      model = { type = 'BPE', unk_token = json.null, merges = { 'a b' },
        vocab = { a = 0, b = 1, ab = 2, ['Ġ'] = 3, ['Ċ'] = 4, ['!'] = 7 } },
    })
    files.write(folder .. '/policy/tokenizer_config.json', json.encode {
      eos_token = '<|im_end|>',
      chat_template = "{% for message in messages %}{{'<|im_start|>' + message['role'] + " ..
        "'\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}" ..
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}" })
    files.write(folder .. '/r.lua', ([[
      return { name = 'r', rounds = 1, policy = { model = '%s/policy' },
        prompts = { { text = 'ab' }, { text = 'ba a' } },
        preference = require('sppo.preference.pairrm').preference { model = '%s/m' },
        sample = { k = 3, max_new_tokens = 6 }, train = { lr = 1e-3, batch = 2 } }
    ]]):format(folder, folder))
    local overrides = { { 'out', folder .. '/out' } }
    lu.assertEquals(selfplay.run(folder .. '/r.lua', { overrides = overrides }), 'done')
    local opened = assert(pairrm.open(folder .. '/m'))
    local answers = files.read_records(folder .. '/out/round-1/answers.msgpack')
    local matrices = files.read_records(folder .. '/out/round-1/preference.msgpack')
    lu.assertEquals({ #answers, #matrices }, { 2, 2 })
    for i, prompt in ipairs { 'ab', 'ba a' } do
      local texts = {}
      for k, a in ipairs(answers[i].answers) do texts[k] = a.text end
      lu.assertEquals(matrices[i].matrix, rank.rank(opened, prompt, texts).matrix)
    end
  end)
end

--- 436,014,081 parameters, with the names of llm-blender/PairRM's file.
function tests.test_published_size()
  local config = assert(require 'models.deberta'.check(pairrm.published 'large'))
  local total, names = 0, {}
  for _, p in ipairs(nn.parameters(require 'models.pairrm'(config))) do
    local n = 1
    for _, size in ipairs(p.owner[p.key].shape) do n = n * size end
    total, names[p.name] = total + n, table.concat(p.owner[p.key].shape, ',')
  end
  lu.assertEquals(total, 436014081)
  lu.assertEquals(names['pretrained_model.embeddings.word_embeddings.weight'], '128005,1024')
  lu.assertEquals(names['pretrained_model.encoder.rel_embeddings.weight'], '512,1024')
  lu.assertEquals(names['pretrained_model.encoder.layer.23.attention.self.key_proj.bias'], '1024')
  lu.assertEquals(names['head_layer.1.weight'], '1024,2048')
  lu.assertEquals(names['head_layer.4.bias'], '1')
end

return tests
