/* normalize.h - plain text before it is split into words. */

#ifndef SPPO_NORMALIZE_H
#define SPPO_NORMALIZE_H

#include "sppo.h"

typedef struct sppo__normalizer sppo__normalizer;

/* Adds a step; *n is made if it is NULL. The texts are copied. */
sppo_status sppo__normalizer_add(sppo__normalizer **n, sppo_bpe_step kind, const char *from,
                                 int64_t from_length, const char *to, int64_t to_length);
void sppo__normalizer_free(sppo__normalizer *n);

/* Replaces *text, valid UTF-8, by what the steps make of it, borrowed until the next call; n may be
 * NULL. `first`: no text and no token is in front of it. */
sppo_status sppo__normalize(sppo__normalizer *n, bool first, const char **text, int64_t *length);

/* Where the white space that begins at `at` ends; where that which ends at `at` begins, not before
 * `least`. */
int64_t sppo__space_after(const char *text, int64_t length, int64_t at);
int64_t sppo__space_before(const char *text, int64_t at, int64_t least);

#endif
