/* host.c - the Lua module 'sppo.host': what Lua needs to know of the process and the machine. */

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "host/host.h"

#ifndef SPPO_COMMIT
#define SPPO_COMMIT ""
#endif

static int argument_count;
static char **arguments;

void sppo__host_arguments(int argc, char **argv) {
    argument_count = argc;
    arguments = argv;
}

/* ---- embedded files, the process, the machine ---- */

/* embedded(name) -> text or nil */
static int embedded(lua_State *L) {
    if (!sppo__embedded_push(L, luaL_checkstring(L, 1), false)) lua_pushnil(L);
    return 1;
}

/* embedded_names() -> list */
static int embedded_names(lua_State *L) {
    const char *name;
    lua_newtable(L);
    for (int i = 0; (name = sppo__embedded_name(i)); i++) {
        lua_pushstring(L, name);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* isatty(fd) -> boolean */
static int is_terminal(lua_State *L) {
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* sleep(seconds): a signal may end it early */
static int sleep_for(lua_State *L) {
    double seconds = luaL_checknumber(L, 1);
    struct timespec t = {.tv_sec = (time_t)seconds,
                         .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
    return 0;
}

/* terminal_width() -> columns of the terminal behind stderr or stdout, 80 if there is none */
static int terminal_width(lua_State *L) {
    struct winsize w;
    int columns = 80;
    if ((!ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w)) &&
        w.ws_col > 0)
        columns = w.ws_col;
    lua_pushinteger(L, columns);
    return 1;
}

static int process_id(lua_State *L) {
    lua_pushinteger(L, getpid());
    return 1;
}

static int cpu_count(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)sysconf(_SC_NPROCESSORS_ONLN));
    return 1;
}

/* total_memory() -> bytes of this machine's memory */
static int total_memory(lua_State *L) {
    lua_pushnumber(L, (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE));
    return 1;
}

/* executable() -> path of this program, or nil */
static int executable(lua_State *L) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    if (n <= 0 || n == sizeof path) return 0;
    lua_pushlstring(L, path, (size_t)n);
    return 1;
}

/* append_private(path, text) -> true; nil, error. Adds to a file that only this user may read. */
static int append_private(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    size_t length;
    const char *text = luaL_checklstring(L, 2, &length);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    bool fine = fd >= 0 && write(fd, text, length) == (ssize_t)length;
    int error = errno;
    if (fd >= 0) close(fd);
    if (!fine) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s: %s", path, strerror(error));
        return 2;
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- the module ---- */

static void set_text(lua_State *L, const char *key, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

int luaopen_sppo_host(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"embedded", embedded},
        {"embedded_names", embedded_names},
        {"isatty", is_terminal},
        {"sleep", sleep_for},
        {"terminal_width", terminal_width},
        {"process_id", process_id},
        {"cpu_count", cpu_count},
        {"total_memory", total_memory},
        {"executable", executable},
        {"append_private", append_private},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    sppo__host_add_signals(L);

    lua_newtable(L);
    for (int i = 1; i < argument_count; i++) {
        lua_pushstring(L, arguments[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setfield(L, -2, "argv");

    lua_newtable(L);
    set_text(L, "version", SPPO_VERSION);
    set_text(L, "commit", SPPO_COMMIT);
    set_text(L, "compiler", SPPO_COMPILER);
    lua_setfield(L, -2, "build");
    return 1;
}
