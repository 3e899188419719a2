/* segments.c - a batch's positions, its tree, and other small tables on the device. Every layer asks for those of the
 * same batch: they are sent when they differ from what was sent last. Like the CPU's scratch memory,
 * theirs is not counted as a tensor's. */

#include <stdlib.h>
#include <string.h>

#include "cuda/cuda.h"
#include "cuda/device.h"
#include "llm/kv_store.h"

typedef struct mirror {
    int32_t *asked, *sent;  // on the host, [capacity]
    int32_t *device;        // [capacity], the values of `sent`
    int64_t capacity, sent_count;
} mirror;

static sppo_status grow(const char *op, mirror *m, int64_t count) {
    if (m->device) sppo__cuda.give(m->device, m->capacity * (int64_t)sizeof *m->device);
    free(m->asked);
    free(m->sent);
    m->sent_count = 0;
    m->capacity = count * 2;
    int64_t bytes = m->capacity * (int64_t)sizeof *m->device;
    m->asked = malloc((size_t)bytes);
    m->sent = malloc((size_t)bytes);
    m->device = sppo__cuda.take(bytes);
    if (m->asked && m->sent && m->device) return SPPO_OK;
    m->capacity = 0;
    return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, op, (double)bytes / 1048576, 0.0, "");
}

/* Room for `count` values in m->asked. */
static sppo_status reserve(const char *op, mirror *m, int64_t count) {
    return count > m->capacity ? grow(op, m, count) : SPPO_OK;
}

/* Makes m->device hold the first `count` values of m->asked. */
static sppo_status send(const char *op, mirror *m, int64_t count) {
    size_t bytes = (size_t)count * sizeof *m->device;
    if (count == m->sent_count && memcmp(m->asked, m->sent, bytes) == 0) return SPPO_OK;
    m->sent_count = 0;  // until it is done
    sppo_status st = sppo__cuda.copy(op, SPPO_CUDA_UP, m->device, m->asked, (int64_t)bytes);
    if (st) return st;
    memcpy(m->sent, m->asked, bytes);
    m->sent_count = count;
    return SPPO_OK;
}

sppo_status sppo__cuda_positions(const char *op, const sppo_segments *at, const int32_t **out) {
    static mirror positions;
    sppo_status st = reserve(op, &positions, sppo_segments_tokens(at));
    if (st) return st;
    sppo_segments_positions(at, positions.asked);
    st = send(op, &positions, sppo_segments_tokens(at));
    *out = positions.device;
    return st;
}

sppo_status sppo__cuda_ints(const char *op, const int32_t *values, int64_t count,
                            const int32_t **out) {
    static mirror ints;
    sppo_status st = reserve(op, &ints, count);
    if (st) return st;
    memcpy(ints.asked, values, (size_t)count * sizeof *values);
    st = send(op, &ints, count);
    *out = ints.device;
    return st;
}

/* ---- the tree ---- */

static int64_t pages_of(const sppo__node *node) {
    return (node->offset + node->count + SPPO_PAGE - 1) / SPPO_PAGE;
}

static int64_t tiles_of(const sppo__node *node) {
    return (node->count + SPPO_CUDA_KEYS - 1) / SPPO_CUDA_KEYS;
}

/* Own tokens of node n, in tree order. */
static void fill_tokens(const sppo__node *node, int n, int first, sppo__cuda_token *token) {
    for (int64_t i = 0; i < node->count; i++)
        token[node->begin + i] =
            (sppo__cuda_token){.row = (int32_t)(node->start + i),
                               .position = (int32_t)(node->position + node->offset + i),
                               .node = n,
                               .first = first};
}

static void fill_tree(const sppo_segments *at, int32_t *values, int64_t tiles) {
    sppo__cuda_node *node = (sppo__cuda_node *)values;
    sppo__cuda_token *token = (sppo__cuda_token *)(node + at->nodes);
    sppo__cuda_tile *tile = (sppo__cuda_tile *)(token + at->tokens);
    int32_t *page = (int32_t *)(tile + tiles), pages = 0;
    for (int tree = 0, n = 0; n < at->nodes; n++) {
        const sppo__node *from = &at->node[n];
        if (n == at->tree[tree + 1]) tree++;
        node[n] = (sppo__cuda_node){.start = (int32_t)from->start,
                                    .offset = (int32_t)from->offset,
                                    .position = (int32_t)from->position,
                                    .count = (int32_t)from->count,
                                    .begin = (int32_t)from->begin,
                                    .end = (int32_t)from->end,
                                    .page = pages};
        fill_tokens(from, n, at->tree[tree], token);
        for (int64_t i = 0; i < tiles_of(from); i++)
            *tile++ = (sppo__cuda_tile){.node = n, .key = (int32_t)(i * SPPO_CUDA_KEYS)};
        if (!at->kv) continue;
        int32_t number = (int32_t)from->page;
        for (int64_t i = 0; i < pages_of(from); i++, number = at->kv->next[number])
            page[pages++] = number;
    }
}

sppo_status sppo__cuda_tree_of(const char *op, const sppo_segments *at, sppo__cuda_tree *out) {
    static mirror tree;
    int64_t tiles = 0, pages = 0;
    for (int n = 0; n < at->nodes; n++) {
        tiles += tiles_of(&at->node[n]);
        if (at->kv) pages += pages_of(&at->node[n]);
    }
    int64_t bytes = at->nodes * (int64_t)sizeof(sppo__cuda_node) +
                    at->tokens * (int64_t)sizeof(sppo__cuda_token) +
                    tiles * (int64_t)sizeof(sppo__cuda_tile) + pages * (int64_t)sizeof(int32_t);
    sppo_status st = reserve(op, &tree, bytes / (int64_t)sizeof(int32_t));
    if (st) return st;
    fill_tree(at, tree.asked, tiles);
    st = send(op, &tree, bytes / (int64_t)sizeof(int32_t));
    out->node = (const sppo__cuda_node *)tree.device;
    out->token = (const sppo__cuda_token *)(out->node + at->nodes);
    out->tile = (const sppo__cuda_tile *)(out->token + at->tokens);
    out->page = (const int32_t *)(out->tile + tiles);
    out->nodes = at->nodes;
    out->tokens = (int)at->tokens;
    out->tiles = (int)tiles;
    return st;
}
