--- PairRM's head (models/pairrm.lua) on a decoder: the prompt, an answer and another are one text,
--- and the head reads their last tokens. A decoder looks back only, so the second answer is read in
--- the light of the first, and the order of the two matters, as it does to PairRM.
---
--- Field names are the decoder's own, and `head_layer.1`, `head_layer.4`.

local PairRM = require 'models.pairrm'
local nn = require 'sppo.nn'

local M = {}

--- The class for a decoder's class (models/llama.lua).
---@param Decoder table
function M.class(Decoder)
  local Pair = nn.class 'PairDecoder'

  function Pair:init(c)
    self.config, self.model = c, Decoder(c).model
    self.head_layer = PairRM.head(c.hidden_size)
  end

  --- Logits, [pairs], as models/pairrm.lua has them.
  ---@param tokens sppo.Tensor   [n] i32
  ---@param at sppo.Segments     a source, below it first answers, below each the second ones
  ---@param marks sppo.Tensor    [4 pairs] i32: last tokens of source, first, source, second
  ---@param options? { recompute: boolean }
  function Pair:forward(tokens, at, marks, options)
    return PairRM.compare(self.head_layer, Decoder.forward(self, tokens, at, options), marks)
  end

  return Pair
end

return M
