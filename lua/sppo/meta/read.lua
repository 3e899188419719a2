--- The docstrings of a Lua file: `---` lines before a function, a class or a value, with LuaCATS
--- tags. A tag's text goes on in lines that are indented under it.

local M = {}

---@class sppo.meta.Item          a function, or another value with a docstring
---@field owner string            'M', or the local that holds a class
---@field separator '.'|':'
---@field name string
---@field arguments string[]      as the source has them; of values, those that `@param` names
---@field doc string[]            lines of the docstring
---@field tags string[]           '@param x sppo.Tensor  [n]', each on one line

---@class sppo.meta.Class
---@field name string             'sppo.Segments'
---@field note string             what stands behind the name
---@field doc string[]
---@field tags string[]           '@field count integer'
---@field holder string?          the local or field that holds its methods

---@class sppo.meta.Module
---@field head string[]           the file's own docstring
---@field items sppo.meta.Item[]
---@field classes sppo.meta.Class[]
---@field aliases string[]        '@alias sppo.Prefer fun(..)'

--- Lines of a docstring, and its tags.
local function split(block)
  local doc, tags = {}, {}
  for _, line in ipairs(block) do
    local text = line:gsub('^%-%-%-', '')
    if text:match '^@' then tags[#tags + 1] = text
    elseif #tags > 0 and text:match '^%s%s' then
      tags[#tags] = tags[#tags] .. ' ' .. text:gsub('^%s+', '')
    else doc[#doc + 1] = text:gsub('^ ', '') end
  end
  return doc, tags
end

--- Arguments of a value that is a function: those that its tags name.
local function tagged_arguments(tags)
  local list = {}
  for _, tag in ipairs(tags) do list[#list + 1] = tag:match '^@param%s+([%w_.]+)' end
  return list
end

--- A function's argument list, which may go over several lines.
local function arguments_of(lines, i)
  local text, list = lines[i]:match '%((.*)$', {}
  while not text:find(')', 1, true) and lines[i + 1] do
    i = i + 1
    text = text .. lines[i]
  end
  for name in text:match('^[^)]*'):gmatch '[%w_.]+' do list[#list + 1] = name end
  return list
end

--- Adds what a docstring and the line after it say, if they say something.
local function take(module, block, lines, i)
  local line, doc, tags = lines[i], split(block)
  local owner, separator, name = line:match '^function ([%w_.]+)([.:])([%w_]+)%s*%('
  local kind = tags[1] and tags[1]:match '^@(%a+)'
  if kind == 'class' then
    local class, note = tags[1]:match '^@class%s+(%S+)%s*(.*)$'
    module.classes[#module.classes + 1] = { name = class, note = note, doc = doc,
      tags = { unpack(tags, 2) },
      holder = line:match '^local ([%w_]+) = ' or line:match '^(M%.[%w_]+) = ' }
  elseif kind == 'alias' then module.aliases[#module.aliases + 1] = tags[1]
  elseif owner then
    module.items[#module.items + 1] = { owner = owner, separator = separator, name = name,
      arguments = arguments_of(lines, i), doc = doc, tags = tags }
  elseif #block == i - 1 and #block > 0 then module.head = doc
  elseif #block > 0 and line:match '^M%.[%w_]+ = ' then
    module.items[#module.items + 1] = { owner = 'M', separator = '.', doc = doc, tags = tags,
      name = line:match '^M%.([%w_]+)', arguments = tagged_arguments(tags) }
  end
end

--- Reads a file's text.
---@param text string
---@return sppo.meta.Module
function M.read(text)
  local module = { head = {}, items = {}, classes = {}, aliases = {} }
  local lines, block = {}, {}
  for line in (text .. '\n'):gmatch '(.-)\n' do lines[#lines + 1] = line end
  for i, line in ipairs(lines) do
    if line:match '^%-%-%-' then block[#block + 1] = line
    else
      take(module, block, lines, i)
      block = {}
    end
  end
  return module
end

--- Where the type ends that `text` begins with: at white space outside of brackets that no ':', ','
--- or '|' stands before.
local function type_end(text)
  local depth, last = 0, ''
  for i = 1, #text do
    local c = text:sub(i, i)
    if c:match '[%(%[{<]' then depth = depth + 1
    elseif c:match '[%)%]}>]' then depth = depth - 1 end
    if c:match '%s' then
      if depth == 0 and not last:match '[:,|]' then return i - 1 end
    else last = c end
  end
  return #text
end

--- The parts of a tag: '@param x? integer  of all' gives 'param', 'x', true, 'integer', 'of all'.
---@param tag string
---@return { kind: string, name: string?, optional: boolean, type: string, doc: string }
function M.tag(tag)
  local kind, rest = tag:match '^@(%a+)%s*(.*)$'
  local out = { kind = kind, optional = false }
  if kind == 'param' or kind == 'field' then
    local name, mark
    name, mark, rest = rest:match '^(%[?[%w_.]+%]?)(%??)%s*(.*)$'
    out.name, out.optional = name, mark == '?'
  end
  local stop = type_end(rest)
  out.type, out.doc = rest:sub(1, stop), rest:sub(stop + 1):gsub('^%s+', '')
  return out
end

return M
