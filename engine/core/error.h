/* error.h - how engine code fails: a status, and a text made from core/error_text.h. */

#ifndef SPPO_ERROR_H
#define SPPO_ERROR_H

#include "core/error_text.h"
#include "sppo.h"

/* Records the text and returns `status`. */
sppo_status sppo__fail(sppo_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* clang-tidy looks at one file at a time: this tells it that what fails is never SPPO_OK. */
#ifdef __clang_analyzer__
#define sppo__fail(status, ...) (sppo__fail(status, __VA_ARGS__), (status))
#endif

/* A mistake of the engine itself: prints and aborts. Never for what a user or a file can cause. */
#define SPPO_ASSERT(x) ((x) ? (void)0 : sppo__assert_failed(#x, __FILE__, __LINE__))
void sppo__assert_failed(const char *text, const char *file, int line) __attribute__((noreturn));

#endif
