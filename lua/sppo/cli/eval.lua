--- `sppo eval`: a model on a recipe's held-out prompts.

local exit = require 'sppo.cli.exit'
local output = require 'sppo.cli.output'

local M = {
  examples = {
    'sppo eval recipes/quickstart.lua runs/quickstart/round-3',
    'sppo eval recipes/quickstart.lua my-model --against runs/quickstart/round-2 evaluate.k=4',
  },
}

function M.define(parser)
  parser:argument('recipe', 'The recipe whose held-out prompts, preference and values count.')
  parser:argument('model', 'A model, a round of a run (runs/NAME/round-2), or a run: its last one.')
  parser:argument('overrides', 'key=value: changes a value of the recipe.'):args('*')
    :argname('key=value')
  parser:option('--against', 'Whose answers it is compared with: as MODEL, or start.')
    :argname('MODEL'):default('start')
  parser:flag('--json', 'One JSON object, its metrics named as in metrics.jsonl.')
end

local function line(...) output.write((...):format(select(2, ...)), '\n') end

local function print_result(one, other, result)
  local m, o = result.one, result.other
  line('%s against %s: %d prompts, %d answers each', one.name, other.name, result.prompts,
    result.answers)
  line('  win rate     %.3f (95 %%: %.3f..%.3f)', m['eval/win_rate'], m['eval/win_rate_low'],
    m['eval/win_rate_high'])
  if m['eval/pass_rate'] then
    line('  pass rate    %.3f, against %.3f', m['eval/pass_rate'], o['eval/pass_rate'])
  end
  line('  mean length  %.1f tokens, against %.1f', m['eval/mean_length'], o['eval/mean_length'])
  line('  cut off      %.3f of answers, against %.3f', m['eval/clipped_ratio'],
    o['eval/clipped_ratio'])
end

function M.run(args)
  local overrides = require('sppo.cli.run').split(args.overrides, 'eval')
  local recipe, err = require('sppo.selfplay.recipe').load(args.recipe, overrides, true)
  if not recipe then require('sppo.cli.run').bad_recipe(args.recipe, err) end
  local versus = require 'sppo.selfplay.versus'
  local one, other, result
  one, err = versus.contestant(recipe, args.model)
  if one then other, err = versus.contestant(recipe, args.against) end
  if not other then exit.data(err) end
  local p = require('sppo.cli.progress').new { quiet = args.quiet }
  result, err = versus.run(recipe, one, other, function(name, done, total, rate)
    p:show(name, done, total, ('%.0f tok/s'):format(rate))
  end)
  p:clear()
  if not result then exit.data(err) end
  if not args.json then return print_result(one, other, result) end
  local out = { recipe = args.recipe, model = one.name, against = { model = other.name },
    prompts = result.prompts, answers = result.answers }
  for key, value in pairs(result.one) do out[key] = value end
  for key, value in pairs(result.other) do out.against[key] = value end
  output.write(require('sppo.json').encode(out), '\n')
end

return M
