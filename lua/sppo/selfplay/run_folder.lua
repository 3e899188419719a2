--- The run folder: what is done, under which key, and the metrics so far.
---
--- A stage's key hashes its inputs. A stage whose key stands in the manifest is skipped; one whose
--- key changed is done again, and all after it. metrics.jsonl is cut back to where the last
--- finished stage left it (a checkpoint holds what came after that), so that a killed run ends with
--- the same bytes.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local json = require 'sppo.json'

local M = {}

---@class sppo.RunFolder
local Folder = {}
Folder.__index = Folder

--- The stages of the manifest; none if there is none yet.
local function read_stages(path)
  for _, name in ipairs { 'manifest.json', 'recipe.lua', 'recipe.resolved.json',
    'recipe.origins.jsonl' } do
    files.recover(path .. '/' .. name)
  end
  path = path .. '/manifest.json'
  if not files.exists(path) then return {} end
  local manifest, err = files.json(path)
  if err then engine.raise('format', err) end
  local stages = type(manifest) == 'table' and manifest.stages
  local fine = type(stages) == 'table'
  for _, s in ipairs(fine and stages or {}) do
    fine = fine and type(s) == 'table' and type(s.metrics_bytes) == 'number'
  end
  if not fine then engine.raise('format', path .. ': has no list of stages') end
  return stages
end

--- Opens or makes a run folder and locks it; raises if another process holds it.
---@param path string
---@return sppo.RunFolder
function M.open(path)
  files.make_folder(path)
  local lock, err = files.lock(path .. '/LOCK')
  if not lock then
    local kind = engine.kind_of(err)
    -- Another process has it: the caller's mistake.
    if kind == 'state' then
      engine.raise('usage', err .. ': wait for it, or take another folder (out=DIR)')
    end
    engine.raise(kind, err)
  end
  local ok, stages = pcall(read_stages, path)
  if not ok then
    lock:close()
    error(stages, 0)
  end
  return setmetatable({ path = path, lock = lock, stages = stages, finished = {},
    outputs = {} }, Folder)
end

--- Gives the lock back.
function Folder:close() self.lock:close() end

--- Path of a file of the run.
---@param name string
---@return string
function Folder:file(name) return self.path .. '/' .. name end

--- Makes a folder of the run, if it is not there.
---@param name string
function Folder:make_folder(name) files.make_folder(self:file(name)) end

--- Writes the manifest.
function Folder:save()
  local manifest = { format = 1, stages = json.array(self.stages) }
  files.write(self:file('manifest.json'), json.encode(manifest, { indent = true }) .. '\n')
end

--- Hash of a stage's inputs and of the stage before it.
function M.key(...)
  return files.sha256(json.encode { ... })
end

--- Bytes of metrics.jsonl.
function Folder:metrics_size() return files.size(self:file('metrics.jsonl')) or 0 end

--- Cuts metrics.jsonl to its first bytes, if it has more.
---@param bytes integer
function Folder:cut_metrics(bytes)
  if self:metrics_size() > bytes then files.truncate(self:file('metrics.jsonl'), bytes) end
end

--- Adds a line to metrics.jsonl.
---@param values table<string, number>
function Folder:metrics(values)
  files.append(self:file('metrics.jsonl'), json.encode(values) .. '\n', false)
end

--- What was added to metrics.jsonl since it had `bytes`.
---@param bytes integer
---@return string
function Folder:metrics_since(bytes)
  return (files.read(self:file('metrics.jsonl')) or ''):sub(bytes + 1)
end

--- Adds lines to metrics.jsonl as they are.
---@param text string
function Folder:metrics_text(text) files.append(self:file('metrics.jsonl'), text, false) end

--- Adds a line to perf.jsonl: times and rates, which differ from run to run.
---@param values table
function Folder:perf(values)
  values.time = engine.C.sppo_time()
  files.append(self:file('perf.jsonl'), json.encode(values) .. '\n', false)
end

--- Leaves a stage as it is (--only): what it did before stays, what it never did stays undone.
---@param name string
---@param key string
function Folder:skip(name, key)
  local position = #self.finished + 1
  self.stages[position] = self.stages[position] or
    { name = name, key = key, done = false, metrics_bytes = 0 }
  self.finished[position] = name
end

--- Does a stage, or skips it if it was done with the same key. Stages come in a fixed order; a
--- stage with another key makes all later ones undone.
---@param name string   'round-1/sample'
---@param key string
---@param outputs string[]   its files, removed before it is done anew
---@param work fun(fresh: boolean): boolean?   false: stopped early, resumable; `fresh` is false
---   if the stage was begun with this key before
---@return boolean done    false if it was stopped
---@return boolean worked  false if it was skipped
function Folder:stage(name, key, outputs, work)
  local position = #self.finished + 1
  self.outputs[name] = outputs
  local entry = self.stages[position]
  if entry and entry.name == name and entry.key == key and entry.done then
    self.finished[position] = name
    return true, false
  end
  local begun = entry and entry.name == name and entry.key == key
  if not begun then
    for i = #self.stages, position, -1 do self.stages[i] = nil end
    for _, output in ipairs(outputs) do files.remove(self:file(output)) end
  end
  -- With --only, later stages can be done before this one: their lines stay.
  local before = 0
  for _, s in ipairs(self.stages) do
    if s.done then before = math.max(before, s.metrics_bytes) end
  end
  self.stages[position] = { name = name, key = key, done = false, metrics_bytes = before }
  self:save()
  for _, output in ipairs(outputs) do files.recover(self:file(output)) end
  self:cut_metrics(before)
  if work(not begun) == false then return false, true end
  files.append(self:file('metrics.jsonl'), '', true) -- on the disk before the manifest says so
  local bytes = self:metrics_size()
  self.stages[position] = { name = name, key = key, done = true, metrics_bytes = bytes }
  self:save()
  self.finished[position] = name
  return true, true
end

return M
