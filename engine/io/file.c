/* file.c - single files: mapped, read whole, appended, replaced at once. Folders are in folder.c,
 * formats in the files named after them. */

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

sppo_status(sppo__fail_os)(const char *path, const char *verb) {
    return sppo__fail(SPPO_ERR_IO, TEXT_FILE_OS, path, verb, strerror(errno));
}

sppo_status(sppo__fail_memory)(const char *path, int64_t bytes) {
    return sppo__fail(SPPO_ERR_MEMORY, TEXT_FILE_MEMORY, path, (long long)bytes);
}

char *sppo__format(const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    return length < 0 ? NULL : text;
}

/* O_NONBLOCK, so that a pipe without a writer is refused and not waited for. */
sppo_status sppo__open_regular(const char *path, int *fd, int64_t *size) {
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f < 0) return sppo__fail_os(path, "open");
    struct stat s;
    if (fstat(f, &s)) {
        sppo_status st = sppo__fail_os(path, "stat");
        close(f);
        return st;
    }
    if (!S_ISREG(s.st_mode)) {
        close(f);
        return sppo__fail(SPPO_ERR_IO, TEXT_FILE_KIND, path,
                          S_ISDIR(s.st_mode) ? "a folder" : "not a regular file");
    }
    *fd = f;
    *size = s.st_size;
    return SPPO_OK;
}

sppo_status sppo__map_open(sppo__map *map, const char *path) {
    sppo__map m = {.fd = -1};
    sppo_status st = sppo__open_regular(path, &m.fd, &m.size);
    if (st) return st;
    if (m.size) {
        void *p = mmap(NULL, (size_t)m.size, PROT_READ, MAP_PRIVATE, m.fd, 0);
        if (p == MAP_FAILED) {
            st = sppo__fail_os(path, "map");
            close(m.fd);
            return st;
        }
        m.bytes = p;
    }
    *map = m;
    return SPPO_OK;
}

void sppo__map_close(sppo__map *map) {
    if (map->fd < 0) return;  // the bytes are someone else's
    if (map->bytes) munmap((void *)(uintptr_t)map->bytes, (size_t)map->size);
    close(map->fd);
    *map = (sppo__map){.fd = -1};
}

sppo_status sppo__map_check(const sppo__map *map, const char *path) {
    struct stat s;
    if (map->fd < 0) return SPPO_OK;  // bytes in memory
    if (fstat(map->fd, &s)) return sppo__fail_os(path, "stat");
    if (s.st_size < map->size)
        return sppo__fail(SPPO_ERR_IO, TEXT_FILE_SHRUNK, path, (long long)s.st_size,
                          (long long)map->size);
    return SPPO_OK;
}

sppo_status sppo__write_all(int fd, const char *path, const void *data, int64_t bytes) {
    const char *p = data;
    int64_t left = bytes;
    while (left) {
        ssize_t n = write(fd, p, left > (1 << 30) ? 1 << 30 : (size_t)left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (n == 0) errno = ENOSPC;
            return sppo__fail(SPPO_ERR_IO, TEXT_FILE_WRITE, path, (long long)bytes,
                              strerror(errno));
        }
        p += n;
        left -= n;
    }
    return SPPO_OK;
}

sppo_status sppo__sync(int fd, const char *path) {
    return fsync(fd) ? sppo__fail_os(path, "sync") : SPPO_OK;
}

sppo_status sppo__sync_path(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return sppo__fail_os(path, "open");
    sppo_status st = sppo__sync(fd, path);
    close(fd);
    return st;
}

sppo_status sppo__sync_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    char *parent = !slash          ? sppo__format(".")
                   : slash == path ? sppo__format("/")
                                   : sppo__format("%.*s", (int)(slash - path), path);
    if (!parent) return sppo__fail_memory(path, (int64_t)strlen(path));
    sppo_status st = sppo__sync_path(parent);
    free(parent);
    return st;
}

