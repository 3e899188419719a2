--- Files: the engine's readers and writers as Lua objects. What opens outside data returns nil,
--- err; a failed write raises.

local engine = require 'sppo.ffi'
local json = require 'sppo.json'
local msgpack = require 'sppo.msgpack'
local tensor = require 'sppo.tensor'

local ffi, C, try = engine.ffi, engine.C, engine.try

local M = {}

local text_box = ffi.new('const char *[1]')
local length_box = ffi.new('int64_t[1]')
local number_box = ffi.new('double[1]')
local tensor_box = ffi.new('sppo_tensor *[1]')

-- ---- plain files ----

--- Whether there is a regular file.
---@param path string
---@return boolean
function M.exists(path)
  return C.sppo_file_size(path, length_box) == 0
end

--- Whole content; nil, err.
---@param path string
---@param limit? integer  bytes, 1 GiB
function M.read(path, limit)
  local data = ffi.new('char *[1]')
  local status = C.sppo_file_read(path, limit or 2^30, data, length_box)
  if status ~= 0 then return engine.failure(status) end
  local text = ffi.string(data[0], length_box[0])
  C.sppo_file_free(data[0])
  return text
end

--- Writes a file whole or not at all (a new file, on the disk, then renamed); raises.
---@param path string
---@param text string
function M.write(path, text) try(C.sppo_file_write_atomic(path, text, #text)) end

--- Adds to a file's end, making it if missing; raises.
---@param path string
---@param text string
---@param sync? boolean  wait until it is on the disk
function M.append(path, text, sync) try(C.sppo_file_append(path, text, #text, sync and 1 or 0)) end

--- Cuts a file to its first bytes; raises.
---@param path string
---@param bytes integer
function M.truncate(path, bytes) try(C.sppo_file_truncate(path, bytes)) end

--- Makes a folder and those above it, if missing; raises.
---@param path string
function M.make_folder(path) try(C.sppo_folder_make(path)) end

--- Removes a file, or a folder with all in it (links are not followed); nothing there is fine.
---@param path string
function M.remove(path) try(C.sppo_folder_remove(path)) end

--- After a crash: finishes or undoes a write of `path` that was interrupted; raises.
---@param path string
function M.recover(path) try(C.sppo_folder_recover(path)) end

--- Whether `atomic_folder` has finished this folder.
---@param path string
---@return boolean
function M.complete(path) return C.sppo_folder_complete(path) ~= 0 end

local BLOCK = 2^18

--- A file read from beginning to end, unpacked on the way if it is gzip or zstd; nil, err. `read()`
--- gives the next block, nil at the end, and raises with the file's byte where the compressed data
--- are malformed or more than `limit` bytes come out.
---@param path string
---@param limit integer  bytes
---@return { packing: 'gzip'|'zstd'|'none', read: fun(): string?, close: fun() }?
function M.stream(path, limit)
  local box = ffi.new('sppo_stream *[1]')
  local status = C.sppo_stream_open(box, path, limit)
  if status ~= 0 then return engine.failure(status) end
  local h, block = ffi.gc(box[0], C.sppo_stream_close), ffi.new('char[?]', BLOCK)
  local stream = { packing = ffi.string(C.sppo_stream_packing(h)) }
  function stream.read()
    if not h then return end
    try(C.sppo_stream_read(h, block, BLOCK, length_box))
    if length_box[0] > 0 then return ffi.string(block, length_box[0]) end
    stream.close()
  end
  function stream.close()
    if h then C.sppo_stream_close(ffi.gc(h, nil)) end
    h = nil
  end
  return stream
end

--- Bytes of a regular file, or nil, err.
---@param path string
---@return integer? bytes, string? err
function M.size(path)
  local status = C.sppo_file_size(path, length_box)
  if status ~= 0 then return engine.failure(status) end
  return tonumber(length_box[0])
end

--- Names in a folder, sorted; nil, err.
---@param path string
---@return string[]? names, string? err
function M.list(path)
  local box = ffi.new('sppo_list *[1]')
  local status = C.sppo_list_open(box, path)
  if status ~= 0 then return engine.failure(status) end
  local names = {}
  for i = 0, tonumber(C.sppo_list_count(box[0])) - 1 do
    names[#names + 1] = ffi.string(C.sppo_list_name(box[0], i))
  end
  C.sppo_list_close(box[0])
  return names
end

--- Whether there is a folder that can be read.
---@param path string
---@return boolean
function M.is_folder(path) return M.list(path) ~= nil end

--- What a path that is not there was probably meant to be, " (did you mean 'train.jsonl'?)", by the
--- names beside it; '' if none is near.
---@param path string
---@return string
function M.meant(path)
  local folder, name = path:gsub('(.)/+$', '%1'):match('^(.-)([^/]+)$')
  if not name or M.size(path) or M.is_folder(path) then return '' end
  local names = M.list(folder == '' and '.' or folder) or {}
  if #names > 1000 then return '' end
  local hint = require('sppo.check').suggest(name, names)
  if hint == name then return '' end -- a link that leads nowhere
  return hint and (' (did you mean \'%s%s\'?)'):format(folder, hint) or ''
end

--- Bytes that can still be written on the disk of `path`.
---@param path string
---@return integer
function M.disk_free(path)
  try(C.sppo_disk_free(path, length_box))
  return tonumber(length_box[0])
end

local hex = ffi.new('char[65]')

--- SHA-256 of a text, 64 hex digits.
---@param text string
---@return string
function M.sha256(text)
  try(C.sppo_sha256(text, #text, hex))
  return ffi.string(hex)
end

--- SHA-256 of a file; nil, err.
---@param path string
---@return string? hex, string? err
function M.sha256_file(path)
  local status = C.sppo_sha256_file(path, hex)
  if status ~= 0 then return engine.failure(status) end
  return ffi.string(hex)
end

--- A JSON file's value; nil, err with path, line and column.
---@param path string
---@param limit? integer  bytes, 1 GiB
function M.json(path, limit)
  local text, err = M.read(path, limit)
  if not text then return nil, err end
  local value
  value, err = json.decode(text)
  if err then
    engine.kind('format', path .. ': ' .. err)
    return nil, path .. ': ' .. err
  end
  return value
end

--- An exclusive lock; nil, err if another process has it. Held until `:close()`.
---@param path string
---@return { close: fun(self) }? lock, string? err
function M.lock(path)
  local box = ffi.new('sppo_lock *[1]')
  local status = C.sppo_lock_open(box, path)
  if status ~= 0 then return engine.failure(status) end
  local lock = { h = ffi.gc(box[0], C.sppo_lock_close) }
  function lock.close(self)
    C.sppo_lock_close(ffi.gc(self.h, nil))
    self.h = nil
  end
  return lock
end

--- Writes a folder that appears whole or not at all: `fill(path)` puts the files into it.
---@param path string
---@param fill fun(path: string)
function M.atomic_folder(path, fill)
  local box = ffi.new('sppo_folder *[1]')
  try(C.sppo_folder_begin(box, path))
  local ok, err = pcall(fill, ffi.string(C.sppo_folder_path(box[0])))
  if not ok then
    C.sppo_folder_abort(box[0])
    error(err, 0)
  end
  try(C.sppo_folder_commit(box[0]))
end

-- ---- record files ----

---@class sppo.Records
local Records = {}
Records.__index = Records

--- A file of msgpack records; made if missing when writable. nil, err.
---@param path string
---@param writable? boolean
---@return sppo.Records?
function M.records(path, writable)
  local box = ffi.new('sppo_records *[1]')
  local status = C.sppo_records_open(box, path, writable and 1 or 0)
  if status ~= 0 then return engine.failure(status) end
  return setmetatable({ h = box[0], path = path }, Records)
end

--- Number of whole records.
---@return integer
function Records:count() return tonumber(C.sppo_records_count(self.h)) end

--- Record i, counted from 1; raises if it can't be unpacked.
---@param i integer
---@return any
function Records:read(i)
  try(C.sppo_records_read(self.h, i - 1, ffi.cast('const void **', text_box), length_box))
  local value, err = msgpack.unpack(ffi.string(text_box[0], length_box[0]))
  if err then engine.raise('format', ('%s: record %d: %s'):format(self.path, i, err)) end
  return value
end

--- Adds a record; raises.
---@param value any  what msgpack can hold
function Records:append(value) self:append_packed(msgpack.pack(value)) end

--- Adds a record that is packed already; raises.
---@param bytes string  msgpack
function Records:append_packed(bytes) try(C.sppo_records_append(self.h, bytes, #bytes)) end

--- Waits until all records are on the disk; raises.
function Records:sync() try(C.sppo_records_sync(self.h)) end

--- Keeps the first records; raises.
---@param count integer
function Records:truncate(count) try(C.sppo_records_truncate(self.h, count)) end

--- Closes the file; raises if something could not be written.
function Records:close()
  local h = self.h
  self.h = nil
  if h then try(C.sppo_records_close(h)) end
end

--- All records of a file; nil, err.
---@param path string
---@return any[]? records, string? err
function M.read_records(path)
  local r, err = M.records(path)
  if not r then return nil, err end
  local list = {}
  for i = 1, r:count() do list[i] = r:read(i) end
  r:close()
  return list
end

-- ---- GGUF ----

---@class sppo.Gguf
local Gguf = {}
Gguf.__index = Gguf

--- Opens a GGUF file; nil, err.
---@param path string
---@return sppo.Gguf? file, string? err
function M.gguf(path)
  local box = ffi.new('sppo_gguf *[1]')
  local status = C.sppo_gguf_open(box, path)
  if status ~= 0 then return engine.failure(status) end
  return setmetatable({ h = ffi.gc(box[0], C.sppo_gguf_close), path = path }, Gguf)
end

--- Unmaps the file now; tensors that were read stay.
function Gguf:close() C.sppo_gguf_close(ffi.gc(self.h, nil)) end

local function key_of(g, key)
  local i = C.sppo_gguf_key_find(g.h, key)
  return i >= 0 and i or nil
end

--- A number or bool of the metadata, or nil.
---@param key string
---@return number?
function Gguf:number(key)
  local i = key_of(self, key)
  if i and C.sppo_gguf_number(self.h, i, number_box) == 0 then return number_box[0] end
end

--- A string of the metadata, or nil.
---@param key string
---@return string?
function Gguf:string(key)
  local i = key_of(self, key)
  if i and C.sppo_gguf_string(self.h, i, text_box, length_box) == 0 then
    return ffi.string(text_box[0], length_box[0])
  end
end

--- Length of an array of the metadata, 0 if there is none.
---@param key string
---@return integer
function Gguf:count(key)
  local i = key_of(self, key)
  return i and math.max(0, tonumber(C.sppo_gguf_array_count(self.h, i))) or 0
end

--- Whether there is a tensor of that name.
---@param name string
---@return boolean
function Gguf:has(name) return C.sppo_gguf_tensor_find(self.h, name) >= 0 end

--- Names of its tensors.
---@return string[]
function Gguf:names()
  local names = {}
  for i = 0, tonumber(C.sppo_gguf_tensor_count(self.h)) - 1 do
    names[#names + 1] = ffi.string(C.sppo_gguf_tensor_name(self.h, i))
  end
  return names
end

--- Shape of a tensor, nil if there is none of that name.
---@param name string
---@return integer[]?
function Gguf:shape(name)
  local i = C.sppo_gguf_tensor_find(self.h, name)
  if i < 0 then return end
  local shape = {}
  for axis = 1, C.sppo_gguf_tensor_ndim(self.h, i) do
    shape[axis] = tonumber(C.sppo_gguf_tensor_size(self.h, i, axis - 1))
  end
  return shape
end

--- A tensor, dequantised to f32; nil if there is none of that name; raises if it can't be read.
---@param name string
---@return sppo.Tensor?  f32
function Gguf:tensor(name)
  if not self:has(name) then return end
  try(C.sppo_gguf_tensor(tensor_box, self.h, name))
  return tensor.wrap(tensor_box[0])
end

-- ---- safetensors ----

---@class sppo.Safetensors
local Safetensors = {}
Safetensors.__index = Safetensors

--- Opens a safetensors file; nil, err.
---@param path string
---@return sppo.Safetensors? file, string? err
function M.safetensors(path)
  local box = ffi.new('sppo_safetensors *[1]')
  local status = C.sppo_safetensors_open(box, path)
  if status ~= 0 then return engine.failure(status) end
  return setmetatable({ h = ffi.gc(box[0], C.sppo_safetensors_close), path = path }, Safetensors)
end

--- Unmaps the file now; tensors that were read stay.
function Safetensors:close() C.sppo_safetensors_close(ffi.gc(self.h, nil)) end

--- Names of its tensors.
---@return string[]
function Safetensors:names()
  local names = {}
  for i = 0, tonumber(C.sppo_safetensors_count(self.h)) - 1 do
    names[#names + 1] = ffi.string(C.sppo_safetensors_name(self.h, i))
  end
  return names
end

--- A string of its metadata, or nil.
---@param key string
---@return string?
function Safetensors:metadata(key)
  local value = C.sppo_safetensors_metadata(self.h, key)
  if value ~= nil then return ffi.string(value) end
end

--- Shape of a tensor, nil if there is none of that name.
---@param name string
---@return integer[]?
function Safetensors:shape(name)
  local i = C.sppo_safetensors_find(self.h, name)
  if i < 0 then return end
  local shape = {}
  for axis = 1, C.sppo_safetensors_ndim(self.h, i) do
    shape[axis] = tonumber(C.sppo_safetensors_size(self.h, i, axis - 1))
  end
  return shape
end

--- A tensor in its own dtype; raises if it can't be read.
---@param name string
---@return sppo.Tensor
function Safetensors:tensor(name)
  try(C.sppo_safetensors_tensor(tensor_box, self.h, name))
  return tensor.wrap(tensor_box[0])
end

local dims = ffi.new('int64_t[4]')

--- Writes a safetensors file tensor by tensor: `:write(t)` in the order of `list`, then `:close()`.
---@param path string
---@param list { name: string, dtype: string, shape: integer[] }[]
---@param notes? table<string, string>
function M.safetensors_writer(path, list, notes)
  local box = ffi.new('sppo_safetensors_writer *[1]')
  try(C.sppo_safetensors_writer_new(box, path))
  local w, written = box[0], 0
  for _, entry in ipairs(list) do
    for i, size in ipairs(entry.shape) do dims[i - 1] = size end
    local dtype = tensor.dtypes[entry.dtype]
    try(C.sppo_safetensors_writer_add(w, entry.name, dtype, #entry.shape, dims))
  end
  for key, value in pairs(notes or {}) do try(C.sppo_safetensors_writer_note(w, key, value)) end
  try(C.sppo_safetensors_writer_begin(w))
  local writer = {}
  function writer.write(_, t)
    written = written + 1
    try(C.sppo_safetensors_writer_write(w, list[written].name, tensor.handle(t, 'write', 't')))
  end
  function writer.close() try(C.sppo_safetensors_writer_close(w)) end
  return writer
end

--- Writes a GGUF file: `metadata(w)` gives its keys, `value(entry)` each tensor in the order of
--- `list`. Whole or not at all.
---@param path string
---@param list { name: string, dtype: string, shape: integer[] }[]
---@param metadata fun(w: { number: fun(self, key: string, type: string, value: number),
---   string: fun(self, key: string, value: string),
---   numbers: fun(self, key: string, type: string, values: number[]),
---   strings: fun(self, key: string, values: string[]) })
---@param value fun(entry: table): sppo.Tensor
function M.gguf_writer(path, list, metadata, value)
  local box = ffi.new('sppo_gguf_writer *[1]')
  try(C.sppo_gguf_writer_new(box, path))
  local h, w = box[0], {}
  function w.number(_, key, kind, number) try(C.sppo_gguf_writer_number(h, key, kind, number)) end
  function w.string(_, key, text) try(C.sppo_gguf_writer_string(h, key, text, #text)) end
  function w.numbers(_, key, kind, values)
    try(C.sppo_gguf_writer_array(h, key, kind, #values))
    for _, number in ipairs(values) do try(C.sppo_gguf_writer_element(h, number)) end
  end
  function w.strings(_, key, values)
    try(C.sppo_gguf_writer_array(h, key, 'string', #values))
    for _, text in ipairs(values) do try(C.sppo_gguf_writer_element_string(h, text, #text)) end
  end
  local ok, err = pcall(function()
    metadata(w)
    for _, entry in ipairs(list) do
      for i, size in ipairs(entry.shape) do dims[i - 1] = size end
      try(C.sppo_gguf_writer_add(h, entry.name, tensor.dtypes[entry.dtype], #entry.shape, dims))
    end
    try(C.sppo_gguf_writer_begin(h))
    for _, entry in ipairs(list) do
      require('sppo.scope').run(function()
        try(C.sppo_gguf_writer_write(h, entry.name, tensor.handle(value(entry), 'write', 't')))
      end)
    end
  end)
  local status = C.sppo_gguf_writer_close(h)
  if not ok then error(err, 0) end
  try(status)
end

return M
