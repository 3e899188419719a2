/* segments.c - where the tokens of a flat batch belong: the list a caller fills, and the tree that
 * rope and attention walk.
 *
 * With a store all memory is taken at the start, without one it grows with the list; emptying and
 * filling again takes none. Slots and pages are kv_store.c's. */

#include "llm/segments.h"

#include <stdlib.h>

#include "core/error.h"
#include "llm/kv_store.h"

static sppo_status grow(sppo_segments *at, int64_t capacity) {
    sppo__segment *segment = realloc(at->segment, sizeof *segment * (size_t)capacity);
    if (segment) at->segment = segment;
    sppo__node *draft = realloc(at->draft, sizeof *draft * (size_t)capacity);
    if (draft) at->draft = draft;
    sppo__node *node = realloc(at->node, sizeof *node * (size_t)capacity);
    if (node) at->node = node;
    int *tree = realloc(at->tree, sizeof *tree * (size_t)(capacity + 1));
    if (tree) at->tree = tree;
    if (!segment || !draft || !node || !tree)
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_KV_MEMORY, "segments");
    at->capacity = (int)capacity;
    return SPPO_OK;
}

sppo_status sppo_segments_new(sppo_segments **out, sppo_kv *kv) {
    sppo_segments *at = calloc(1, sizeof *at);
    if (!at) return sppo__fail(SPPO_ERR_MEMORY, TEXT_KV_MEMORY, "segments");
    at->refs = 1;
    at->kv = kv;
    if (kv) sppo__kv_retain(kv);
    // A batch names a slot once, and a store has at most as many slots as pages.
    sppo_status st = grow(at, kv ? kv->pages : 16);
    if (st) {
        sppo_segments_release(at);
        return st;
    }
    *out = at;
    return SPPO_OK;
}

void sppo_segments_retain(sppo_segments *at) {
    at->refs++;
}

/* The slots of the batch may be used by others again. */
static void leave_slots(sppo_segments *at) {
    for (int i = 0; at->kv && !at->committed && i < at->count; i++)
        at->kv->slot[at->segment[i].slot].batch = NULL;
}

void sppo_segments_release(sppo_segments *at) {
    if (!at || --at->refs) return;
    leave_slots(at);
    sppo_kv_free(at->kv);
    free(at->segment);
    free(at->draft);
    free(at->node);
    free(at->tree);
    free(at);
}

static sppo_status may_add(const sppo_segments *at, const char *what, int64_t count) {
    if (at->used) return sppo__fail(SPPO_ERR_STATE, TEXT_SEGMENTS_USED, what);
    int64_t room = INT32_MAX - at->tokens;
    if (count < 0 || count > room)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, what, "count", 0LL, (long long)room,
                          (long long)count);
    return SPPO_OK;
}

sppo_status sppo_segments_add(sppo_segments *at, int parent, int64_t count) {
    if (at->kv) return sppo__fail(SPPO_ERR_STATE, TEXT_SEGMENTS_STORE);
    sppo_status st = may_add(at, "segments_add", count);
    if (st) return st;
    if (parent < -1 || parent >= at->count)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "segments_add", "parent", -1LL,
                          (long long)at->count - 1, (long long)parent);
    if (at->count == at->capacity) {
        if (at->capacity > INT32_MAX / 2)
            return sppo__fail(SPPO_ERR_MEMORY, TEXT_KV_MEMORY, "segments_add");
        st = grow(at, (int64_t)at->capacity * 2);
        if (st) return st;
    }
    SPPO_ASSERT(at->segment);  // there is room since sppo_segments_new
    const sppo__segment *p = parent < 0 ? NULL : &at->segment[parent];
    at->segment[at->count++] = (sppo__segment){.parent = parent,
                                               .slot = -1,
                                               .start = at->tokens,
                                               .count = count,
                                               .position = p ? p->position + p->count : 0};
    at->tokens += count;
    return SPPO_OK;
}

sppo_status sppo_segments_add_slot(sppo_segments *at, int slot, int64_t count) {
    static const char what[] = "segments_add_slot";
    if (!at->kv) return sppo__fail(SPPO_ERR_STATE, TEXT_SEGMENTS_NO_STORE, what);
    sppo_status st = may_add(at, what, count);
    if (st) return st;
    sppo__slot *s = sppo__kv_slot(at->kv, what, slot);
    if (!s) return SPPO_ERR_ARGUMENT;
    if (s->closed) return sppo__fail(SPPO_ERR_STATE, TEXT_KV_CLOSED, what, slot);
    if (s->children) return sppo__fail(SPPO_ERR_STATE, TEXT_KV_PARENT, what, slot, s->children);
    if (s->batch) return sppo__fail(SPPO_ERR_STATE, TEXT_KV_BATCH, what, slot);
    if (count > s->pages * SPPO_PAGE - s->length)
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_KV_FULL, what, slot,
                          (long long)s->pages * SPPO_PAGE, (long long)s->length, (long long)count);
    s->batch = at;
    at->segment[at->count++] = (sppo__segment){.parent = -1,
                                               .slot = slot,
                                               .start = at->tokens,
                                               .count = count,
                                               .position = s->position + s->length};
    at->tokens += count;
    return SPPO_OK;
}

