--- What tests share: temporary folders, golden files, and this program run as a process of its own.

local files = require 'sppo.files'
local host = require 'sppo.host'
local json = require 'sppo.json'

local M = {}

--- Folder of the checkout whose tests run.
function M.root() return require('sppo.cli.test').root end

--- A new empty folder for `fn(path)`, gone afterwards, on an error too.
function M.in_folder(fn)
  local path = os.tmpname()
  os.remove(path)
  files.make_folder(path)
  local ok, err = pcall(fn, path)
  files.remove(path)
  if not ok then error(err, 0) end
end

--- A file of tests/golden as a value.
function M.golden(name)
  local value, err = files.json(M.root() .. '/tests/golden/' .. name)
  return value or error(err, 0)
end

--- Content of a file, which must be there.
function M.read(path)
  local text, err = files.read(path)
  return text or error(err, 0)
end

local function quoted(text) return '\'' .. text:gsub('\'', '\'\\\'\'') .. '\'' end

--- Runs a shell command in a new process.
---@return integer code, string stdout, string stderr
function M.run(command)
  local out, err = os.tmpname(), os.tmpname()
  local pipe = io.popen(
    ('{ %s ; } >%s 2>%s </dev/null; echo $?'):format(command, quoted(out), quoted(err)))
  local code = tonumber(pipe:read('*a'):match('(%d+)%s*$'))
  pipe:close()
  local stdout, stderr = M.read(out), M.read(err)
  os.remove(out)
  os.remove(err)
  return code, stdout, stderr
end

--- This program with the checkout's Lua files, as a shell command.
function M.program(arguments, environment)
  local words = { 'env', 'SPPO_LUA=' .. quoted(M.root()) }
  for key, value in pairs(environment or {}) do words[#words + 1] = key .. '=' .. quoted(value) end
  words[#words + 1] = quoted(host.executable())
  for _, a in ipairs(arguments) do words[#words + 1] = quoted(a) end
  return table.concat(words, ' ')
end

--- Runs this program: `M.sppo { 'run', 'recipe.lua' }`.
---@return integer code, string stdout, string stderr
function M.sppo(arguments, environment) return M.run(M.program(arguments, environment)) end

--- What must be the same in two folders of the same run: { [file] = content }, and the weights'.
function M.run_bytes(path)
  local result = {}
  local function take(folder, prefix)
    for _, name in ipairs(files.list(path .. folder)) do
      local file = folder .. '/' .. name
      if files.is_folder(path .. file) then take(file, prefix .. name .. '/')
      elseif name:match('%.msgpack$') or name == 'metrics.jsonl'
        or prefix:find('weights/', 1, true) then
        result[prefix .. name] = M.read(path .. file)
      end
    end
  end
  take('', '')
  return result
end

--- Lines of metrics.jsonl as tables.
function M.metrics(path)
  local list = {}
  for line in M.read(path .. '/metrics.jsonl'):gmatch('[^\n]+') do
    list[#list + 1] = assert(json.decode(line))
  end
  return list
end

return M
