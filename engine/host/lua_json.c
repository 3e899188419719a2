/* lua_json.c - the Lua module sppo.json: encode(value [, { indent = true }]), decode(string),
 * null, array(t), object(t). The same value gives the same bytes: keys are sorted, numbers are the
 * shortest text that reads back to them. Decoding is jansson's, within the limits of io/json.h;
 * null in a document is json.null. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/host.h"
#include "host/lua_values.h"
#include "io/json.h"

enum {
    ENCODE_DEPTH = 128,
    DECODE_DEPTH = 128,
    DECODE_BYTES = 256 << 20,
    DECODE_VALUES = 4 << 20  // commas, colons and brackets
};

/* ---- encoding ---- */

typedef struct encoder {
    lua_State *L;
    sppo__buffer *out;
    bool indent;
} encoder;

static void add(encoder *e, const char *text) {
    sppo__buffer_add(e->L, e->out, text, strlen(text));
}

static void new_line(encoder *e, int depth) {
    if (!e->indent) return;
    add(e, "\n");
    for (int i = 0; i < depth; i++) add(e, "  ");
}

/* Bytes of the UTF-8 sequence at p, 0 if it is none. */
static size_t utf8_length(const unsigned char *p, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (p[0] < 0x80) return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n > left) return 0;
    uint32_t c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

static void encode_text(encoder *e, const char *text, size_t size, const sppo__frame *f) {
    const unsigned char *p = (const unsigned char *)text;
    add(e, "\"");
    size_t start = 0;
    for (size_t i = 0; i < size;) {
        size_t n = utf8_length(p + i, size - i);
        if (!n) {
            luaL_error(e->L, TEXT_JSON_UTF8, (int)i, sppo__frame_text(e->L, f));
            return;
        }
        if (p[i] >= 0x20 && p[i] != '"' && p[i] != '\\') {
            i += n;
            continue;
        }
        sppo__buffer_add(e->L, e->out, text + start, i - start);
        static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        const char *found = p[i] ? strchr(special, p[i]) : NULL;
        char escape[8];
        if (found) snprintf(escape, sizeof escape, "\\%c", letters[found - special]);
        else snprintf(escape, sizeof escape, "\\u%04x", p[i]);
        add(e, escape);
        start = ++i;
    }
    sppo__buffer_add(e->L, e->out, text + start, size - start);
    add(e, "\"");
}

static void encode_number(encoder *e, double x, const sppo__frame *f) {
    char text[40];
    if (!isfinite(x)) {
        luaL_error(e->L, TEXT_JSON_NUMBER, isnan(x) ? "NaN" : "infinity",
                   sppo__frame_text(e->L, f));
        return;
    }
    if (fabs(x) <= 9007199254740992.0 && x == floor(x)) {  // 2^53
        snprintf(text, sizeof text, "%.0f", x);
    } else {
        // 15 digits always survive the way back unless the number is denormal.
        int digits = fabs(x) < 2.3e-308 ? 1 : 15;
        do snprintf(text, sizeof text, "%.*g", digits, x);
        while (strtod(text, NULL) != x && digits++ < 17);
        char *comma = strchr(text, ',');  // of the locale
        if (comma) *comma = '.';
    }
    add(e, text);
}

static void encode_value(encoder *e, int value, const sppo__frame *f);

static void encode_array(encoder *e, int t, int64_t length, const sppo__frame *f) {
    sppo__frame inner = {.up = f, .depth = f->depth + 1};
    add(e, "[");
    for (int i = 1; i <= length; i++) {
        if (i > 1) add(e, ",");
        new_line(e, inner.depth);
        inner.key.number = i;
        lua_rawgeti(e->L, t, i);
        encode_value(e, lua_gettop(e->L), &inner);
        lua_pop(e->L, 1);
    }
    if (length) new_line(e, f->depth);
    add(e, "]");
}

static void encode_object(encoder *e, int t, const sppo__frame *f) {
    sppo__frame inner = {.up = f, .depth = f->depth + 1};
    size_t count;
    const sppo__key *keys = sppo__table_keys(e->L, t, "json.encode", f, &count);
    add(e, "{");
    for (size_t i = 0; i < count; i++) {
        if (!keys[i].text) {
            luaL_error(e->L, TEXT_JSON_KEY, keys[i].number, sppo__frame_text(e->L, f));
            return;
        }
        if (i) add(e, ",");
        new_line(e, inner.depth);
        inner.key = keys[i];
        encode_text(e, keys[i].text, keys[i].length, &inner);
        add(e, e->indent ? ": " : ":");
        sppo__table_get(e->L, t, &keys[i]);
        encode_value(e, lua_gettop(e->L), &inner);
        lua_pop(e->L, 1);
    }
    lua_pop(e->L, 1);
    if (count) new_line(e, f->depth);
    add(e, "}");
}

