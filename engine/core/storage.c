/* storage.c - memory for values: counted per device, limited, or taken from an arena.
 *
 * Single-threaded by design: tensors are made and dropped by the thread that runs Lua. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/block_cache.h"
#include "core/error.h"
#include "core/storage.h"

enum { ALIGN = 64, DEVICES = 3, ARENAS = 4, LARGEST = 5, CLASSES = 64 };

typedef struct account {
    int64_t used, peak, limit;
} account;

/* Released blocks of one size, to be handed out again within the step: what stays in the cache. */
typedef struct size_class {
    int64_t bytes;
    int64_t count;
    void *first;  // each block's first word points to the next; unused while measuring
} size_class;

/* What one decode step allocates: measured the first time, one block from then on. */
typedef struct arena {
    char *data;
    int64_t size;  // bytes of the block, 0 until measured
    int64_t used;  // bytes cut off the block in this step; while measuring, as if there were one
    int alive;     // storages of the arena not yet released
    size_class classes[CLASSES];
} arena;

static account accounts[DEVICES];
static arena arenas[ARENAS];
static int active = -1;  // the arena between begin and end
static sppo__storage *live;
static sppo__storage *spare;  // freed structs, so that a guarded step needs no malloc

static double mib(int64_t bytes) {
    return (double)bytes / 1048576;
}

static int64_t padded(int64_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* "; largest: 402.7 MiB by token_logprob, .." for an out-of-memory text. */
static const char *largest_live(sppo_device device) {
    static char text[256];
    const sppo__storage *top[LARGEST] = {0};
    for (const sppo__storage *s = live; s; s = s->next) {
        if (s->device != device) continue;
        for (int i = 0; i < LARGEST; i++) {
            if (top[i] && top[i]->bytes >= s->bytes) continue;
            memmove(top + i + 1, top + i, sizeof top[0] * (size_t)(LARGEST - 1 - i));
            top[i] = s;
            break;
        }
    }
    int used = 0;
    text[0] = 0;
    for (int i = 0; i < LARGEST && top[i]; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, "%s%.1f MiB by %s",
                         i ? ", " : "; largest: ", mib(top[i]->bytes), top[i]->made_by);
    return text;
}

static sppo_status take_struct(sppo__storage **out) {
    if (spare) {
        *out = spare;
        spare = spare->next;
        memset(*out, 0, sizeof **out);
        return SPPO_OK;
    }
    sppo__block_count();
    *out = calloc(1, sizeof **out);
    return *out ? SPPO_OK : SPPO_ERR_MEMORY;
}

static void give_struct(sppo__storage *s) {
    s->next = spare;
    spare = s;
}

/* The class of this size, or NULL if there are too many sizes to keep (then nothing is reused). */
static size_class *find_class(arena *r, int64_t bytes) {
    for (int i = 0; i < CLASSES; i++) {
        if (!r->classes[i].bytes) r->classes[i].bytes = bytes;
        if (r->classes[i].bytes == bytes) return &r->classes[i];
    }
    return NULL;
}

/* From the arena's block: a released block of the same size if there is one. Without a block yet
 * (measuring), only counts. */
static sppo_status take_from_arena(arena *r, sppo__storage *s, int64_t bytes) {
    size_class *c = find_class(r, bytes);
    r->alive++;
    if (c && c->count) {
        c->count--;
        if (!r->size) return SPPO_OK;
        s->data = c->first;
        memcpy(&c->first, s->data, sizeof c->first);
        return SPPO_OK;
    }
    if (r->size && r->used + bytes > r->size) {
        r->alive--;
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_ARENA_GUARD, s->made_by, (long long)bytes,
                          (long long)r->size, (long long)r->used);
    }
    if (r->size) s->data = r->data + r->used;
    r->used += bytes;
    return SPPO_OK;
}

static void give_to_arena(arena *r, sppo__storage *s) {
    size_class *c = find_class(r, padded(s->bytes ? s->bytes : 1));
    r->alive--;
    if (!c) return;
    c->count++;
    if (!r->size) return;
    // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker)
    memcpy(s->data, &c->first, sizeof c->first);
    c->first = s->data;
}

