/* lua_msgpack.c - the Lua module sppo.msgpack: pack(value), unpack(string), map(t), f32(list),
 * i32(list). The same value gives the same bytes: keys are sorted.
 *
 * Tables with keys 1..n are arrays, others maps; an empty table is an array unless map{} made it.
 * Whole numbers up to 2^53 are ints, others f64. f32(list) and i32(list) are ext types 1 and 2:
 * 4 bytes a number, little-endian; the list may be a string of such bytes. unpack gives a plain
 * table for them. Tables nest at most 32 deep. Packing is msgpack-c's; unpacking is done here, as
 * msgpack-c takes memory for a count before it knows that the bytes are there. */

#include <float.h>
#include <math.h>
#include <msgpack/pack.h>
#include <stdio.h>
#include <string.h>

#include "core/error_text.h"
#include "host/host.h"
#include "host/lua_values.h"

enum {
    DEPTH = 32,
    EXT_F32 = 1,
    EXT_I32 = 2,
    MOST_COST = 32 << 20,  // unpacking: values, a table counted as eight
    TABLE_COST = 8,
    FIRST_ROOM = 4096  // elements a new table has room for, whatever the count says
};

static const double EXACT = 9007199254740992.0;  // 2^53

static const char NUMBERS[] = "sppo.msgpack.numbers";

typedef struct numbers {
    int ext;
    size_t bytes;
    unsigned char data[];
} numbers;

/* ---- packing ---- */

typedef struct output {
    lua_State *L;
    sppo__buffer *buffer;
} output;

static int add(void *data, const char *bytes, size_t size) {
    output *o = data;
    sppo__buffer_add(o->L, o->buffer, bytes, size);
    return 0;
}

static void pack_number(msgpack_packer *p, double x) {
    bool whole = x >= -EXACT && x <= EXACT && x == floor(x) && !(x == 0 && signbit(x));
    if (whole) msgpack_pack_int64(p, (int64_t)x);
    else msgpack_pack_double(p, x);
}

static void pack_value(lua_State *L, msgpack_packer *p, int value, const sppo__frame *f);

