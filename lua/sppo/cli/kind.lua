--- What a path is, for `cat` and `inspect`, by its first bytes and its name.

local engine = require 'sppo.ffi'
local files = require 'sppo.files'

local M = {}

--- 'gguf', 'safetensors', 'records', 'jsonl', 'json', 'text', 'model', 'run' or 'round' (folders);
--- nil, err.
---@param path string
---@return string?, string?
function M.of(path)
  if files.is_folder(path) then
    if files.exists(path .. '/recipe.resolved.json') or files.exists(path .. '/metrics.jsonl') then
      return 'run'
    end
    if files.exists(path .. '/config.json') then return 'model' end
    if files.exists(path .. '/answers.msgpack') or files.exists(path .. '/evaluation.msgpack') then
      return 'round'
    end
    local names = files.list(path)
    local err = ('%s: a folder of neither a run nor a model (%d files)'):format(path, #names)
    engine.kind('argument', err)
    return nil, err
  end
  local size, err = files.size(path)
  if not size then
    local kind = engine.kind_of(err)
    err = err .. files.meant(path)
    engine.kind(kind, err)
    return nil, err
  end
  local extension = path:match('%.(%w+)$')
  if extension == 'bin' or extension == 'pt' or extension == 'pth' then
    err = path .. ': pickles are not read; convert it to safetensors where it was made'
    engine.kind('format', err)
    return nil, err
  end
  local file = io.open(path, 'rb')
  local head = file and file:read(4) or ''
  if file then file:close() end
  if head == 'GGUF' then return 'gguf' end
  local known = { safetensors = 'safetensors', msgpack = 'records', jsonl = 'jsonl', json = 'json',
    gguf = 'gguf', lua = 'text', txt = 'text' }
  if known[extension] then return known[extension] end
  err = ('%s: not a file that sppo writes or reads'):format(path)
  engine.kind('format', err)
  return nil, err
end

--- Tensors of an open GGUF or safetensors file, as { name, dtype, shape }.
function M.tensors(file, kind)
  local C, ffi = engine.C, engine.ffi
  local prefix = kind == 'gguf' and 'sppo_gguf_tensor_' or 'sppo_safetensors_'
  local list = {}
  for i = 0, tonumber(C[prefix .. 'count'](file.h)) - 1 do
    local shape = {}
    for axis = 0, C[prefix .. 'ndim'](file.h, i) - 1 do
      shape[axis + 1] = tonumber(C[prefix .. 'size'](file.h, i, axis))
    end
    list[i + 1] = {
      name = ffi.string(C[prefix .. 'name'](file.h, i)),
      dtype = ffi.string(C[prefix .. (kind == 'gguf' and 'type' or 'dtype')](file.h, i)),
      shape = shape,
    }
  end
  return list
end

--- Metadata of an open GGUF file, as { key, type, value } or { key, type, count, of }.
function M.metadata(gguf)
  local C, ffi = engine.C, engine.ffi
  local text, length = ffi.new('const char *[1]'), ffi.new('int64_t[1]')
  local number, integer = ffi.new('double[1]'), ffi.new('int64_t[1]')
  local list = {}
  for i = 0, tonumber(C.sppo_gguf_key_count(gguf.h)) - 1 do
    local entry = {
      key = ffi.string(C.sppo_gguf_key_name(gguf.h, i)),
      type = ffi.string(C.sppo_gguf_key_type(gguf.h, i)),
    }
    if entry.type == 'array' then
      entry.count = tonumber(C.sppo_gguf_array_count(gguf.h, i))
      entry.of = ffi.string(C.sppo_gguf_array_type(gguf.h, i))
    elseif entry.type == 'string' then
      engine.try(C.sppo_gguf_string(gguf.h, i, text, length))
      entry.value = ffi.string(text[0], length[0])
    elseif entry.type == 'bool' then
      engine.try(C.sppo_gguf_integer(gguf.h, i, integer))
      entry.value = integer[0] ~= 0
    else
      engine.try(C.sppo_gguf_number(gguf.h, i, number))
      entry.value = number[0]
    end
    list[i + 1] = entry
  end
  return list
end

return M
