/* signals.c - the part of 'sppo.host' that is about signals. Handlers only set flags, install a Lua
 * hook, or leave at once; what a stop means is decided in Lua. */

#include <lauxlib.h>
#include <signal.h>
#include <unistd.h>

#include "host/host.h"
#include "sppo.h"

static lua_State *interrupted_state;  // whose Lua code Ctrl-C stops
static volatile sig_atomic_t stop_requested, interrupt_taken, evaluating;
static volatile sig_atomic_t hook_fired, presses;  // since the evaluation began

static void handle(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);  // without SA_RESTART: a read at the prompt must end
}

static void stop_handler(int number) {
    if (stop_requested && number == SIGINT) _exit(130);
    stop_requested = 1;
}

/* catch_stop(): from here on the first SIGINT or SIGTERM only asks to stop; a SIGINT after it
 * leaves at once, which files survive. */
static int catch_stop(lua_State *L) {
    (void)L;
    handle(SIGINT, stop_handler);
    handle(SIGTERM, stop_handler);
    return 0;
}

static int stop_was_requested(lua_State *L) {
    lua_pushboolean(L, stop_requested != 0);
    return 1;
}

static void interrupt_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    hook_fired = 1;
    luaL_error(L, "interrupted!");
}

/* Compiled traces do not look at hooks: what is typed at the prompt is therefore kept from being
 * compiled, and the engine's ops look at the flag. Against all else (a long call into C) helps a
 * second Ctrl-C; against code that catches every error, a third. */
static void interrupt_handler(int number) {
    (void)number;
    interrupt_taken = 1;
    if (!evaluating) return;
    presses++;
    if (presses > 2 || (presses > 1 && !hook_fired)) _exit(130);
    sppo_interrupt_set(1);
    lua_sethook(interrupted_state, interrupt_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
    alarm(1);
}

static void late_handler(int number) {
    static const char text[] = "\nnot stopped yet; Ctrl-C once more leaves sppo\n";
    (void)number;
    if (evaluating && !hook_fired && write(STDERR_FILENO, text, sizeof text - 1) < 0) return;
}

/* catch_interrupt(): from here on SIGINT raises 'interrupted!' in Lua code that `run` runs, and
 * otherwise only ends a read of the line editor. */
static int catch_interrupt(lua_State *L) {
    interrupted_state = L;
    handle(SIGINT, interrupt_handler);
    handle(SIGALRM, late_handler);
    return 0;
}

/* Calls the handler of `run` with no hook set, which would raise in it again. */
static int on_error(lua_State *L) {
    lua_sethook(L, NULL, 0, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* run(fn, handler) -> true, results of fn() | false, result of handler(error). Here, not in Lua:
 * the hook must be gone before the next Lua instruction after fn. */
static int run(lua_State *L) {
    lua_settop(L, 2);
    lua_pushcclosure(L, on_error, 1);
    lua_insert(L, 1);
    hook_fired = presses = interrupt_taken = 0;
    sppo_interrupt_set(0);
    evaluating = 1;
    int failed = lua_pcall(L, 0, LUA_MULTRET, 1);
    evaluating = 0;
    alarm(0);
    lua_sethook(L, NULL, 0, 0);
    sppo_interrupt_set(0);
    interrupt_taken = 0;
    lua_pushboolean(L, !failed);
    lua_replace(L, 1);
    return lua_gettop(L);
}

/* interrupted() -> whether Ctrl-C was pressed since `run` began */
static int was_interrupted(lua_State *L) {
    lua_pushboolean(L, presses > 0);
    return 1;
}

int sppo__host_take_interrupt(void) {
    int taken = interrupt_taken;
    interrupt_taken = 0;
    return taken;
}

void sppo__host_add_signals(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"catch_stop", catch_stop},           {"stop_requested", stop_was_requested},
        {"catch_interrupt", catch_interrupt}, {"run", run},
        {"interrupted", was_interrupted},     {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
