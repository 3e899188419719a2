--- The pages that people read, their code, and a folder in which their commands can run.

local files = require 'sppo.files'
local host = require 'sppo.host'
local json = require 'sppo.json'
local selfplay = require 'sppo.selfplay'
local shell = require 'support.shell'
local small_model = require 'support.small_model'

local M = {}

--- Paths of README, CONTRIBUTING and docs/.
---@return string[]
function M.list()
  local list = { 'README.md', 'CONTRIBUTING.md' }
  for _, name in ipairs(files.list(shell.root() .. '/docs')) do
    if name:match('%.md$') then list[#list + 1] = 'docs/' .. name end
  end
  return list
end

--- Text of a page.
function M.text(page) return assert(files.read(shell.root() .. '/' .. page)) end

--- Every fenced block of all pages; `note` is the HTML comment on the line before it.
---@return { page: string, language: string, note: string?, body: string }[]
function M.blocks()
  local list = {}
  for _, page in ipairs(M.list()) do
    local text, at = '\n' .. M.text(page), 1
    while true do
      local from, to, language, body = text:find('\n```(%a*)\n(.-)\n```', at)
      if not from then break end
      local before = text:sub(1, from - 1):match '([^\n]*)$'
      list[#list + 1] = { page = page, language = language, body = body,
        note = before:match '^<!%-%- (.-) %-%->$' }
      at = to
    end
  end
  return list
end

-- A run like the quickstart's in form, with a model so small that it takes a second: of two
-- answers the one with more letters a is better.
local RECIPE = [[
local function letters(answer) return select(2, answer:gsub('a', '')) end
return {
  name = 'quickstart', rounds = 3, policy = { model = %q },
  prompts = { 'a', 'b', 'ab', 'ba', 'aab', 'abb' }, held_out = { 'aa', 'bb' },
  sample = { k = 4, max_new_tokens = 8 },
  preference = {
    pass = function(_, answer) return letters(answer) > 1 end,
    prefer = function(_, answers)
      local p = {}
      for i, a in ipairs(answers) do
        p[i] = {}
        for j, b in ipairs(answers) do
          p[i][j] = 1 / (1 + math.exp(letters(b) - letters(a)))
        end
      end
      return p
    end,
  },
  train = { lr = 1e-3, batch = 4 },
}
]]

--- What the pages' commands and code read: `sppo` and `scontrol` in build/, the checkout's recipes
--- and tests, a small model under the name of SmolLM2, a run called quickstart, files of data.
local function fill(folder)
  local _, root = shell.run(('cd \'%s\' && pwd'):format(shell.root()))
  root = root:match '^[^\n]+'
  files.make_folder(folder .. '/build')
  files.write(folder .. '/build/sppo', ('#!/bin/sh\nexport SPPO_LUA=\'%s\' SPPO_HOME=\'%s\'\n' ..
    'exec \'%s\' "$@"\n'):format(root, folder, host.executable()))
  files.write(folder .. '/build/scontrol', '#!/bin/sh\necho "$@"\n')
  local link = 'cd %s && chmod +x build/* && ln -s %s/recipes %s/tests .'
  local code, _, err = shell.run(link:format(folder, root, root))
  assert(code == 0, err)
  files.make_folder(folder .. '/models')
  local model = folder .. '/models/smollm2-135m-instruct'
  small_model.write(model, 1)
  files.write(folder .. '/quickstart.lua', RECIPE:format(model))
  local out = { { 'out', folder .. '/runs/quickstart' } }
  selfplay.run(folder .. '/quickstart.lua', { overrides = out })
  local rows = {}
  for i = 1, 100 do
    rows[i] = json.encode { instruction = ('Say %d.'):format(i),
      language = i % 2 == 0 and 'en' or 'de' }
  end
  files.write(folder .. '/train.jsonl', table.concat(rows, '\n') .. '\n')
  files.write(folder .. '/pairs.csv', 'question,better,worse\nWhy?,Because.,No.\n')
  code, _, err = shell.run(('cd %s && gzip -k train.jsonl'):format(folder))
  assert(code == 0, err)
end

--- Runs fn(folder) in such a folder, which is gone afterwards.
---@param fn fun(folder: string)
function M.in_folder(fn)
  shell.in_folder(function(folder)
    fill(folder)
    fn(folder)
  end)
end

return M
