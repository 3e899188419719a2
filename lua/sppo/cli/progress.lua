--- One line on stderr that says how far a long work is.
---
---     local p = progress.new()
---     p:show('round 2 train', 118, 312, 'loss 0.0413  P(best) 0.71')
---     p:line('round 2 done')       -- a line that stays
---     p:clear()
---
--- On a terminal the line is rewritten at most 10 times a second; elsewhere a plain line is printed
--- every 10 seconds. With `quiet`, nothing.

local engine = require 'sppo.ffi'
local host = require 'sppo.host'

local C = engine.C

local M = {}

---@class sppo.Progress
local Progress = {}
Progress.__index = Progress

local TERMINAL_INTERVAL, PLAIN_INTERVAL = 0.1, 10

---@param options? { quiet?: boolean, terminal?: boolean, write?: fun(text: string) }
---@return sppo.Progress
function M.new(options)
  options = options or {}
  local terminal = options.terminal
  if terminal == nil then terminal = host.isatty(2) and os.getenv('TERM') ~= 'dumb' end
  return setmetatable({
    quiet = options.quiet, terminal = terminal, shown = false,
    write = options.write or function(text) io.stderr:write(text) end,
    next_time = terminal and 0 or C.sppo_clock() + PLAIN_INTERVAL,
  }, Progress)
end

--- 75 -> '1:15', 4000 -> '1:06:40'
function M.duration(seconds)
  seconds = math.floor(seconds + 0.5)
  local h, m, s = math.floor(seconds / 3600), math.floor(seconds / 60) % 60, seconds % 60
  if h > 0 then return ('%d:%02d:%02d'):format(h, m, s) end
  return ('%d:%02d'):format(m, s)
end

--- Time left from the speed since this label began; nothing is said before 2 % are done.
function Progress:left(label, done, total, now)
  if self.label ~= label or done < self.begin_done then
    self.label, self.begin_time, self.begin_done = label, now, done
  end
  local fresh = done - self.begin_done
  if fresh <= 0 or fresh < 0.02 * total then return end
  return (now - self.begin_time) / fresh * (total - done)
end

--- The text, cut to the terminal's width between characters.
local function fit(text, width)
  if #text <= width then return text end
  local cut = width
  while cut > 0 and text:byte(cut + 1) >= 0x80 and text:byte(cut + 1) < 0xC0 do cut = cut - 1 end
  return text:sub(1, cut)
end

--- Shows how far the work `label` is.
---@param label string
---@param done number
---@param total number
---@param fields? string  the numbers that matter
function Progress:show(label, done, total, fields)
  if self.quiet then return end
  local now = C.sppo_clock()
  local left = self:left(label, done, total, now)
  if now < self.next_time then return end
  self.next_time = now + (self.terminal and TERMINAL_INTERVAL or PLAIN_INTERVAL)
  local text = ('%s  %d/%d'):format(label, done, total)
  if fields and fields ~= '' then text = text .. '  ' .. fields end
  if left then text = ('%s  %s left'):format(text, M.duration(left)) end
  if self.terminal then
    self.write('\r\27[K' .. fit(text, host.terminal_width() - 1))
    self.shown = true
  else
    self.write(text .. '\n')
  end
end

--- Removes the line from the terminal.
function Progress:clear()
  if self.shown then self.write('\r\27[K') end
  self.shown = false
end

--- Prints a line that stays.
function Progress:line(text)
  self:clear()
  if not self.quiet then self.write(text .. '\n') end
end

return M
