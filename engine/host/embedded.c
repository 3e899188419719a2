/* embedded.c - the Lua files, models and recipes inside the binary, and how `require` finds them.
 *
 * The table is made by tools/embed.cmake. SPPO_LUA=DIR, the root of a checkout, overrides it: files
 * are then read from there first, and tracebacks show their paths. Only text is loaded, never
 * bytecode, which can crash the interpreter. */

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/host.h"

typedef struct file {
    const char *name, *start, *end;
} file;

extern const file sppo__embedded_table[] __attribute__((visibility("hidden")));

const char *sppo__embedded_find(const char *name, size_t *length) {
    for (const file *f = sppo__embedded_table; f->name; f++) {
        if (strcmp(f->name, name)) continue;
        *length = (size_t)(f->end - f->start);
        return f->start;
    }
    return NULL;
}

const char *sppo__embedded_name(int i) {
    return sppo__embedded_table[i].name;
}

/* Pushes the content of the file `name` below SPPO_LUA; pushes nothing if there is none. */
static bool push_from_disk(lua_State *L, const char *root, const char *name, bool with_chunk_name) {
    const char *path = lua_pushfstring(L, "%s/%s", root, name);
    FILE *in = fopen(path, "rb");
    luaL_Buffer b;
    size_t got;

    if (!in) {
        lua_pop(L, 1);
        return false;
    }
    lua_pushfstring(L, "@%s", path);
    lua_remove(L, -2);
    luaL_buffinit(L, &b);
    do {
        got = fread(luaL_prepbuffer(&b), 1, LUAL_BUFFERSIZE, in);
        luaL_addsize(&b, got);
    } while (got == LUAL_BUFFERSIZE);
    bool failed = ferror(in) != 0;
    fclose(in);
    luaL_pushresult(&b);
    if (failed) {  // a folder of that name, or a broken disk
        lua_pop(L, 2);
        return false;
    }
    if (!with_chunk_name) lua_remove(L, -2);
    return true;
}

bool sppo__embedded_push(lua_State *L, const char *name, bool with_chunk_name) {
    const char *root = getenv("SPPO_LUA");
    size_t length;

    // The header must be the one that this binary was built with.
    if (root && *root && strcmp(name, "sppo.h") && push_from_disk(L, root, name, with_chunk_name))
        return true;
    const char *text = sppo__embedded_find(name, &length);
    if (!text) return false;
    if (with_chunk_name) lua_pushfstring(L, "@%s", name);
    lua_pushlstring(L, text, length);
    return true;
}

int sppo__embedded_searcher(lua_State *L) {
    static const char *const forms[] = {"lua/%s.lua", "lua/%s/init.lua", "%s.lua"};
    const char *module = luaL_checkstring(L, 1);
    const char *path = luaL_gsub(L, module, ".", "/");

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const char *name = lua_pushfstring(L, forms[i], path);
        if (i == 2 && strncmp(name, "models/", 7) && strncmp(name, "recipes/", 8)) break;
        if (!sppo__embedded_push(L, name, true)) continue;
        size_t length;
        const char *text = lua_tolstring(L, -1, &length);
        if (length > 0 && text[0] == LUA_SIGNATURE[0])
            return luaL_error(L, "%s: is bytecode, only text is loaded", lua_tostring(L, -2) + 1);
        if (luaL_loadbufferx(L, text, length, lua_tostring(L, -2), "t")) return lua_error(L);
        return 1;
    }
    lua_pushfstring(L, "\n\tno embedded file for '%s'", module);
    return 1;
}
