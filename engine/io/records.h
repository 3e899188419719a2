/* records.h - the way into record files for tests and fuzzers. */

#ifndef SPPO_RECORDS_H
#define SPPO_RECORDS_H

#include "io/file.h"

/* Where the records of a file lie. */
typedef struct sppo__scan {
    int64_t *starts;  // of each record's header; starts[count] is where the next one goes
    int64_t count, room;
    int64_t torn;  // bytes after that
} sppo__scan;

/* Scans `size` bytes; the caller frees scan->starts, also after a failure. */
sppo_status sppo__records_scan(const void *bytes, int64_t size, const char *name, sppo__scan *scan);

/* CRC-32C (Castagnoli) of `bytes` more bytes after those that gave `crc`; 0 at the start. */
uint32_t sppo__crc32c(uint32_t crc, const void *data, int64_t bytes);

#endif
