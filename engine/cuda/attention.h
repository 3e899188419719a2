/* attention.h - what forward and backward attention share on the device: sizes, who sees what, rows
 * and tiles.
 *
 * A row is a pair (token in tree order, query head of the group of one kv head): all heads of a
 * group and neighbours in the tree meet the same keys, so a block reads them once for its rows. */

#ifndef SPPO_CUDA_ATTENTION_H
#define SPPO_CUDA_ATTENTION_H

#include "cuda/kernel.h"

extern "C" {
#include "llm/kv_store.h"
#include "ops/workspace.h"
}

/* A block holds ROWS rows (or keys), a warp OWN of them, and meets TILE keys (or rows) at a time,
 * one a lane. CHUNKS is how many values of a head a lane keeps: D is at most CHUNKS * 32. */
enum { TILE = WARP, ROWS = SPPO_CUDA_KEYS, OWN = 2, WARPS = THREADS / WARP };

typedef struct attention {
    sppo__cuda_tree tree;
    const float *q, *k, *v;
    float *pages;  // this layer's part of page 0; NULL without a store
    int64_t page_stride, head_stride;
    int heads, kv_heads, G, D;
    int S;  // floats from row to row of a tile: odd, so that lanes meet no common bank
    int window;
    bool causal;
    float scale, cap;
} attention;

/* Keys begin .. end - 1 of a node. */
typedef struct keys_seen {
    int begin, end;
} keys_seen;

/* What token `token` (tree order), at `position` of its text, sees of a node. */
static __device__ inline keys_seen sees(const attention &a, const sppo__cuda_node &node, int token,
                                        int position) {
    keys_seen seen = {0, 0};
    if (token < node.begin || token >= node.end) return seen;
    seen.end = node.offset + node.count;
    if (a.causal && token < node.begin + node.count)
        seen.end = node.offset + token - node.begin + 1;
    if (a.window) {
        int64_t behind = (int64_t)position - a.window + 1 - node.position;
        seen.begin = (int)(behind < 0 ? 0 : behind > seen.end ? seen.end : behind);
    }
    return seen;
}

/* What some of the tokens lo .. hi - 1 see: of those that see the node at all the last sees most. */
static __device__ inline keys_seen seen_by_some(const attention &a, const sppo__cuda_node &node,
                                                int lo, int hi) {
    if (lo < node.begin) lo = node.begin;
    if (hi > node.end) hi = node.end;
    keys_seen some = {0, 0};
    if (lo >= hi) return some;
    some = sees(a, node, hi - 1, a.tree.token[hi - 1].position);
    for (int t = lo; a.window && t < hi; t++) {
        int begin = sees(a, node, t, a.tree.token[t].position).begin;
        if (begin < some.begin) some.begin = begin;
    }
    return some;
}

/* The keys of a tile from `first` on that are among those seen, counted from `first`. */
static __device__ inline keys_seen within_tile(keys_seen seen, int first) {
    int begin = seen.begin - first, end = seen.end - first;
    keys_seen here = {begin < 0 ? 0 : begin, end > TILE ? TILE : end};
    return here;
}

/* Key j of a node, or if `value` its value. Its own are the batch's, older ones the store's. */
template <bool value>
static __device__ inline const float *stored(const attention &a, const sppo__cuda_node &node, int j,
                                             int kv_head) {
    if (j >= node.offset) {
        int64_t row = node.start + j - node.offset;
        return (value ? a.v : a.k) + (row * a.kv_heads + kv_head) * a.D;
    }
    int64_t page = a.tree.page[node.page + j / SPPO_PAGE];
    int64_t row = j % SPPO_PAGE + (value ? SPPO_PAGE : 0);
    return a.pages + page * a.page_stride + kv_head * a.head_stride + row * a.D;
}

