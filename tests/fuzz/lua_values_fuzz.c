/* lua_values_fuzz.c - any bytes as msgpack and as JSON: refused with a text, or a value whose
 * encoding decodes to the same encoding. */

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "host/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char check[] =
    "local msgpack, json, text = ...\n"
    "local function same(decode, encode, value, err)\n"
    "  if value == nil then return assert(err == nil or type(err) == 'string') end\n"
    "  local good, first = pcall(encode, value)\n"
    "  if good then assert(encode(decode(first)) == first) end\n"
    "end\n"
    "same(msgpack.unpack, msgpack.pack, msgpack.unpack(text))\n"
    "same(json.decode, json.encode, json.decode(text))\n";

static lua_State *start(void) {
    lua_State *L = luaL_newstate();
    lua_pushcfunction(L, luaopen_base);
    lua_call(L, 0, 0);
    if (luaL_loadstring(L, check)) abort();
    luaopen_sppo_msgpack(L);
    luaopen_sppo_json(L);
    return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static lua_State *L;
    if (!L) L = start();
    for (int i = 1; i <= 3; i++) lua_pushvalue(L, i);
    lua_pushlstring(L, (const char *)data, size);
    if (lua_pcall(L, 3, 0, 0)) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    lua_gc(L, LUA_GCCOLLECT, 0);  // the leak checker does not see what only Lua points to
    return 0;
}
