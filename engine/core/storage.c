/* storage.c - memory for values: counted per device, limited, or taken from an arena.
 *
 * Single-threaded by design: tensors are made and dropped by the thread that runs Lua. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "core/block_cache.h"
#include "core/device.h"
#include "core/error.h"
#include "core/storage.h"

enum { ALIGN = 64, DEVICES = 3, ARENAS = 4, LARGEST = 5, CLASSES = 64 };

typedef struct account {
    int64_t used, peak, limit;
    int64_t kind[SPPO_MEMORY_KINDS], at_peak[SPPO_MEMORY_KINDS];  // parts of used and of peak
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
    bool on_meta;  // measured with storages that have no memory
    int64_t meta;  // bytes that their block would have, 0 until measured
    size_class classes[CLASSES];
} arena;

static account accounts[DEVICES];
static arena arenas[ARENAS];
static sppo_device meta_as = SPPO_DEVICE_CPU;
static int active = -1;  // the arena between begin and end
static sppo__storage *live;
static sppo_memory_kind kind_now;
static int64_t work_used, work_most;  // of kernels' work
static bool work_unplanned;
static int64_t meta_scratch;  // bytes a thread that kernels would have asked for
static sppo__storage *spare;  // freed structs, so that a guarded step needs no malloc

static double mib(int64_t bytes) {
    return (double)bytes / 1048576;
}

static int64_t padded(int64_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Bytes of a storage's block. A GPU's driver aligns by itself; there the size is exact, so that
 * what runs past the end is seen by who looks for it. */
static int64_t block_bytes(const sppo__storage *s) {
    int64_t bytes = s->bytes ? s->bytes : 1;
    return s->device == SPPO_DEVICE_CUDA ? bytes : padded(bytes);
}

