/* line_editor.c - the Lua module 'sppo.line_editor': reading lines at a terminal, by libedit.
 *
 * Only editing is here. Which words complete a line, and what the history file holds, is Lua's
 * (lua/sppo/repl). Where stdin is no terminal, or a dumb one, lines are read plainly. */

#include <errno.h>
#include <histedit.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "host/host.h"
#include "host/paste.h"

enum { HISTORY_SIZE = 10000 };

static EditLine *editor;
static History *past;
static char prompt_text[64];
static lua_State *completer_state;
static int completer = LUA_NOREF;  // reference to the completion function
static volatile sig_atomic_t resized;
static bool interrupted;

static char *show_prompt(EditLine *e) {
    (void)e;
    return prompt_text;
}

static void resize_handler(int number) {
    (void)number;
    resized = 1;
}

/* Reads one character of UTF-8. Ours instead of libedit's, so that Ctrl-C ends the line. */
static int read_character(EditLine *e, wchar_t *out) {
    mbstate_t state = {0};
    for (;;) {
        char c;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR) {
            if (sppo__host_take_interrupt()) {
                interrupted = true;
                return -1;
            }
            if (resized) {
                resized = 0;
                el_resize(e);
            }
            continue;
        }
        if (n <= 0) return (int)n;
        size_t used = mbrtowc(out, &c, 1, &state);
        if (used == (size_t)-2) continue;  // the character goes on
        if (used == (size_t)-1) *out = L'?';
        return 1;
    }
}

/* A paste that the terminal marks as one: its lines are one entry, and Tab in it is no key. */
static unsigned char paste(EditLine *e, int key) {
    (void)key;
    switch (sppo__paste_take_in(e, prompt_text)) {
    case SPPO__PASTE_LINE: return CC_REFRESH;
    case SPPO__PASTE_LINES:
        snprintf(prompt_text, sizeof prompt_text, "....> ");
        return CC_REDISPLAY;
    case SPPO__PASTE_INTERRUPTED: interrupted = true; return CC_EOF;
    case SPPO__PASTE_ENDED: return CC_EOF;
    default: return CC_REFRESH_BEEP;
    }
}

/* Writes the words of the list at `index` in columns below the line. */
static void show_candidates(lua_State *L, int index) {
    struct winsize w;
    int columns = !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_col > 0 ? w.ws_col : 80;
    int count = (int)lua_objlen(L, index), widest = 1;

    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, index, i);
        const char *word = lua_tostring(L, -1);
        int width = word ? (int)strlen(word) : 0;
        if (width > widest) widest = width;
        lua_pop(L, 1);
    }
    int per_line = columns / (widest + 2) > 0 ? columns / (widest + 2) : 1;
    fputc('\n', stdout);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, index, i);
        const char *word = lua_tostring(L, -1);
        bool last = i % per_line == 0 || i == count;
        printf("%-*s%s", last ? 0 : widest, word ? word : "", last ? "\n" : "  ");
        lua_pop(L, 1);
    }
    fflush(stdout);
}

/* Tab: asks Lua, with the text before the cursor, for what to insert and for a list to show. */
static unsigned char complete(EditLine *e, int key) {
    lua_State *L = completer_state;
    int top = lua_gettop(L);
    unsigned char result = CC_REFRESH;
    (void)key;
    const LineInfo *line = el_line(e);
    lua_rawgeti(L, LUA_REGISTRYINDEX, completer);
    lua_pushlstring(L, line->buffer, (size_t)(line->cursor - line->buffer));
    if (lua_pcall(L, 1, 2, 0)) {
        result = CC_REFRESH_BEEP;
    } else {
        const char *insert = lua_tostring(L, -2);
        if (insert && *insert) {
            if (el_insertstr(e, insert)) result = CC_REFRESH_BEEP;
        } else if (lua_istable(L, -1) && lua_objlen(L, -1) > 0) {
            show_candidates(L, lua_gettop(L));
            result = CC_REDISPLAY;
        } else {
            result = CC_REFRESH_BEEP;
        }
    }
    lua_settop(L, top);
    return result;
}

static void finish(void) {
    if (editor) el_end(editor);
    if (past) history_end(past);
    editor = NULL;
    past = NULL;
}

