/* paste.h - a bracketed paste at the prompt. Part of the line editor. */

#ifndef SPPO_HOST_PASTE_H
#define SPPO_HOST_PASTE_H

#include <histedit.h>
#include <stddef.h>

typedef enum sppo__paste_result {
    SPPO__PASTE_LINE,         // it was put into the line
    SPPO__PASTE_LINES,        // whole lines are kept, the rest was put into the line
    SPPO__PASTE_INTERRUPTED,  // a Ctrl-C came before its end
    SPPO__PASTE_ENDED,        // the end of the input did
    SPPO__PASTE_BAD,          // too large, or not UTF-8: nothing was taken
} sppo__paste_result;

/* Reads a paste up to its end mark. Its last line goes into the line that is edited, what stands
 * before it is shown behind `prompt` and kept for sppo__paste_lines. */
sppo__paste_result sppo__paste_take_in(EditLine *e, const char *prompt);

/* The whole lines that were pasted, each ending in a newline, and their bytes; lives until the next
 * call of another function here. */
const char *sppo__paste_lines(size_t *length);

/* Forgets them. */
void sppo__paste_drop(void);

#endif
