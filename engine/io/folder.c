/* folder.c - folders that appear whole or not at all, and their removal.
 *
 * A commit of PATH goes: sync every file of PATH.tmp-<pid>, write COMPLETE into it, sync, then
 *   1. rename PATH to PATH.old-<pid>          (if there is one)
 *   2. rename PATH.tmp-<pid> to PATH
 *   3. sync the parent, remove PATH.old-<pid>
 * A crash leaves one of these, and sppo_folder_recover makes of it:
 *   PATH there, .tmp beside it   (before 1)     the old folder: .tmp is removed
 *   no PATH, .tmp COMPLETE       (before 2)     the new folder: .tmp is renamed, .old removed
 *   no PATH, .tmp not COMPLETE   (before 1)     as before, nothing: .tmp is removed
 *   PATH there, .old beside it   (inside 3)     the new folder: .old is removed
 * If there is no PATH and no COMPLETE .tmp, .old (which only a hand can bring about) goes back. */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"

enum { DEEPEST = 64 };  // levels of folders that are synced or removed

static const char COMPLETE[] = "COMPLETE";

struct sppo_folder {
    char *path, *temporary;
};

/* ---- removing ---- */

static sppo_status remove_at(int parent, const char *name, const char *path, int depth);

/* Empties the folder of `d`. COMPLETE goes first: a folder half gone must not look committed. */
static sppo_status remove_inside(DIR *d, const char *path, int depth) {
    if (unlinkat(dirfd(d), COMPLETE, 0) && errno != ENOENT && errno != EISDIR)
        return sppo__fail_os(path, "remove");
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e) return errno ? sppo__fail_os(path, "list") : SPPO_OK;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        sppo_status st = remove_at(dirfd(d), e->d_name, path, depth);
        if (st) return st;
    }
}

/* `path` is what an error names. */
static sppo_status remove_at(int parent, const char *name, const char *path, int depth) {
    if (!unlinkat(parent, name, 0) || errno == ENOENT) return SPPO_OK;
    if (errno != EISDIR && errno != EPERM) return sppo__fail_os(path, "remove");
    if (depth == DEEPEST) return sppo__fail(SPPO_ERR_IO, TEXT_FOLDER_DEEP, path, (int)DEEPEST);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return sppo__fail_os(path, "remove");
    DIR *d = fdopendir(fd);
    if (!d) {
        sppo_status st = sppo__fail_os(path, "list");
        close(fd);
        return st;
    }
    sppo_status st = remove_inside(d, path, depth + 1);
    closedir(d);
    if (!st && unlinkat(parent, name, AT_REMOVEDIR) && errno != ENOENT)
        st = sppo__fail_os(path, "remove");
    return st;
}

/* Length of the path without slashes at its end; 0 for paths whose last name is none: "", "/",
 * ".", "..". */
static size_t named_length(const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    size_t start = length;
    while (start && path[start - 1] != '/') start--;
    bool dots = (length - start == 1 && path[start] == '.') ||
                (length - start == 2 && path[start] == '.' && path[start + 1] == '.');
    return dots || start == length ? 0 : length;
}

/* A copy without slashes at its end. */
static sppo_status clean_path(char **out, const char *path) {
    size_t length = named_length(path);
    if (!length) return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_FOLDER_NAME, path);
    *out = sppo__format("%.*s", (int)length, path);
    return *out ? SPPO_OK : sppo__fail_memory(path, (int64_t)length);
}

sppo_status sppo_folder_remove(const char *path) {
    char *clean;
    sppo_status st = clean_path(&clean, path);
    if (st) return st;
    st = remove_at(AT_FDCWD, clean, clean, 0);
    free(clean);
    return st;
}

/* ---- making ---- */

/* mkdir that takes an existing folder (or a link to one) as done. */
static sppo_status make_one(const char *path) {
    struct stat s;
    if (!mkdir(path, 0777)) return sppo__sync_parent(path);
    int reason = errno;
    if (!stat(path, &s) && S_ISDIR(s.st_mode)) return SPPO_OK;
    errno = reason;
    return sppo__fail_os(path, "make folder");
}

