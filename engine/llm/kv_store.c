/* kv_store.c - where keys and values of sampled tokens are kept: pages of 64 tokens cut from one
 * block, slots that own lists of pages, and slots that continue others.
 *
 * All memory is taken in sppo_kv_new. What lies in a page is attention's business
 * (cpu/attention.c); a batch's tokens reach a slot through segments.c. */

#include "llm/kv_store.h"

#include <stdlib.h>

#include "core/device.h"
#include "core/error.h"

enum { LAYERS = 65536, HEADS = 65536, HEAD_DIM = 256 };

static const char *range_error(int layers, int kv_heads, int head_dim, int64_t pages,
                               int64_t *limit, int64_t *value) {
    const struct {
        const char *name;
        int64_t value, limit;
    } sizes[] = {{"layers", layers, LAYERS},
                 {"kv_heads", kv_heads, HEADS},
                 {"head_dim", head_dim, HEAD_DIM},
                 {"pages", pages, INT32_MAX}};
    for (int i = 0; i < 4; i++) {
        if (sizes[i].value >= 1 && sizes[i].value <= sizes[i].limit) continue;
        *limit = sizes[i].limit;
        *value = sizes[i].value;
        return sizes[i].name;
    }
    return NULL;
}

/* The largest count there is, where the true one does not fit. */
int64_t sppo_kv_bytes(int layers, int kv_heads, int head_dim, int64_t pages) {
    int64_t limit, value, bytes;
    if (range_error(layers, kv_heads, head_dim, pages, &limit, &value)) return INT64_MAX;
    int64_t heads = (int64_t)layers * kv_heads;  // at most 2^32, each at most 2^17 bytes
    if (__builtin_mul_overflow(heads * sppo__kv_head_floats(head_dim) * 4, pages, &bytes))
        return INT64_MAX;
    return bytes;
}

sppo_status sppo_kv_new(sppo_kv **out, int layers, int kv_heads, int head_dim, int64_t pages) {
    return sppo_kv_new_on(out, SPPO_DEVICE_CPU, layers, kv_heads, head_dim, pages);
}

sppo_status sppo_kv_new_on(sppo_kv **out, sppo_device device, int layers, int kv_heads,
                           int head_dim, int64_t pages) {
    sppo_status opened = sppo__device_open(device);
    if (opened) return opened;
    int64_t limit, value;
    const char *wrong = range_error(layers, kv_heads, head_dim, pages, &limit, &value);
    if (wrong)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "kv_new", wrong, 1LL, (long long)limit,
                          (long long)value);
    int64_t bytes = sppo_kv_bytes(layers, kv_heads, head_dim, pages);
    if (bytes > INT64_MAX / 2)
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_TOO_LARGE, "kv_new", "the store's");
    sppo_kv *kv = calloc(1, sizeof *kv);
    if (!kv) return sppo__fail(SPPO_ERR_MEMORY, TEXT_KV_MEMORY, "kv_new");
    *kv = (sppo_kv){.refs = 1,
                    .layers = layers,
                    .kv_heads = kv_heads,
                    .head_dim = head_dim,
                    .pages = pages,
                    .pages_free = pages,
                    .head_stride = sppo__kv_head_floats(head_dim)};
    kv->page_stride = kv->head_stride * layers * kv_heads;
    // Not zeroed: attention reads no value that was not written, and masks keys before use.
    sppo_memory_kind was = sppo_memory_kind_set(SPPO_MEMORY_KV);
    sppo_status st = sppo__storage_new(&kv->storage, device, bytes, false, "kv_new");
    sppo_memory_kind_set(was);
    if (!st) {
        kv->next = malloc(sizeof *kv->next * (size_t)pages);
        kv->slot = malloc(sizeof *kv->slot * (size_t)pages);
        if (!kv->next || !kv->slot) st = sppo__fail(SPPO_ERR_MEMORY, TEXT_KV_MEMORY, "kv_new");
    }
    if (st) {
        sppo_kv_free(kv);
        return st;
    }
    for (int64_t i = 0; i < pages; i++) {
        int next = i + 1 < pages ? (int)i + 1 : -1;
        kv->next[i] = next;
        kv->slot[i] = (sppo__slot){.parent = next};
    }
    *out = kv;
    return SPPO_OK;
}

