/* gguf.h - what the parts of the GGUF reader share, and the way in for tests and fuzzers. */

#ifndef SPPO_GGUF_H
#define SPPO_GGUF_H

#include "io/file.h"

/* Parses `size` bytes that outlive *out; `name` stands in errors for the path. */
sppo_status sppo__gguf_parse(const void *bytes, int64_t size, const char *name, sppo_gguf **out);

/* How one of GGML's types lies in a file: `bytes` for each `values` of the last axis. */
typedef struct sppo__gguf_type {
    const char *name;
    int values, bytes;
    void (*unpack)(const unsigned char *blocks, int64_t count, float *out);  // NULL: not read
} sppo__gguf_type;

/* NULL for a number that GGML has no type for. */
const sppo__gguf_type *sppo__gguf_type_of(uint32_t number);

#endif
