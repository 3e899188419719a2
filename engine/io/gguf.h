/* gguf.h - what the parts of GGUF reader and writer share, and the way in for tests and fuzzers. */

#ifndef SPPO_GGUF_H
#define SPPO_GGUF_H

#include "io/file.h"

enum {
    SPPO__GGUF_ENTRIES = 65536,  // tensors, and metadata keys
    SPPO__GGUF_TEXT = 64 << 20,  // bytes of all names and strings
    SPPO__GGUF_KEY = 65535       // bytes of a key, the format's own limit
};

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
