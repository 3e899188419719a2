--- What a tokenizer.json does with text before it is split (its normalizer and pre-tokenizer), as
--- steps of the engine: { kind, from, to }. What has no step is named in the error.

local base64 = require 'sppo.base64'
local json = require 'sppo.json'

local M = {}

local SPACE = '▁'

local function given(value)
  if value ~= json.null then return value end
end

local function kind_of(value)
  if type(value) ~= 'table' then return tostring(value) end
  return tostring(value.type)
end

local add_normalizer

local function add_list(steps, list, key, add)
  if type(list) ~= 'table' then return ('%s is not a list'):format(key) end
  for i, part in ipairs(list) do
    local text = add(steps, part, ('%s[%d]'):format(key, i - 1))
    if text then return text end
  end
end

local function add_replace(steps, n, key)
  local pattern = type(n.pattern) == 'table' and n.pattern or {}
  if type(n.content) ~= 'string' then return key .. '.content is not a string' end
  if type(pattern.String) == 'string' then
    steps[#steps + 1] = { 'REPLACE', pattern.String, n.content }
  elseif pattern.Regex == ' {2,}' then
    steps[#steps + 1] = { 'COLLAPSE', ' ', n.content }
  else
    return ('%s.pattern %s is not supported; a String and the Regex \' {2,}\' are'):format(key,
      tostring(pattern.Regex or json.encode(pattern)))
  end
end

local function add_charsmap(steps, n, key)
  local map = type(n.precompiled_charsmap) == 'string' and base64.decode(n.precompiled_charsmap)
  if not map then return key .. '.precompiled_charsmap is not base64' end
  steps[#steps + 1] = { 'CHARSMAP', map, '' }
end

local normalizers = {
  Sequence = function(steps, n, key)
    return add_list(steps, n.normalizers, key .. '.normalizers', add_normalizer)
  end,
  Replace = add_replace,
  Precompiled = add_charsmap,
  Prepend = function(steps, n, key)
    if type(n.prepend) ~= 'string' then return key .. '.prepend is not a string' end
    steps[#steps + 1] = { 'PREPEND', '', n.prepend }
  end,
  Strip = function(steps, n)
    if n.strip_left ~= false then steps[#steps + 1] = { 'STRIP_LEFT', '', '' } end
    if n.strip_right ~= false then steps[#steps + 1] = { 'STRIP_RIGHT', '', '' } end
  end,
}
for _, form in ipairs { 'NFC', 'NFD', 'NFKC', 'NFKD' } do
  normalizers[form] = function(steps) steps[#steps + 1] = { form, '', '' } end
end

function add_normalizer(steps, n, key)
  local add = type(n) == 'table' and normalizers[n.type]
  if not add then
    return ('%s %s is not supported; NFC, NFD, NFKC, NFKD, Replace, Prepend, Strip, Precompiled '
      .. 'and Sequence are'):format(key, kind_of(n))
  end
  return add(steps, n, key)
end

--- The steps of a normalizer; nil, text.
---@param normalizer table?
---@return { [1]: string, [2]: string, [3]: string }[]?
function M.of_normalizer(normalizer)
  local steps = {}
  if given(normalizer) == nil then return steps end
  local text = add_normalizer(steps, normalizer, 'normalizer')
  if text then return nil, text end
  return steps
end

local function replaces_spaces(steps)
  for _, step in ipairs(steps) do
    if step[1] == 'REPLACE' and step[2] == ' ' then return true end
  end
end

--- When a space is put in front of a text: 'always', 'first' (not after a special token), 'never'.
function M.scheme(metaspace)
  local scheme = given(metaspace.prepend_scheme)
  if scheme ~= nil then return scheme end
  return metaspace.add_prefix_space == false and 'never' or 'always'
end

local prepend = { always = 'PREPEND_MISSING', first = 'PREPEND_FIRST_MISSING' }

--- Adds what a pre-tokenizer of characters does; the engine's pattern ('none', 'metaspace') and
--- whether decoding drops a leading space; nil, text.
---@return string?, boolean|string
function M.add_pre_tokenizer(steps, p)
  p = given(p)
  if p == nil then
    for _, step in ipairs(steps) do
      if step[1] == 'PREPEND' then return 'none', true end
    end
    return 'none', false
  end
  if type(p) == 'table' and p.type == 'Sequence' and type(p.pretokenizers) == 'table' and
    #p.pretokenizers == 1 then
    p = p.pretokenizers[1]
  end
  if type(p) == 'table' and p.type == 'Split' and type(p.pattern) == 'table' and
    p.pattern.String == ' ' and replaces_spaces(steps) then
    return 'none', false -- no space is left where it would split
  end
  if type(p) ~= 'table' or p.type ~= 'Metaspace' then
    return nil, ('pre_tokenizer %s is not supported with this model; Metaspace and none are')
      :format(kind_of(p))
  end
  local mark, scheme = p.replacement or SPACE, M.scheme(p)
  if mark ~= SPACE then
    return nil, ('pre_tokenizer.replacement is %s, only %s is supported'):format(tostring(mark),
      SPACE)
  end
  if scheme ~= 'never' and not prepend[scheme] then
    return nil, ('pre_tokenizer.prepend_scheme is %s, it must be always, first or never'):format(
      tostring(scheme))
  end
  steps[#steps + 1] = { 'REPLACE', ' ', SPACE }
  if scheme ~= 'never' then steps[#steps + 1] = { prepend[scheme], '', SPACE } end
  return p.split == false and 'none' or 'metaspace', scheme ~= 'never'
end

return M
