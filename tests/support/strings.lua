--- The strings of tests/golden/tokenizers.json: the generator of tools/golden/tokenizers_ids.py.

local M = {}

--- The UTF-8 of a code point.
function M.char(code)
  local tail, first = '', 0x80 -- least value that needs a longer sequence
  if code < first then return string.char(code) end
  repeat
    tail = string.char(0x80 + code % 64) .. tail
    code, first = math.floor(code / 64), first == 0x80 and 0x20 or first / 2
  until code < first
  return string.char(256 - 2 * first + code) .. tail
end

--- A function that gives the next string; `lists` and `seed` are the golden file's.
function M.maker(lists, seed)
  local state = seed
  local function number(below)
    state = state * 16807 % 2147483647
    return state % below
  end
  local function pick(name) return lists[name][1 + number(#lists[name])] end
  local function code_point()
    local range = pick 'ranges'
    return M.char(range[1] + number(range[2] - range[1] + 1))
  end
  local function many(limit, make)
    local parts = {}
    for i = 1, 1 + number(limit) do parts[i] = make() end
    return parts
  end
  local kinds = {
    [0] = function() return pick 'spaces' end,
    function() return pick 'odd' end,
    function() return pick 'specials' end,
    code_point,
    function() return tostring(number(100000)) end,
    function() return pick 'words' end,
  }
  local function part() return kinds[number(6)]() end
  return function()
    local which = number(6)
    if which == 0 then return table.concat(many(25, function() return pick 'words' end), ' ') end
    if which == 1 then
      return table.concat(many(10, function()
        local space = pick 'spaces'
        return space .. pick 'words'
      end))
    end
    if which == 2 then return table.concat(many(20, code_point)) end
    if which == 3 then
      local text = part()
      return text:rep(1 + number(120))
    end
    return table.concat(many(16, part))
  end
end

return M
