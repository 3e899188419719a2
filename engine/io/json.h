/* json.h - JSON from files and users, by jansson, within limits that jansson does not have. */

#ifndef SPPO_JSON_H
#define SPPO_JSON_H

#include <jansson.h>

#include "io/file.h"

typedef struct sppo__json_error {
    char text[160];  // printable
    int64_t at;      // byte
    int line, column;
} sppo__json_error;

/* Parses with JSON_REJECT_DUPLICATES and `flags`; NULL with *error filled on failure. A document
 * nested deeper than `depth`, or of more than `most` commas, colons and brackets, is refused before
 * jansson takes memory for it (at most about 100 bytes for each). */
json_t *sppo__json_parse(const char *text, int64_t size, int depth, int64_t most, size_t flags,
                         sppo__json_error *error);

#endif
