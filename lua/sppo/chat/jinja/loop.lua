--- `loop` inside of a for: where in the list its turn is.

local guard = require 'sppo.chat.jinja.guard'
local value = require 'sppo.chat.jinja.value'

local Loop = {}
Loop.__index = Loop

local fields = {
  index = function(l) return l.i end,
  index0 = function(l) return l.i - 1 end,
  revindex = function(l) return l.list.n - l.i + 1 end,
  revindex0 = function(l) return l.list.n - l.i end,
  first = function(l) return l.i == 1 end,
  last = function(l) return l.i == l.list.n end,
  length = function(l) return l.list.n end,
  depth = function() return 1 end,
  depth0 = function() return 0 end,
}

function fields.previtem(l)
  if l.i == 1 then return value.undefined('there is no previous item') end
  return l.list[l.i - 1]
end

function fields.nextitem(l)
  if l.i == l.list.n then return value.undefined('there is no next item') end
  return l.list[l.i + 1]
end

function fields.cycle(l)
  return function(args)
    if args.n == 0 then guard.fail('cycle needs a value') end
    return args[(l.i - 1) % args.n + 1]
  end
end

--- Whether the values differ from those of the call before.
function fields.changed(l)
  return function(args)
    local before = l.seen
    l.seen = value.list(args, args.n, 'tuple')
    return before == nil or not value.equals(before, l.seen)
  end
end

--- What access.attribute asks: nil if there is none of that name.
function Loop.attribute(l, name) return fields[name] and fields[name](l) end

local M = {}

--- The loop over a List; `i` is set by who runs it.
function M.new(list) return setmetatable({ list = list, i = 0 }, Loop) end

return M