sppo_status sppo_folder_make(const char *path) {
    char *p = sppo__format("%s", path);
    if (!p) return sppo__fail_memory(path, (int64_t)strlen(path));
    sppo_status st = SPPO_OK;
    for (char *slash = p + (*p == '/'); !st && (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        if (slash[1] && slash[1] != '/') st = make_one(p);
        *slash = '/';
    }
    size_t length = strlen(p);
    while (length > 1 && p[length - 1] == '/') p[--length] = 0;
    if (!st) st = make_one(p);
    free(p);
    return st;
}

int sppo_folder_complete(const char *path) {
    struct stat s;
    char *marker = sppo__format("%s/%s", path, COMPLETE);
    bool complete = marker && !lstat(marker, &s) && S_ISREG(s.st_mode);
    free(marker);
    return complete;
}

static void folder_free(sppo_folder *f) {
    if (!f) return;
    free(f->path);
    free(f->temporary);
    free(f);
}

sppo_status sppo_folder_begin(sppo_folder **out, const char *path) {
    sppo_folder *f = calloc(1, sizeof *f);
    if (!f) return sppo__fail_memory(path, (int64_t)sizeof *f);
    sppo_status st = clean_path(&f->path, path);
    if (!st && !(f->temporary = sppo__format("%s.tmp-%d", f->path, (int)getpid())))
        st = sppo__fail_memory(path, (int64_t)strlen(path));
    if (!st) st = sppo_folder_remove(f->temporary);
    if (!st && mkdir(f->temporary, 0777)) st = sppo__fail_os(f->temporary, "make folder");
    if (st) {
        folder_free(f);
        return st;
    }
    *out = f;
    return SPPO_OK;
}

const char *sppo_folder_path(const sppo_folder *f) {
    return f->temporary;
}

/* ---- committing ---- */

/* Everything below `path` and `path` itself is on the disk afterwards. */
static sppo_status sync_tree(const char *path, int depth) {
    if (depth == DEEPEST) return sppo__fail(SPPO_ERR_IO, TEXT_FOLDER_DEEP, path, (int)DEEPEST);
    sppo_list *l;
    sppo_status st = sppo_list_open(&l, path);
    if (st) return st;
    for (int64_t i = 0; !st && i < sppo_list_count(l); i++) {
        char *below = sppo__format("%s/%s", path, sppo_list_name(l, i));
        if (!below) st = sppo__fail_memory(path, (int64_t)strlen(path));
        else if (sppo_list_is_folder(l, i)) st = sync_tree(below, depth + 1);
        else st = sppo__sync_path(below);
        free(below);
    }
    sppo_list_close(l);
    return st ? st : sppo__sync_path(path);
}

static sppo_status write_marker(const char *folder) {
    static const char text[] = "all files of this folder were written before this one\n";
    char *marker = sppo__format("%s/%s", folder, COMPLETE);
    if (!marker) return sppo__fail_memory(folder, (int64_t)strlen(folder));
    sppo_status st = SPPO_OK;
    int fd = open(marker, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) st = sppo__fail_os(marker, "create");
    if (!st) st = sppo__write_all(fd, marker, text, (int64_t)sizeof text - 1);
    if (!st) st = sppo__sync(fd, marker);
    if (fd >= 0 && close(fd) && !st) st = sppo__fail_os(marker, "close");
    free(marker);
    return st ? st : sppo__sync_path(folder);
}

/* Steps 1 to 3. A failed rename puts the old folder back. */
static sppo_status put_in_place(const char *path, const char *temporary) {
    char *old = sppo__format("%s.old-%d", path, (int)getpid());
    if (!old) return sppo__fail_memory(path, (int64_t)strlen(path));
    sppo_status st = sppo_folder_remove(old);
    bool had_old = false;
    if (!st) {
        if (!rename(path, old)) had_old = true;
        else if (errno != ENOENT) st = sppo__fail_os(path, "rename");
    }
    if (!st && rename(temporary, path)) {
        st = sppo__fail_os(path, "rename to");
        if (had_old && rename(old, path)) st = sppo__fail_os(old, "rename back");
    }
    if (!st) st = sppo__sync_parent(path);
    if (!st && had_old) st = sppo_folder_remove(old);
    free(old);
    return st;
}

sppo_status sppo_folder_commit(sppo_folder *f) {
    sppo_status st = sync_tree(f->temporary, 0);
    if (!st) st = write_marker(f->temporary);
    if (!st) st = put_in_place(f->path, f->temporary);
    if (st) {
        // What could not be committed goes; the error to report is the first one.
        char *text = sppo__format("%s", sppo_last_error());
        sppo_folder_remove(f->temporary);
        if (text) sppo__fail(st, TEXT_AS_IS, text);
        free(text);
    }
    folder_free(f);
    return st;
}

void sppo_folder_abort(sppo_folder *f) {
    if (!f) return;
    sppo_folder_remove(f->temporary);
    folder_free(f);
}

/* ---- recovering ---- */

/* `entry` is `name` + `mark` + digits. */
static bool is_leftover(const char *entry, const char *name, const char *mark) {
    size_t n = strlen(name), m = strlen(mark);
    if (strncmp(entry, name, n) || strncmp(entry + n, mark, m) || !entry[n + m]) return false;
    for (const char *p = entry + n + m; *p; p++)
        if (!isdigit((unsigned char)*p)) return false;
    return true;
}

static bool exists(const char *path) {
    struct stat s;
    return !lstat(path, &s);
}

/* Renames one leftover of `path` to `path`, if there is no `path`. */
static sppo_status restore(const sppo_list *l, const char *path, const char *mark, bool complete) {
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    sppo_status st = SPPO_OK;
    for (int64_t i = sppo_list_count(l) - 1; !st && i >= 0 && !exists(path); i--) {
        const char *entry = sppo_list_name(l, i);
        if (!is_leftover(entry, name, mark)) continue;
        char *whole = sppo__format("%.*s%s", (int)(name - path), path, entry);
        if (!whole) return sppo__fail_memory(path, (int64_t)strlen(path));
        if (!complete || sppo_folder_complete(whole))
            st = rename(whole, path) ? sppo__fail_os(path, "rename to") : sppo__sync_parent(path);
        free(whole);
    }
    return st;
}

/* Removes the leftovers of `path`; one that was renamed since the listing is no more. */
static sppo_status sweep(const sppo_list *l, const char *path, const char *mark) {
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    sppo_status st = SPPO_OK;
    for (int64_t i = 0; !st && i < sppo_list_count(l); i++) {
        const char *entry = sppo_list_name(l, i);
        if (!is_leftover(entry, name, mark)) continue;
        char *whole = sppo__format("%.*s%s", (int)(name - path), path, entry);
        if (!whole) return sppo__fail_memory(path, (int64_t)strlen(path));
        st = sppo_folder_remove(whole);
        free(whole);
    }
    return st;
}

sppo_status sppo_folder_recover(const char *path) {
    char *clean;
    sppo_status st = clean_path(&clean, path);
    if (st) return st;
    const char *slash = strrchr(clean, '/');
    char *parent = slash ? sppo__format("%.*s", (int)(slash == clean ? 1 : slash - clean), clean)
                         : sppo__format(".");
    sppo_list *l = NULL;
    if (!parent) st = sppo__fail_memory(path, (int64_t)strlen(path));
    else if (exists(parent)) st = sppo_list_open(&l, parent);
    if (l) {
        st = restore(l, clean, ".tmp-", true);
        if (!st) st = restore(l, clean, ".old-", false);
        if (!st) st = sweep(l, clean, ".tmp-");
        if (!st) st = sweep(l, clean, ".old-");
        sppo_list_close(l);
    }
    free(parent);
    free(clean);
    return st;
}
