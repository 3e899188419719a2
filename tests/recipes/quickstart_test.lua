--- recipes/quickstart.lua: its three sets of prompts share nothing, and each holds all kinds alike.

local lu = require 'luaunit'
local prompts = require 'sppo.selfplay.prompts'
local recipe_of = require 'sppo.selfplay.recipe'
local shell = require 'support.shell'

local tests = {}

local function values()
  return assert(recipe_of.load(shell.root() .. '/recipes/quickstart.lua')).values
end

--- The prompts without their rule: what is asked about which topic.
local function questions(list, into)
  for _, p in ipairs(list) do
    local question = p.text:sub(1, #p.text - #p.rule.text - 1)
    lu.assertEquals(question .. ' ' .. p.rule.text, p.text)
    into[question] = true
  end
  return into
end

--- Words of five letters or more in questions, which name the topics.
local function words(list, common)
  local found = {}
  for question in pairs(list) do
    for word in question:gmatch('%a%a%a%a%a+') do
      word = word:lower():gsub('s$', '')
      if not common[word] then found[word] = true end
    end
  end
  return found
end

function tests.test_sets_share_no_topic()
  local v = values()
  local train = {}
  for round = 1, v.rounds do questions(prompts.list(v.prompts, round, 'prompts'), train) end
  -- Words of the question templates themselves.
  local common = {}
  for word in ('people describe child special write would explain about word'):gmatch('%a+') do
    common[word] = true
  end
  local sets = {
    words(train, common), words(questions(v.validation, {}), common),
    words(questions(v.held_out, {}), common),
  }
  for a = 1, 3 do
    for b = a + 1, 3 do
      for word in pairs(sets[a]) do lu.assertNil(sets[b][word], word) end
    end
  end
end

function tests.test_kinds_are_even()
  local v = values()
  for _, list in ipairs { v.prompts(1), v.validation, v.held_out } do
    local count, kinds = {}, 0
    for _, p in ipairs(list) do count[p.kind] = (count[p.kind] or 0) + 1 end
    for _, n in pairs(count) do
      kinds = kinds + 1
      lu.assertEquals(n, #list / 6)
    end
    lu.assertEquals(kinds, 6)
  end
end

return tests
