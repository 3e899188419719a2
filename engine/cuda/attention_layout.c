/* attention_layout.c - which texts make up which part, and where their rows are in the batch.
 *
 * Lengths are rounded up to powers of two and texts of one size are put together, so that few plans
 * are made (each takes about a second) and padding is less than half of each side. */

#include <stdlib.h>

#include "cuda/attention_parts.h"
#include "llm/segments.h"

enum { LEAST = 16, ALIGN = 4 };  // padded length; numbers of the list: memory aligned to 16 bytes

/* A node's own part, or its prefix part with `level` counted from 1 at the roots. */
typedef struct text {
    int node, level;
    int64_t queries, keys;  // padded
    bool taken;
} text;

static int64_t padded(int64_t n) {
    int64_t size = LEAST;
    while (size < n) size *= 2;
    return size;
}

static int64_t continued(const sppo__node *node) {
    return node->end - node->begin - node->count;
}

/* The texts of all parts: own ones first, then by node. `open` has room for all nodes. */
static int list_texts(const sppo_segments *at, text *list, int *open) {
    int count = 0, depth = 0;
    for (int n = 0; n < at->nodes; n++) {
        int64_t size = padded(at->node[n].count);
        if (at->node[n].count) list[count++] = (text){n, 0, size, size, false};
    }
    for (int n = 0; n < at->nodes; n++) {
        const sppo__node *node = &at->node[n];
        while (depth && at->node[open[depth - 1]].end <= node->begin) depth--;
        open[depth++] = n;
        if (node->count && continued(node))
            list[count++] = (text){n, depth, padded(continued(node)), padded(node->count), false};
    }
    return count;
}

static bool together(const text *a, const text *b) {
    return a->level == b->level && a->queries == b->queries && a->keys == b->keys;
}

static int64_t take_numbers(sppo__cuda_layout *l, int64_t count) {
    int64_t place = l->count;
    l->count += (count + ALIGN - 1) / ALIGN * ALIGN;
    return place;
}

/* Sizes of all parts; list[i].taken stays false. */
static void size_parts(sppo__cuda_layout *l, text *list, int count) {
    for (int i = 0; i < count; i++) {
        if (list[i].taken) continue;
        int64_t texts = 0, size = 1;
        for (int j = i; j < count; j++) {
            if (!together(&list[i], &list[j])) continue;
            list[j].taken = true;
            texts++;
        }
        while (size < texts) size *= 2;
        sppo__cuda_part *p = &l->part[l->parts++];
        *p = (sppo__cuda_part){.own = list[i].level == 0,
                               .texts = size,
                               .queries = list[i].queries,
                               .keys = list[i].keys};
        p->query_map = take_numbers(l, size * p->queries);
        p->key_map = p->own ? p->query_map : take_numbers(l, size * p->keys);
        p->query_length = take_numbers(l, size);
        p->key_length = p->own ? p->query_length : take_numbers(l, size);
    }
    for (int i = 0; i < count; i++) list[i].taken = false;
}

/* Text i of a part; `row` is the batch's row of each token in tree order. */
static void fill_text(sppo__cuda_layout *l, const sppo__cuda_part *p, int64_t i,
                      const sppo__node *node, const int32_t *row) {
    int64_t first = p->own ? node->begin : node->begin + node->count;
    int64_t queries = p->own ? node->count : continued(node);
    l->list[p->query_length + i] = (int32_t)queries;
    l->list[p->key_length + i] = (int32_t)node->count;
    for (int64_t t = 0; t < queries; t++)
        l->list[p->query_map + i * p->queries + t] = row[first + t];
    for (int64_t t = 0; t < node->count; t++)
        l->list[p->key_map + i * p->keys + t] = row[node->begin + t];
}

/* A text that only pads the batch has one token of zeros: no length is 0. */
static void fill_parts(sppo__cuda_layout *l, const sppo_segments *at, text *list, int count,
                       const int32_t *row) {
    for (int64_t i = 0; i < l->count; i++) l->list[i] = -1;
    for (int k = 0, i = 0; k < l->parts; k++) {
        const sppo__cuda_part *p = &l->part[k];
        int64_t texts = 0;
        while (list[i].taken) i++;
        for (int j = i; j < count; j++) {
            if (!together(&list[i], &list[j])) continue;
            list[j].taken = true;
            fill_text(l, p, texts++, &at->node[list[j].node], row);
        }
        for (; texts < p->texts; texts++)
            l->list[p->query_length + texts] = l->list[p->key_length + texts] = 1;
    }
}

static void fill_rows(const sppo_segments *at, int32_t *row) {
    for (int n = 0; n < at->nodes; n++)
        for (int64_t i = 0; i < at->node[n].count; i++)
            row[at->node[n].begin + i] = (int32_t)(at->node[n].start + i);
}

sppo_status sppo__cuda_layout_of(const char *op, const sppo_segments *at, sppo__cuda_layout *out) {
    size_t most = 2 * (size_t)at->nodes;
    text *list = malloc(most * sizeof *list);
    int *open = malloc((size_t)at->nodes * sizeof *open);
    int32_t *row = malloc((size_t)at->tokens * sizeof *row);
    sppo__cuda_layout l = {.part = malloc(most * sizeof *l.part)};
    bool enough = list && open && row && l.part;
    if (enough) {
        int count = list_texts(at, list, open);
        size_parts(&l, list, count);
        l.list = malloc((size_t)l.count * sizeof *l.list);
        enough = l.list != NULL;
        if (enough) {
            fill_rows(at, row);
            fill_parts(&l, at, list, count, row);
        }
    }
    free(list);
    free(open);
    free(row);
    if (enough) {
        *out = l;
        return SPPO_OK;
    }
    free(l.part);
    return sppo__fail(SPPO_ERR_MEMORY, TEXT_KV_MEMORY, op);
}
