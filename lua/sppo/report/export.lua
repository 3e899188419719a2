--- A run's metrics for other programs: a CSV file, and event files that TensorBoard reads.

local bit = require 'bit'
local ffi = require 'ffi'
local files = require 'sppo.files'
local report_run = require 'sppo.report.run'

local M = {}

--- Every number that a run wrote, in order: { kind = 'step'|'round', step, round, key, value };
--- optimizer steps are counted over all rounds.
---@param run sppo.ReportRun
function M.values(run)
  local list = {}
  local function take(kind, step, round, values)
    local keys = {}
    for key, value in pairs(values) do
      if type(value) == 'number' and key ~= 'round' and key ~= 'step' then keys[#keys + 1] = key end
    end
    table.sort(keys)
    for _, key in ipairs(keys) do
      list[#list + 1] = { kind = kind, step = step, round = round, key = key, value = values[key] }
    end
  end
  for i, values in ipairs(run.steps) do take('step', i, values.round, values) end
  for t = 0, run.last do take('round', t, t, run.rounds[t]) end
  return list
end

--- Writes a line for each value: kind, step, round, key, value. nil, err.
---@param path string  the run folder
---@param out string
function M.csv(path, out)
  local run, err = report_run.load(path)
  if not run then return nil, err end
  local lines = { 'kind,step,round,key,value' }
  for _, v in ipairs(M.values(run)) do
    lines[#lines + 1] = ('%s,%d,%d,%s,%.17g'):format(v.kind, v.step, v.round, v.key, v.value)
  end
  files.write(out, table.concat(lines, '\n') .. '\n')
  return true
end

-- ---- TensorBoard: records of length, checksum, protobuf message Event, checksum ----

local crc_table
local function crc32c(text)
  if not crc_table then
    crc_table = {}
    for i = 0, 255 do
      local c = i
      for _ = 1, 8 do
        c = bit.band(c, 1) == 1 and bit.bxor(bit.rshift(c, 1), 0x82F63B78) or bit.rshift(c, 1)
      end
      crc_table[i] = c
    end
  end
  local c = bit.bnot(0)
  for i = 1, #text do
    c = bit.bxor(bit.rshift(c, 8), crc_table[bit.band(bit.bxor(c, text:byte(i)), 255)])
  end
  return bit.bnot(c)
end

local function little(ctype, value)
  local box = ffi.new(ctype .. '[1]', value)
  return ffi.string(box, ffi.sizeof(box))
end

--- TFRecord's masked checksum.
local function checksum(text)
  local c = crc32c(text)
  local turned = bit.bor(bit.rshift(c, 15), bit.lshift(c, 17))
  return little('uint32_t', (turned % 2^32 + 0xa282ead8) % 2^32)
end

local function record(message)
  local length = little('uint64_t', #message)
  return length .. checksum(length) .. message .. checksum(message)
end

local function varint(n)
  local bytes = {}
  while n >= 128 do
    bytes[#bytes + 1] = string.char(n % 128 + 128)
    n = math.floor(n / 128)
  end
  return table.concat(bytes) .. string.char(n)
end

local function field(number, text) return varint(number * 8 + 2) .. varint(#text) .. text end

--- message Event (tensorboard/compat/proto/event.proto): wall_time = 1, step = 2, file_version = 3,
--- summary = 5, with one Summary.Value of tag = 1 and simple_value = 2.
local function event(time, step, tag, value)
  local head = varint(1 * 8 + 1) .. little('double', time) .. varint(2 * 8) .. varint(step)
  if not tag then return head .. field(3, 'brain.Event:2') end
  local inner = field(1, tag) .. varint(2 * 8 + 5) .. little('float', value)
  return head .. field(5, field(1, inner))
end

--- Writes DIR/events.out.tfevents.<start>.sppo: `step/..` by optimizer step, `round/..` by round. A
--- run's metrics have no clock, so all carry the time at which the run began. nil, err.
---@param path string  the run folder
---@param folder string
function M.tensorboard(path, folder)
  local run, err = report_run.load(path)
  if not run then return nil, err end
  local began = run.perf[1] and type(run.perf[1].time) == 'number' and run.perf[1].time or 0
  local records = { record(event(began, 0)) }
  for _, v in ipairs(M.values(run)) do
    records[#records + 1] = record(event(began, v.step, v.kind .. '/' .. v.key, v.value))
  end
  files.make_folder(folder)
  files.write(('%s/events.out.tfevents.%d.sppo'):format(folder, began), table.concat(records))
  return true
end

return M