static sppo_status write_new(const char *path, const void *data, int64_t bytes) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) return sppo__fail_os(path, "create");
    sppo_status st = sppo__write_all(fd, path, data, bytes);
    if (!st) st = sppo__sync(fd, path);
    if (close(fd) && !st) st = sppo__fail_os(path, "close");
    return st;
}

sppo_status sppo_file_write_atomic(const char *path, const void *data, int64_t bytes) {
    char *temporary = sppo__format("%s.tmp-%d", path, (int)getpid());
    if (!temporary) return sppo__fail_memory(path, (int64_t)strlen(path));
    sppo_status st = write_new(temporary, data, bytes);
    if (!st && rename(temporary, path)) st = sppo__fail_os(path, "rename to");
    if (st) unlink(temporary);
    free(temporary);
    return st ? st : sppo__sync_parent(path);
}

sppo_status sppo_file_append(const char *path, const void *data, int64_t bytes, int sync) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0) return sppo__fail_os(path, "open");
    struct stat s;
    sppo_status st = fstat(fd, &s) ? sppo__fail_os(path, "stat") : SPPO_OK;
    if (!st) {
        st = sppo__write_all(fd, path, data, bytes);
        // If the old length cannot be had back either, the failed write is still the news.
        if (st && S_ISREG(s.st_mode) && ftruncate(fd, s.st_size)) (void)0;
    }
    if (!st && sync) st = sppo__sync(fd, path);
    if (close(fd) && !st) st = sppo__fail_os(path, "close");
    return st;
}

sppo_status sppo_file_truncate(const char *path, int64_t bytes) {
    int64_t size;
    sppo_status st = sppo_file_size(path, &size);
    if (st) return st;
    if (bytes < 0 || bytes > size)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_FILE_TRUNCATE, path, (long long)bytes,
                          (long long)size);
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return sppo__fail_os(path, "open");
    if (ftruncate(fd, bytes)) st = sppo__fail_os(path, "truncate");
    if (!st) st = sppo__sync(fd, path);
    close(fd);
    return st;
}

sppo_status sppo_file_read(const char *path, int64_t limit, char **data, int64_t *bytes) {
    int fd;
    int64_t size, used = 0;
    sppo_status st = sppo__open_regular(path, &fd, &size);
    if (st) return st;
    if (size > limit) {
        close(fd);
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_FILE_LIMIT, path, (long long)size,
                          (long long)limit);
    }
    char *p = malloc((size_t)size + 1);
    if (!p) st = sppo__fail_memory(path, size);
    while (!st && used < size) {
        ssize_t n = read(fd, p + used, (size_t)(size - used));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) st = sppo__fail_os(path, "read");
        if (n <= 0) break;
        used += n;
    }
    close(fd);
    if (st) {
        free(p);
        return st;
    }
    p[used] = 0;
    *data = p;
    *bytes = used;
    return SPPO_OK;
}

void sppo_file_free(char *data) {
    free(data);
}

sppo_status sppo_file_size(const char *path, int64_t *bytes) {
    struct stat s;
    if (stat(path, &s)) return sppo__fail_os(path, "stat");
    if (!S_ISREG(s.st_mode))
        return sppo__fail(SPPO_ERR_IO, TEXT_FILE_KIND, path,
                          S_ISDIR(s.st_mode) ? "a folder" : "not a regular file");
    *bytes = s.st_size;
    return SPPO_OK;
}

sppo_status sppo_disk_free(const char *path, int64_t *bytes) {
    struct statvfs s;
    if (statvfs(path, &s)) return sppo__fail_os(path, "ask for free space");
    uint64_t product;
    if (__builtin_mul_overflow((uint64_t)s.f_bavail, (uint64_t)s.f_frsize, &product) ||
        product > INT64_MAX)
        product = INT64_MAX;
    *bytes = (int64_t)product;
    return SPPO_OK;
}
