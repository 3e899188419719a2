/* kv_store.h - slots and pages of the key/value store, for segments.c and attention. */

#ifndef SPPO_KV_STORE_H
#define SPPO_KV_STORE_H

#include "core/tensor.h"
#include "llm/segments.h"

typedef struct sppo__slot {
    int parent;    // slot it continues, -1 for none; of a free slot: the next free one
    int children;  // slots that continue it and hold their pages still
    int32_t page;  // its first page; the rest follow in kv->next
    int64_t pages;
    int64_t length;              // tokens stored
    int64_t position;            // of its first token in its text
    bool open, closed;           // closed: waits for its children before it gives its pages back
    const sppo_segments *batch;  // the batch that is about to add tokens, NULL for none
    int node;                    // its node while a batch makes its tree
} sppo__slot;

/* A page holds all layers and heads: [layers][kv_heads] x { keys [head_dim][64], values
 * [64][head_dim padded to 64] }. Keys lie transposed, so that q @ k^T is a product with a panel. */
struct sppo_kv {
    int refs;  // the caller's and one for each list of segments
    int layers, kv_heads, head_dim;
    int64_t pages, pages_free;
    int64_t head_stride, page_stride;  // in floats
    int32_t free_page;                 // first free page, -1 for none
    int32_t *next;                     // page after each page, in its slot or the free list
    int free_slot;
    sppo__slot *slot;  // one for each page: a slot has at least one
    sppo__storage *storage;
};

/* Floats of one kv head of one layer of a page. */
static inline int64_t sppo__kv_head_floats(int64_t head_dim) {
    return SPPO_PAGE * head_dim + SPPO_PAGE * ((head_dim + 63) / 64 * 64);
}

/* The slot, or NULL with the error set if there is none. Closed ones with children are found. */
sppo__slot *sppo__kv_slot(const sppo_kv *kv, const char *what, int slot);

void sppo__kv_retain(sppo_kv *kv);

#endif
