--- The public API as its docstrings have it: which modules belong to it, their functions and
--- classes, and what of it has no docstring. The reference (tools/reference.lua) and the types for
--- language servers (sppo.meta.types) are made from this.

local host = require 'sppo.host'
local read = require 'sppo.meta.read'

local M = {}

--- The families, each a page of the reference: { page, title, modules }.
M.families = {
  { page = 'tensors', title = 'Tensors and ops', modules = { 'sppo', 'sppo.tensor', 'sppo.ops',
    'sppo.nn', 'sppo.segments', 'sppo.scope' } },
  { page = 'models', title = 'Models and tokenizers', modules = { 'sppo.model',
    'sppo.model_config', 'sppo.weights', 'sppo.hub', 'sppo.tokenizer', 'sppo.chat', 'sppo.reward',
    'sppo.pairrm', 'sppo.pairrm_encoder', 'sppo.pairrm_decoder' } },
  { page = 'sampling', title = 'Sampling and scoring', modules = { 'sppo.sample', 'sppo.generate',
    'sppo.score' } },
  { page = 'preferences', title = 'Preferences', modules = { 'sppo.preference',
    'sppo.preference.rules', 'sppo.preference.reward', 'sppo.preference.pairrm',
    'sppo.preference.judge', 'sppo.preference.given', 'sppo.preference.ensemble',
    'sppo.preference.gated', 'sppo.rank', 'sppo.ranker' } },
  { page = 'losses', title = 'Losses and training', modules = { 'sppo.losses', 'sppo.log_z',
    'sppo.select', 'sppo.train', 'sppo.optim' } },
  { page = 'selfplay', title = 'Self-play', modules = { 'sppo.selfplay', 'sppo.selfplay.recipe',
    'sppo.selfplay.overrides', 'sppo.selfplay.versus', 'sppo.selfplay.schema',
    'sppo.selfplay.stages', 'sppo.selfplay.step', 'sppo.selfplay.branch', 'sppo.selfplay.compare',
    'sppo.selfplay.prompts', 'sppo.selfplay.run_folder', 'sppo.evaluate',
    'sppo.compat', 'sppo.plan' } },
  { page = 'data', title = 'Data and files', modules = { 'sppo.data', 'sppo.data.rows',
    'sppo.data.stats', 'sppo.data.given', 'sppo.data.uclaml', 'sppo.mixture', 'sppo.files' } },
  { page = 'games', title = 'Games', modules = { 'sppo.game' } },
  { page = 'reports', title = 'Reports', modules = { 'sppo.report', 'sppo.report.view',
    'sppo.report.export', 'sppo.plot' } },
}

--- Locals that hold a class which another file declares.
local borrowed = { ['sppo.selfplay.branch'] = { Run = 'sppo.Run' } }

---@class sppo.meta.Function
---@field class? string          the class whose method it is
---@field holder string          'M', or what holds the class in its file
---@field name string
---@field separator '.'|':'
---@field arguments string[]
---@field doc string[]
---@field tags string[]
---@field value? boolean         it is no function
---@field takes integer          arguments that it has, be they named or not

---@class sppo.meta.Api          a module of the public API
---@field module string          'sppo.ops'
---@field file string            'lua/sppo/ops.lua'
---@field head string[]
---@field classes sppo.meta.Class[]
---@field aliases string[]
---@field functions sppo.meta.Function[]
---@field same table<string, string>   names that are another module's: zeros = 'sppo.tensor.zeros'

local function source(module)
  local path = 'lua/' .. module:gsub('%.', '/')
  for _, file in ipairs { path .. '.lua', path .. '/init.lua' } do
    local text = host.embedded(file)
    if text then return text, file end
  end
  error(module .. ': no such file in the program', 0)
end

--- A module as its file has it.
local function api_of(module)
  local text, file = source(module)
  local from = read.read(text)
  local api = { module = module, file = file, head = from.head, classes = from.classes,
    aliases = from.aliases, functions = {}, same = {} }
  local holders = { M = '' }
  for holder, class in pairs(borrowed[module] or {}) do holders[holder] = class end
  for _, class in ipairs(from.classes) do holders[class.holder or ''] = class.name end
  local loaded = require(module)
  for _, item in ipairs(from.items) do
    local class = holders[item.owner]
    if class and not item.name:match '^__' then
      local value = class == '' and loaded[item.name]
      local is_function = type(value) == 'function'
      api.functions[#api.functions + 1] = { class = class ~= '' and class or nil,
        holder = item.owner, name = item.name, separator = item.separator,
        arguments = item.arguments, doc = item.doc, tags = item.tags,
        value = class == '' and not is_function or nil,
        takes = is_function and debug.getinfo(value, 'u').nparams or 0 }
    end
  end
  return api, loaded
