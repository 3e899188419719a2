--- An interpreter of chat templates: the part of Jinja that published ones are written in, with the
--- environment of transformers (trim_blocks, lstrip_blocks, immutable sandbox, loop controls,
--- tojson, raise_exception, strftime_now). Pure Lua; a template reaches nothing but what it is
--- given, and its steps, texts and depth are bounded (guard.lua).

local engine = require 'sppo.ffi'
local execute = require 'sppo.chat.jinja.execute'
local globals = require 'sppo.chat.jinja.globals'
local guard = require 'sppo.chat.jinja.guard'
local json = require 'sppo.json'
local parser = require 'sppo.chat.jinja.parser'
local text = require 'sppo.chat.jinja.text'
local value = require 'sppo.chat.jinja.value'

local ffi, C = engine.ffi, engine.C

local M = {}

local LONGEST = 2^20 -- bytes of a template
local DEPTH = 64 -- lists in lists of what a template is given

local bad_box = ffi.new('int[1]')

--- Where a text is not UTF-8, counted from 1; nil if it is.
local function bad_byte(s)
  local valid = tonumber(C.sppo_utf8_scan(s, #s, bad_box))
  if valid < #s then return valid + 1 end
end

-- ---- values from outside ----

local array_mark = getmetatable(json.array {})

local function is_array(t)
  local mark = getmetatable(t)
  if mark ~= nil then return mark == array_mark end
  return next(t) == nil or t[1] ~= nil
end

--- A plain Lua value (as json.decode gives it) as a template's: texts are from outside, an object's
--- keys are in the order of their bytes. nil, err for what templates can't be given.
---@param v any
---@param name string   for errors: 'messages[1].content'
---@param own? boolean  texts are to be read as the template's own
---@param depth? integer
function M.from_lua(v, name, own, depth)
  local kind = type(v)
  if v == json.null then return value.NONE end
  if kind == 'boolean' then return v end
  if kind == 'number' then
    if v % 1 == 0 and math.abs(v) <= 2^53 then return v end
    return value.float(v)
  end
  if kind == 'string' then
    local bad = bad_byte(v)
    if bad then return nil, ('%s is not UTF-8 (at byte %d)'):format(name, bad) end
    return own and v or text.outside(v)
  end
  if kind ~= 'table' then return nil, ('%s can\'t be a %s'):format(name, kind) end
  depth = (depth or 0) + 1
  if depth > DEPTH then return nil, ('%s: lists nest too deeply'):format(name:sub(1, 80)) end

  if is_array(v) then
    local list = {}
    for i = 1, #v do
      local item, err = M.from_lua(v[i], ('%s[%d]'):format(name, i), own, depth)
      if item == nil then return nil, err end
      list[i] = item
    end
    return value.list(list)
  end
  local keys = {}
  for key in pairs(v) do
    if type(key) ~= 'string' then
      return nil, ('%s has keys that are no texts'):format(name)
    end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  local dict = value.dict()
  for _, key in ipairs(keys) do
    local shown, err = M.from_lua(key, name, own, depth)
    if shown == nil then return nil, err end
    local item
    item, err = M.from_lua(v[key], name .. '.' .. key, own, depth)
    if item == nil then return nil, err end
    value.put(dict, shown, item)
  end
  return dict
end

-- Compiled, it took what contains itself in 11 of 800 tries (LuaJIT 2.1.0-beta3): a trace through
-- the unwinding recursion loses the nil.
jit.off(M.from_lua)

M.put = value.put
M.NONE = value.NONE

-- ---- templates ----

---@class sppo.jinja.Template
local Template = {}
Template.__index = Template

local function failed(err) return nil, 'chat template, ' .. tostring(err), err end

--- A template that can be rendered any number of times; nil, err with its line.
---@param source string
---@return sppo.jinja.Template?
---@return string? err
function M.compile(source)
  if #source > LONGEST then
    return nil, ('the chat template has %d bytes; up to %d are read'):format(#source, LONGEST)
  end
  local bad = bad_byte(source)
  if bad then return nil, ('the chat template is not UTF-8 (at byte %d)'):format(bad) end
  local run, err = guard.run(function() return execute.compile(parser.parse(source), false) end)
  if not run then return failed(err) end
  return setmetatable({ run = run }, Template)
end

--- Texts as pieces, neighbours of one origin joined.
local function pieces_of(out)
  local pieces, parts, special = {}, {}, nil
  local function close()
    if parts[1] then pieces[#pieces + 1] = { text = table.concat(parts), special = special } end
    parts = {}
  end
  for i = 1, out.n do
    text.each(out[i], function(bytes, outside)
      if special ~= not outside then
        close()
        special = not outside
      end
      parts[#parts + 1] = bytes
    end)
  end
  close()
  return pieces
end

--- What the template writes, in pieces: special is whether it is the template's own text. nil, err
--- (with the template's line) and the Error where it fails.
---@param variables table<string, any>   values as from_lua gives them
---@param now? number   what strftime_now sees, seconds since 1970 as UTC; nil: the clock, local
---@return { text: string, special: boolean }[]?
---@return string? err
---@return sppo.jinja.Error? error
function Template:render(variables, now)
  local scope = {}
  for name, v in pairs(globals) do scope[name] = v end
  scope.clock, scope.strftime_now = nil, globals.clock(now)
  local inner = { scope }
  for name, v in pairs(variables) do inner[name] = v end
  local out, err = guard.run(function()
    local buffer = execute.buffer()
    self.run({ inner }, buffer)
    return buffer
  end)
  if not out then return failed(err) end
  return pieces_of(out)
end

return M
