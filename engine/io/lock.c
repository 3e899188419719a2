/* lock.c - one process at a time in a run folder: flock on a file that names its holder. The kernel
 * drops the lock when the process ends, however it ends. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "io/file.h"

struct sppo_lock {
    int fd;
};

/* "process 123", from what the holder wrote. */
static sppo_status fail_held(int fd, const char *path) {
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    return sppo__fail(SPPO_ERR_STATE, TEXT_LOCKED, path, pid);
}

static sppo_status write_pid(int fd, const char *path) {
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0)) return sppo__fail_os(path, "truncate");
    return sppo__write_all(fd, path, text, length);
}

sppo_status sppo_lock_open(sppo_lock **out, const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0666);
    if (fd < 0) return sppo__fail_os(path, "open");
    sppo_status st = SPPO_OK;
    if (flock(fd, LOCK_EX | LOCK_NB))
        st = errno == EWOULDBLOCK ? fail_held(fd, path) : sppo__fail_os(path, "lock");
    if (!st) st = write_pid(fd, path);
    sppo_lock *lock = NULL;
    if (!st && !(lock = malloc(sizeof *lock))) st = sppo__fail_memory(path, (int64_t)sizeof *lock);
    if (st) {
        close(fd);
        return st;
    }
    lock->fd = fd;
    *out = lock;
    return SPPO_OK;
}

void sppo_lock_close(sppo_lock *lock) {
    if (!lock) return;
    close(lock->fd);
    free(lock);
}
