--- Where the tokens of a flat batch belong: the `at` of a model's forward.
---
---     local at = segments.new {
---       { count = 12 }, { parent = 1, count = 7 }, { parent = 1, count = 9 },
---     }
---
--- is one prompt of 12 tokens and two answers that continue it. While sampling, segments are slots
--- of a key/value store instead (segments.KvCache).

local engine = require 'sppo.ffi'
local tensor = require 'sppo.tensor'

local ffi, C, try = engine.ffi, engine.C, engine.try

local M = {}

---@class sppo.Segments
local Segments = {}
Segments.__index = Segments

local box = ffi.new('sppo_segments *[1]')

local function make(kv)
  try(C.sppo_segments_new(box, kv))
  return setmetatable({ h = ffi.gc(box[0], C.sppo_segments_release) }, Segments)
end

--- A tree of segments without a store (training, scoring). Parents are 1-based and come before.
---@param list { parent?: integer, count: integer }[]
---@return sppo.Segments
function M.new(list)
  local at = make(nil)
  for _, s in ipairs(list) do
    try(C.sppo_segments_add(at.h, s.parent and s.parent - 1 or -1, s.count))
  end
  return at
end

--- Number of tokens of all segments.
---@return integer
function Segments:tokens() return tonumber(C.sppo_segments_tokens(self.h)) end

--- Empties the list, to be filled anew.
function Segments:reset()
  try(C.sppo_segments_reset(self.h))
  return self
end

--- Gives the list back now, and with the last list of a store that was freed its memory.
function Segments:free()
  if self.h then C.sppo_segments_release(ffi.gc(self.h, nil)) end
  self.h = nil
end

--- With a store: the next `count` tokens of `slot`.
---@param slot integer
---@param count integer
function Segments:add_slot(slot, count) try(C.sppo_segments_add_slot(self.h, slot, count)) end

--- With a store: the forward pass is over, the slots have grown.
function Segments:commit() try(C.sppo_segments_commit(self.h)) end

---@class sppo.KvCache
local KvCache = {}
KvCache.__index = KvCache

local kv_box = ffi.new('sppo_kv *[1]')
local slot_box = ffi.new('int[1]')

M.PAGE = 64 -- tokens in a page

--- A store of keys and values for a model.
---@param config { num_hidden_layers: integer, num_key_value_heads: integer, head_dim: integer }
---@param pages integer  of 64 tokens, over all layers
---@return sppo.KvCache
function M.kv_cache(config, pages)
  local device = tensor.devices[tensor.default_device()]
  try(C.sppo_kv_new_on(kv_box, device, config.num_hidden_layers, config.num_key_value_heads,
    config.head_dim, pages))
  return setmetatable({ h = ffi.gc(kv_box[0], C.sppo_kv_free) }, KvCache)
end

--- Bytes of one page of a model's store.
---@param config { num_hidden_layers: integer, num_key_value_heads: integer, head_dim: integer }
---@return integer
function M.page_bytes(config)
  return tonumber(C.sppo_kv_bytes(config.num_hidden_layers, config.num_key_value_heads,
    config.head_dim, 1))
end

--- An empty list of segments over this store: the `at` of a forward pass that reads and grows it.
---@return sppo.Segments
function KvCache:segments() return make(self.h) end

--- A new slot that continues `parent`, with pages for `tokens` tokens; nil if too few are free.
---@param parent? integer
---@param tokens integer
---@return integer? slot
function KvCache:open(parent, tokens)
  if self:pages_free() < math.ceil(tokens / M.PAGE) then return end
  try(C.sppo_kv_open(self.h, parent or -1, tokens, slot_box))
  return slot_box[0]
end

--- Gives a slot back; its pages are free once no other slot continues it.
---@param slot integer
function KvCache:close(slot) try(C.sppo_kv_close(self.h, slot)) end

--- Pages of 64 tokens that no slot holds.
---@return integer
function KvCache:pages_free() return tonumber(C.sppo_kv_pages_free(self.h)) end

--- Gives the memory back now.
function KvCache:free()
  if self.h then C.sppo_kv_free(ffi.gc(self.h, nil)) end
  self.h = nil
end

return M
