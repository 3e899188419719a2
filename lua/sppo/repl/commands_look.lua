--- Commands about values, code and this session. Each takes (session, rest of the line), runs
--- inside Session:protected and raises its errors.

local chart = require 'sppo.repl.chart'
local check = require 'sppo.check'
local engine = require 'sppo.ffi'
local files = require 'sppo.files'
local host = require 'sppo.host'
local plot = require 'sppo.plot'
local printer = require 'sppo.repl.print'
local scope = require 'sppo.scope'
local source = require 'sppo.repl.source'
local tensor = require 'sppo.tensor'

local C = engine.C

local M = {}

local TIMEIT_SECONDS, TIMEIT_MOST, HISTORY_SHOWN = 1, 10000, 20

--- A chunk that must compile: nothing of a command goes on over lines.
local function compiled(session, text)
  local chunk, err = session:compile(text, 'command')
  if not chunk then error({ message = err }, 0) end
  return chunk
end

local function milliseconds(seconds)
  if seconds < 1e-3 then return ('%.1f us'):format(seconds * 1e6) end
  return ('%.3g ms'):format(seconds * 1e3)
end

local function memory_text() return require('sppo.repl.session').memory_text() end

function M.doc(session, name)
  local text, err = source.doc(name, session.env, session.entries)
  session.write((text or error(err, 0)) .. '\n')
end

function M.src(session, name)
  local text, err = source.src(name, session.env, session.entries)
  session.write((text or error(err, 0)) .. '\n')
end

function M.time(session, text)
  local chunk = compiled(session, text)
  local begin = C.sppo_clock()
  local ok, err = pcall(session.call, session, chunk, text)
  local seconds = C.sppo_clock() - begin
  if not ok then error(err, 0) end
  session.write(('  %s, %s\n'):format(milliseconds(seconds), memory_text()))
end

function M.timeit(session, text)
  local chunk, times = compiled(session, text), {}
  local begin = C.sppo_clock()
  repeat
    local before = C.sppo_clock()
    scope.run(function() chunk() end)
    times[#times + 1] = C.sppo_clock() - before
  until C.sppo_clock() - begin > TIMEIT_SECONDS or #times == TIMEIT_MOST
  table.sort(times)
  session.write(('  median %s, fastest %s, %d runs\n'):format(
    milliseconds(times[math.ceil(#times / 2)]), milliseconds(times[1]), #times))
end

function M.mem(session)
  local peak, kinds = tensor.memory_peak 'cpu', {}
  for _, kind in ipairs(tensor.kinds) do
    if peak.kinds[kind] > 0 then
      kinds[#kinds + 1] = ('%s %.1f'):format(kind, peak.kinds[kind] / 2^20)
    end
  end
  session.write(memory_text() .. '\n')
  if #kinds > 0 then session.write('at the peak: ' .. table.concat(kinds, ', ') .. ' MiB\n') end
end

--- Names of the globals that were set here, sorted.
local function own_globals(session)
  local names = {}
  for key in pairs(session.env) do
    if type(key) == 'string' and not session.own[key] and not key:find('^_%d?$') then
      names[#names + 1] = key
    end
  end
  table.sort(names)
  return names
end

function M.who(session)
  local names = own_globals(session)
  if #names == 0 then session.write('no globals yet\n') end
  for _, name in ipairs(names) do
    local value = session.env[name]
    local text = type(value) == 'table' and not tensor.is_tensor(value) and
      ('table, %d items'):format(#value) or type(value) == 'function' and 'function' or
      tensor.is_tensor(value) and tostring(value) or printer.text(value)
    if #text > 60 then text = text:sub(1, 57) .. '...' end
    session.write(('  %-16s %s\n'):format(name, (text:gsub('\n', ' '))))
  end
end

function M.free(session, rest)
  local before, names = require('sppo').memory().used, {}
  for name in rest:gmatch('[^%s,]+') do
    if session.env[name] == nil or session.own[name] then
      error(check.unknown('global', name, own_globals(session)) .. '; :who lists them', 0)
    end
    names[#names + 1] = name
  end
  for _, name in ipairs(#names > 0 and names or { '_', '_1', '_2' }) do
    rawset(session.env, name, nil)
  end
  collectgarbage()
  collectgarbage() -- finalizers run in the first, what they held goes in the second
  session.write(('  %.1f MiB of tensors freed\n'):format(
    (before - require('sppo').memory().used) / 2^20))
end

function M.device(session, name)
  if name ~= '' then
    local known = {}
    for device in pairs(tensor.devices) do known[#known + 1] = device end
    if not tensor.devices[name] then error(check.unknown('device', name, known), 0) end
    tensor.zeros({ 1 }, 'f32', name) -- raises where this build has none
    session.device = name
  end
  session.write(('  tensors are made on %s%s\n'):format(session.device,
    session.device == 'meta' and ' (shapes and byte counts, no data); :device cpu goes back' or ''))
end

--- The values of 'x' or 'x, y', and the file behind '>'.
local function chart_of(session, text)
  local code, path = text:match('^(.-)%s+>%s*(%S+%.svg)%s*$')
  code = code or text
  local points, err = chart.points(compiled(session, code)())
  if not points then error(err, 0) end
  return points, code, path
end

function M.plot(session, text)
  local points, code, path = chart_of(session, text)
  if path then
    local svg = plot.lines { title = code, series = { { points = points } } }
    files.write(path, plot.standalone(svg))
    session.write(('  %s, %d points\n'):format(path, #points))
    return
  end
  local width = math.max(20, math.min(100, host.terminal_width() - 16))
  session.write(chart.lines(points, { columns = width, fancy = session.fancy }) .. '\n')
end

function M.hist(session, text)
  local points = chart_of(session, text)
  local values = {}
  for i, p in ipairs(points) do values[i] = p[2] end
  local width = math.max(40, math.min(80, host.terminal_width() - 16))
  session.write(chart.histogram(values, { columns = width, fancy = session.fancy }) .. '\n')
end

function M.run(session, path)
  local chunk, err = loadfile(path)
  if not chunk then error(err, 0) end
  jit.off(chunk, true)
  setfenv(chunk, session.env)
  session:call(chunk, '')
end

--- What was typed earlier in this process and before, the last lines that hold `text`.
function M.history(session, text)
  local lines, shown = {}, {}
  for _, line in ipairs(session.past or {}) do lines[#lines + 1] = line end
  for _, entry in ipairs(session.typed) do
    for line in entry:gmatch('[^\n]+') do lines[#lines + 1] = line end
  end
  for i = #lines, 1, -1 do
    if lines[i]:find(text, 1, true) then table.insert(shown, 1, lines[i]) end
    if #shown == HISTORY_SHOWN then break end
  end
  session.write(#shown > 0 and table.concat(shown, '\n') .. '\n' or 'no line holds that\n')
end

function M.save(session, path)
  if files.exists(path) or files.is_folder(path) then
    error(path .. ': is there already; name a file that is not', 0)
  end
  if #session.typed == 0 then error('nothing was typed yet', 0) end
  files.write(path, table.concat(session.typed, '\n') .. '\n')
  session.write(('  %s, %d entries\n'):format(path, #session.typed))
end

return M