/* open(complete) -> true if lines can be edited here. complete(text before the cursor) ->
 * text to insert, list to show. */
static int editor_open(lua_State *L) {
    const char *terminal = getenv("TERM");
    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (editor || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !terminal || !*terminal ||
        !strcmp(terminal, "dumb")) {
        lua_pushboolean(L, editor != NULL);
        return 1;
    }
    HistEvent event;
    editor = el_init("sppo", stdin, stdout, stderr);
    past = history_init();
    if (!editor || !past) {
        finish();
        return luaL_error(L, "the line editor did not start");
    }
    atexit(finish);
    history(past, &event, H_SETSIZE, HISTORY_SIZE);
    history(past, &event, H_SETUNIQUE, 1);
    el_set(editor, EL_PROMPT, show_prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_SIGNAL, 0);
    el_set(editor, EL_HIST, history, past);
    el_set(editor, EL_GETCFN, read_character);
    el_set(editor, EL_ADDFN, "sppo-complete", "Complete the word", complete);
    el_set(editor, EL_BIND, "^I", "sppo-complete", NULL);
    el_set(editor, EL_ADDFN, "sppo-paste", "Take in a paste", paste);
    el_set(editor, EL_BIND, "\\e[200~", "sppo-paste", NULL);
    el_set(editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(editor, EL_BIND, "\\e[1~", "ed-move-to-beg", NULL);
    el_set(editor, EL_BIND, "\\e[4~", "ed-move-to-end", NULL);
    el_set(editor, EL_BIND, "\\e[3~", "ed-delete-next-char", NULL);
    el_set(editor, EL_BIND, "\\e[1;5C", "em-next-word", NULL);
    el_set(editor, EL_BIND, "\\e[1;5D", "ed-prev-word", NULL);
    struct sigaction action = {.sa_handler = resize_handler};
    sigaction(SIGWINCH, &action, NULL);

    completer_state = L;
    lua_pushvalue(L, 1);
    completer = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushboolean(L, 1);
    return 1;
}

/* The line that was read, or nil, 'interrupted', or nil at the end of input. */
static int push_line(lua_State *L, const char *line, size_t length) {
    if (interrupted || sppo__host_take_interrupt()) {
        interrupted = false;
        sppo__paste_drop();
        lua_pushnil(L);
        lua_pushliteral(L, "interrupted");
        return 2;
    }
    size_t before;
    const char *pasted = sppo__paste_lines(&before);
    if (!line && !before) return 0;
    while (line && length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r')) length--;
    lua_pushlstring(L, pasted, before);
    lua_pushlstring(L, line ? line : "", line ? length : 0);
    lua_concat(L, 2);
    sppo__paste_drop();
    return 1;
}

static int read_plain(lua_State *L) {
    char *line = NULL;
    size_t size = 0;

    if (isatty(STDIN_FILENO)) fputs(prompt_text, stdout);
    fflush(stdout);
    errno = 0;
    ssize_t length = getline(&line, &size, stdin);
    if (length < 0 && errno == EINTR) clearerr(stdin);
    int results = push_line(L, length < 0 ? NULL : line, length < 0 ? 0 : (size_t)length);
    free(line);
    return results;
}

/* read(prompt) -> line, or the lines of a paste | nil | nil, 'interrupted' */
static int editor_read(lua_State *L) {
    int length = 0;
    snprintf(prompt_text, sizeof prompt_text, "%s", luaL_checkstring(L, 1));
    if (!editor) return read_plain(L);
    fputs("\033[?2004h", stdout);  // the terminal marks where a paste begins and ends
    fflush(stdout);
    const char *line = el_gets(editor, &length);
    fputs("\033[?2004l", stdout);
    if (interrupted) fputs("^C\n", stdout);
    return push_line(L, line, length > 0 ? (size_t)length : 0);
}

/* add(line): to the history of this process. */
static int editor_add(lua_State *L) {
    HistEvent event;
    const char *line = luaL_checkstring(L, 1);
    if (past && *line) history(past, &event, H_ENTER, line);
    return 0;
}

int luaopen_sppo_line_editor(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"open", editor_open},
        {"read", editor_read},
        {"add", editor_add},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    return 1;
}
