--- Runs that differ in one thing, side by side: for recipes that branch (recipes/compare.lua).

local evaluate = require 'sppo.evaluate'
local files = require 'sppo.files'
local json = require 'sppo.json'
local figures = require 'sppo.report.figures'
local plot = require 'sppo.plot'
local report = require 'sppo.report'
local prompts = require 'sppo.selfplay.prompts'

local M = {}

--- Algorithm 1 with the movement of the log-probs measured after each training.
---@param run sppo.Run
function M.algorithm(run)
  run:evaluate(0)
  for t = 1, run.rounds do
    run:sample(t)
    run:prefer(t)
    run:select(t)
    run:train(t)
    run:evaluate(t)
    run:likelihood(t)
    if run:ends_after(t) then break end
  end
end

--- What metrics.jsonl says of each round: { [t] = { ['eval/win_rate'] = .., .. } }.
local function rounds(run)
  local out = {}
  for line in (files.read(run.folder:file('metrics.jsonl')) or ''):gmatch('[^\n]+') do
    local values, err = json.decode(line)
    if not values then error(err, 0) end
    if values.round and not values.step then
      local round = out[values.round] or {}
      for key, value in pairs(values) do round[key] = value end
      out[values.round] = round
    end
  end
  return out
end

--- P(last answers of a beat last answers of b), with its 95 % interval over prompts.
local function against(run, a, b)
  local values = run.recipe.values
  local list = prompts.list(values[values.evaluate.on], values.rounds, values.evaluate.on)
  local function answers(branch)
    local name = ('round-%d/evaluation.msgpack'):format(values.rounds)
    local records, err = files.read_records(branch.folder:file(name))
    return records or error(err, 0)
  end
  local rates = evaluate.win_rates(run.preference, list, answers(a), answers(b))
  return evaluate.bootstrap(rates, values.seed)
end

local columns = {
  { 'eval/win_rate', '%.3f' }, { 'eval/win_rate_low', '%.3f' }, { 'eval/win_rate_high', '%.3f' },
  { 'eval/pass_rate', '%.3f' }, { 'eval/mean_length', '%.1f' },
  { 'likelihood/chosen', '%+.2f' }, { 'likelihood/rejected', '%+.2f' },
  { 'likelihood/chosen_up', '%.2f' }, { 'likelihood/rejected_up', '%.2f' },
}

local function name_of(branch) return branch.folder.path:match('[^/]+$') end

--- Movement of the log-probs by round, a colour for each branch, the rejected answers dashed.
local function likelihood_plot(branches)
  local series = {}
  for _, which in ipairs { 'chosen', 'rejected' } do
    for i, branch in ipairs(branches) do
      local points = {}
      for t, values in ipairs(rounds(branch)) do
        local d = values['likelihood/' .. which]
        if d then points[#points + 1] = { t, d } end
      end
      series[#series + 1] = { name = ('%s, %s'):format(name_of(branch), which), points = points,
        dots = true, dash = which == 'rejected', colour = i - 1 }
    end
  end
  return plot.lines { title = 'How far a round of training moved answers\' log-probs',
    series = series, x_label = 'round', y_label = 'nats an answer', include = 0, width = 760,
    x_ticks = figures.round_ticks { last = #rounds(branches[1]) } }
end

--- Writes compare.csv into the run's folder (a row for each branch and round), compare.html and
--- likelihood.svg, and says the same, and how the branches' last answers fare against each other.
---@param run sppo.Run
---@param branches sppo.Run[]
function M.write(run, branches)
  local head = { 'branch', 'round' }
  for _, column in ipairs(columns) do head[#head + 1] = column[1] end
  local csv = { table.concat(head, ',') }
  for _, branch in ipairs(branches) do
    for t, values in ipairs(rounds(branch)) do
      local row, said = { name_of(branch), t }, {}
      for _, column in ipairs(columns) do
        local value = values[column[1]]
        row[#row + 1] = value and ('%.17g'):format(value) or ''
        said[#said + 1] = value and
          ('%s %s'):format(column[1]:match('[^/]+$'), column[2]:format(value))
      end
      csv[#csv + 1] = table.concat(row, ',')
      run:say(('%-8s round %d: %s'):format(name_of(branch), t, table.concat(said, ', ')))
    end
  end
  files.write(run.folder:file('compare.csv'), table.concat(csv, '\n') .. '\n')
  local paths = {}
  for i, branch in ipairs(branches) do paths[i] = branch.folder.path end
  report.compare(paths, run.folder:file('compare.html'))
  files.write(run.folder:file('likelihood.svg'), plot.standalone(likelihood_plot(branches)))
  for i, a in ipairs(branches) do
    for j = i + 1, #branches do
      local rate, low, high = against(run, a, branches[j])
      run:say(('%s beats %s in %.3f (95 %%: %.3f..%.3f)'):format(name_of(a), name_of(branches[j]),
        rate, low, high))
    end
  end
end

return M