void sppo__kv_retain(sppo_kv *kv) {
    kv->refs++;
}

void sppo_kv_free(sppo_kv *kv) {
    if (!kv || --kv->refs) return;
    sppo__storage_release(kv->storage);
    free(kv->next);
    free(kv->slot);
    free(kv);
}

int64_t sppo_kv_pages_free(const sppo_kv *kv) {
    return kv->pages_free;
}

sppo__slot *sppo__kv_slot(const sppo_kv *kv, const char *what, int slot) {
    if (slot >= 0 && slot < kv->pages && kv->slot[slot].open) return &kv->slot[slot];
    sppo__fail(SPPO_ERR_ARGUMENT, TEXT_KV_SLOT, what, slot);
    return NULL;
}

sppo_status sppo_kv_open(sppo_kv *kv, int parent, int64_t tokens, int *slot) {
    sppo__slot *p = NULL;
    if (parent != -1) {
        p = sppo__kv_slot(kv, "kv_open", parent);
        if (!p) return SPPO_ERR_ARGUMENT;
        if (p->closed) return sppo__fail(SPPO_ERR_STATE, TEXT_KV_CLOSED, "kv_open", parent);
        if (p->batch) return sppo__fail(SPPO_ERR_STATE, TEXT_KV_BATCH, "kv_open", parent);
    }
    if (tokens < 1)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "kv_open", "tokens", 1LL,
                          (long long)kv->pages * SPPO_PAGE, (long long)tokens);
    int64_t pages = tokens / SPPO_PAGE + (tokens % SPPO_PAGE != 0);
    if (pages > kv->pages_free)
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_KV_PAGES, (long long)pages, (long long)tokens,
                          (long long)kv->pages_free);
    int number = kv->free_slot;
    sppo__slot *s = &kv->slot[number];
    kv->free_slot = s->parent;
    *s = (sppo__slot){.parent = parent, .page = kv->free_page, .pages = pages, .open = true};
    int32_t last = kv->free_page;
    for (int64_t i = 1; i < pages; i++) last = kv->next[last];
    kv->free_page = kv->next[last];
    kv->next[last] = -1;
    kv->pages_free -= pages;
    if (p) {
        s->position = p->position + p->length;
        p->children++;
    }
    *slot = number;
    return SPPO_OK;
}

/* Gives pages and slot back; returns the slot it continued. */
static int give_back(sppo_kv *kv, int number) {
    sppo__slot *s = &kv->slot[number];
    int parent = s->parent;
    int32_t last = s->page;
    while (kv->next[last] >= 0) last = kv->next[last];
    kv->next[last] = kv->free_page;
    kv->free_page = s->page;
    kv->pages_free += s->pages;
    *s = (sppo__slot){.parent = kv->free_slot};
    kv->free_slot = number;
    if (parent >= 0) kv->slot[parent].children--;
    return parent;
}

sppo_status sppo_kv_close(sppo_kv *kv, int slot) {
    sppo__slot *s = sppo__kv_slot(kv, "kv_close", slot);
    if (!s) return SPPO_ERR_ARGUMENT;
    if (s->closed) return sppo__fail(SPPO_ERR_STATE, TEXT_KV_CLOSED, "kv_close", slot);
    if (s->batch) return sppo__fail(SPPO_ERR_STATE, TEXT_KV_BATCH, "kv_close", slot);
    s->closed = true;
    while (slot >= 0 && kv->slot[slot].closed && !kv->slot[slot].children)
        slot = give_back(kv, slot);
    return SPPO_OK;
}

/* -1 if there is no such slot. */
int64_t sppo_kv_length(const sppo_kv *kv, int slot) {
    const sppo__slot *s = sppo__kv_slot(kv, "kv_length", slot);
    return s ? s->length : -1;
}