sppo_status sppo_segments_reset(sppo_segments *at) {
    if (at->refs > 1) return sppo__fail(SPPO_ERR_STATE, TEXT_SEGMENTS_HELD);
    leave_slots(at);
    at->count = 0;
    at->tokens = 0;
    at->used = at->committed = at->planned = false;
    return SPPO_OK;
}

sppo_status sppo_segments_commit(sppo_segments *at) {
    if (!at->kv) return sppo__fail(SPPO_ERR_STATE, TEXT_SEGMENTS_NO_STORE, "segments_commit");
    if (at->committed)
        return sppo__fail(SPPO_ERR_STATE, TEXT_SEGMENTS_COMMITTED, "segments_commit");
    for (int i = 0; i < at->count; i++)
        at->kv->slot[at->segment[i].slot].length += at->segment[i].count;
    leave_slots(at);
    at->used = at->committed = true;
    return SPPO_OK;
}

int64_t sppo_segments_tokens(const sppo_segments *at) {
    return at->tokens;
}

void sppo_segments_positions(const sppo_segments *at, int32_t *dst) {
    for (int i = 0; i < at->count; i++)
        for (int64_t j = 0; j < at->segment[i].count; j++)
            *dst++ = (int32_t)(at->segment[i].position + j);
}

int sppo__segments_find(const sppo_segments *at, int64_t token) {
    int low = 0, high = at->count - 1;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (at->segment[middle].start + at->segment[middle].count > token) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* ---- the tree ---- */

/* A node for a slot and, before it, for every slot it continues; returns its number. */
static int add_slot_nodes(sppo_segments *at, int slot) {
    sppo__slot *slots = at->kv->slot;
    int newest = -1;
    // A parent must come before its children: number the chain downwards, then turn it round.
    int first = at->nodes, number = slot;
    while (number >= 0 && slots[number].node < 0) {
        const sppo__slot *s = &slots[number];
        at->draft[at->nodes++] = (sppo__node){.slot = number,
                                              .offset = s->length,
                                              .position = s->position,
                                              .page = s->page,
                                              .parent = newest};
        newest = number;
        number = s->parent;
    }
    int above = number < 0 ? -1 : slots[number].node;
    for (int a = first, b = at->nodes - 1; a < b; a++, b--) {
        sppo__node swap = at->draft[a];
        at->draft[a] = at->draft[b];
        at->draft[b] = swap;
    }
    for (int i = first; i < at->nodes; i++) {
        at->draft[i].parent = i == first ? above : i - 1;
        slots[at->draft[i].slot].node = i;
    }
    return slots[slot].node;
}

static void draft_nodes(sppo_segments *at) {
    at->nodes = 0;
    at->pages = 0;
    for (int i = 0; i < at->count && at->kv; i++)
        for (int slot = at->segment[i].slot; slot >= 0; slot = at->kv->slot[slot].parent)
            at->kv->slot[slot].node = -1;
    for (int i = 0; i < at->count; i++) {
        const sppo__segment *s = &at->segment[i];
        if (at->kv) {
            sppo__node *node = &at->draft[add_slot_nodes(at, s->slot)];
            node->start = s->start;
            node->count = s->count;
            continue;
        }
        at->draft[at->nodes++] = (sppo__node){.slot = -1,
                                              .start = s->start,
                                              .count = s->count,
                                              .position = s->position,
                                              .page = at->pages,
                                              .parent = s->parent};
        at->pages += (s->count + SPPO_PAGE - 1) / SPPO_PAGE;
    }
}

/* Puts the nodes in preorder. In the draft a parent stands before its children, so sizes add up
 * from the back, and places are handed out from the front. */
static void plan(sppo_segments *at) {
    draft_nodes(at);
    sppo__node *d = at->draft;
    for (int i = 0; i < at->nodes; i++) {
        d[i].nodes = 1;
        d[i].end = d[i].count;
    }
    for (int i = at->nodes - 1; i >= 0; i--) {
        if (d[i].parent < 0) continue;
        d[d[i].parent].nodes += d[i].nodes;
        d[d[i].parent].end += d[i].end;
    }
    sppo__node above = {0};  // of the roots
    at->trees = 0;
    for (int i = 0; i < at->nodes; i++) {
        sppo__node *parent = d[i].parent < 0 ? &above : &d[d[i].parent];
        int place = parent->next_node;
        if (d[i].parent < 0) at->tree[at->trees++] = place;
        d[i].begin = parent->next_token;
        parent->next_node += d[i].nodes;
        parent->next_token += d[i].end;
        d[i].end += d[i].begin;
        d[i].next_node = place + 1;
        d[i].next_token = d[i].begin + d[i].count;
        at->node[place] = d[i];
    }
    at->tree[at->trees] = at->nodes;
    at->planned = true;
}

sppo_status sppo__segments_use(sppo_segments *at, const char *op, int64_t tokens) {
    if (at->committed) return sppo__fail(SPPO_ERR_STATE, TEXT_SEGMENTS_COMMITTED, op);
    if (tokens != at->tokens)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_TOKENS, op, (long long)tokens,
                          (long long)at->tokens);
    at->used = true;
    if (!at->planned) plan(at);
    return SPPO_OK;
}
