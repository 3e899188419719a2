--- Characters as Python's str has them: white space, case, what repr shows. UTF-8 in and out.

local ffi = require 'ffi'

ffi.cdef [[
int32_t utf8proc_toupper(int32_t c);
int32_t utf8proc_tolower(int32_t c);
int32_t utf8proc_totitle(int32_t c);
int utf8proc_category(int32_t c);
]]
local C = ffi.C

local M = {}

--- Matches one character of well-formed UTF-8.
M.CHAR = '[%z\1-\127\194-\244][\128-\191]*'

--- The code point of one character.
---@param char string
---@return integer
function M.code(char)
  local a, b, c, d = char:byte(1, 4)
  if not b then return a end
  if not c then return (a - 0xC0) * 64 + b - 0x80 end
  if not d then return ((a - 0xE0) * 64 + b - 0x80) * 64 + c - 0x80 end
  return (((a - 0xF0) * 64 + b - 0x80) * 64 + c - 0x80) * 64 + d - 0x80
end

--- The character of a code point.
---@param code integer
---@return string
function M.char(code)
  local function tail(shift) return 0x80 + math.floor(code / shift) % 64 end
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then return string.char(0xC0 + math.floor(code / 64), tail(1)) end
  if code < 0x10000 then
    return string.char(0xE0 + math.floor(code / 4096), tail(64), tail(1))
  end
  return string.char(0xF0 + math.floor(code / 262144), tail(4096), tail(64), tail(1))
end

local spaces = {}
for _, code in ipairs { 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000 } do
  spaces[M.char(code)] = true
end
for code = 0x2000, 0x200A do spaces[M.char(code)] = true end
for code = 0x09, 0x0D do spaces[string.char(code)] = true end
for code = 0x1C, 0x20 do spaces[string.char(code)] = true end
M.spaces = spaces

--- What ends a line for str.splitlines.
M.line_ends = {}
for _, code in ipairs { 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029 } do
  M.line_ends[M.char(code)] = true
end

-- Characters whose other case is several characters (Unicode's SpecialCasing), of living scripts.
local longer_upper = {
  ['ß'] = 'SS', ['ŉ'] = 'ʼN', ['ǰ'] = 'J̌', ['ΐ'] = 'Ϊ́', ['ΰ'] = 'Ϋ́', ['և'] = 'ԵՒ',
  ['ﬀ'] = 'FF', ['ﬁ'] = 'FI', ['ﬂ'] = 'FL', ['ﬃ'] = 'FFI', ['ﬄ'] = 'FFL', ['ﬅ'] = 'ST',
  ['ﬆ'] = 'ST',
}
local longer_title = {
  ['ß'] = 'Ss', ['և'] = 'Եւ', ['ﬀ'] = 'Ff', ['ﬁ'] = 'Fi', ['ﬂ'] = 'Fl', ['ﬃ'] = 'Ffi',
  ['ﬄ'] = 'Ffl', ['ﬅ'] = 'St', ['ﬆ'] = 'St',
}
local longer_lower = { ['İ'] = 'i̇' }

local function mapper(map, longer)
  return function(char) return longer[char] or M.char(map(M.code(char))) end
end

local upper = mapper(C.utf8proc_toupper, longer_upper)
local lower = mapper(C.utf8proc_tolower, longer_lower)
M.title_char = mapper(C.utf8proc_totitle, longer_title)
M.upper_char, M.lower_char = upper, lower

local ABOVE_ASCII = '[\194-\244][\128-\191]*'

--- A text in upper case; a final sigma is not looked for in lower case.
function M.upper(s) return (s:upper():gsub(ABOVE_ASCII, upper)) end
function M.lower(s) return (s:lower():gsub(ABOVE_ASCII, lower)) end

--- Whether a character has a case, for str.title: letters Lu, Ll, Lt of utf8proc's categories.
function M.is_cased(char)
  local category = C.utf8proc_category(M.code(char))
  return category >= 1 and category <= 3
end

--- Letters of any kind, and decimal digits.
function M.is_letter(char)
  local category = C.utf8proc_category(M.code(char))
  return category >= 1 and category <= 5
end

function M.is_decimal(char) return C.utf8proc_category(M.code(char)) == 9 end

--- Whether repr shows a character as it is: no control, format, surrogate, private, unassigned
--- character and no white space but ' ' (categories 0 and 23 on in utf8proc's order).
function M.is_printable(char)
  if char == ' ' then return true end
  local category = C.utf8proc_category(M.code(char))
  return category ~= 0 and category < 23
end

--- Number of characters.
function M.length(s)
  if not s:find('[\128-\255]') then return #s end
  local _, tails = s:gsub('[\128-\191]', '')
  return #s - tails
end

return M
