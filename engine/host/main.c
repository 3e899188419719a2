/* main.c - the program: starts LuaJIT, gives it the engine, the embedded files and the modules
 * written in C, and leaves everything else to lua/sppo/cli. */

#include <lauxlib.h>
#include <locale.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "host/host.h"
#include "sppo.h"

static int traceback(lua_State *L) {
    if (lua_isstring(L, 1)) luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

static void preload(lua_State *L, const char *name, lua_CFunction open) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, open);
    lua_setfield(L, -2, name);
    lua_pop(L, 2);
}

/* Puts our searcher behind that of package.preload and before those of the file system, so that
 * no file in the working folder takes the place of a module of ours. */
static void add_searcher(lua_State *L) {
    lua_getglobal(L, "table");
    lua_getfield(L, -1, "insert");
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaders");
    lua_remove(L, -2);
    lua_pushinteger(L, 2);
    lua_pushcfunction(L, sppo__embedded_searcher);
    lua_call(L, 3, 0);
    lua_pop(L, 1);
}

/* Everything that can raise; its result is the exit code. */
static int start(lua_State *L) {
    lua_gc(L, LUA_GCSTOP, 0);
    luaL_openlibs(L);
    lua_gc(L, LUA_GCRESTART, 0);
    preload(L, "sppo.host", luaopen_sppo_host);
    preload(L, "sppo.line_editor", luaopen_sppo_line_editor);
    preload(L, "sppo.msgpack", luaopen_sppo_msgpack);
    preload(L, "sppo.json", luaopen_sppo_json);
    add_searcher(L);

    lua_getglobal(L, "require");
    lua_pushliteral(L, "sppo.cli");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_getglobal(L, "require");
    lua_pushliteral(L, "sppo.host");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "argv");
    lua_remove(L, -2);
    lua_call(L, 1, 1);
    return 1;
}

int main(int argc, char **argv) {
    // UTF-8 for what the terminal shows; numbers stay as C writes them.
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    signal(SIGPIPE, SIG_IGN);
    sppo__host_arguments(argc, argv);

    const char *cpu = getenv("SPPO_CPU");
    if (cpu && *cpu && sppo_cpu_use(cpu)) {
        fprintf(stderr, "sppo: %s\n", sppo_last_error());
        return 2;
    }
    lua_State *L = luaL_newstate();
    if (!L) {
        fprintf(stderr, "sppo: no memory for LuaJIT\n");
        return 4;
    }
    lua_pushcfunction(L, traceback);
    lua_pushcfunction(L, start);
    if (lua_pcall(L, 0, 1, 1)) {
        const char *text = lua_tostring(L, -1);
        fprintf(stderr, "sppo: %s\n", text ? text : "an error that is no text");
        return 1;
    }
    int code = (int)lua_tointeger(L, -1);
    lua_close(L);
    return code;
}
