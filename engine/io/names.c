/* names.c - names that come from files: what is allowed, how they look in an error, finding one. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"

static int by_name(const void *a, const void *b) {
    const sppo__name *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

int64_t sppo__names_sort(sppo__name *names, int64_t count) {
    if (count) qsort(names, (size_t)count, sizeof *names, by_name);
    for (int64_t i = 1; i < count; i++)
        if (!strcmp(names[i - 1].name, names[i].name)) return names[i].index;
    return -1;
}

int64_t sppo__names_find(const sppo__name *names, int64_t count, const char *name) {
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(names[middle].name, name);
        if (!order) return names[middle].index;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return -1;
}

bool sppo__name_valid(const void *name, int64_t length, int64_t limit) {
    const unsigned char *p = name;
    if (length < 1 || length > limit) return false;
    for (int64_t i = 0; i < length; i++)
        if (p[i] < 0x20 || p[i] == 0x7f) return false;
    return true;
}

const char *sppo__quoted(const void *text, int64_t length) {
    enum { SHOWN = 64 };
    static _Thread_local char ring[4][4 * SHOWN + 8];
    static _Thread_local int turn;
    char *out = ring[turn++ & 3];
    const unsigned char *p = text;
    size_t used = 0;
    out[used++] = '\'';
    for (int64_t i = 0; i < length && i < SHOWN; i++) {
        if (p[i] < 0x20 || p[i] >= 0x7f)
            used += (size_t)snprintf(out + used, sizeof ring[0] - used, "\\x%02x", p[i]);
        else out[used++] = (char)p[i];
    }
    snprintf(out + used, sizeof ring[0] - used, length > SHOWN ? "'.." : "'");
    return out;
}
