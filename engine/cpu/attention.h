/* attention.h - what forward and backward attention share: sizes, who sees what, runs of rows.
 *
 * Work is cut by root tree and kv head. The rows of a product are pairs (token in tree order, query
 * head of the group): all heads of a group, and all segments that continue an ancestor, share one
 * reading of its keys. */

#ifndef SPPO_CPU_ATTENTION_H
#define SPPO_CPU_ATTENTION_H

#include "cpu/cpu.h"
#include "cpu/simd.h"
#include "cpu/tile.h"
#include "llm/kv_store.h"

enum { BLOCK_ROWS = 128 };  // rows worked on at once, at least one token's

// D head size, W = D padded to whole panels, G query heads that share a kv head
typedef struct attention_sizes {
    int64_t heads, kv_heads, D, W, G;
    float scale;
    bool causal;
    int64_t block;  // tokens whose rows are worked on at once
} attention_sizes;

static inline attention_sizes attention_sizes_of(const sppo__call *c) {
    const sppo_tensor *q = c->in[0], *k = c->in[1];
    attention_sizes s = {.heads = q->shape[1],
                         .kv_heads = k->shape[1],
                         .D = q->shape[2],
                         .W = (q->shape[2] + 63) / 64 * 64,
                         .G = q->shape[1] / k->shape[1],
                         .scale = c->f[0],
                         .causal = c->i[1] != 0};
    s.block = s.G < BLOCK_ROWS ? BLOCK_ROWS / s.G : 1;
    return s;
}

/* Rows of a block, rounded up to whole vectors of any instruction set. */
static inline int64_t attention_rows(const attention_sizes *s) {
    return (s->block * s->G + 15) / 16 * 16;
}

/* Keys of page `page` of a node that token `token` (in tree order) sees. */
static inline int64_t attention_visible(const attention_sizes *s, const sppo__node *node,
                                        int64_t page, int64_t token) {
    int64_t keys = node->offset + node->count;
    if (s->causal && token < node->begin + node->count)
        keys = node->offset + token - node->begin + 1;
    keys -= page * SPPO_PAGE;
    return keys < SPPO_PAGE ? keys : SPPO_PAGE;
}

/* First token of lo .. that sees page `page` of a node. */
static inline int64_t attention_first(const attention_sizes *s, const sppo__node *node,
                                      int64_t page, int64_t lo) {
    int64_t first = node->begin + page * SPPO_PAGE - node->offset;
    return s->causal && first > lo ? first : lo;
}

/* A run of own tokens of one node: tree order begin .. end, first row in the batch. */
typedef struct attention_run {
    int64_t begin, end, row;
} attention_run;

/* Next run of tokens lo .. hi among nodes *n .. last, in order; false when there are no more. */
static inline bool attention_next_run(const sppo_segments *at, int *n, int last, int64_t lo,
                                      int64_t hi, attention_run *run) {
    for (; *n < last; ++*n) {
        const sppo__node *node = &at->node[*n];
        int64_t begin = node->begin > lo ? node->begin : lo;
        int64_t end = node->begin + node->count < hi ? node->begin + node->count : hi;
        if (begin >= end) continue;
        *run = (attention_run){begin, end, node->start + begin - node->begin};
        ++*n;
        return true;
    }
    return false;
}

#endif