static void count(account *a, sppo_memory_kind kind, int64_t bytes) {
    a->used += bytes;
    a->kind[kind] += bytes;
    if (a->used <= a->peak) return;
    a->peak = a->used;
    memcpy(a->at_peak, a->kind, sizeof a->kind);
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
    int64_t size = r->on_meta ? r->meta : r->size;
    if (size && r->used + bytes > size) {
        r->alive--;
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_ARENA_GUARD, s->made_by, (long long)bytes,
                          (long long)size, (long long)r->used);
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

static sppo_status take_bytes(sppo__storage *s) {
    account *a = &accounts[s->device];
    bool meta = s->device == SPPO_DEVICE_META;
    int64_t whole = block_bytes(s);
    bool cuda = (meta ? meta_as : s->device) == SPPO_DEVICE_CUDA;  // has no arenas
    arena *r = active >= 0 && !cuda ? &arenas[active] : NULL;
    if (r && meta && !r->size) r->on_meta = true;
    if (r && meta == r->on_meta) {
        sppo_status st = take_from_arena(r, s, whole);
        if (st) return st;
        s->arena = r->size || r->meta ? active + 1 : -(active + 1);
    }
    if (meta || s->data) return SPPO_OK;
    int64_t most = a->used + whole > a->peak ? a->used + whole : a->peak;
    if (a->limit && most > a->limit) most = a->limit;
    s->data = sppo__device_take(s->device, whole, most - a->used - whole);
    if (s->data) return SPPO_OK;
    if (s->arena) give_to_arena(&arenas[active], s);
    sppo_status st = sppo__device_take_failure(s->device, s->made_by);
    if (st) return st;
    return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, s->made_by, mib(s->bytes), mib(a->used),
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
    s->kind = kind_now;
    s->bytes = bytes;
    s->made_by = made_by;
    sppo_status st = take_bytes(s);
    if (st) {
        give_struct(s);
        return st;
    }
    s->next = live;
    if (live) live->prev = s;
    live = s;
    if (s->arena <= 0) count(a, s->kind, bytes);
    if (zero && s->data) st = sppo__device_zero(device, made_by, s->data, bytes);
    if (st) sppo__storage_release(s);
    else *out = s;
    return st;
}

sppo_status sppo__work_new(sppo__storage **out, sppo_device device, int64_t bytes, bool zero,
                           const char *made_by) {
    sppo_memory_kind was = sppo_memory_kind_set(SPPO_MEMORY_WORKSPACE);
    sppo_status st = sppo__storage_new(out, device, bytes, zero, made_by);
    sppo_memory_kind_set(was);
    if (st) return st;
    work_used += bytes;
    if (work_used > work_most) work_most = work_used;
    return SPPO_OK;
}

sppo_device sppo_meta_as(sppo_device device) {
    sppo_device was = meta_as;
    meta_as = device;
    return was;
}

sppo_device sppo__meta_as(void) {
    return meta_as;
}

sppo_status sppo__work_on_meta(int64_t bytes, int64_t scratch, const char *made_by) {
    if (scratch > meta_scratch) meta_scratch = scratch;
    if (!bytes) return SPPO_OK;
    sppo__storage *s;
    sppo_memory_kind was = sppo_memory_kind_set(SPPO_MEMORY_WORKSPACE);
    sppo_status st = sppo__storage_new(&s, SPPO_DEVICE_META, bytes, false, made_by);
    sppo_memory_kind_set(was);
    if (!st) sppo__storage_release(s);
    return st;
}

sppo_status sppo__work_unplanned(sppo__storage **out, sppo_device device, int64_t bytes,
                                 const char *made_by) {
    work_unplanned = true;
    return sppo__work_new(out, device, bytes, false, made_by);
}

bool sppo__work_was_unplanned(void) {
    bool was = work_unplanned;
    work_unplanned = false;
    return was;
}

int64_t sppo__work_most(void) {
    int64_t most = work_most;
    work_most = work_used;
    return most;
}

void sppo__storage_release(sppo__storage *s) {
    if (!s || --s->refs) return;
    if (s->prev) s->prev->next = s->next;
    else live = s->next;
    if (s->next) s->next->prev = s->prev;
    if (s->arena) give_to_arena(&arenas[abs(s->arena) - 1], s);
    if (s->kind == SPPO_MEMORY_WORKSPACE && s->device != SPPO_DEVICE_META) work_used -= s->bytes;
    if (s->arena <= 0) {
        account *a = &accounts[s->device];
        count(a, s->kind, -s->bytes);
        // What is kept and what is used stay together within the most that was ever used.
        if (s->data) sppo__device_give(s->device, s->data, block_bytes(s), a->peak - a->used);
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
    account *a = &accounts[device];
    a->peak = a->used;
    memcpy(a->at_peak, a->kind, sizeof a->kind);
    if (device == SPPO_DEVICE_META) meta_scratch = 0;
    if (device == SPPO_DEVICE_CPU) sppo__block_trim(0);
#ifdef __GLIBC__
    malloc_trim(0);  // small blocks that lie free between others
#endif
}

sppo_memory_kind sppo_memory_kind_set(sppo_memory_kind kind) {
    sppo_memory_kind was = kind_now;
    kind_now = kind;
    return was;
}

int64_t sppo_memory_peak_kind(sppo_device device, sppo_memory_kind kind) {
    return accounts[device].at_peak[kind];
}

int64_t sppo_memory_scratch(sppo_device device) {
    if (device == SPPO_DEVICE_CUDA) return 0;
    return device == SPPO_DEVICE_META ? sppo_threads() * padded(meta_scratch)
                                      : sppo__scratch_bytes();
}

void sppo_memory_limit(sppo_device device, int64_t bytes) {
    accounts[device].limit = bytes;
}

sppo_status sppo_arena_begin(int id) {
    if (id < 0 || id >= ARENAS) return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_ARENA_ID, id);
    if (active >= 0) return sppo__fail(SPPO_ERR_STATE, TEXT_ARENA_NESTED, id);
    arena *r = &arenas[id];
    if (r->alive) return sppo__fail(SPPO_ERR_STATE, TEXT_ARENA_ALIVE, id, r->alive);
    sppo_status st = sppo__device_step_begin();
    if (st) return st;
    r->used = 0;
    memset(r->classes, 0, sizeof r->classes);
    active = id;
    return SPPO_OK;
}

sppo_status sppo_arena_end(int id) {
    if (active != id || id < 0) return sppo__fail(SPPO_ERR_STATE, TEXT_ARENA_END, id);
    active = -1;
    arena *r = &arenas[id];
    sppo_status st = sppo__device_step_end();
    if (st || r->size || r->meta || !r->used) return st;
    if (r->on_meta) {
        r->meta = r->used;
        count(&accounts[SPPO_DEVICE_META], SPPO_MEMORY_ACTIVATIONS, r->meta);
        return SPPO_OK;
    }
    account *a = &accounts[SPPO_DEVICE_CPU];
    // What the step freed is kept, but not beside a block that passes the most ever used.
    int64_t room = a->peak - a->used - r->used;
    sppo__block_trim(room > 0 ? room : 0);
    r->data = sppo__block_take(r->used, room > 0 ? room : 0);
    if (!r->data)
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, "arena", mib(r->used), mib(a->used),
                          largest_live(SPPO_DEVICE_CPU));
    r->size = r->used;
    count(a, SPPO_MEMORY_ACTIVATIONS, r->size);
    return SPPO_OK;
}

void sppo_arena_free(int id) {
    if (id < 0 || id >= ARENAS || active == id) return;
    arena *r = &arenas[id];
    if (r->alive > 0 && r->size) return;  // freed once its tensors are gone and it is asked again
    count(&accounts[SPPO_DEVICE_CPU], SPPO_MEMORY_ACTIVATIONS, -r->size);
    count(&accounts[SPPO_DEVICE_META], SPPO_MEMORY_ACTIVATIONS, -r->meta);
    if (r->size) sppo__block_give(r->data, r->size, 0);
    *r = (arena){.alive = r->alive};
}
