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
#include "ops/workspace.h"

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
