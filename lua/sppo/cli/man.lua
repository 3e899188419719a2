--- Manual pages, made from what `--help` says: sppo.1, and sppo-VERB.1 for each verb.

local files = require 'sppo.files'
local host = require 'sppo.host'

local M = {}

--- Text as roff takes it.
local function roff(text)
  text = text:gsub('\\', '\\e'):gsub('%-', '\\-')
  return (text:match '^[.\']' and '\\&' or '') .. text
end

local function header(name, summary)
  return { ('.TH "%s" 1 "" "sppo %s" "sppo manual"'):format(name:upper(), host.build.version),
    '.SH NAME', ('%s \\- %s'):format(roff(name), roff(summary)) }
end

local function add_code(lines, list)
  lines[#lines + 1] = '.nf'
  for _, text in ipairs(list) do lines[#lines + 1] = roff(text) end
  lines[#lines + 1] = '.fi'
end

--- The parts of argparse's help: { ['Options'] = { { '-k K', 'Number of answers.' }, .. }, .. }.
local function parts_of(help)
  local parts, entries = {}, nil
  for line in (help .. '\n'):gmatch '(.-)\n' do
    local title, label = line:match '^(%u%l+):$', line:match '^   (%S.*)$'
    if title then
      entries = {}
      parts[title] = entries
    elseif label and entries then
      local name, text = label:match '^(.-)%s%s+(.*)$'
      entries[#entries + 1] = { name or label, text or '' }
    elseif line:match '^%s%s%s%s+%S' and entries and #entries > 0 then
      local last = entries[#entries]
      last[2] = (last[2] .. ' ' .. line:match '^%s*(.*)$'):gsub('^ ', '')
    end
  end
  return parts
end

--- The page of a verb.
---@param verb string
---@param summary string
---@param parser table     argparse's
---@param examples string[]
---@return string
function M.verb(verb, summary, parser, examples)
  local name = 'sppo-' .. verb
  local lines, parts = header(name, summary), parts_of(parser:get_help())
  lines[#lines + 1] = '.SH SYNOPSIS'
  local usage = parser:get_usage():gsub('^Usage: ', ''):gsub('%s+', ' ')
  lines[#lines + 1] = roff(usage)
  for _, title in ipairs { 'Arguments', 'Options' } do
    if parts[title] then lines[#lines + 1] = '.SH ' .. title:upper() end
    for _, entry in ipairs(parts[title] or {}) do
      lines[#lines + 1] = '.TP'
      lines[#lines + 1] = '.B ' .. roff(entry[1])
      lines[#lines + 1] = roff(entry[2])
    end
  end
  lines[#lines + 1] = '.SH EXAMPLES'
  add_code(lines, examples)
  lines[#lines + 1] = '.SH SEE ALSO'
  lines[#lines + 1] = '.BR sppo (1)'
  return table.concat(lines, '\n') .. '\n'
end

--- The page of the program.
---@param verbs { [1]: string, [2]: string }[]
---@param examples string[]
---@param status string
---@return string
function M.program(verbs, examples, status)
  local lines = header('sppo', 'self-play preference optimisation of language models')
  for _, text in ipairs { '.SH SYNOPSIS', '.B sppo', roff 'VERB [arguments]', '.br', '.B sppo',
    roff 'RECIPE.lua [key=value ...]', '.SH VERBS' } do
    lines[#lines + 1] = text
  end
  for _, verb in ipairs(verbs) do
    lines[#lines + 1] = '.TP'
    lines[#lines + 1] = verb[1] == 'help' and '.B help' or ('.BR sppo\\-%s (1)'):format(verb[1])
    lines[#lines + 1] = roff(verb[2])
  end
  lines[#lines + 1] = '.SH EXIT STATUS'
  lines[#lines + 1] = roff(status)
  lines[#lines + 1] = '.SH ENVIRONMENT'
  for _, pair in ipairs {
    { 'SPPO_HOME', 'where models are looked for by name (default: ~/.local/share/sppo)' },
    { 'SPPO_CPU', 'kernels to use: avx512vnni, avx512, avx2 or plain' },
    { 'SPPO_LUA', 'a checkout whose Lua files are read instead of those in the program' },
  } do
    lines[#lines + 1] = '.TP'
    lines[#lines + 1] = '.B ' .. pair[1]
    lines[#lines + 1] = roff(pair[2])
  end
  lines[#lines + 1] = '.SH EXAMPLES'
  add_code(lines, examples)
  return table.concat(lines, '\n') .. '\n'
end

--- Writes all pages into a folder, which is made if it is missing.
---@param folder string
---@param pages table<string, string>  name without .1, and text
function M.write(folder, pages)
  files.make_folder(folder)
  for name, text in pairs(pages) do files.write(('%s/%s.1'):format(folder, name), text) end
end

return M
