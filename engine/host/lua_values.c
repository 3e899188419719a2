/* lua_values.c - see lua_values.h. What the bytes mean is in lua_msgpack.c and lua_json.c. */

#include "host/lua_values.h"

#include <stdlib.h>
#include <string.h>

#include "core/error_text.h"

/* ---- output ---- */

static int buffer_free(lua_State *L) {
    sppo__buffer *b = lua_touserdata(L, 1);
    free(b->data);
    *b = (sppo__buffer){0};
    return 0;
}

int sppo__buffer_return(lua_State *L, sppo__buffer *b) {
    lua_pushlstring(L, b->data, b->size);
    free(b->data);  // now, not when the collector comes
    *b = (sppo__buffer){0};
    return 1;
}

sppo__buffer *sppo__buffer_push(lua_State *L) {
    sppo__buffer *b = lua_newuserdata(L, sizeof *b);
    *b = (sppo__buffer){0};
    if (luaL_newmetatable(L, "sppo.buffer")) {
        lua_pushcfunction(L, buffer_free);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return b;
}

void sppo__buffer_add(lua_State *L, sppo__buffer *b, const void *bytes, size_t size) {
    if (size > b->room - b->size) {
        size_t room = b->room ? b->room : 256;
        while (room - b->size < size && room <= SIZE_MAX / 2) room *= 2;
        char *data = room - b->size < size ? NULL : realloc(b->data, room);
        if (!data) {
            luaL_error(L, TEXT_LUA_MEMORY, (int)((b->size + size) >> 20));
            return;
        }
        b->data = data;
        b->room = room;
    }
    if (size) memcpy(b->data + b->size, bytes, size);
    b->size += size;
}

/* ---- where in a value ---- */

const char *sppo__frame_text(lua_State *L, const sppo__frame *f) {
    lua_pushliteral(L, "");
    if (!f->up) return lua_tostring(L, -1);
    luaL_checkstack(L, 8, NULL);
    for (int shown = 0; f->up; f = f->up) {
        if (shown++ == 6) {
            lua_pushliteral(L, "..");
            lua_insert(L, -2);
            lua_concat(L, 2);
            break;
        }
        if (f->key.text) {
            lua_pushliteral(L, ".");
            lua_pushlstring(L, f->key.text, f->key.length);
        } else {
            lua_pushliteral(L, "[");
            lua_pushnumber(L, f->key.number);
            lua_pushliteral(L, "]");
            lua_concat(L, 2);
        }
        lua_concat(L, 2);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    lua_pushliteral(L, " at ");
    lua_insert(L, -2);
    lua_concat(L, 2);
    return lua_tostring(L, -1);
}

/* ---- tables ---- */

static const char ARRAY_MARK[] = "sppo.array", OBJECT_MARK[] = "sppo.object";

static bool has_mark(lua_State *L, const char *mark) {
    luaL_getmetatable(L, mark);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 1);
    return same;
}

sppo__mark sppo__table_mark(lua_State *L, int t) {
    if (!lua_getmetatable(L, t)) return SPPO__UNMARKED;
    sppo__mark mark = has_mark(L, ARRAY_MARK)    ? SPPO__ARRAY
                      : has_mark(L, OBJECT_MARK) ? SPPO__OBJECT
                                                 : SPPO__UNMARKED;
    lua_pop(L, 1);
    return mark;
}

static int set_mark(lua_State *L, const char *mark) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_newmetatable(L, mark);
    lua_setmetatable(L, 1);
    return 1;
}

int sppo__mark_array(lua_State *L) {
    return set_mark(L, ARRAY_MARK);
}

int sppo__mark_object(lua_State *L) {
    return set_mark(L, OBJECT_MARK);
}

int64_t sppo__table_array(lua_State *L, int t) {
    if (sppo__table_mark(L, t) == SPPO__OBJECT) return -1;
    int64_t count = 0, highest = 0;
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1)) {
        double key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        if (!(key >= 1 && key <= 2147483647 && key == (double)(int64_t)key)) {
            lua_pop(L, 2);
            return -1;
        }
        if ((int64_t)key > highest) highest = (int64_t)key;
        count++;
    }
    return count == highest ? count : -1;
}

static int by_key(const void *a, const void *b) {
    const sppo__key *x = a, *y = b;
    if (!x->text || !y->text) {
        if (x->text || y->text) return x->text ? 1 : -1;
        return (x->number > y->number) - (x->number < y->number);
    }
    int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

const sppo__key *sppo__table_keys(lua_State *L, int t, const char *who, const sppo__frame *f,
                                  size_t *count) {
    size_t n = 0, i = 0;
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1)) n++;
    sppo__key *keys = lua_newuserdata(L, n ? n * sizeof *keys : 1);
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1)) {
        sppo__key *k = &keys[i++];
        *k = (sppo__key){0};
        if (lua_type(L, -2) == LUA_TSTRING) k->text = lua_tolstring(L, -2, &k->length);
        else if (lua_type(L, -2) == LUA_TNUMBER) k->number = lua_tonumber(L, -2);
        else {
            const char *type = luaL_typename(L, -2);
            luaL_error(L, TEXT_LUA_KEY, who, type, sppo__frame_text(L, f));
            return NULL;
        }
    }
    if (n) qsort(keys, n, sizeof *keys, by_key);
    *count = n;
    return keys;
}

void sppo__table_get(lua_State *L, int t, const sppo__key *key) {
    if (key->text) lua_pushlstring(L, key->text, key->length);
    else lua_pushnumber(L, key->number);
    lua_rawget(L, t);
}
