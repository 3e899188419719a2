/* folder_test.c - folders and files that appear whole or not at all: every system call that changes
 * the disk is failed and is killed at in turn, and what is left must be the old or the new state.
 *
 * The calls are the test's own: the linker takes these before the C library's. */

#include "io_support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static enum { NOTHING, KILL, FAIL } fault;
static int countdown;  // calls until the fault

/* True if this call shall fail. */
static bool trip(void) {
    if (fault == NOTHING || countdown-- > 0) return false;
    if (fault == KILL) kill(getpid(), SIGKILL);
    fault = NOTHING;
    errno = EIO;
    return true;
}

int rename(const char *from, const char *to) {
    return trip() ? -1 : (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

int fsync(int fd) {
    return trip() ? -1 : (int)syscall(SYS_fsync, fd);
}

int unlinkat(int fd, const char *path, int flags) {
    return trip() ? -1 : (int)syscall(SYS_unlinkat, fd, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    return trip() ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

ssize_t write(int fd, const void *data, size_t size) {
    return trip() ? -1 : syscall(SYS_write, fd, data, size);
}

/* ---- what is done, and what may be left of it ---- */

static sppo_status write_version(const char *path, const char *text) {
    sppo_folder *f;
    char below[300];
    sppo_status st = sppo_folder_begin(&f, path);
    if (st) return st;
    snprintf(below, sizeof below, "%s/deeper", sppo_folder_path(f));
    st = sppo_folder_make(below);
    snprintf(below, sizeof below, "%s/deeper/model", sppo_folder_path(f));
    if (!st) st = sppo_file_append(below, text, (int64_t)strlen(text), 0);
    snprintf(below, sizeof below, "%s/config", sppo_folder_path(f));
    if (!st) st = sppo_file_append(below, text, (int64_t)strlen(text), 0);
    if (!st) return sppo_folder_commit(f);
    sppo_folder_abort(f);
    return st;
}

/* Version of the folder at `path`, 0 if there is none; anything but a whole one fails. */
static int version_at(const char *path) {
    char file[300];
    struct stat s;
    if (lstat(path, &s)) return 0;
    assert_true(sppo_folder_complete(path));
    char *data;
    int64_t size;
    snprintf(file, sizeof file, "%s/config", path);
    assert_ok(sppo_file_read(file, 100, &data, &size));
    int version = data[0] - '0';
    snprintf(file, sizeof file, "%s/deeper/model", path);
    assert_file(file, data, size);
    sppo_file_free(data);
    return version;
}

static void assert_alone(const char *name) {
    sppo_list *l;
    assert_ok(sppo_list_open(&l, test_folder));
    for (int64_t i = 0; i < sppo_list_count(l); i++)
        if (strcmp(sppo_list_name(l, i), name)) fail_msg("%s is left", sppo_list_name(l, i));
    sppo_list_close(l);
}

/* Runs `action` with a fault at call `at`; *status is its status, or -1 if it was killed. True if
 * the fault came. */
static bool with_fault(int kind, int at, sppo_status (*action)(const char *), const char *path,
                       int *status) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        fault = kind;
        countdown = at;
        sppo_status st = action(path);
        _exit((int)st | (fault == NOTHING ? 64 : 0));
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    if (WIFSIGNALED(result)) {
        assert_int_equal(WTERMSIG(result), SIGKILL);
        *status = -1;
        return true;
    }
    *status = WEXITSTATUS(result) & 63;
    return WEXITSTATUS(result) & 64;
}

static sppo_status second_version(const char *path) {
    return write_version(path, "2");
}

static sppo_status recover(const char *path) {
    return sppo_folder_recover(path);
}

/* ---- folders ---- */

static void commits(void **state) {
    (void)state;
    const char *path = in_folder("run");
    assert_int_equal(sppo_folder_complete(path), 0);
    assert_ok(write_version(path, "1"));
    assert_int_equal(version_at(path), 1);
    assert_ok(write_version(path, "2"));
    assert_int_equal(version_at(path), 2);
    assert_alone("run");
    assert_ok(sppo_folder_recover(path));
    assert_int_equal(version_at(path), 2);

    sppo_folder *f;
    assert_ok(sppo_folder_begin(&f, in_folder("run///")));
    sppo_folder_abort(f);
    assert_alone("run");
    assert_fails(sppo_folder_begin(&f, in_folder("none/run")), SPPO_ERR_IO,
                 ": cannot make folder: No such file or directory");
    assert_fails(sppo_folder_begin(&f, ".."), SPPO_ERR_ARGUMENT,
                 "folder: '..' does not end in a name");
    assert_ok(sppo_folder_remove(path));
}

/* Killed at call k of the commit, then killed at call j of the recovery, for all k and some j. */
static void killed(void **state) {
    (void)state;
    const char *path = in_folder("run");
    for (int had = 0; had < 2; had++) {
        int seen[3] = {0}, status, k;
        for (k = 0;; k++) {
            assert_ok(sppo_folder_remove(path));
            if (had) assert_ok(write_version(path, "1"));
            if (!with_fault(KILL, k, second_version, path, &status)) break;
            with_fault(KILL, k % 5, recover, path, &status);
            assert_ok(sppo_folder_recover(path));
            int version = version_at(path);
            assert_true(version == had || version == 2);
            seen[version]++;
            assert_alone("run");
        }
        assert_int_equal(status, 0);
        assert_true(k > 15 && seen[had] && seen[2]);
        assert_int_equal(version_at(path), 2);
    }
    assert_ok(sppo_folder_remove(path));
}

/* A failing call is reported, and leaves the old or the new folder even without recovery. */
static void failing(void **state) {
    (void)state;
    const char *path = in_folder("run");
    int status, k, reported = 0;
    for (k = 0;; k++) {
        assert_ok(sppo_folder_remove(path));
        assert_ok(write_version(path, "1"));
        if (!with_fault(FAIL, k, second_version, path, &status)) break;
        int version = version_at(path);
        assert_true(version == 1 || version == 2);
        assert_true(status == SPPO_OK || status == SPPO_ERR_IO);
        if (!status) assert_int_equal(version, 2);
        reported += status == SPPO_ERR_IO;
        assert_ok(sppo_folder_recover(path));
        assert_int_equal(version_at(path), version);
        assert_alone("run");
    }
    assert_true(k > 15 && reported > 10);
    assert_ok(sppo_folder_remove(path));
}

/* States that a crash leaves, made by hand. */
static void recovers(void **state) {
    (void)state;
    const char *path = in_folder("run");
    assert_ok(write_version(in_folder("run.tmp-7"), "2"));
    assert_ok(write_version(in_folder("run.old-7"), "1"));
    assert_ok(sppo_folder_recover(path));
    assert_int_equal(version_at(path), 2);
    assert_alone("run");

    assert_int_equal(rename(path, in_folder("run.old-9")), 0);
    assert_ok(sppo_folder_make(in_folder("run.tmp-9/half")));
    assert_ok(sppo_folder_recover(path));
    assert_int_equal(version_at(path), 2);
    assert_alone("run");

    // Not ours: other names, other runs.
    assert_ok(sppo_folder_make(in_folder("run.tmp-backup")));
    assert_ok(sppo_folder_make(in_folder("other.tmp-1")));
    assert_ok(sppo_folder_recover(path));
    assert_int_equal(access(in_folder("run.tmp-backup"), F_OK), 0);
    assert_int_equal(access(in_folder("other.tmp-1"), F_OK), 0);
    assert_ok(sppo_folder_remove(in_folder("run.tmp-backup")));
    assert_ok(sppo_folder_remove(in_folder("other.tmp-1")));
    assert_ok(sppo_folder_remove(path));
    assert_ok(sppo_folder_recover(in_folder("none/run")));
}

static void removes(void **state) {
    (void)state;
    assert_ok(sppo_folder_make(in_folder("kept")));
    write_file(in_folder("kept/file"), "x", 1);
    assert_ok(sppo_folder_make(in_folder("gone/a//b/c/")));
    assert_ok(sppo_folder_make(in_folder("gone/a/b")));
    assert_int_equal(symlink(in_folder("kept"), in_folder("gone/a/link")), 0);
    assert_int_equal(symlink(in_folder("kept"), in_folder("link")), 0);
    assert_ok(sppo_folder_remove(in_folder("gone")));
    assert_ok(sppo_folder_remove(in_folder("link")));
    assert_ok(sppo_folder_remove(in_folder("gone")));
    assert_file(in_folder("kept/file"), "x", 1);
    assert_alone("kept");
    assert_fails(sppo_folder_make(in_folder("kept/file/x")), SPPO_ERR_IO, "cannot make folder: ");
    assert_fails(sppo_folder_remove("/"), SPPO_ERR_ARGUMENT, "does not end in a name");
    assert_fails(sppo_folder_remove("a/.."), SPPO_ERR_ARGUMENT, "does not end in a name");
    assert_fails(sppo_folder_remove(""), SPPO_ERR_ARGUMENT, "does not end in a name");
    assert_ok(sppo_folder_remove(in_folder("kept")));
}

static void lists(void **state) {
    (void)state;
    sppo_list *l;
    assert_ok(sppo_folder_make(in_folder("l/b")));
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "l/a%02d", 99 - i);
        write_file(in_folder(name), "", 0);
    }
    assert_ok(sppo_list_open(&l, in_folder("l")));
    assert_int_equal(sppo_list_count(l), 101);
    assert_string_equal(sppo_list_name(l, 0), "a00");
    assert_string_equal(sppo_list_name(l, 99), "a99");
    assert_int_equal(sppo_list_is_folder(l, 99), 0);
    assert_int_equal(sppo_list_is_folder(l, 100), 1);
    assert_null(sppo_list_name(l, 101));
    sppo_list_close(l);
    assert_fails(sppo_list_open(&l, in_folder("none")), SPPO_ERR_IO,
                 "none: cannot list: No such file or directory");
    assert_ok(sppo_folder_remove(in_folder("l")));
}

/* ---- files ---- */

static sppo_status replace_file(const char *path) {
    return sppo_file_write_atomic(path, "new content", 11);
}

static void file_atomic(void **state) {
    (void)state;
    const char *path = in_folder("file");
    int status, k;
    for (int kind = KILL; kind <= FAIL; kind++) {
        for (k = 0;; k++) {
            assert_ok(sppo_file_write_atomic(path, "old", 3));
            if (!with_fault(kind, k, replace_file, path, &status)) break;
            char *data;
            int64_t size;
            assert_ok(sppo_file_read(path, 100, &data, &size));
            assert_true(!strcmp(data, "old") || !strcmp(data, "new content"));
            sppo_file_free(data);
            assert_ok(sppo_folder_recover(path));
            assert_alone("file");
        }
        assert_int_equal(k, 4);  // write, fsync, rename, fsync of the folder
        assert_file(path, "new content", 11);
    }
    assert_ok(sppo_folder_remove(path));
}

static void file_calls(void **state) {
    (void)state;
    const char *path = in_folder("f");
    char *data;
    int64_t size;
    assert_ok(sppo_file_append(path, "one\n", 4, 1));
    assert_ok(sppo_file_append(path, "two\n", 4, 0));
    assert_file(path, "one\ntwo\n", 8);
    assert_ok(sppo_file_truncate(path, 4));
    assert_file(path, "one\n", 4);
    assert_ok(sppo_file_size(path, &size));
    assert_int_equal(size, 4);
    assert_fails(sppo_file_truncate(path, 5), SPPO_ERR_ARGUMENT,
                 "f: cannot be cut to 5 bytes, it has 4");
    assert_fails(sppo_file_read(path, 3, &data, &size), SPPO_ERR_FORMAT,
                 "f: has 4 bytes, at most 3 are read");
    assert_fails(sppo_file_read(test_folder, 3, &data, &size), SPPO_ERR_IO,
                 ": is a folder, a file is wanted");
    assert_fails(sppo_file_size(in_folder("none"), &size), SPPO_ERR_IO,
                 "none: cannot stat: No such file or directory");
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_fails(sppo_file_read(in_folder("pipe"), 3, &data, &size), SPPO_ERR_IO,
                 "pipe: is not a regular file, a file is wanted");
    assert_ok(sppo_disk_free(test_folder, &size));
    assert_true(size > 0);
    assert_ok(sppo_folder_remove(in_folder("pipe")));
    assert_ok(sppo_folder_remove(path));
}

static void full_disk(void **state) {
    (void)state;
    const char *path = in_folder("full");
    static const char data[5000];
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_ok(sppo_file_write_atomic(path, "old", 3));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    sppo_status append = sppo_file_append(path, data, sizeof data, 0);
    assert_fails(append, SPPO_ERR_IO, "full: cannot write 5000 bytes: File too large");
    sppo_status replace = sppo_file_write_atomic(path, data, sizeof data);
    assert_fails(replace, SPPO_ERR_IO, ": cannot write 5000 bytes: File too large");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_file(path, "old", 3);
    assert_alone("full");
    assert_ok(sppo_folder_remove(path));
}

static void locks(void **state) {
    (void)state;
    const char *path = in_folder("LOCK");
    sppo_lock *lock, *other;
    assert_ok(sppo_lock_open(&lock, path));
    pid_t child = fork();
    if (!child) {
        char wanted[300];
        snprintf(wanted, sizeof wanted, "%s: locked by process %d", path, (int)getppid());
        bool refused =
            sppo_lock_open(&other, path) == SPPO_ERR_STATE && !strcmp(sppo_last_error(), wanted);
        _exit(refused ? 0 : 1);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    sppo_lock_close(lock);
    assert_ok(sppo_lock_open(&lock, path));
    sppo_lock_close(lock);
    assert_ok(sppo_folder_remove(path));
}

static void hashes(void **state) {
    (void)state;
    static const char wanted[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    char hex[65];
    assert_ok(sppo_sha256("abc", 3, hex));
    assert_string_equal(hex, wanted);
    write_file(in_folder("abc"), "abc", 3);
    assert_ok(sppo_sha256_file(in_folder("abc"), hex));
    assert_string_equal(hex, wanted);
    assert_fails(sppo_sha256_file(in_folder("none"), hex), SPPO_ERR_IO, "none: cannot stat");
    assert_ok(sppo_folder_remove(in_folder("abc")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits),     cmocka_unit_test(killed),     cmocka_unit_test(failing),
        cmocka_unit_test(recovers),    cmocka_unit_test(removes),    cmocka_unit_test(lists),
        cmocka_unit_test(file_atomic), cmocka_unit_test(file_calls), cmocka_unit_test(full_disk),
        cmocka_unit_test(locks),       cmocka_unit_test(hashes),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
