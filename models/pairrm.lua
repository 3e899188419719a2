--- PairRM: a DeBERTa-v3 encoder that reads a source and two candidates side by side and says how
--- much better the first is (llm_blender/pair_ranker/ranker.py, CrossCompareReranker).
---
--- Field names are those of llm-blender/PairRM's tensors: `pretrained_model...`, `head_layer.1`,
--- `head_layer.4` (between them dropout and tanh, which have no parameters).

local Deberta = require 'models.deberta'
local nn = require 'sppo.nn'
local ops = require 'sppo.ops'

local PairRM = nn.class 'PairRM'

--- The head's layers for a body of this width.
function PairRM.head(hidden_size)
  return {
    [2] = nn.Linear(2 * hidden_size, hidden_size, { bias = true }),
    [5] = nn.Linear(hidden_size, 1, { bias = true }),
  }
end

---@param c sppo.deberta.Config
function PairRM:init(c)
  self.config = c
  self.pretrained_model = Deberta(c)
  self.head_layer = PairRM.head(c.hidden_size)
end

--- Logits of a head's layers, [pairs], from the body's hidden states, [n, hidden].
---@param head table           of PairRM.head
---@param hidden sppo.Tensor
---@param marks sppo.Tensor    [4 pairs] i32: rows of the source, the first, the source, the second
function PairRM.compare(head, hidden, marks)
  local marked = ops.take_rows(hidden, marks):view(-1, 2 * hidden.shape[2])
  local scores = head[5](ops.tanh(head[2](marked))):view(-1, 2)
  return (scores:narrow(2, 0, 1) - scores:narrow(2, 1, 1)):view(-1)
end

--- Logits, [pairs]: sigmoid of one is the probability that the pair's first candidate is better.
--- Not antisymmetric: the places of the two matter.
---@param tokens sppo.Tensor   [n] i32
---@param at sppo.Segments     a segment a pair
---@param marks sppo.Tensor    [4 pairs] i32: of each pair the tokens <|source|>, <|candidate1|>,
---                            <|source|>, <|candidate2|>
---@param options? { recompute: boolean }
function PairRM:forward(tokens, at, marks, options)
  return PairRM.compare(self.head_layer, self.pretrained_model(tokens, at, options), marks)
end

return PairRM
