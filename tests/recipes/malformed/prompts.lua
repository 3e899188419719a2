--- Prompts that are none.

local function prompts(text, want, line)
  return { 'prompts = prompts,', ('prompts = %s,'):format(text), line = line, want = want }
end
local function held_out(text, want)
  return { 'held_out = held_out,', ('held_out = %s,'):format(text), want }
end
--- A recipe whose prompts are the file FOLDER/p.jsonl with this text.
local function file(text, want)
  return { path = function(folder)
    local files, shell = require 'sppo.files', require 'support.shell'
    files.write(folder .. '/p.jsonl', text)
    local tiny = shell.read(shell.root() .. '/recipes/tiny.lua')
    files.write(folder .. '/r.lua', (tiny:gsub('prompts = prompts,',
      ('prompts = \'%s/p.jsonl\','):format(folder))))
  end, want = want, line = 32 }
end

return {
  prompts('{}', 'prompts has no prompts'),
  prompts('nil', 'prompts is missing'),
  prompts('3', 'prompts must be a table or function or string, got number'),
  prompts('true', 'prompts must be a table or function or string, got boolean'),
  prompts('{ \'\' }', 'prompts[1] is empty'),
  prompts('{ \' \\n\' }', 'prompts[1] is empty'),
  prompts('{ 3 }', 'prompts[1] must be a string or a table, got number'),
  prompts('{ true, print }', 'prompts[2] must be a string or a table, got function'),
  prompts('{ {} }', 'prompts[1] has none of text, messages, tokens'),
  prompts('{ { txt = \'a\' } }', 'prompts[1] has none of text, messages, tokens'),
  prompts('{ { text = 3 } }', 'prompts[1].text must be a string, got number'),
  prompts('{ { text = false } }', 'prompts[1].text must be a string, got boolean'),
  prompts('{ { text = \'\' } }', 'prompts[1] is empty'),
  prompts('{ { tokens = \'1 2\' } }', 'prompts[1].tokens must be a table, got string'),
  prompts('{ { tokens = {} } }', 'prompts[1] is empty'),
  prompts('{ { tokens = { 48 } } }', 'prompts[1].tokens[1] must be an integer in 0..47, got 48'),
  prompts('{ { tokens = { 1, -1 } } }', 'prompts[1].tokens[2] must be an integer in 0..47, got -1'),
  prompts('{ { tokens = { 1.5 } } }', 'prompts[1].tokens[1] must be an integer in 0..47, got 1.5'),
  prompts('{ { tokens = { \'1\' } } }', 'prompts[1].tokens[1] must be an integer in 0..47'),
  prompts('{ { tokens = { 0 / 0 } } }', 'prompts[1].tokens[1] must be an integer in 0..47'),
  prompts('{ { messages = \'hello\' } }', 'prompts[1].messages must be a table, got string'),
  prompts('{ { messages = {} } }', 'prompts[1] is empty'),
  prompts('{ { messages = { \'hello\' } } }', 'prompts[1].messages[1] must be { role'),
  prompts('{ { messages = { { content = \'a\' } } } }', 'prompts[1].messages[1] must be { role'),
  prompts('{ { messages = { { role = \'user\' } } } }', 'prompts[1].messages[1] must be { role'),
  prompts('{ { text = \'a\', kind = print } }', 'prompts[1].kind must be a string, got function'),
  prompts('{ { messages = { { role = \'user\', content = print } } } }', 'prompts[1].messages: '),
  prompts('{ { tokens = { 1, x = 2 } } }', 'prompts[1].tokens is no list of token ids'),
  prompts('{ text = \'a\' }', 'write prompts = { { text = .. } }'),
  prompts('{ tokens = { 1 } }', 'write prompts = { { tokens = .. } }'),
  prompts('{ a = \'b\' }', 'prompts must be a list of prompts; it is a table with the key \'a\''),
  prompts('{ { tokens = { 1 } }, nil, { tokens = { 2 } } }', 'prompts has a hole'),
  prompts('{ [2] = \'a\' }', 'prompts has a hole'),
  prompts('{ 1, 2, 3, 4, 5, 6, 7 }', 'prompts: 2 more are wrong'),
  prompts('{ \'Tell me about owls.\' }', 'prompts[1] is a text, and the model has no tokenizer'),
  prompts('function() end', 'prompts: round 1 has no prompts'),
  prompts('function() return 3 end', 'prompts(1) gave a number; a list of prompts is wanted'),
  prompts('function() return {} end', 'prompts: round 1 has no prompts'),
  prompts('function(t) return t < 3 and prompts or {} end', 'prompts: round 3 has no prompts'),
  prompts('function(t) return t.x end', 'attempt to index local \'t\''),
  prompts('function() error(\'no data\') end', 'no data'),
  prompts('function() error(\'no data\', 0) end', 'no data'),
  prompts('function() error() end', 'error(nil) says nothing'),
  prompts('function() while true do end end', 'runs for more than 0.3 s'),
  prompts('function() local function f() return 1 + f() end return f() end',
    'stack overflow', false),
  prompts('\'\'', 'prompts is empty'),
  prompts('\'nowhere.jsonl\'', 'prompts: nowhere.jsonl: no such file'),
  prompts('\'nowhere-{round}.jsonl\'', 'prompts: nowhere-2.jsonl: no such file'),
  prompts('\'/\'', 'is a folder'),
  prompts('require(\'sppo.data\').prompts \'nowhere.jsonl\'', 'nowhere.jsonl: no such file'),
  prompts('require(\'sppo.data\').prompts(\'x\', { colum = 1 })', '(did you mean \'column\'?)'),
  file('', 'prompts: round 1 has no prompts'),
  file('{"prompt": "a"', 'p.jsonl:1'),
  file('{"prompt": {"a": 1}}', 'prompts[1] is empty'),
  file('{"prompt": 3}', 'prompts[1].text must be a string, got number'),
  file('{"text": "a"}\n{"txt": "b", "n": 1}', 'prompt 2 has no "prompt" (nor text, messages, ' ..
    'tokens), it has n, txt; prompts = require(\'sppo.data\').prompts('),
  file('3', 'p.jsonl:1'),
  file('[1, 2]', 'p.jsonl'),
  file('{"tokens": [1, 99]}', 'prompts[1].tokens[2] must be an integer in 0..47, got 99'),
  file('{"prompt": null}', 'has no "prompt"'),
  file('\0\1\2', 'p.jsonl:1'),
  file('{"prompt": "\255"}', 'p.jsonl:1'),
  held_out('{}', 'held_out has no prompts'),
  held_out('3', 'held_out must be a table or function or string, got number'),
  held_out('\'nowhere.csv\'', 'held_out: nowhere.csv: no such file'),
  held_out('{ { tokens = { 99 } } }', 'held_out[1].tokens[1] must be an integer in 0..47, got 99'),
  held_out('function() return { {} } end', 'held_out[1] has none of text, messages, tokens'),
  { 'held_out = held_out,', 'validation = {},', 'validation has no prompts' },
}
