/* list.c - names in a folder, sorted, so that what is made of them does not depend on the disk. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/file.h"

typedef struct item {
    char *name;
    bool folder;
} item;

struct sppo_list {
    item *items;
    int64_t count, room;
};

static int by_name(const void *a, const void *b) {
    return strcmp(((const item *)a)->name, ((const item *)b)->name);
}

static bool add(sppo_list *l, DIR *d, const struct dirent *e) {
    if (l->count == l->room) {
        int64_t room = l->room ? 2 * l->room : 32;
        item *items = realloc(l->items, sizeof *items * (size_t)room);
        if (!items) return false;
        l->items = items;
        l->room = room;
    }
    item *it = &l->items[l->count];
    if (!(it->name = strdup(e->d_name))) return false;
    struct stat s;
    it->folder = !fstatat(dirfd(d), e->d_name, &s, AT_SYMLINK_NOFOLLOW) && S_ISDIR(s.st_mode);
    l->count++;
    return true;
}

sppo_status sppo_list_open(sppo_list **out, const char *path) {
    DIR *d = opendir(path);
    if (!d) return sppo__fail_os(path, "list");
    sppo_list *l = calloc(1, sizeof *l);
    sppo_status st = l ? SPPO_OK : sppo__fail_memory(path, (int64_t)sizeof *l);
    while (!st) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e) {
            if (errno) st = sppo__fail_os(path, "list");
            break;
        }
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (!add(l, d, e)) st = sppo__fail_memory(path, (int64_t)sizeof(item) * l->count);
    }
    closedir(d);
    if (st) {
        sppo_list_close(l);
        return st;
    }
    if (l->count) qsort(l->items, (size_t)l->count, sizeof *l->items, by_name);
    *out = l;
    return SPPO_OK;
}

int64_t sppo_list_count(const sppo_list *l) {
    return l->count;
}

const char *sppo_list_name(const sppo_list *l, int64_t i) {
    return i >= 0 && i < l->count ? l->items[i].name : NULL;
}

int sppo_list_is_folder(const sppo_list *l, int64_t i) {
    return i >= 0 && i < l->count && l->items[i].folder;
}

void sppo_list_close(sppo_list *l) {
    if (!l) return;
    for (int64_t i = 0; i < l->count; i++) free(l->items[i].name);
    free(l->items);
    free(l);
}
