--- The pages of the site: a reference made from docstrings and from the C header, and the pages
--- of docs/ beside it with their links set right. Run by tools/docs inside of `sppo`; needs no
--- network.

local files = require 'sppo.files'
local meta = require 'sppo.meta'
local read = require 'sppo.meta.read'

local M = {}

-- ---- Markdown ----

--- A docstring's text with what Markdown would take for marks made plain, but for code.
local function plain(text)
  return ((text .. '``'):gsub('(.-)(`[^`]*`)', function(before, code)
    return before:gsub('[*%[%]\\]', '\\%0'):gsub('&', '&amp;'):gsub('<', '&lt;') .. code
  end):gsub('``$', ''))
end

--- A docstring as paragraphs; lines that are indented by four are code.
local function paragraphs(doc)
  local out, code = {}, false
  for _, line in ipairs(doc) do
    local is_code = line:match '^    ' ~= nil
    if is_code ~= code and line ~= '' then
      out[#out + 1] = ''
      code = is_code
    end
    out[#out + 1] = is_code and line or plain(line)
  end
  return table.concat(out, '\n')
end

--- A parameter, field or result as an entry of a list.
local function entry(tag)
  local parts = read.tag(tag)
  if parts.kind == 'return' then
    local value, doc = tag:match '^@return (.-%S)%s%s+(.*)$'
    return ('- returns `%s`%s'):format(value or tag:match '^@return (.*)$',
      doc and ', ' .. plain(doc) or '')
  elseif parts.kind == 'param' or parts.kind == 'field' then
    return ('- `%s%s`: `%s`%s'):format(parts.name, parts.optional and '?' or '', parts.type,
      parts.doc ~= '' and ', ' .. plain(parts.doc) or '')
  elseif parts.kind == 'operator' or parts.kind == 'type' then
    return ('- `%s`'):format(tag:sub(2))
  end
end

local function add_entries(lines, tags)
  local first = true
  for _, tag in ipairs(tags) do
    local text = entry(tag)
    if text then
      if first then lines[#lines + 1] = '' end
      lines[#lines + 1], first = text, false
    end
  end
end

--- What a function is called by: ops.linear(x, weights), sppo.Tensor:view(...).
local function call_of(api, f)
  local optional, list = {}, {}
  for _, tag in ipairs(f.tags) do
    local parts = read.tag(tag)
    if parts.optional then optional[parts.name] = true end
  end
  for i, name in ipairs(f.arguments) do list[i] = name .. (optional[name] and '?' or '') end
  return ('%s%s%s%s'):format(f.class or api.module:match '[%w_]+$', f.separator, f.name,
    f.value and '' or '(' .. table.concat(list, ', ') .. ')')
end

--- One family's page.
local function page(family, by_module)
  local lines = { '# ' .. family.title, '',
    'Made from the docstrings of the sources; a name that ends in `?` may be left out.' }
  for _, module in ipairs(family.modules) do
    local api = by_module[module]
    lines[#lines + 1] = ('\n## %s\n\n`require \'%s\'`, in `%s`.\n'):format(module, module, api.file)
    lines[#lines + 1] = paragraphs(api.head)
    for _, alias in ipairs(api.aliases) do
      lines[#lines + 1] = ('\n`%s`'):format(alias:gsub('^@', ''))
    end
    for _, class in ipairs(api.classes) do
      lines[#lines + 1] = ('\n### %s\n'):format(class.name)
      lines[#lines + 1] = paragraphs(class.note ~= '' and { class.note } or class.doc)
      add_entries(lines, class.tags)
    end
    for _, f in ipairs(api.functions) do
      lines[#lines + 1] = ('\n### %s\n'):format(plain(call_of(api, f)))
      lines[#lines + 1] = paragraphs(f.doc)
      add_entries(lines, f.tags)
    end
  end
  return table.concat(lines, '\n') .. '\n'
end

-- ---- the C header ----

--- The part of the header that the FFI reads: { title, blocks = { { comment, code } } } for each
--- section, and prototypes that no comment stands before.
---@param text string
---@return table[] sections, string[] gaps
function M.header(text)
  text = assert(text:match '/%* cdef: begin %*/\n(.-)/%* cdef: end %*/')
  local sections, gaps = { { title = 'constants and types', blocks = {} } }, {}
  for block in (text .. '\n'):gmatch '%s*(.-)\n%s*\n' do
    local title, more = block:match '^/%* %-%-%-%- (.-) %-%-%-%-(.-)%*/'
    if title then
      sections[#sections + 1] = { title = title, blocks = {} }
      block = block:gsub('^/%*.-%*/%s*', '')
      more = more:gsub('\n %*', '\n'):gsub('^%s+', '')
      sections[#sections].head = more ~= '' and more or nil
    end
    local comment, code = block:match '^/%*(.-)%*/%s*(.*)$'
    code = code or block
    if code ~= '' then
      local bare = code:gsub('/%*.-%*/', ''):gsub('//[^\n]*', '')
      if not comment and bare:find 'sppo_[%w_]+%(' then gaps[#gaps + 1] = code end
      local here = sections[#sections].blocks
      here[#here + 1] = { comment = comment and comment:gsub('\n %*', '\n'), code = code }
    elseif comment then sections[#sections].head = comment:gsub('\n %*', '\n') end
  end
  return sections, gaps
end

local function trimmed(text)
  local lines = {}
  for line in (text .. '\n'):gmatch '(.-)\n' do lines[#lines + 1] = line:gsub('^%s?', '') end
  return lines
end

local function header_page(text)
  local lines = { '# The C header', '',
    'What `engine/include/sppo.h` declares, section by section; LuaJIT\'s FFI reads the same text.',
    '',
    paragraphs(trimmed((text:match '^/%*(.-)%*/':gsub('\n %*', '\n')))) }
  for _, section in ipairs((M.header(text))) do
    lines[#lines + 1] = ('\n## %s%s\n'):format(section.title:sub(1, 1):upper(),
      section.title:sub(2))
    if section.head then lines[#lines + 1] = paragraphs(trimmed(section.head)) .. '\n' end
    for _, block in ipairs(section.blocks) do
      if block.comment then lines[#lines + 1] = paragraphs(trimmed(block.comment)) .. '\n' end
      lines[#lines + 1] = ('```c\n%s\n```\n'):format((block.code:gsub('%s+$', '')))
    end
  end
  return table.concat(lines, '\n')
end

--- The reference: its pages' paths and texts.
---@param root string   of the checkout
---@return table<string, string>
function M.pages(root)
  local by_module = {}
  for _, api in ipairs((meta.api())) do by_module[api.module] = api end
  local out, index = {}, { '# Reference', '' }
  for _, family in ipairs(meta.families) do
    out[('reference/%s.md'):format(family.page)] = page(family, by_module)
    index[#index + 1] = ('- [%s](%s.md): `%s`'):format(family.title, family.page,
      table.concat(family.modules, '`, `'))
  end
  index[#index + 1] = '- [The C header](c-header.md): `engine/include/sppo.h`'
  out['reference/index.md'] = table.concat(index, '\n') .. '\n'
  local text = assert(files.read(root .. '/engine/include/sppo.h'))
  out['reference/c-header.md'] = header_page(text)
  return out
end

-- ---- the site ----

--- A path without `..` and `.`.
local function normal(path)
  local parts = {}
  for part in path:gmatch '[^/]+' do
    if part == '..' then parts[#parts] = nil
    elseif part ~= '.' then parts[#parts + 1] = part end
  end
  return table.concat(parts, '/')
end

--- Where a file of the checkout stands in the site.
local function place(path)
  if path == 'README.md' then return 'index.md' end
  if path == 'CONTRIBUTING.md' then return path end
  return path:match '^docs/(.*)$' or 'source/' .. path
end

--- Every Markdown file that people read, of the checkout.
---@param root string
---@return string[]
function M.markdown(root)
  local list = { 'README.md', 'CONTRIBUTING.md', 'tools/bench/README.md', 'tools/golden/README.md' }
  for _, name in ipairs(files.list(root .. '/docs')) do
    if name:match '%.md$' then list[#list + 1] = 'docs/' .. name end
  end
  return list
end

--- Links of a Markdown text that are not code: `each(target)` gives what stands in their place.
local function links(text, each)
  return (text:gsub('(%]%()([^)%s]+)(%))', function(open, target, close)
    if target:match '^%a+:' or target:match '^#' then return end
    return open .. each(target) .. close
  end))
end

--- Relative links of the checkout's Markdown that point nowhere: 'docs/a.md: b.md'.
---@param root string
---@return string[]
function M.broken_links(root)
  local broken = {}
  for _, path in ipairs(M.markdown(root)) do
    links(assert(files.read(root .. '/' .. path)), function(target)
      local at = normal((path:match '^(.*/)' or '') .. target:gsub('#.*', ''))
      local full = root .. '/' .. at
      if not files.exists(full) and not files.is_folder(full) then
        broken[#broken + 1] = path .. ': ' .. target
      end
      return target
    end)
  end
  return broken
end

--- Pages of the site that the nav of mkdocs.yml does not name, and names there without a page.
---@param root string
---@return string[]
function M.nav_gaps(root)
  local named, gaps = {}, {}
  local nav = assert(files.read(root .. '/mkdocs.yml')):match '\nnav:\n(.*)$'
  for page_path in nav:gmatch '([%w_/.-]+%.md)' do named[page_path] = true end
  local there = M.pages(root)
  for _, path in ipairs(M.markdown(root)) do
    if not path:match '^tools/' then there[place(path)] = true end
  end
  for path in pairs(there) do
    if not named[path] then gaps[#gaps + 1] = path .. ' is not in the nav of mkdocs.yml' end
  end
  for path in pairs(named) do
    if not there[path] then gaps[#gaps + 1] = path .. ' is in the nav of mkdocs.yml only' end
  end
  table.sort(gaps)
  return gaps
end

local function put(out, path, text)
  files.make_folder((out .. '/' .. path):match '^(.*)/')
  files.write(out .. '/' .. path, text)
end

--- Writes all pages into a folder, anew. Files of the checkout that a page links to are beside
--- them, below source/.
---@param root string
---@param out string
function M.site(root, out)
  files.remove(out)
  for path, text in pairs(M.pages(root)) do put(out, path, text) end
  for _, path in ipairs(M.markdown(root)) do
    if not path:match '^tools/' then
      put(out, place(path), links(assert(files.read(root .. '/' .. path)), function(target)
        local file, anchor = target:match '^([^#]*)(.*)$'
        local at = normal((path:match '^(.*/)' or '') .. file)
        if not at:match '%.md$' or at:match '^tools/' then
          put(out, place(at), assert(files.read(root .. '/' .. at)))
        end
        return place(at) .. anchor
      end))
    end
  end
end

return M