/* The block copies keys (or values) first .. of a node into the tile, and zeros from `end` on. */
template <bool value>
static __device__ inline void load_keys(const attention &a, const sppo__cuda_node &node, int first,
                                        int end, int kv_head, float *tile) {
    int lane = (int)threadIdx.x % WARP;
    for (int j = (int)threadIdx.x / WARP; j < TILE; j += WARPS) {
        const float *from = first + j < end ? stored<value>(a, node, first + j, kv_head) : NULL;
        for (int d = lane; d < a.D; d += WARP) tile[j * a.S + d] = from ? from[d] : 0.0f;
    }
}

/* A row of the batch: where its token stands and where its head's values begin. */
typedef struct attention_row {
    int token, position;
    int64_t head;  // row in the batch * heads + head
} attention_row;

/* Row `pair` of kv head kv_head; past the last one a token that sees nothing. */
static __device__ inline attention_row row_at(const attention &a, int64_t pair, int kv_head) {
    attention_row r = {-1, 0, 0};
    if (pair >= (int64_t)a.tree.tokens * a.G) return r;
    r.token = (int)(pair / a.G);
    sppo__cuda_token token = a.tree.token[r.token];
    r.position = token.position;
    r.head = (int64_t)token.row * a.heads + kv_head * a.G + pair % a.G;
    return r;
}

/* sum[i] = own row i . row `lane` of the tile; own rows are `stride` floats apart. */
static __device__ inline void products(const float *own, int stride, const float *tile, int D,
                                       float *sum) {
    UNROLL
    for (int i = 0; i < OWN; i++) sum[i] = 0;
    for (int d = 0; d < D; d++) UNROLL
    for (int i = 0; i < OWN; i++) sum[i] += own[i * stride + d] * tile[d];
}

/* total[c] += weight[j] * tile[j, lane + 32 c] for j = begin .. end - 1, in order. */
template <int CHUNKS>
static __device__ inline void add_weighted(const attention &a, const float *weight,
                                           const float *tile, int begin, int end, float *total) {
    int lane = (int)threadIdx.x % WARP;
    for (int j = begin; j < end; j++) {
        float w = weight[j];
        UNROLL
        for (int c = 0; c < CHUNKS; c++) {
            int d = lane + c * WARP;
            if (d < a.D) total[c] += w * tile[j * a.S + d];
        }
    }
}

/* The score after the cap, and its derivative. */
static __device__ inline float capped(const attention &a, float score, float *slope) {
    *slope = 1;
    if (a.cap <= 0) return score;
    float t = tanhf(score / a.cap);
    *slope = 1.0f - t * t;
    return a.cap * t;
}

static inline sppo_status attention_of(const sppo__call *c, attention *a) {
    attention_sizes s = sppo__attention_sizes(c);
    *a = attention{};
    a->q = sppo__f32(c->in[0]);
    a->k = sppo__f32(c->in[1]);
    a->v = sppo__f32(c->in[2]);
    a->heads = (int)s.heads;
    a->kv_heads = (int)s.kv_heads;
    a->G = (int)s.G;
    a->D = (int)s.D;
    a->S = (int)s.D | 1;
    a->window = (int)s.window;
    a->causal = s.causal;
    a->scale = s.scale;
    a->cap = s.cap;
    return sppo__cuda_tree_of(sppo__op_name(c->op), c->at, &a->tree);
}

/* Dynamic shared memory: own rows, a tile, and two weights for each pair of them. */
static inline size_t attention_shared(const attention *a) {
    return (size_t)(ROWS * a->D + TILE * a->S + 2 * ROWS * TILE) * sizeof(float);
}

/* Calls launch<CHUNKS>(...) for the head size. */
#define FOR_HEAD_SIZE(a, launch, ...) \
    do { \
        if ((a)->D <= 32) launch<1>(__VA_ARGS__); \
        else if ((a)->D <= 64) launch<2>(__VA_ARGS__); \
        else if ((a)->D <= 128) launch<4>(__VA_ARGS__); \
        else launch<8>(__VA_ARGS__); \
    } while (0)

#endif
