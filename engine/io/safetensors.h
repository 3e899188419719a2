/* safetensors.h - what reader and writer share, and the way in for tests and fuzzers. */

#ifndef SPPO_SAFETENSORS_H
#define SPPO_SAFETENSORS_H

#include "io/file.h"

enum {
    SPPO__ST_HEADER = 100000000,  // bytes of a header, the format's own limit
    SPPO__ST_NAME = 1024          // bytes of a tensor's name
};

/* Parses `size` bytes that outlive *out; `name` stands in errors for the path. */
sppo_status sppo__safetensors_parse(const void *bytes, int64_t size, const char *name,
                                    sppo_safetensors **out);

/* "BF16" */
const char *sppo__safetensors_dtype_name(sppo_dtype dtype);

#endif
