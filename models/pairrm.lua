--- PairRM: a DeBERTa-v3 encoder that reads a source and two candidates side by side and says how
--- much better the first is (llm_blender/pair_ranker/ranker.py, CrossCompareReranker).
---
--- Field names are those of llm-blender/PairRM's tensors: `pretrained_model...`, `head_layer.1`,
--- `head_layer.4` (between them dropout and tanh, which have no parameters).

local Deberta = require 'models.deberta'
local nn = require 'sppo.nn'
local ops = require 'sppo.ops'

local PairRM = nn.class 'PairRM'

---@param c sppo.deberta.Config
function PairRM:init(c)
  self.config = c
  self.pretrained_model = Deberta(c)
  self.head_layer = {
    [2] = nn.Linear(2 * c.hidden_size, c.hidden_size, { bias = true }),
    [5] = nn.Linear(c.hidden_size, 1, { bias = true }),
  }
end

--- Logits, [pairs]: sigmoid of one is the probability that the pair's first candidate is better.
--- Not antisymmetric: the places of the two matter.
---@param tokens sppo.Tensor   [n] i32
---@param at sppo.Segments     a segment a pair
---@param marks sppo.Tensor    [4 pairs] i32: of each pair the tokens <|source|>, <|candidate1|>,
---                            <|source|>, <|candidate2|>
---@param options? { recompute: boolean }
function PairRM:forward(tokens, at, marks, options)
  local hidden = self.pretrained_model(tokens, at, options)
  local marked = ops.take_rows(hidden, marks):view(-1, 2 * self.config.hidden_size)
  local head = self.head_layer
  local scores = head[5](ops.tanh(head[2](marked))):view(-1, 2)
  return (scores:narrow(2, 0, 1) - scores:narrow(2, 1, 1)):view(-1)
end

return PairRM
