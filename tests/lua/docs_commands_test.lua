--- The commands in README and docs: each is one that the program takes, and each runs, but for
--- those that are listed here with the reason.

local cli = require 'sppo.cli'
local lu = require 'luaunit'
local pages_of = require 'support.pages'
local shell = require 'support.shell'

local tests = {}

local bench = 'measures for minutes; tests/lua/bench_test.lua runs each'
local model = 'SmolLM2 for 13 to 20 minutes; tests/lua/branch_test.lua has what it does, smaller'

--- Commands that are only checked against what the verb takes.
local not_run = {
  ['sppo run recipes/compare.lua'] = model,
  ['sppo run recipes/estimate.lua'] = model,
  ['sppo run recipes/games.lua'] = '10 seconds; tests/lua/game_test.lua has its theorem',
  ['sppo bench machine'] = bench, ['sppo bench decode'] = bench, ['sppo bench prefill'] = bench,
  ['sppo bench train'] = bench, ['sppo bench head'] = bench, ['sppo bench load'] = bench,
  ['sppo bench growth'] = bench, ['sppo bench rank'] = bench,
  ['sppo rank models/PairRM answers.jsonl'] = 'no PairRM here; tests/lua/pairrm_test.lua runs it',
  ['sppo rank models/PairRM answers.jsonl --json | head -1'] = 'the same',
  ['sppo run recipes/tiny.lua policy.device=cuda'] = 'a build with CUDA; tests/cuda/tiny_test.lua',
  ['SPPO_CUDA_ATTENTION=cudnn sppo run recipes/tiny.lua policy.device=cuda'] =
    'the same; tests/cuda/attention_cudnn_test.lua',
  ['sppo gen MODEL "Describe the sea." --device cuda --dtype q8_0'] =
    'the same; tests/cuda/verbs_test.lua',
  ['sppo test cuda/'] = 'the same',
  ['SPPO_LUA=. build/sppo test rms_norm'] = 'tests of the suite itself',
  ['sppo test ops/elementwise'] = 'the same',
  ['SPPO_CPU=plain sppo test ops/elementwise'] = 'the same',
}

--- Lines of a page that begin with a command, after four spaces; what stands behind two spaces or a
--- '#' is said of it.
local function commands(page)
  local list = {}
  for line in pages_of.text(page):gmatch '\n    ([^\n]+)' do
    line = line:gsub('^%$ ', ''):gsub('%s%s+.*$', ''):gsub(' < %S+$', ''):gsub('%s+#.*$', '')
    local bare = line:gsub('^[%u_]+=%S+ ', ''):gsub('^build/', '')
    if bare:match '^sppo %l' or line:match '^for .*sppo ' then list[#list + 1] = line end
  end
  return list
end

--- Words of a shell's command.
local function words_of(text)
  local list = {}
  for quoted, word in text:gsub('"([^"]*)"', function(s) return '\1' .. s:gsub(' ', '\2') end)
    :gmatch '(\1?)(%S+)' do
    list[#list + 1] = quoted and word:gsub('[\1\2]', { ['\1'] = '', ['\2'] = ' ' })
  end
  return list
end

--- Raises unless the verb takes these arguments.
local function check_arguments(page, command)
  for arguments in (command .. ';'):gmatch '%f[%w]sppo (%l[^;|&]*)[;|&]' do
    local words = words_of(arguments)
    local verb = table.remove(words, 1)
    if verb ~= 'help' then
      local parser = cli.parser(verb)
      lu.assertNotNil(parser, page .. ': sppo ' .. verb)
      local ok, err = parser:pparse(words)
      lu.assertTrue(ok, ('%s: %s: %s'):format(page, command, tostring(err)))
    end
  end
end

function tests.test_commands()
  local count, left = 0, {}
  for command in pairs(not_run) do left[command] = true end
  pages_of.in_folder(function(folder)
    for _, page in ipairs(pages_of.list()) do
      for _, command in ipairs(commands(page)) do
        check_arguments(page, command)
        left[command] = nil
        if not not_run[command] then
          count = count + 1
          local line = ('cd %s && PATH=$PWD/build:$PATH && { %s; }'):format(folder, command)
          local code, _, err = shell.run(line)
          lu.assertEquals(code, 0, ('%s: %s\n%s'):format(page, command, err))
          lu.assertNil(err:match 'sppo: [^\n]*', ('%s: %s'):format(page, command))
        end
      end
    end
  end)
  lu.assertEquals(left, {}, 'in not_run, but on no page')
  lu.assertTrue(count > 20)
end

--- The prompt's lines in README raise nothing, whatever their values.
function tests.test_prompt()
  local lines = {}
  for line in pages_of.text('README.md'):gmatch '\n    sppo> ([^\n]+)' do
    lines[#lines + 1] = line
  end
  lu.assertTrue(#lines > 5)
  pages_of.in_folder(function(folder)
    require('sppo.files').write(folder .. '/lines', table.concat(lines, '\n') .. '\n')
    local code, out, err = shell.run(('cd %s && cat lines | build/sppo repl'):format(folder))
    lu.assertEquals({ code, err }, { 0, '' })
    lu.assertStrContains(out, '{ 2, 4, 6, 8 }')
  end)
end

--- `sppo plan FILE`, in a sentence: the verb is one, and has these options.
function tests.test_in_sentences()
  for _, page in ipairs(pages_of.list()) do
    for verb, rest in pages_of.text(page):gmatch '`[^`\n]-%f[%w]sppo (%l+)([^`]*)`' do
      if verb ~= 'help' then
        local parser = cli.parser(verb)
        lu.assertNotNil(parser, page .. ': sppo ' .. verb)
        for option in rest:gmatch ' (%-%-?[%a][%w-]*)' do
          lu.assertTrue(parser:get_help():find('%f[-]' .. option:gsub('%-', '%%-') .. '%f[^%w-]') ~=
            nil, ('%s: sppo %s has no %s'):format(page, verb, option))
        end
      end
    end
  end
end

return tests
