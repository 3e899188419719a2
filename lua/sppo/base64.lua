--- Base64 (RFC 4648) to bytes, what tokenizer files hold bytes in, and back.

local M = {}

local LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

local value = {}
for i = 1, #LETTERS do value[LETTERS:byte(i)] = i - 1 end

local function bytes_of(n) return math.floor(n / 65536), math.floor(n / 256) % 256, n % 256 end

--- The bytes, or nil if the text is not base64 with its padding.
---@param text string
---@return string?
function M.decode(text)
  local body, padding = text:match('^([%w+/]*)(=?=?)$')
  if not body or #text % 4 ~= 0 then return nil end
  body = body .. ('A'):rep(#padding)
  local parts, chunk = {}, {}
  for i = 1, #body, 4 do
    local a, b, c, d = body:byte(i, i + 3)
    local n = value[a] * 262144 + value[b] * 4096 + value[c] * 64 + value[d]
    chunk[#chunk + 1] = string.char(bytes_of(n))
    if #chunk == 4096 then parts[#parts + 1], chunk = table.concat(chunk), {} end
  end
  parts[#parts + 1] = table.concat(chunk)
  local bytes = table.concat(parts)
  return bytes:sub(1, #bytes - #padding)
end

--- Bytes as base64 with its padding.
---@param bytes string
---@return string
function M.encode(bytes)
  local parts = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local n, have = a * 65536 + (b or 0) * 256 + (c or 0), math.min(3, #bytes - i + 1)
    for place = 1, 4 do
      local digit = math.floor(n / 64 ^ (4 - place)) % 64 + 1
      parts[#parts + 1] = place <= have + 1 and LETTERS:sub(digit, digit) or '='
    end
  end
  return table.concat(parts)
end

return M