static void encode_table(encoder *e, int t, const sppo__frame *f) {
    if (f->depth == ENCODE_DEPTH) {
        luaL_error(e->L, TEXT_LUA_DEEP, "json.encode", (int)ENCODE_DEPTH,
                   sppo__frame_text(e->L, f));
        return;
    }
    luaL_checkstack(e->L, 12, NULL);
    int64_t length = sppo__table_array(e->L, t);
    if (length < 0 && sppo__table_mark(e->L, t) == SPPO__ARRAY) {
        luaL_error(e->L, TEXT_JSON_ARRAY, sppo__frame_text(e->L, f));
        return;
    }
    if (length >= 0) encode_array(e, t, length, f);
    else encode_object(e, t, f);
}

static void encode_value(encoder *e, int value, const sppo__frame *f) {
    size_t size;
    const char *text;
    switch (lua_type(e->L, value)) {
    case LUA_TBOOLEAN: add(e, lua_toboolean(e->L, value) ? "true" : "false"); return;
    case LUA_TNUMBER: encode_number(e, lua_tonumber(e->L, value), f); return;
    case LUA_TSTRING:
        text = lua_tolstring(e->L, value, &size);
        encode_text(e, text, size, f);
        return;
    case LUA_TTABLE: encode_table(e, value, f); return;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(e->L, value)) break;
        add(e, "null");
        return;
    default: break;
    }
    luaL_error(e->L, TEXT_LUA_KIND, "json.encode", luaL_typename(e->L, value),
               sppo__frame_text(e->L, f));
}

static int encode(lua_State *L) {
    luaL_checkany(L, 1);
    encoder e = {.L = L};
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_getfield(L, 2, "indent");
        e.indent = lua_toboolean(L, -1);
    }
    lua_settop(L, 1);
    e.out = sppo__buffer_push(L);
    sppo__frame outer = {0};
    encode_value(&e, 1, &outer);
    return sppo__buffer_return(L, e.out);
}

/* ---- decoding ---- */

static int tree_free(lua_State *L) {
    json_t **root = lua_touserdata(L, 1);
    json_decref(*root);
    *root = NULL;
    return 0;
}

/* Pushes a userdata that owns a tree, so that running out of memory in Lua frees it. */
static json_t **tree_push(lua_State *L) {
    json_t **root = lua_newuserdata(L, sizeof *root);
    *root = NULL;
    if (luaL_newmetatable(L, "sppo.json.tree")) {
        lua_pushcfunction(L, tree_free);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return root;
}

static void push_tree(lua_State *L, json_t *v) {
    const char *key;
    json_t *value;
    size_t i;
    luaL_checkstack(L, 6, NULL);
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        lua_createtable(L, 0, (int)json_object_size(v));
        json_object_foreach(v, key, value) {
            lua_pushstring(L, key);
            push_tree(L, value);
            lua_rawset(L, -3);
        }
        if (!json_object_size(v)) {  // encodes as an object again
            luaL_newmetatable(L, "sppo.object");
            lua_setmetatable(L, -2);
        }
        return;
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(v), 0);
        json_array_foreach(v, i, value) {
            push_tree(L, value);
            lua_rawseti(L, -2, (int)i + 1);
        }
        return;
    case JSON_STRING: lua_pushlstring(L, json_string_value(v), json_string_length(v)); return;
    case JSON_INTEGER:
    case JSON_REAL: lua_pushnumber(L, json_number_value(v)); return;
    case JSON_TRUE:
    case JSON_FALSE: lua_pushboolean(L, json_is_true(v)); return;
    case JSON_NULL: lua_pushlightuserdata(L, NULL); return;
    }
}

static int decode(lua_State *L) {
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    char message[256];
    if (size > DECODE_BYTES) {
        snprintf(message, sizeof message, TEXT_JSON_LARGE, size, DECODE_BYTES >> 20);
        lua_pushnil(L);
        lua_pushstring(L, message);
        return 2;
    }
    json_t **root = tree_push(L);
    sppo__json_error error;
    *root = sppo__json_parse(text, (int64_t)size, DECODE_DEPTH, DECODE_VALUES,
                             JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    if (!*root) {
        snprintf(message, sizeof message, TEXT_JSON, error.line, error.column, error.text);
        lua_pushnil(L);
        lua_pushstring(L, message);
        return 2;
    }
    push_tree(L, *root);
    json_decref(*root);  // now, not when the collector comes
    *root = NULL;
    return 1;
}

int luaopen_sppo_json(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"encode", encode},
        {"decode", decode},
        {"array", sppo__mark_array},
        {"object", sppo__mark_object},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    return 1;
}
