/* disentangled_attention.cu - DeBERTa's attention, one text after the other: products of all heads
 * by cuBLAS, scores of n tokens against all R rows of the position tables among them, and kernels
 * between them.
 *
 *     S[i, j] = c2p[i, row(i - j)] + p2c[j, row(i - j)] + scale q_i . k_j
 *     dc2p[i, c] = sum of dS[i, j] over the keys j at row c from i, and dp2c[j, c] over the queries
 *
 * (cpu/disentangled_attention_backward.c has the gradients.) row() does not fall as i - j grows: the
 * positions of a row of the tables are a range of i - j.
 *
 * softmax, dscore   grid: tokens times heads, block 128. 16 n bytes a row, backward 24, and as many
 *                   single values of c2p and p2c. Limit: memory
 * spread            one thread a value of dc2p or dp2c; each dS is read once. Limit: memory
 * Works in 4 heads n (n + 2 R) bytes of the longest text, backward in 4 heads n 2 (n + R). */

#include "cuda/kernel.h"

extern "C" {
#include "ops/workspace.h"
}

typedef struct disentangled {
    const char *op;
    int64_t heads, D, R, longest;
    float scale;
    const float *q, *k, *v, *rel_k, *rel_q;
    const int32_t *row;    // table row of i - j at i - j + longest - 1
    const int32_t *first;  // [R + 1]: where a table row begins in `row`
    sppo__storage *memory;
    float *score, *dscore;  // [heads, n, n]
    float *c2p, *p2c;       // [heads, n, R]
    // the text
    int64_t start, n;
} disentangled;

/* `row` and `first` as the kernels want them. */
static sppo_status send_rows(disentangled *d, const sppo__call *c) {
    int64_t count = 2 * d->longest - 1;
    size_t bytes = (size_t)(count + d->R + 1) * sizeof(int32_t);
    int32_t *values = (int32_t *)malloc(bytes), *first = values + count;
    if (!values) return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, d->op, 0.0, 0.0, "");
    for (int64_t t = 0; t < count; t++) values[t] = sppo__disentangled_row(c, t - (d->longest - 1));
    for (int64_t r = 0, t = 0; r <= d->R; r++) {
        while (t < count && values[t] < r) t++;
        first[r] = (int32_t)t;
    }
    sppo_status st = sppo__cuda_ints(d->op, values, count + d->R + 1, &d->row);
    d->first = d->row + count;
    free(values);
    return st;
}

/* The caller releases d->memory. */
static sppo_status begin(disentangled *d, const sppo__call *c, bool backward) {
    *d = disentangled{};
    d->op = sppo__op_name(c->op);
    d->heads = c->in[0]->shape[1];
    d->D = c->in[0]->shape[2];
    d->R = c->in[3]->shape[0];
    d->longest = sppo__disentangled_sizes(c).longest;
    d->scale = c->f[0];
    const float **in[] = {&d->q, &d->k, &d->v, &d->rel_k, &d->rel_q};
    for (int i = 0; i < 5; i++) *in[i] = sppo__f32(c->in[i]);
    if (!d->longest) return SPPO_OK;
    sppo_status st = send_rows(d, c);
    int64_t pairs = d->heads * d->longest * d->longest, places = d->heads * d->longest * d->R;
    int64_t floats = pairs * (backward ? 2 : 1) + 2 * places;
    if (!st) st = sppo__work_new(&d->memory, SPPO_DEVICE_CUDA, floats * 4, false, d->op);
    if (st) return st;
    d->score = (float *)d->memory->data;
    d->c2p = d->score + pairs;
    d->p2c = d->c2p + places;
    d->dscore = d->p2c + places;
    return SPPO_OK;
}

/* Rows of the text in a [.., heads, D] tensor. */
static const float *rows_of(const disentangled *d, const float *x) {
    return x + d->start * d->heads * d->D;
}

/* C [n, columns] of each head = scale A B': A the text's rows, B `columns` rows like these. */
static sppo_status scores(const disentangled *d, const float *A, const float *B, int64_t columns,
                          float scale, float *C) {
    sppo__cuda_heads p = {};
    p.turn_b = true;
    p.scale = scale;
    p.M = d->n;
    p.N = columns;
    p.K = d->D;
    p.heads = d->heads;
    p.A = A;
    p.B = B;
    p.C = C;
    p.row_a = p.row_b = d->heads * d->D;
    p.head_a = p.head_b = d->D;
    p.row_c = columns;
    p.head_c = d->n * columns;
    return sppo__cuda_gemm_heads(d->op, &p);
}

