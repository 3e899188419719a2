--- `sppo train`: the training of a recipe's first round, on pairs that are there already.

local exit = require 'sppo.cli.exit'

local M = {
  examples = {
    'sppo train recipes/quickstart.lua pairs.jsonl out=runs/offline',
    'sppo train mine.lua pairs.csv policy.model=runs/quickstart/round-1/weights train.loss=dpo',
  },
}

function M.define(parser)
  parser:argument('recipe', 'The recipe: policy, train, and held_out if it has one.')
  parser:argument('pairs', 'prompt, chosen, rejected in each row; chosen_probs, if there: P of ' ..
    'the pair (else 1). What `sppo data` reads, and `sppo export RUN/round-1 pairs.jsonl` writes.')
  parser:argument('overrides', 'key=value: changes a value of the recipe.'):args('*')
    :argname('key=value')
end

function M.run(args)
  local run = require 'sppo.cli.run'
  if args.pairs:match('^[%a_][%w_.]*=') and not require('sppo.files').exists(args.pairs) then
    exit.usage(('train: \'%s\' stands where the file of pairs is wanted'):format(args.pairs),
      'sppo train --help')
  end
  local overrides = run.split(args.overrides, 'train')
  local pairs_of = require('sppo.data.given').read(args.pairs)
  return run.execute(args.recipe, { overrides = overrides, suffix = '-train',
    algorithm = function(r)
      r:evaluate(0)
      r:given(1, pairs_of)
      r:train(1)
      r:evaluate(1)
    end }, args.quiet)
end

return M