end

--- What a module or a tensor has without a docstring of its own: the same function as in another
--- module, which has one.
local function find_same(list, loaded)
  local known = {}
  for i, api in ipairs(list) do
    for _, f in ipairs(api.functions) do
      local value = not f.class and type(loaded[i]) == 'table' and loaded[i][f.name]
      if type(value) == 'function' and not known[value] then known[value] = { api, f } end
    end
  end
  local unknown = {}
  for i, api in ipairs(list) do
    local own = {}
    for _, f in ipairs(api.functions) do own[not f.class and f.name or ''] = true end
    for name, value in pairs(type(loaded[i]) == 'table' and loaded[i] or {}) do
      if type(value) == 'function' and not own[name] then
        local at = known[value]
        if at then api.same[name] = at[1].module .. '.' .. name
        else unknown[#unknown + 1] = api.module .. '.' .. name end
      end
    end
  end
  return known, unknown
end

--- Ops that are methods of tensors too.
local function add_methods(api, known)
  local own = {}
  for _, f in ipairs(api.functions) do own[f.class and f.name or ''] = true end
  local names = {}
  for name in pairs(require('sppo.tensor').methods) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local at = known[require('sppo.tensor').methods[name]]
    if at and not own[name] then
      local f, tags = at[2], {}
      for _, tag in ipairs(f.tags) do
        if not tag:find('^@param ' .. f.arguments[1] .. '%s') then tags[#tags + 1] = tag end
      end
      api.functions[#api.functions + 1] = { class = 'sppo.Tensor', holder = 'methods', name = name,
        separator = ':', arguments = { unpack(f.arguments, 2) }, doc = f.doc, tags = tags,
        takes = 0 }
    end
  end
end

--- All of it, in the order of the families.
---@return sppo.meta.Api[] list, string[] unknown   functions that no docstring was found for
function M.api()
  local list, loaded = {}, {}
  for _, family in ipairs(M.families) do
    for _, module in ipairs(family.modules) do
      local n = #list + 1
      list[n], loaded[n] = api_of(module)
    end
  end
  loaded[1] = nil -- `sppo` loads other modules where they are named: what it has itself
  local known, unknown = find_same(list, loaded)
  for name, value in pairs(require 'sppo') do
    local at = known[value]
    if at then list[1].same[name] = at[1].module .. '.' .. at[2].name end
  end
  for _, api in ipairs(list) do
    if api.module == 'sppo.tensor' then add_methods(api, known) end
  end
  return list, unknown
end

--- What docstrings leave open, a line each: functions without a sentence, arguments without a
--- `@param`, modules without a head. None: an empty list.
---@return string[]
function M.gaps()
  local list, gaps = M.api()
  for i, name in ipairs(gaps) do gaps[i] = name .. ': no docstring' end
  for _, api in ipairs(list) do
    if #api.head == 0 then gaps[#gaps + 1] = api.file .. ': no docstring at its head' end
    for _, f in ipairs(api.functions) do
      local name = ('%s: %s%s%s'):format(api.file, f.holder, f.separator, f.name)
      if #f.doc == 0 then gaps[#gaps + 1] = name .. ': no sentence' end
      if #f.arguments < f.takes then
        gaps[#gaps + 1] = ('%s: takes %d arguments, has %d @param'):format(name, f.takes,
          #f.arguments)
      end
      local typed = {}
      for _, tag in ipairs(f.tags) do
        local parts = read.tag(tag)
        if parts.kind == 'param' then typed[parts.name] = true end
      end
      for _, argument in ipairs(f.arguments) do
        if not typed[argument] and argument ~= '...' and argument ~= '_' then
          gaps[#gaps + 1] = ('%s: no @param %s'):format(name, argument)
        end
      end
    end
  end
  return gaps
end

return M