/* C = scale A B + (add ? C : 0) for each head: A [rows, depth] of `columns` a row, or if `turn`
 * [depth, rows]; B and C rows of [.., heads, D] tensors. */
static sppo_status apply(const disentangled *d, const float *A, bool turn, int64_t rows,
                         int64_t depth, const float *B, float scale, bool add, float *C) {
    sppo__cuda_heads p = {};
    p.turn_a = turn;
    p.add = add;
    p.scale = scale;
    p.M = rows;
    p.N = d->D;
    p.K = depth;
    p.heads = d->heads;
    p.A = A;
    p.B = B;
    p.C = C;
    p.row_a = turn ? rows : depth;
    p.head_a = rows * depth;
    p.row_b = p.row_c = d->heads * d->D;
    p.head_b = p.head_c = d->D;
    return sppo__cuda_gemm_heads(d->op, &p);
}

/* The score of query i and key j of a head, from its products. */
static __device__ inline float whole_score(const disentangled &d, int64_t head, int64_t i,
                                           int64_t j) {
    int64_t row = d.row[i - j + d.longest - 1];
    return d.score[(head * d.n + i) * d.n + j] + d.c2p[(head * d.n + i) * d.R + row] +
           d.p2c[(head * d.n + j) * d.R + row];
}

/* Block: a query of a head, whose scores become weights. A score is made thrice by its own thread,
 * which replaces it last. */
static __global__ void softmax_kernel(disentangled d, float *lse) {
    __shared__ float tops[WARP], parts[WARP];
    int64_t head = blockIdx.x / d.n, i = blockIdx.x % d.n;
    float top = -INFINITY, sum = 0;
    for (int64_t j = threadIdx.x; j < d.n; j += THREADS)
        top = fmaxf(top, whole_score(d, head, i, j));
    top = block_maximum(top, tops);
    for (int64_t j = threadIdx.x; j < d.n; j += THREADS)
        sum += expf(whole_score(d, head, i, j) - top);
    sum = block_sum(sum, parts);
    float share = 1.0f / sum;
    for (int64_t j = threadIdx.x; j < d.n; j += THREADS)
        d.score[(head * d.n + i) * d.n + j] = expf(whole_score(d, head, i, j) - top) * share;
    if (threadIdx.x == 0) lse[(d.start + i) * d.heads + head] = top + logf(sum);
}

/* The products that scores are made of. */
static sppo_status position_scores(const disentangled *d) {
    sppo_status st = scores(d, rows_of(d, d->q), d->rel_k, d->R, d->scale, d->c2p);
    if (!st) st = scores(d, rows_of(d, d->k), d->rel_q, d->R, d->scale, d->p2c);
    if (!st) st = scores(d, rows_of(d, d->q), rows_of(d, d->k), d->n, d->scale, d->score);
    return st;
}

/* Calls visit for each text that has tokens. */
template <typename Visit>
static sppo_status each_text(disentangled *d, const sppo_segments *at, Visit visit) {
    sppo_status st = SPPO_OK;
    for (int i = 0; i < at->count && !st; i++) {
        d->start = at->segment[i].start;
        d->n = at->segment[i].count;
        if (d->n) st = visit();
    }
    return st;
}

/* in: q, k, v, rel_k, rel_q; out: out, lse. */
sppo_status sppo_cuda_disentangled_attention(sppo__call *c) {
    disentangled d;
    float *out = sppo__f32(c->out[0]), *lse = sppo__f32(c->out[1]);
    sppo_status st = begin(&d, c, false);
    if (!st)
        st = each_text(&d, c->at, [&] {
            sppo_status text = position_scores(&d);
            if (text) return text;
            LAUNCH(softmax_kernel, (unsigned)(d.n * d.heads), THREADS, 0, d, lse);
            text = sppo__cuda_launched(c);
            if (text) return text;
            return apply(&d, d.score, false, d.n, d.n, rows_of(&d, d.v), 1, false,
                         out + d.start * d.heads * d.D);
        });
    sppo__storage_release(d.memory);
    return st;
}

