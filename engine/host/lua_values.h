/* lua_values.h - what the msgpack and JSON modules share: a buffer that Lua frees, Lua tables read
 * as arrays or as maps with sorted keys, and where in a value a fault is. */

#ifndef SPPO_LUA_VALUES_H
#define SPPO_LUA_VALUES_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- output ---- */

typedef struct sppo__buffer {
    char *data;
    size_t size, room;
} sppo__buffer;

/* Pushes a new, empty buffer; its memory goes with the userdata, also after an error. */
sppo__buffer *sppo__buffer_push(lua_State *L);
void sppo__buffer_add(lua_State *L, sppo__buffer *b, const void *bytes, size_t size);

/* For a lua_CFunction to end with: pushes the content as a string and empties the buffer. */
int sppo__buffer_return(lua_State *L, sppo__buffer *b);

/* ---- where in a value: a chain of keys on the C stack ---- */

typedef struct sppo__key {
    const char *text;  // NULL: a number
    size_t length;
    double number;
} sppo__key;

typedef struct sppo__frame {
    const struct sppo__frame *up;
    sppo__key key;
    int depth;  // tables around the value
} sppo__frame;

/* Pushes " at .rows[3]" (the last six keys), "" for the outermost value; borrowed while it is on
 * the stack. */
const char *sppo__frame_text(lua_State *L, const sppo__frame *f);

/* ---- tables ---- */

/* A table that json.array or msgpack.map and json.object marked. */
typedef enum sppo__mark { SPPO__UNMARKED, SPPO__ARRAY, SPPO__OBJECT } sppo__mark;
sppo__mark sppo__table_mark(lua_State *L, int table);

/* lua_CFunctions: mark their argument (a new table without one) and return it. */
int sppo__mark_array(lua_State *L);
int sppo__mark_object(lua_State *L);

/* Number of elements if the table is to be written as an array: keys exactly 1..n and not marked
 * as an object; -1 for a map. */
int64_t sppo__table_array(lua_State *L, int table);

/* Pushes the keys, sorted: numbers first, then strings by their bytes. They are borrowed from the
 * table. Raises `who: ..` for any other key. */
const sppo__key *sppo__table_keys(lua_State *L, int table, const char *who, const sppo__frame *f,
                                  size_t *count);

/* Pushes the value of a key. */
void sppo__table_get(lua_State *L, int table, const sppo__key *key);

#endif
