/* error.c - the last failure of each thread. */

#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local char last[1024];

sppo_status(sppo__fail)(sppo_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(last, sizeof last, format, args);
    va_end(args);
    return status;
}

const char *sppo_last_error(void) {
    return last;
}

void sppo__assert_failed(const char *text, const char *file, int line) {
    fprintf(stderr, "sppo: internal error: %s (%s:%d); this is a bug, please report it\n", text,
            file, line);
    abort();
}