static sppo_status take_bytes(sppo__storage *s, int64_t bytes) {
    account *a = &accounts[s->device];
    if (s->device == SPPO_DEVICE_META) return SPPO_OK;
    int64_t whole = padded(bytes ? bytes : 1);
    if (active >= 0) {
        sppo_status st = take_from_arena(&arenas[active], s, whole);
        if (st) return st;
        s->arena = arenas[active].size ? active + 1 : -(active + 1);
        if (s->data) return SPPO_OK;
    }
    int64_t most = a->used + whole > a->peak ? a->used + whole : a->peak;
    if (a->limit && most > a->limit) most = a->limit;
    s->data = sppo__block_take(whole, most - a->used - whole);
    if (s->data) return SPPO_OK;
    if (s->arena) give_to_arena(&arenas[active], s);
    return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, s->made_by, mib(bytes), mib(a->used),
                      largest_live(s->device));
}

sppo_status sppo__storage_new(sppo__storage **out, sppo_device device, int64_t bytes, bool zero,
                              const char *made_by) {
    account *a = &accounts[device];
    bool counted = !(active >= 0 && arenas[active].size && device == SPPO_DEVICE_CPU);
    if (a->limit && counted && a->used + bytes > a->limit)
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY_LIMIT, made_by, mib(bytes), mib(a->limit),
                          mib(a->used), largest_live(device));
    sppo__storage *s;
    if (take_struct(&s))
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, made_by, mib(bytes), mib(a->used), "");
    s->refs = 1;
    s->device = device;
    s->bytes = bytes;
    s->made_by = made_by;
    sppo_status st = take_bytes(s, bytes);
    if (st) {
        give_struct(s);
        return st;
    }
    if (zero && s->data) memset(s->data, 0, (size_t)bytes);
    s->next = live;
    if (live) live->prev = s;
    live = s;
    if (s->arena <= 0) a->used += bytes;
    if (a->used > a->peak) a->peak = a->used;
    *out = s;
    return SPPO_OK;
}

void sppo__storage_release(sppo__storage *s) {
    if (!s || --s->refs) return;
    if (s->prev) s->prev->next = s->next;
    else live = s->next;
    if (s->next) s->next->prev = s->prev;
    if (s->arena) give_to_arena(&arenas[abs(s->arena) - 1], s);
    if (s->arena <= 0) {
        account *a = &accounts[s->device];
        a->used -= s->bytes;
        // What is kept and what is used stay together within the most that was ever used.
        if (s->data) sppo__block_give(s->data, padded(s->bytes ? s->bytes : 1), a->peak - a->used);
    }
    give_struct(s);
}

bool sppo__storage_guarded(void) {
    return active >= 0 && arenas[active].size > 0;
}

int64_t sppo_memory_used(sppo_device device) {
    return accounts[device].used;
}

int64_t sppo_memory_peak(sppo_device device) {
    return accounts[device].peak;
}

void sppo_memory_reset_peak(sppo_device device) {
    accounts[device].peak = accounts[device].used;
}

void sppo_memory_limit(sppo_device device, int64_t bytes) {
    accounts[device].limit = bytes;
}

sppo_status sppo_arena_begin(int id) {
    if (id < 0 || id >= ARENAS) return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_ARENA_ID, id);
    if (active >= 0) return sppo__fail(SPPO_ERR_STATE, TEXT_ARENA_NESTED, id);
    arena *r = &arenas[id];
    if (r->alive) return sppo__fail(SPPO_ERR_STATE, TEXT_ARENA_ALIVE, id, r->alive);
    r->used = 0;
    memset(r->classes, 0, sizeof r->classes);
    active = id;
    return SPPO_OK;
}

sppo_status sppo_arena_end(int id) {
    if (active != id || id < 0) return sppo__fail(SPPO_ERR_STATE, TEXT_ARENA_END, id);
    active = -1;
    arena *r = &arenas[id];
    if (r->size || !r->used) return SPPO_OK;
    account *a = &accounts[SPPO_DEVICE_CPU];
    r->data = aligned_alloc(ALIGN, (size_t)r->used);
    if (!r->data)
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, "arena", mib(r->used), mib(a->used),
                          largest_live(SPPO_DEVICE_CPU));
    r->size = r->used;
    a->used += r->size;
    if (a->used > a->peak) a->peak = a->used;
    return SPPO_OK;
}

void sppo_arena_free(int id) {
    if (id < 0 || id >= ARENAS || active == id) return;
    arena *r = &arenas[id];
    if (r->alive > 0 && r->size) return;  // freed once its tensors are gone and it is asked again
    accounts[SPPO_DEVICE_CPU].used -= r->size;
    free(r->data);
    *r = (arena){.alive = r->alive};
}
