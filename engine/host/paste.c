/* paste.c - a bracketed paste at the prompt: what the terminal sends between ESC[200~ and ESC[201~.
 *
 * Nothing of it runs before Enter. Control characters other than newline and Tab are dropped: shown
 * again, they would be commands to the terminal. */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/host.h"
#include "host/paste.h"

enum { LIMIT = 1 << 24 };  // bytes of a paste

static const char end_mark[] = "\033[201~";

static char *kept;  // whole lines
static size_t kept_length;

typedef struct text {
    char *bytes;
    size_t length, room;
    bool failed;
} text;

static void add(text *t, const char *bytes, size_t n) {
    if (t->failed || t->length + n > LIMIT) {
        t->failed = true;
        return;
    }
    if (t->length + n + 1 > t->room) {
        size_t room = 2 * (t->length + n) + 256;
        char *grown = realloc(t->bytes, room);
        if (!grown) {
            t->failed = true;
            return;
        }
        t->bytes = grown;
        t->room = room;
    }
    memcpy(t->bytes + t->length, bytes, n);
    t->length += n;
    t->bytes[t->length] = 0;
}

void sppo__paste_drop(void) {
    free(kept);
    kept = NULL;
    kept_length = 0;
}

const char *sppo__paste_lines(size_t *length) {
    *length = kept_length;
    return kept ? kept : "";
}

/* Reads to the end mark, unless Ctrl-C or the end of the input comes first. */
static sppo__paste_result read_paste(text *t) {
    size_t matched = 0;
    for (;;) {
        char c;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR) {
            if (sppo__host_take_interrupt()) return SPPO__PASTE_INTERRUPTED;
            continue;
        }
        if (n <= 0) return SPPO__PASTE_ENDED;
        matched = c == end_mark[matched] ? matched + 1 : c == end_mark[0] ? 1 : 0;
        if (!end_mark[matched]) return SPPO__PASTE_LINE;
        if (c == '\r') c = '\n';
        unsigned char u = (unsigned char)c;
        // Of an escape sequence in it only the ESC goes, so the end mark's own text is taken back.
        if (u == 127 || (u < 32 && c != '\n' && c != '\t')) continue;
        add(t, &c, 1);
    }
}

/* Shows whole lines as if they had been typed, over the line that is being edited. */
static void show(const char *prompt, const char *lines, size_t length) {
    const char *from = lines, *end = lines + length;
    while (from < end) {
        const char *stop = memchr(from, '\n', (size_t)(end - from));
        printf("%s%s%.*s\n", from == lines ? "\r\033[K" : "", from == lines ? prompt : "....> ",
               (int)(stop - from), from);
        from = stop + 1;
    }
    fflush(stdout);
}

/* Keeps head + t up to its last newline behind what is kept; the rest goes into the line. */
static sppo__paste_result take_lines(EditLine *e, const char *prompt, text *t) {
    const LineInfo *line = el_line(e);
    const LineInfoW *wide = el_wline(e);
    text all = {0};

    add(&all, kept ? kept : "", kept_length);
    add(&all, line->buffer, (size_t)(line->cursor - line->buffer));
    char *last = strrchr(t->bytes, '\n');
    add(&all, t->bytes, (size_t)(last + 1 - t->bytes));
    if (all.failed) {
        free(all.bytes);
        return SPPO__PASTE_BAD;
    }
    el_deletestr(e, (int)(wide->cursor - wide->buffer));
    show(prompt, all.bytes + kept_length, all.length - kept_length);
    sppo__paste_drop();
    kept = all.bytes;
    kept_length = all.length;
    if (last[1] && el_insertstr(e, last + 1)) return SPPO__PASTE_BAD;
    return SPPO__PASTE_LINES;
}

sppo__paste_result sppo__paste_take_in(EditLine *e, const char *prompt) {
    text t = {0};
    sppo__paste_result result = read_paste(&t);

    if (result == SPPO__PASTE_LINE) {
        // What came of the end mark before its last byte: "[201", the ESC was dropped.
        if (t.length >= 4) t.bytes[t.length -= 4] = 0;
        bool whole = !t.failed && t.length && memchr(t.bytes, '\n', t.length);
        if (whole) result = take_lines(e, prompt, &t);
        else if (t.failed || (t.length && el_insertstr(e, t.bytes))) result = SPPO__PASTE_BAD;
    }
    free(t.bytes);
    return result;
}
