/* attention.cu - attention over a tree of segments, with a running maximum and sum.
 *
 * attention   grid: blocks of 8 rows times kv heads, block 128; shared memory 41 D + 600 floats, 43
 *             KB for D = 256. A block goes over the nodes that its rows see, in tiles of 32 keys.
 *             A row meets tiles in one order, oldest ancestor first, each node's from its first
 *             key, and passes over those of which it sees nothing: nothing else decides its bits.
 *             With a store it appends the batch's keys and values to its pages, where they lie in
 *             rows ([64][D] keys, then [64][D] values, in the room of the CPU's page).
 *             4 D operations a pair of row and key; keys are read once for 8 rows. Limit: shared
 *             memory and f32 units; with few rows (decoding) too few blocks for the chip */

#include <cuda_bf16.h>

#include "cuda/attention.h"
#include "cuda/attention_parts.h"

/* Keys and values of the block's tokens into the store; a token is the block's that has its first
 * row. No block reads them there in this launch (`stored`). */
static __device__ inline void append(const attention &a, int64_t pair, int lo, int hi,
                                     int kv_head) {
    for (int t = (int64_t)lo * a.G < pair ? lo + 1 : lo; t < hi; t++) {
        sppo__cuda_token token = a.tree.token[t];
        sppo__cuda_node node = a.tree.node[token.node];
        int j = node.offset + t - node.begin;
        int64_t from = ((int64_t)token.row * a.kv_heads + kv_head) * a.D, row = j % SPPO_PAGE;
        float *page = a.pages + a.tree.page[node.page + j / SPPO_PAGE] * a.page_stride +
                      kv_head * a.head_stride;
        for (int d = (int)threadIdx.x; d < a.D; d += THREADS) {
            page[row * a.D + d] = a.k[from + d];
            page[(SPPO_PAGE + row) * a.D + d] = a.v[from + d];
        }
    }
}

template <int CHUNKS>
static __global__ void attention_kernel(attention a, float *out, float *lse,
                                        __nv_bfloat16 *rounded) {
    DYNAMIC_SHARED(float, shared);
    float *q = shared, *tile = q + ROWS * a.D, *weights = tile + TILE * a.S;
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int kv_head = (int)(blockIdx.x % (unsigned)a.kv_heads);
    int64_t pair = (int64_t)(blockIdx.x / (unsigned)a.kv_heads) * ROWS, end = pair + ROWS;
    if (end > (int64_t)a.tree.tokens * a.G) end = (int64_t)a.tree.tokens * a.G;
    int lo = (int)(pair / a.G), hi = (int)((end - 1) / a.G) + 1;
    if (a.pages) append(a, pair, lo, hi, kv_head);

    attention_row row[OWN];
    float maximum[OWN], sum[OWN], sum_v[OWN][CHUNKS];
    q += warp * OWN * a.D;
    weights += warp * OWN * TILE;
    UNROLL
    for (int i = 0; i < OWN; i++) {
        row[i] = row_at(a, pair + warp * OWN + i, kv_head);
        maximum[i] = -INFINITY;
        sum[i] = 0;
        UNROLL
        for (int c = 0; c < CHUNKS; c++) sum_v[i][c] = 0;
        for (int d = lane; d < a.D; d += WARP)
            q[i * a.D + d] = row[i].token < 0 ? 0.0f : a.q[row[i].head * a.D + d] * a.scale;
    }
    for (int n = a.tree.token[lo].first; n < a.tree.nodes; n++) {
        sppo__cuda_node node = a.tree.node[n];
        if (node.begin >= hi) break;
        keys_seen some = seen_by_some(a, node, lo, hi);
        for (int first = some.begin / TILE * TILE; first < some.end; first += TILE) {
            float score[OWN], slope;
            __syncthreads();  // q is there, and the last tile is read
            load_keys<false>(a, node, first, some.end, kv_head, tile);
            __syncthreads();
            products(q, a.D, tile + lane * a.S, a.D, score);
            __syncthreads();
            load_keys<true>(a, node, first, some.end, kv_head, tile);
            keys_seen here[OWN];
            UNROLL
            for (int i = 0; i < OWN; i++) {
                here[i] = within_tile(sees(a, node, row[i].token, row[i].position), first);
                if (here[i].begin >= here[i].end) continue;  // so for the whole warp
                bool seen = lane >= here[i].begin && lane < here[i].end;
                float s = seen ? capped(a, score[i], &slope) : -INFINITY;
                float highest = fmaxf(warp_maximum(s), maximum[i]);
                float shrink = expf(maximum[i] - highest), w = seen ? expf(s - highest) : 0.0f;
                weights[i * TILE + lane] = w;
                sum[i] = sum[i] * shrink + warp_sum(w);
                maximum[i] = highest;
                UNROLL
                for (int c = 0; c < CHUNKS; c++) sum_v[i][c] *= shrink;
            }
            __syncthreads();
            // A value that is not seen is never read.
            UNROLL
            for (int i = 0; i < OWN; i++)
                add_weighted<CHUNKS>(a, weights + i * TILE, tile, here[i].begin, here[i].end,
                                     sum_v[i]);
        }
    }
    UNROLL
    for (int i = 0; i < OWN; i++) {
        if (row[i].token < 0) continue;
        float share = 1.0f / sum[i];
        UNROLL
        for (int c = 0; c < CHUNKS; c++) {
            int d = lane + c * WARP;
            if (d >= a.D) continue;
            float y = sum_v[i][c] * share;
            out[row[i].head * a.D + d] = y;
            if (rounded) rounded[row[i].head * a.D + d] = __float2bfloat16_rn(y);
        }
        if (lane == 0) lse[row[i].head] = maximum[i] + logf(sum[i]);
    }
}

typedef struct forward {
    attention a;
    float *out, *lse;
} forward;

template <int CHUNKS> static void launch(const forward *f, void *rounded) {
    const attention *a = &f->a;
    int64_t blocks = ((int64_t)a->tree.tokens * a->G + ROWS - 1) / ROWS * a->kv_heads;
    LAUNCH(attention_kernel<CHUNKS>, (unsigned)blocks, THREADS, attention_shared(a), *a, f->out,
           f->lse, (__nv_bfloat16 *)rounded);
}

static void launch_later(const void *arguments, void *rounded) {
    const forward *f = (const forward *)arguments;
    FOR_HEAD_SIZE(&f->a, launch, f, rounded);
}

/* in: q, k, v; out: out, lse. */
sppo_status sppo_cuda_attention(sppo__call *c) {
    forward f;
    attention &a = f.a;
    bool done;
    if (!c->in[0]->shape[0]) return SPPO_OK;
    sppo_status st = sppo__cuda_attention_by_parts(c, &done);
    if (st || done) return st;
    st = attention_of(c, &a);
    if (st) return st;
    const sppo_kv *kv = c->at->kv;
    if (kv) {
        a.head_stride = kv->head_stride;
        a.page_stride = kv->page_stride;
        a.pages = (float *)kv->storage->data + c->i[0] * kv->kv_heads * kv->head_stride;
    }
    f.out = sppo__f32(c->out[0]);
    f.lse = sppo__f32(c->out[1]);
    return sppo__cuda_later(c, launch_later, &f, sizeof f);
}
