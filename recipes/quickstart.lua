--- SmolLM2-135M learns to follow verifiable instructions in three rounds of self-play, in minutes
--- on two cores. The instructions pull both ways (short and long answers), so no one habit wins.
---
---     tools/quickstart                        sets everything up and runs this
---     sppo run recipes/quickstart.lua seed=2 out=runs/quickstart-2

local rules = require 'sppo.preference.rules'

local function list(text)
  local words = {}
  for word in text:gmatch('[^,]+') do words[#words + 1] = word:match('^%s*(.-)%s*$') end
  return words
end

-- Three sets that share no topic: to train on, to choose values by (evaluate.on = 'validation'),
-- and to report on.
local train_topics = list [[
  bread, bicycles, the moon, honey bees, chess, volcanoes, coffee, trains, rivers, the violin,
  owls, glass, the desert, libraries, soap, winter, maps, salt, bridges, dreams, tea, whales,
  clocks, kites, forests, cheese, the sun, football, paper, islands, robots, gardens, thunder,
  mirrors, potatoes, elephants, photography, silk, castles, swimming, the piano, lighthouses,
  rice, wolves, candles, the internet, snow, markets, spiders, painting, hot air balloons, apples,
  deserts of ice, sailing, the heart, ants, museums, wind, poetry, tigers]]
local validation_topics = list [[
  camels, windmills, pasta, comets, the guitar, hedgehogs, waterfalls, ink, tunnels, pottery,
  cats, autumn, submarines, garlic, mountains, dancing, the brain, feathers, rope, frogs]]
local held_out_topics = list [[
  chocolate, penguins, the ocean, telescopes, running, butterflies, earthquakes, harbors,
  tomatoes, horses, rainbows, cities at night, wool, dinosaurs, the stars, cooking, parrots,
  steel, letters, camping, gold, turtles, fog, theater, oranges, bats, stairs, jazz, lakes, dogs]]

local questions = {
  'Tell me about %s.', 'Why do people like %s?', 'Describe %s to a child.',
  'What is special about %s?', 'Give me a fact about %s.', 'Write a few words on %s.',
  'How would you explain %s?',
}

--- n prompts over some topics, as many of each kind, from combination `first` on.
local function prompts(topics, n, first)
  local out = {}
  for i = first, first + n - 1 do
    local rule, turn = rules.mixed(i), math.floor(i / 6)
    local topic = topics[1 + (i * 7 + turn) % #topics]
    local question = questions[1 + (i + turn) % #questions]
    local text = question:format(topic) .. ' ' .. rule.text
    out[#out + 1] = { text = text, kind = rule.kind, rule = rule }
  end
  return out
end

local per_round = 60

return {
  name = 'quickstart',
  seed = 1,
  rounds = 3,
  policy = { model = 'smollm2-135m-instruct' },
  prompts = function(round) return prompts(train_topics, per_round, (round - 1) * per_round) end,
  validation = prompts(validation_topics, 60, 0),
  held_out = prompts(held_out_topics, 90, 0),
  sample = { k = 5, temperature = 0.7, top_p = 0.9, max_new_tokens = 80 },
  preference = rules.preference { confidence = 0.95 },
  select = 'best_and_worst',
  train = {
    loss = 'sppo', eta = 1000, optimizer = 'rmsprop', schedule = 'linear', batch = 8,
    lr = { 2e-6, 1.5e-6, 1e-6 }, -- one a round: a policy that has moved needs smaller steps
  },
  evaluate = { k = 2 },
}
