--- Models in the cache that Hugging Face's tools download into, read in place: `org/name` is
--- HUB/models--org--name/snapshots/<commit>, where refs/main names the commit.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'

local M = {}

local function set(name)
  local value = os.getenv(name)
  if value and value ~= '' then return value end
end

--- The cache's folder: $HF_HUB_CACHE, $HF_HOME/hub, or where both are not set,
--- ~/.cache/huggingface/hub.
---@return string
function M.folder()
  if set 'HF_HUB_CACHE' then return set 'HF_HUB_CACHE' end
  if set 'HF_HOME' then return set 'HF_HOME' .. '/hub' end
  return (set 'XDG_CACHE_HOME' or (set 'HOME' or '.') .. '/.cache') .. '/huggingface/hub'
end

local function plain(text)
  return text:match('^[%w_][%w%._%-]*$') ~= nil and not text:find('..', 1, true)
end

--- The snapshot behind `org/name` or `org/name@revision` (a branch, a tag or a commit; main if
--- absent). Nothing if the cache does not have the repository; nil, err if it lacks the revision.
---@param name string
---@return string? path, string? err
function M.find(name)
  local org, repository, revision = name:match('^([^/@]+)/([^/@]+)@?([^@]*)$')
  if not org or not plain(org) or not plain(repository) then return end
  local root = ('%s/models--%s--%s'):format(M.folder(), org, repository)
  local snapshots = files.list(root .. '/snapshots')
  if not snapshots then return end
  local wanted = revision ~= '' and revision or 'main'
  local commit = wanted
  local safe = plain(wanted:gsub('/', '_'))
  if safe and files.exists(root .. '/refs/' .. wanted) then
    local text = files.read(root .. '/refs/' .. wanted, 4096) or ''
    commit = text:match('^%s*(%x+)%s*$') or ''
  elseif revision == '' and #snapshots == 1 then
    commit = snapshots[1]
  end
  if commit ~= '' and plain(commit) then
    local path = root .. '/snapshots/' .. commit
    if files.exists(path .. '/config.json') then return path end
  end
  local err = ('%s: %s has no revision \'%s\' with a config.json; it has: %s'):format(name, root,
    wanted, #snapshots > 0 and table.concat(snapshots, ', ', 1, math.min(#snapshots, 5)) or 'none')
  engine.kind('io', err)
  return nil, err
end

return M