/* Block: a query of a head. Scores become P, and dO V^T becomes dS. */
static __global__ void dscore_kernel(disentangled d, const float *out, const float *lse,
                                     const float *dout) {
    __shared__ float parts[WARP];
    int64_t head = blockIdx.x / d.n, i = blockIdx.x % d.n;
    int64_t at = (d.start + i) * d.heads + head;
    float delta = 0;
    for (int64_t k = threadIdx.x; k < d.D; k += THREADS)
        delta += dout[at * d.D + k] * out[at * d.D + k];
    delta = block_sum(delta, parts);
    for (int64_t j = threadIdx.x; j < d.n; j += THREADS) {
        int64_t pair = (head * d.n + i) * d.n + j;
        float p = expf(whole_score(d, head, i, j) - lse[at]);
        d.score[pair] = p;
        d.dscore[pair] = p * (d.dscore[pair] - delta);
    }
}

/* dc2p, or if `keys` dp2c: [heads, n, R]. */
template <bool keys> static __global__ void spread_kernel(disentangled d, float *out) {
    int64_t place = thread_value();
    if (place >= d.heads * d.n * d.R) return;
    int64_t c = place % d.R, token = place / d.R % d.n, head = place / d.R / d.n;
    const float *dscore = d.dscore + head * d.n * d.n;
    float sum = 0;
    for (int64_t t = d.first[c]; t < d.first[c + 1]; t++) {
        int64_t distance = t - (d.longest - 1);  // query - key
        int64_t other = keys ? token + distance : token - distance;
        if (other < 0 || other >= d.n) continue;
        sum += keys ? dscore[other * d.n + token] : dscore[token * d.n + other];
    }
    out[place] = sum;
}

typedef struct gradients {
    const float *out, *lse, *dout;
    float *of[5];  // dq, dk, dv, drel_k, drel_q; NULL where not wanted
} gradients;

/* What one text adds to the gradients. */
static sppo_status add_text(const sppo__call *c, const disentangled *d, const gradients *g) {
    int64_t skip = d->start * d->heads * d->D, n = d->n, R = d->R;
    const float *q = d->q + skip, *k = d->k + skip, *dout = g->dout + skip;
    float *dq = g->of[0], *dk = g->of[1], *dv = g->of[2], *drel_k = g->of[3], *drel_q = g->of[4];
    sppo_status st = position_scores(d);
    if (!st) st = scores(d, dout, d->v + skip, n, 1, d->dscore);
    if (st) return st;
    LAUNCH(dscore_kernel, (unsigned)(n * d->heads), THREADS, 0, *d, g->out, g->lse, g->dout);
    LAUNCH(spread_kernel<false>, blocks_for(d->heads * n * R), THREADS, 0, *d, d->c2p);
    LAUNCH(spread_kernel<true>, blocks_for(d->heads * n * R), THREADS, 0, *d, d->p2c);
    st = sppo__cuda_launched(c);
    if (!st && dv) st = apply(d, d->score, true, n, n, dout, 1, true, dv + skip);
    if (!st && dq) st = apply(d, d->dscore, false, n, n, k, d->scale, true, dq + skip);
    if (!st && dq) st = apply(d, d->c2p, false, n, R, d->rel_k, d->scale, true, dq + skip);
    if (!st && dk) st = apply(d, d->dscore, true, n, n, q, d->scale, true, dk + skip);
    if (!st && dk) st = apply(d, d->p2c, false, n, R, d->rel_q, d->scale, true, dk + skip);
    if (!st && drel_k) st = apply(d, d->c2p, true, R, n, q, d->scale, true, drel_k);
    if (!st && drel_q) st = apply(d, d->p2c, true, R, n, k, d->scale, true, drel_q);
    return st;
}

/* in: q, k, v, rel_k, rel_q, out, lse, dout; out: dq, dk, dv, drel_k, drel_q. */
sppo_status sppo_cuda_disentangled_attention_backward(sppo__call *c) {
    disentangled d;
    gradients g = {};
    g.out = sppo__f32(c->in[5]);
    g.lse = sppo__f32(c->in[6]);
    g.dout = sppo__f32(c->in[7]);
    for (int i = 0; i < 5; i++)
        if (c->out[i]) g.of[i] = sppo__f32(c->out[i]);
    sppo_status st = begin(&d, c, true);
    if (!st) st = each_text(&d, c->at, [&] { return add_text(c, &d, &g); });
    sppo__storage_release(d.memory);
    return st;
}