static void pack_table(lua_State *L, msgpack_packer *p, int t, const sppo__frame *f) {
    if (f->depth == DEPTH) {
        luaL_error(L, TEXT_LUA_DEEP, "msgpack.pack", (int)DEPTH, sppo__frame_text(L, f));
        return;
    }
    luaL_checkstack(L, 12, NULL);
    int64_t length = sppo__table_array(L, t);
    sppo__frame inner = {.up = f, .depth = f->depth + 1};
    if (length >= 0) {
        msgpack_pack_array(p, (size_t)length);
        for (int i = 1; i <= length; i++) {
            inner.key.number = i;
            lua_rawgeti(L, t, i);
            pack_value(L, p, lua_gettop(L), &inner);
            lua_pop(L, 1);
        }
        return;
    }
    size_t count;
    const sppo__key *keys = sppo__table_keys(L, t, "msgpack.pack", f, &count);
    msgpack_pack_map(p, count);
    for (size_t i = 0; i < count; i++) {
        inner.key = keys[i];
        if (keys[i].text) msgpack_pack_str_with_body(p, keys[i].text, keys[i].length);
        else pack_number(p, keys[i].number);
        sppo__table_get(L, t, &keys[i]);
        pack_value(L, p, lua_gettop(L), &inner);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* The numbers userdata at `value`, or NULL. */
static const numbers *to_numbers(lua_State *L, int value) {
    if (!lua_getmetatable(L, value)) return NULL;
    luaL_getmetatable(L, NUMBERS);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? lua_touserdata(L, value) : NULL;
}

static void pack_value(lua_State *L, msgpack_packer *p, int value, const sppo__frame *f) {
    size_t length;
    const char *text;
    const numbers *n;
    switch (lua_type(L, value)) {
    case LUA_TNIL: msgpack_pack_nil(p); return;
    case LUA_TBOOLEAN:
        if (lua_toboolean(L, value)) msgpack_pack_true(p);
        else msgpack_pack_false(p);
        return;
    case LUA_TNUMBER: pack_number(p, lua_tonumber(L, value)); return;
    case LUA_TSTRING:
        text = lua_tolstring(L, value, &length);
        msgpack_pack_str_with_body(p, text, length);
        return;
    case LUA_TTABLE: pack_table(L, p, value, f); return;
    case LUA_TUSERDATA:
        n = to_numbers(L, value);
        if (!n) break;
        msgpack_pack_ext_with_body(p, n->data, n->bytes, (int8_t)n->ext);
        return;
    default: break;
    }
    luaL_error(L, TEXT_LUA_KIND, "msgpack.pack", luaL_typename(L, value), sppo__frame_text(L, f));
}

static int pack(lua_State *L) {
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    output o = {.L = L, .buffer = sppo__buffer_push(L)};
    msgpack_packer p;
    msgpack_packer_init(&p, &o, add);
    sppo__frame outer = {0};
    pack_value(L, &p, 1, &outer);
    return sppo__buffer_return(L, o.buffer);
}

/* ---- lists of numbers ---- */

static void put_word(unsigned char *p, uint32_t x) {
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(x >> 8 * i);
}

static uint32_t word_of(lua_State *L, int ext, const char *who, double x, int index) {
    bool fits = ext == EXT_I32 ? x >= -2147483648.0 && x <= 2147483647.0 && x == floor(x)
                               : !isfinite(x) || fabs(x) <= (double)FLT_MAX;
    if (!fits) luaL_error(L, TEXT_LUA_WORD, who, x, index);
    if (ext == EXT_I32) return (uint32_t)(int32_t)x;
    uint32_t word;
    float rounded = (float)x;
    memcpy(&word, &rounded, sizeof word);
    return word;
}

static int make_numbers(lua_State *L, int ext) {
    const char *who = ext == EXT_F32 ? "msgpack.f32" : "msgpack.i32";
    size_t bytes = 0;
    const char *raw = NULL;
    if (lua_type(L, 1) == LUA_TSTRING) {
        raw = lua_tolstring(L, 1, &bytes);
        if (bytes % 4) return luaL_error(L, TEXT_LUA_WORDS, who, (int)bytes);
    } else {
        luaL_checktype(L, 1, LUA_TTABLE);
        bytes = 4 * lua_objlen(L, 1);
    }
    if (bytes > UINT32_MAX) return luaL_error(L, TEXT_LUA_MEMORY, (int)(bytes >> 20));
    numbers *n = lua_newuserdata(L, sizeof *n + bytes);
    n->ext = ext;
    n->bytes = bytes;
    if (raw) memcpy(n->data, raw, bytes);
    for (size_t i = 0; !raw && i < bytes / 4; i++) {
        lua_rawgeti(L, 1, (int)i + 1);
        if (lua_type(L, -1) != LUA_TNUMBER)
            return luaL_error(L, TEXT_LUA_NUMBER, who, (int)i + 1, luaL_typename(L, -1));
        put_word(n->data + 4 * i, word_of(L, ext, who, lua_tonumber(L, -1), (int)i + 1));
        lua_pop(L, 1);
    }
    luaL_newmetatable(L, NUMBERS);
    lua_setmetatable(L, -2);
    return 1;
}

static int f32(lua_State *L) {
    return make_numbers(L, EXT_F32);
}

static int i32(lua_State *L) {
    return make_numbers(L, EXT_I32);
}

/* ---- unpacking ---- */

typedef struct input {
    lua_State *L;
    const unsigned char *bytes;
    size_t size, at;
    size_t cost;
    const char *error;  // a literal; `at` says where
} input;

static bool fail(input *in, size_t at, const char *error) {
    in->error = error;
    in->at = at;
    return false;
}

/* A big-endian number of `bytes` bytes. */
static bool read_bits(input *in, size_t bytes, uint64_t *x) {
    if (in->size - in->at < bytes) return fail(in, in->at, "ends inside a value");
    *x = 0;
    for (size_t i = 0; i < bytes; i++) *x = *x << 8 | in->bytes[in->at++];
    return true;
}

/* What follows has `count` parts of at least `least` bytes: they are there. */
static bool room_for(input *in, size_t start, uint64_t count, size_t least) {
    if (count <= (in->size - in->at) / least) return true;
    return fail(in, start, "announces more than the bytes left");
}

static bool spend(input *in, size_t cost) {
    in->cost += cost;
    return in->cost <= MOST_COST ? true : fail(in, in->at, "holds too many values");
}

static bool push_float(input *in, size_t bytes) {
    uint64_t bits;
    if (!read_bits(in, bytes, &bits)) return false;
    float f;
    double d;
    uint32_t half = (uint32_t)bits;
    if (bytes == 4) {
        memcpy(&f, &half, sizeof f);
        d = (double)f;
    } else {
        memcpy(&d, &bits, sizeof d);
    }
    lua_pushnumber(in->L, d);
    return true;
}

static bool push_int(input *in, size_t start, size_t bytes, bool is_signed) {
    uint64_t bits;
    if (!read_bits(in, bytes, &bits)) return false;
    int unused = 64 - 8 * (int)bytes;
    double x = (double)bits;
    // NOLINTNEXTLINE(bugprone-integer-division)
    if (is_signed) x = (double)((int64_t)(bits << unused) / ((int64_t)1 << unused));
    if (fabs(x) > EXACT) return fail(in, start, "has a whole number beyond 2^53");
    lua_pushnumber(in->L, x);
    return true;
}

static bool push_text(input *in, size_t start, uint64_t length) {
    if (!room_for(in, start, length, 1)) return false;
    lua_pushlstring(in->L, (const char *)in->bytes + in->at, (size_t)length);
    in->at += (size_t)length;
    return true;
}

/* Element i of a list of numbers. */
static double number_of(int ext, const unsigned char *p) {
    uint32_t word =
        (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    float x;
    memcpy(&x, &word, sizeof x);
    return ext == EXT_I32 ? (double)(int32_t)word : (double)x;
}

static bool push_ext(input *in, size_t start, uint64_t length) {
    uint64_t ext;
    if (!read_bits(in, 1, &ext) || !room_for(in, start, length, 1)) return false;
    if (ext != EXT_F32 && ext != EXT_I32) return fail(in, start, "has an unknown ext type");
    if (length % 4) return fail(in, start, "has an ext of numbers not a multiple of 4 bytes");
    if (!spend(in, TABLE_COST + (size_t)length / 4)) return false;
    int count = (int)(length / 4);
    lua_createtable(in->L, count, 0);
    for (int i = 0; i < count; i++, in->at += 4) {
        lua_pushnumber(in->L, number_of((int)ext, in->bytes + in->at));
        lua_rawseti(in->L, -2, i + 1);
    }
    return true;
}

static bool push_value(input *in, int depth);

static bool push_array(input *in, size_t start, uint64_t count, int depth) {
    if (depth == DEPTH) return fail(in, start, "is nested deeper than 32");
    if (!room_for(in, start, count, 1) || !spend(in, TABLE_COST)) return false;
    luaL_checkstack(in->L, 6, NULL);
    lua_createtable(in->L, count < FIRST_ROOM ? (int)count : FIRST_ROOM, 0);
    for (uint64_t i = 1; i <= count; i++) {
        if (!push_value(in, depth + 1)) return false;
        lua_rawseti(in->L, -2, (int)i);
    }
    return true;
}

static bool push_key(input *in, int depth) {
    size_t start = in->at;
    if (!push_value(in, depth)) return false;
    int type = lua_type(in->L, -1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        return fail(in, start, "has a key that is neither string nor number");
    if (type == LUA_TNUMBER && isnan(lua_tonumber(in->L, -1)))
        return fail(in, start, "has a key that is NaN");
    lua_pushvalue(in->L, -1);
    lua_rawget(in->L, -3);
    bool twice = !lua_isnil(in->L, -1);
    lua_pop(in->L, 1);
    return twice ? fail(in, start, "has a key twice") : true;
}

static bool push_map(input *in, size_t start, uint64_t count, int depth) {
    if (depth == DEPTH) return fail(in, start, "is nested deeper than 32");
    if (!room_for(in, start, count, 2) || !spend(in, TABLE_COST)) return false;
    luaL_checkstack(in->L, 6, NULL);
    lua_createtable(in->L, 0, count < FIRST_ROOM ? (int)count : FIRST_ROOM);
    for (uint64_t i = 0; i < count; i++) {
        if (!push_key(in, depth + 1) || !push_value(in, depth + 1)) return false;
        lua_rawset(in->L, -3);
    }
    if (!count) {  // packs as a map again
        luaL_newmetatable(in->L, "sppo.object");
        lua_setmetatable(in->L, -2);
    }
    return true;
}

/* A length of `bytes` bytes, then what `push` makes of it. */
static bool sized(input *in, size_t start, size_t bytes, int depth,
                  bool (*push)(input *, size_t, uint64_t, int)) {
    uint64_t length;
    return read_bits(in, bytes, &length) && push(in, start, length, depth);
}

static bool text_of(input *in, size_t start, uint64_t length, int depth) {
    (void)depth;
    return push_text(in, start, length);
}

static bool ext_of(input *in, size_t start, uint64_t length, int depth) {
    (void)depth;
    return push_ext(in, start, length);
}

static bool push_value(input *in, int depth) {
    size_t start = in->at;
    uint64_t tag;
    if (!read_bits(in, 1, &tag) || !spend(in, 1)) return false;
    if (tag < 0x80 || tag >= 0xe0) {
        lua_pushnumber(in->L, tag < 0x80 ? (double)tag : (double)tag - 256);
        return true;
    }
    if (tag < 0x90) return push_map(in, start, tag & 15, depth);
    if (tag < 0xa0) return push_array(in, start, tag & 15, depth);
    if (tag < 0xc0) return push_text(in, start, tag & 31);
    switch (tag) {
    case 0xc0: lua_pushnil(in->L); return true;
    case 0xc2:
    case 0xc3: lua_pushboolean(in->L, tag == 0xc3); return true;
    case 0xc4:
    case 0xd9: return sized(in, start, 1, depth, text_of);
    case 0xc5:
    case 0xda: return sized(in, start, 2, depth, text_of);
    case 0xc6:
    case 0xdb: return sized(in, start, 4, depth, text_of);
    case 0xc7: return sized(in, start, 1, depth, ext_of);
    case 0xc8: return sized(in, start, 2, depth, ext_of);
    case 0xc9: return sized(in, start, 4, depth, ext_of);
    case 0xca: return push_float(in, 4);
    case 0xcb: return push_float(in, 8);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf: return push_int(in, start, (size_t)1 << (tag - 0xcc), false);
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3: return push_int(in, start, (size_t)1 << (tag - 0xd0), true);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8: return push_ext(in, start, (uint64_t)1 << (tag - 0xd4));
    case 0xdc: return sized(in, start, 2, depth, push_array);
    case 0xdd: return sized(in, start, 4, depth, push_array);
    case 0xde: return sized(in, start, 2, depth, push_map);
    case 0xdf: return sized(in, start, 4, depth, push_map);
    default: return fail(in, start, "has a tag that msgpack does not use");
    }
}

static int unpack(lua_State *L) {
    input in = {.L = L};
    in.bytes = (const unsigned char *)luaL_checklstring(L, 1, &in.size);
    bool good = push_value(&in, 0);
    if (good && in.at < in.size) good = fail(&in, in.at, "goes on after its end");
    if (good) return 1;
    char text[160];
    snprintf(text, sizeof text, TEXT_MSGPACK, in.error, in.at);
    lua_settop(L, 0);
    lua_pushnil(L);
    lua_pushstring(L, text);
    return 2;
}

int luaopen_sppo_msgpack(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"pack", pack}, {"unpack", unpack}, {"map", sppo__mark_object},
        {"f32", f32},   {"i32", i32},       {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
