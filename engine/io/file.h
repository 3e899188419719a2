/* file.h - what the readers and writers of files share inside the engine. */

#ifndef SPPO_FILE_H
#define SPPO_FILE_H

#include <stddef.h>

#include "core/error.h"

/* Opens for reading; regular files only, nothing waits on a pipe or a terminal. */
sppo_status sppo__open_regular(const char *path, int *fd, int64_t *size);

/* ---- a file mapped read-only ---- */

typedef struct sppo__map {
    const unsigned char *bytes;  // NULL for an empty file
    int64_t size;
    int fd;
} sppo__map;

sppo_status sppo__map_open(sppo__map *map, const char *path);
void sppo__map_close(sppo__map *map);

/* The file is still as long as when it was mapped: reading past its end would be a signal. */
sppo_status sppo__map_check(const sppo__map *map, const char *path);

/* ---- descriptors ---- */

/* Writes all of it; the failure names the path and the bytes that did not fit. */
sppo_status sppo__write_all(int fd, const char *path, const void *data, int64_t bytes);
sppo_status sppo__sync(int fd, const char *path);
sppo_status sppo__sync_path(const char *path);
sppo_status sppo__sync_parent(const char *path);

/* "path: cannot <verb>: <strerror(errno)>" */
sppo_status sppo__fail_os(const char *path, const char *verb);
sppo_status sppo__fail_memory(const char *path, int64_t bytes);

/* For clang-tidy, as core/error.h has it. */
#ifdef __clang_analyzer__
#define sppo__fail_os(path, verb) (sppo__fail_os(path, verb), SPPO_ERR_IO)
#define sppo__fail_memory(path, bytes) (sppo__fail_memory(path, bytes), SPPO_ERR_MEMORY)
#endif

/* ---- text ---- */

/* A new string, or NULL when out of memory. */
char *sppo__format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bytes from a file as they may stand in an error: quoted, cut after 64, unprintable bytes as
 * \xNN. Borrowed, good until four more calls of this thread. */
const char *sppo__quoted(const void *text, int64_t length);

/* ---- names: find one among many, in O(log n) ---- */

typedef struct sppo__name {
    const char *name;
    int64_t index;
} sppo__name;

/* Sorts; returns the index of an entry whose name another one has too, or -1. */
int64_t sppo__names_sort(sppo__name *names, int64_t count);
int64_t sppo__names_find(const sppo__name *names, int64_t count, const char *name);

/* A name that may stand in a file: 1..limit bytes, no control characters. */
bool sppo__name_valid(const void *name, int64_t length, int64_t limit);

#endif
