/* stream.h - the inside of engine/io/stream.c that its fuzz target uses. */

#ifndef SPPO_STREAM_H
#define SPPO_STREAM_H

#include "io/file.h"

/* As sppo_stream_open, of bytes in memory, which must outlive it. */
sppo_status sppo__stream_memory(sppo_stream **out, const void *data, int64_t size, const char *name,
                                int64_t limit);

#endif
