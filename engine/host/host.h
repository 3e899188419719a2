/* host.h - what the files of the program share: the modules it gives to Lua, and embedded files. */

#ifndef SPPO_HOST_HOST_H
#define SPPO_HOST_HOST_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* Modules, each registered under the name that `require` knows. */
int luaopen_sppo_host(lua_State *L);         // 'sppo.host', host.c
int luaopen_sppo_line_editor(lua_State *L);  // 'sppo.line_editor', line_editor.c
int luaopen_sppo_msgpack(lua_State *L);      // 'sppo.msgpack', lua_msgpack.c
int luaopen_sppo_json(lua_State *L);         // 'sppo.json', lua_json.c

/* Text of the embedded file `name` and its length, or NULL; lives as long as the process. */
const char *sppo__embedded_find(const char *name, size_t *length);

/* Name of embedded file i, or NULL after the last. */
const char *sppo__embedded_name(int i);

/* Lua searcher (an entry of package.loaders): 'sppo.x.y' from lua/sppo/x/y.lua or .../y/init.lua,
 * 'models.llama' from models/llama.lua. A checkout named by SPPO_LUA comes before what is
 * embedded. */
int sppo__embedded_searcher(lua_State *L);

/* Pushes the text of a Lua file, model or recipe, from SPPO_LUA or embedded, and returns true; or
 * pushes nothing. `*chunk`, if not NULL, also gets pushed, below the text: its name for tracebacks. */
bool sppo__embedded_push(lua_State *L, const char *name, bool with_chunk_name);

/* Keeps the arguments for sppo.host.argv. */
void sppo__host_arguments(int argc, char **argv);

/* 1 if a Ctrl-C came while the line editor was reading; clears it. signals.c */
int sppo__host_take_interrupt(void);

/* Adds the functions about signals to the table on top, which is sppo.host. signals.c */
void sppo__host_add_signals(lua_State *L);

#endif
