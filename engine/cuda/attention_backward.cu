/* attention_backward.cu - gradients of attention, from the output and its log-sum-exp.
 *
 *     P = exp(S - lse)    dS = P * (dO V^T - sum(dO * O))
 *     dV = P^T dO         dK = dS^T Q                          dQ = dS K
 *
 * (cpu/attention_backward.c has the softcap.) Scores are made twice, so that each gradient is added
 * up by one block, in one order.
 *
 * delta   one warp a row: sum(dO * O)
 * dq      grid and shared memory of the forward kernel; 6 D operations a pair of row and key
 * dkv     grid: tiles of 8 keys times kv heads; a block goes over the rows that see its keys, 32 at
 *         a time. 8 D operations a pair. A prompt that many answers share is one block's for each 8
 *         of its keys, whatever the number of answers. Limit of both: shared memory, f32 units */

#include "cuda/attention.h"
#include "cuda/attention_parts.h"

typedef struct gradients {
    const float *dout, *lse, *delta;
    float *dq, *dk, *dv;  // NULL where not wanted
} gradients;

static __global__ void delta_kernel(float *delta, const float *out, const float *dout, int64_t rows,
                                    int D) {
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP;
    if (row >= rows) return;  // so for the whole warp
    float sum = 0;
    for (int d = (int)threadIdx.x % WARP; d < D; d += WARP)
        sum += dout[row * D + d] * out[row * D + d];
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) delta[row] = sum;
}

