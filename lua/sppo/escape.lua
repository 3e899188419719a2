--- Text that others wrote (models, recipes, files) as HTML and SVG hold it: never markup, and
--- nothing that works on a reader without being seen.

local to_utf8 = require('sppo.tokenizer').to_utf8
local unicode = require 'sppo.chat.jinja.unicode'

local M = {}

local REPLACEMENT = '\239\191\189'

local entities = { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ['"'] = '&quot;',
  ["'"] = '&#39;' }

-- Characters above ASCII that are not shown as they are: those that turn, break or hide the text
-- around them are named instead, and those that XML or HTML does not allow are replaced. Joiners
-- (U+200C, U+200D) stay, since scripts and emoji need them.
local shown = {}
for _, range in ipairs {
  { 0xAD }, { 0x061C }, { 0x180E }, { 0x200B }, { 0x200E, 0x200F }, { 0x2028, 0x202E },
  { 0x2060, 0x206F }, { 0xFEFF }, { 0xFFF9, 0xFFFB }, { 0xE0000, 0xE007F },
} do
  for code = range[1], range[2] or range[1] do
    shown[unicode.char(code)] = ('⟨U+%04X⟩'):format(code)
  end
end
for code = 0x80, 0x9F do shown[unicode.char(code)] = REPLACEMENT end
for plane = 0, 16 do
  for low = 0xFFFE, 0xFFFF do shown[unicode.char(plane * 0x10000 + low)] = REPLACEMENT end
end

--- Text as HTML and SVG hold it, in element content and in quoted attributes. Ill-formed UTF-8 and
--- control characters become U+FFFD; controls of direction and characters without a shape are
--- named: ⟨U+202E⟩.
---@param text any
---@return string
function M.html(text)
  text = to_utf8(tostring(text)):gsub('[%z\1-\8\11\12\14-\31\127]', REPLACEMENT)
  return (text:gsub('[\194-\244][\128-\191]+', shown):gsub('[&<>"\']', entities))
end

--- The first `most` bytes of a text, less if that would cut a character, and how many characters
--- are left out.
---@param text string
---@param most integer
---@return string head, integer left_out
function M.cut(text, most)
  if #text <= most then return text, 0 end
  local keep = most
  -- A character has at most four bytes: further back there is none that goes on here.
  for back = most, math.max(0, most - 3), -1 do
    local following = text:byte(back + 1)
    if following < 0x80 or following > 0xBF then
      keep = back
      break
    end
  end
  local _, characters = text:sub(keep + 1):gsub('[^\128-\191]', '')
  return text:sub(1, keep), math.max(1, characters)
end

return M
