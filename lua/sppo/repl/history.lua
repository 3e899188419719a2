--- The history file of the prompt: one line an entry, no entry twice, readable by its owner alone.

local files = require 'sppo.files'
local host = require 'sppo.host'

local M = {}

local LIMIT = 10000

--- ${SPPO_HOME:-${XDG_STATE_HOME:-~/.local/state}/sppo}/history; nil without a home.
function M.path()
  local own = os.getenv('SPPO_HOME')
  if own and own ~= '' then return own .. '/history' end
  local state, home = os.getenv('XDG_STATE_HOME'), os.getenv('HOME')
  if state and state ~= '' then return state .. '/sppo/history' end
  if home and home ~= '' then return home .. '/.local/state/sppo/history' end
end

--- The entries without earlier doubles, oldest first.
local function unique(text)
  local lines, seen, list = {}, {}, {}
  for line in text:gmatch('[^\n]+') do lines[#lines + 1] = line end
  for i = #lines, 1, -1 do
    if not seen[lines[i]] and #list < LIMIT then
      seen[lines[i]] = true
      list[#list + 1] = lines[i]
    end
  end
  for i = 1, math.floor(#list / 2) do
    list[i], list[#list + 1 - i] = list[#list + 1 - i], list[i]
  end
  return list, #lines
end

--- Reads the history, makes the file smaller where entries are double; returns the entries and
--- `add(line)`. A history that can't be kept is no reason to fail: it is said once.
---@return string[], fun(line: string)
function M.open()
  local path = M.path()
  if not path then return {}, function() end end
  local failed = false
  local function warn(err)
    if not failed then io.stderr:write('sppo: no history: ', tostring(err), '\n') end
    failed = true
  end
  local ok, err = pcall(files.make_folder, (path:gsub('/[^/]*$', '')))
  if not ok then warn(err) end
  local list, before = {}, 0
  if files.exists(path) then
    local text
    text, err = files.read(path, 2 ^ 26)
    if text then list, before = unique(text) else warn(err) end
  end
  if before > #list then
    local new = ('%s.%d'):format(path, host.process_id())
    os.remove(new)
    ok, err = host.append_private(new, table.concat(list, '\n') .. '\n')
    if ok then ok, err = os.rename(new, path) end
    if not ok then warn(err) end
  end
  local last = list[#list]
  return list, function(line)
    if line == last or failed then return end
    last = line
    local added, why = host.append_private(path, line .. '\n')
    if not added then warn(why) end
  end
end

return M