template <int CHUNKS> static __global__ void dq_kernel(attention a, gradients g) {
    DYNAMIC_SHARED(float, shared);
    float *q = shared, *tile = q + ROWS * a.D, *weights = tile + TILE * a.S;
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int kv_head = (int)(blockIdx.x % (unsigned)a.kv_heads);
    int64_t pair = (int64_t)(blockIdx.x / (unsigned)a.kv_heads) * ROWS, end = pair + ROWS;
    if (end > (int64_t)a.tree.tokens * a.G) end = (int64_t)a.tree.tokens * a.G;
    int lo = (int)(pair / a.G), hi = (int)((end - 1) / a.G) + 1;

    attention_row row[OWN];
    float total[OWN][CHUNKS];
    q += warp * OWN * a.D;
    weights += warp * OWN * TILE;
    UNROLL
    for (int i = 0; i < OWN; i++) {
        row[i] = row_at(a, pair + warp * OWN + i, kv_head);
        UNROLL
        for (int c = 0; c < CHUNKS; c++) total[i][c] = 0;
        for (int d = lane; d < a.D; d += WARP)
            q[i * a.D + d] = row[i].token < 0 ? 0.0f : a.q[row[i].head * a.D + d] * a.scale;
    }
    for (int n = a.tree.token[lo].first; n < a.tree.nodes; n++) {
        sppo__cuda_node node = a.tree.node[n];
        if (node.begin >= hi) break;
        keys_seen some = seen_by_some(a, node, lo, hi);
        for (int first = some.begin / TILE * TILE; first < some.end; first += TILE) {
            float score[OWN], dweight[OWN], slope;
            __syncthreads();  // q is there, and the last tile is read
            load_keys<true>(a, node, first, some.end, kv_head, tile);
            __syncthreads();
            UNROLL
            for (int i = 0; i < OWN; i++) {
                dweight[i] = 0;
                const float *dout = g.dout + row[i].head * a.D;
                for (int d = 0; d < a.D; d++) dweight[i] += dout[d] * tile[lane * a.S + d];
            }
            __syncthreads();
            load_keys<false>(a, node, first, some.end, kv_head, tile);
            __syncthreads();
            products(q, a.D, tile + lane * a.S, a.D, score);
            UNROLL
            for (int i = 0; i < OWN; i++) {
                keys_seen here = within_tile(sees(a, node, row[i].token, row[i].position), first);
                if (here.begin >= here.end) continue;  // so for the whole warp
                float w = expf(capped(a, score[i], &slope) - g.lse[row[i].head]);
                weights[i * TILE + lane] = w * (dweight[i] - g.delta[row[i].head]) * slope;
                __syncwarp();
                add_weighted<CHUNKS>(a, weights + i * TILE, tile, here.begin, here.end, total[i]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < OWN; i++) UNROLL
    for (int c = 0; c < CHUNKS && row[i].token >= 0; c++) {
        int d = lane + c * WARP;
        if (d < a.D) g.dq[row[i].head * a.D + d] += total[i][c] * a.scale;
    }
}

/* The block copies rows first .. of x, which is like q, into the tile, times `factor`; zeros from
 * `end` on. */
static __device__ inline void load_rows(const attention &a, const float *x, int64_t first,
                                        int64_t end, int kv_head, float factor, float *tile) {
    int lane = (int)threadIdx.x % WARP;
    for (int j = (int)threadIdx.x / WARP; j < TILE; j += WARPS) {
        bool there = first + j < end;
        const float *from = there ? x + row_at(a, first + j, kv_head).head * a.D : NULL;
        for (int d = lane; d < a.D; d += WARP) tile[j * a.S + d] = from ? from[d] * factor : 0.0f;
    }
}

template <int CHUNKS> static __global__ void dkv_kernel(attention a, gradients g) {
    DYNAMIC_SHARED(float, shared);
    float *keys = shared, *tile = keys + ROWS * a.D, *weights = tile + TILE * a.S;
    float *dweights = weights + ROWS * TILE;
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int kv_head = (int)(blockIdx.x % (unsigned)a.kv_heads);
    sppo__cuda_tile own = a.tree.tile[blockIdx.x / (unsigned)a.kv_heads];
    sppo__cuda_node node = a.tree.node[own.node];
    int last = own.key + ROWS < node.count ? own.key + ROWS : node.count;

    int key[OWN];  // the node's last one again past its end, which no row then sees
    const float *value[OWN];
    float dk[OWN][CHUNKS], dv[OWN][CHUNKS];
    keys += warp * OWN * a.D;
    weights += warp * OWN * TILE;
    dweights += warp * OWN * TILE;
    UNROLL
    for (int i = 0; i < OWN; i++) {
        key[i] = own.key + warp * OWN + i;
        int there = key[i] < last ? key[i] : last - 1;
        const float *from = stored<false>(a, node, there, kv_head);
        value[i] = stored<true>(a, node, there, kv_head);
        for (int d = lane; d < a.D; d += WARP) keys[i * a.D + d] = from[d];
        UNROLL
        for (int c = 0; c < CHUNKS; c++) dk[i][c] = dv[i][c] = 0;
    }
    int64_t pair = (int64_t)(node.begin + (a.causal ? own.key : 0)) * a.G;
    int64_t end = (int64_t)node.end * a.G;
    for (; pair < end; pair += TILE) {
        attention_row row = {-1, 0, 0};
        keys_seen seen = {0, 0};
        if (pair + lane < end) {
            row = row_at(a, pair + lane, kv_head);
            seen = sees(a, node, row.token, row.position);
        }
        // The same in each warp: so for the whole block.
        if (!__ballot_sync(ALL_LANES, seen.begin < last && seen.end > own.key)) continue;
        float score[OWN], slope[OWN], dweight[OWN];
        __syncthreads();  // the keys are there, and the last tile is read
        load_rows(a, a.q, pair, end, kv_head, a.scale, tile);
        __syncthreads();
        products(keys, a.D, tile + lane * a.S, a.D, score);
        __syncthreads();
        load_rows(a, g.dout, pair, end, kv_head, 1, tile);
        __syncthreads();
        UNROLL
        for (int i = 0; i < OWN; i++) {
            dweight[i] = 0;
            for (int d = 0; d < a.D; d++) dweight[i] += value[i][d] * tile[lane * a.S + d];
        }
        UNROLL
        for (int i = 0; i < OWN; i++) {
            bool here = key[i] >= seen.begin && key[i] < seen.end && key[i] < last;
            float s = capped(a, score[i], &slope[i]);
            float w = here ? expf(s - g.lse[row.head]) : 0.0f;
            weights[i * TILE + lane] = w;
            dweights[i * TILE + lane] =
                here ? w * (dweight[i] - g.delta[row.head]) * slope[i] : 0.0f;
        }
        __syncwarp();
        UNROLL
        for (int i = 0; i < OWN; i++)
            add_weighted<CHUNKS>(a, weights + i * TILE, tile, 0, TILE, dv[i]);
        if (!g.dk) continue;
        __syncthreads();
        load_rows(a, a.q, pair, end, kv_head, a.scale, tile);
        __syncthreads();
        UNROLL
        for (int i = 0; i < OWN; i++)
            add_weighted<CHUNKS>(a, dweights + i * TILE, tile, 0, TILE, dk[i]);
    }
    UNROLL
    for (int i = 0; i < OWN; i++) UNROLL
    for (int c = 0; c < CHUNKS && key[i] < last; c++) {
        int d = lane + c * WARP;
        int64_t at = ((int64_t)(node.start + key[i]) * a.kv_heads + kv_head) * a.D + d;
        if (d < a.D && g.dk) g.dk[at] += dk[i][c];
        if (d < a.D && g.dv) g.dv[at] += dv[i][c];
    }
}

template <int CHUNKS> static void launch(const attention *a, const gradients *g) {
    int64_t rows = ((int64_t)a->tree.tokens * a->G + ROWS - 1) / ROWS * a->kv_heads;
    int64_t keys = (int64_t)a->tree.tiles * a->kv_heads;
    if (g->dq) LAUNCH(dq_kernel<CHUNKS>, (unsigned)rows, THREADS, attention_shared(a), *a, *g);
    if (g->dk || g->dv)
        LAUNCH(dkv_kernel<CHUNKS>, (unsigned)keys, THREADS, attention_shared(a), *a, *g);
}

/* in: q, k, v, out, lse, dout; out: dq, dk, dv. */
sppo_status sppo_cuda_attention_backward(sppo__call *c) {
    attention a;
    int64_t tokens = c->in[0]->shape[0];
    bool done;
    if (!tokens) return SPPO_OK;
    sppo_status st = sppo__cuda_attention_backward_by_parts(c, &done);
    if (st || done) return st;
    st = attention_of(c, &a);
    if (st) return st;
    sppo__storage *memory;
    int64_t rows = tokens * a.heads;
    st = sppo__work_new(&memory, SPPO_DEVICE_CUDA, rows * 4, false, sppo__op_name(c->op));
    if (st) return st;
    gradients g = {};
    g.dout = sppo__f32(c->in[5]);
    g.lse = sppo__f32(c->in[4]);
    g.delta = (float *)memory->data;
    float **out[] = {&g.dq, &g.dk, &g.dv};
    for (int i = 0; i < 3; i++)
        if (c->out[i]) *out[i] = sppo__f32(c->out[i]);
    LAUNCH(delta_kernel, (unsigned)((rows + WARPS - 1) / WARPS), THREADS, 0, (float *)memory->data,
           sppo__f32(c->in[3]), g.dout, rows, a.D);
    FOR_HEAD_SIZE(&a, launch, &a, &g);
    st = sppo__cuda_launched(c);
    sppo__storage_release(memory);
    return st;
}
