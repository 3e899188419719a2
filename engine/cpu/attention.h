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
    float scale, cap;  // cap: 0 for none
    int64_t window;    // 0: all
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
                         .cap = c->f[1],
                         .window = c->i[2],
                         .causal = c->i[1] != 0};
    s.block = s.G < BLOCK_ROWS ? BLOCK_ROWS / s.G : 1;
    return s;
}

/* Rows of a block, rounded up to whole vectors of any instruction set. */
static inline int64_t attention_rows(const attention_sizes *s) {
    return (s->block * s->G + 15) / 16 * 16;
}

/* Keys begin .. end of a page; none where they are equal. */
typedef struct attention_keys {
    int64_t begin, end;
} attention_keys;

/* What token `token` (in tree order), at `position` in its text, sees of page `page` of a node;
 * without a window `position` is not looked at. */
static inline attention_keys attention_sees(const attention_sizes *s, const sppo__node *node,
                                            int64_t page, int64_t token, int64_t position) {
    int64_t end = node->offset + node->count, begin = 0;
    if (s->causal && token < node->begin + node->count)
        end = node->offset + token - node->begin + 1;
    end -= page * SPPO_PAGE;
    if (end > SPPO_PAGE) end = SPPO_PAGE;
    if (s->window) {
        begin = position - s->window + 1 - node->position - page * SPPO_PAGE;
        if (begin < 0) begin = 0;
        if (begin > end) begin = end;
    }
    return (attention_keys){begin, end};
}

/* First token of lo .. that sees page `page` of a node. */
static inline int64_t attention_first(const attention_sizes *s, const sppo__node *node,
                                      int64_t page, int64_t lo) {
    int64_t first = node->begin + page * SPPO_PAGE - node->offset;
    return s->causal && first > lo ? first : lo;
}

/* A run of own tokens of one node: tree order begin .. end, first row in the batch, position of the
 * first token in its text. */
typedef struct attention_run {
    int64_t begin, end, row, position;
} attention_run;

/* Next run of tokens lo .. hi among nodes *n .. last, in order; false when there are no more. */
static inline bool attention_next_run(const sppo_segments *at, int *n, int last, int64_t lo,
                                      int64_t hi, attention_run *run) {
    for (; *n < last; ++*n) {
        const sppo__node *node = &at->node[*n];
        int64_t begin = node->begin > lo ? node->begin : lo;
        int64_t end = node->begin + node->count < hi ? node->begin + node->count : hi;
        if (begin >= end) continue;
        *run = (attention_run){begin, end, node->start + begin - node->begin,
                               node->position + node->offset + begin - node->begin};
        ++*n;
        return true;
    }
    return false;
}

/* Positions of tokens lo .. hi among nodes n .. last. */
static inline void attention_positions(const sppo_segments *at, int n, int last, int64_t lo,
                                       int64_t hi, int32_t *position) {
    attention_run run;
    while (attention_next_run(at, &n, last, lo, hi, &run))
        for (int64_t i = run.begin; i < run.end; i++)
            position[i - lo] = (int32_t)(run.position + i - run.begin);
}

#endif
