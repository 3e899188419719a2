--- Random models of the sizes that the paper trains, cut to two layers: real vocabularies, widths,
--- heads. 1.3 to 1.5 thousand million weights, in bf16.

local files = require 'sppo.files'
local model_of = require 'sppo.model'
local scope = require 'sppo.scope'
local segments = require 'sppo.segments'
local shell = require 'support.shell'
local sppo = require 'sppo'
local tensor = require 'sppo.tensor'

local M = {}

M.names = { 'llama3-8b', 'mistral-7b', 'gemma2-9b' }

---@param name string   of models/configs
---@return sppo.Model
function M.open(name)
  local config = assert(files.json(('%s/models/configs/%s.json'):format(shell.root(), name)))
  config.num_hidden_layers = 2
  return model_of.random(config, 7, { dtype = 'bf16', values = 'bf16', deviation = 0.02 })
end

--- Token ids that any of the vocabularies has, the largest near its end.
function M.prompt(config)
  local ids = {}
  for i = 1, 48 do ids[i] = (i * i * 7919 + 13 * i) % config.vocab_size end
  ids[48] = config.vocab_size - 1
  return ids
end

--- Logits of some rows of the prompt, of every 997th token: { row = { .. }, .. }.
function M.logits(model, ids, rows)
  return scope.run(function()
    return sppo.no_grad(function()
      local hidden = model.net(tensor.ints(ids), segments.new { { count = #ids } })
      local out = {}
      for n, row in ipairs(rows) do
        local list = model.net.lm_head(hidden:narrow(1, row, 1)):tolist()
        out[n] = {}
        for i = 1, #list, 997 do out[n][#out[n] + 1] = list[i] end
      end
      return out
    end)
  end)
end

return M
