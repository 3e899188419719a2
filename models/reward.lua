--- A decoder that gives a text one number: a scalar reward. Checkpoints are those of Hugging Face's
--- `...ForSequenceClassification` with one label: the decoder's own names and `score.weight`.

local nn = require 'sppo.nn'
local ops = require 'sppo.ops'

local M = {}

--- The class for a decoder's class (models/llama.lua).
---@param Decoder table
function M.class(Decoder)
  local Reward = nn.class 'Reward'

  function Reward:init(c)
    self.config, self.model = c, Decoder(c).model
    self.score = nn.Linear(c.hidden_size, 1)
  end

  --- Rewards, [rows], at the given tokens (each text's last).
  ---@param tokens sppo.Tensor   [n] i32
  ---@param at sppo.Segments
  ---@param rows sppo.Tensor     [rows] i32
  ---@param options? { recompute: boolean }
  function Reward:forward(tokens, at, rows, options)
    local hidden = Decoder.forward(self, tokens, at, options)
    return self.score(ops.take_rows(hidden, rows)):view(-1)
  end

  return Reward
end

return M
