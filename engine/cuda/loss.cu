/* loss.cu - log-probs of given tokens: output projection, log-softmax and gather over groups of the
 * vocabulary, and its gradients. No [n, V] is made: logits of one group stay in the L2 cache.
 *
 * token_logprob            a product (matmul.cu) makes a group's logits; then one block for each
 *                          row and 1,024 of them, which reads them two to three times; then one warp
 *                          a row
 * token_logprob_backward   the logits again; one thread each makes its gradient of it; cuBLAS adds
 *                          the group to dhidden and writes its part of dweight
 * Limit: the products. bf16 weights: hidden (of more than 8 rows), and the logits' gradients, are
 * rounded to bf16. q8_0: no backward. */

#include "cuda/lse.h"

typedef struct head {
    const sppo__call *c;
    int64_t n, D, V, chunks;
    sppo_dtype dtype;
    const char *weight;
    const float *hidden;
    const char *rounded_hidden;  // in bf16, where products want it
    const int32_t *target;
    float cap;                     // 0: logits as they are
    int64_t row, rows;             // of the group
    int64_t first, count, pieces;  // of the vocabulary; chunks of it
    float *logits;                 // [rows, count]
    sppo__storage *rounded, *memory;
} head;

/* To be followed by end. */
static sppo_status begin(head *h, const sppo__call *c, bool backward) {
    const sppo_tensor *hidden = c->in[0], *weight = c->in[1];
    *h = head{};
    h->c = c;
    h->n = hidden->shape[0];
    h->D = hidden->shape[1];
    h->V = weight->shape[0];
    h->chunks = lse_chunks(h->V);
    h->dtype = weight->dtype;
    h->weight = (const char *)sppo__raw(weight);
    h->target = sppo__i32(c->in[2]);
    h->cap = c->f[0];
    h->rows = at_most(h->n, HEAD_GROUP_ROWS);
    h->pieces = head_group_chunks(h->rows, h->chunks);
    h->hidden = sppo__f32(hidden);
    sppo_status st = sppo__cuda_check_weight(c, weight, backward);
    if (!st && sppo__cuda_wants_rounded(h->dtype, h->n)) {
        const void *rounded;
        st = sppo__cuda_round(c, h->hidden, h->n * h->D, SPPO_DTYPE_BF16, &h->rounded, &rounded);
        h->rounded_hidden = (const char *)rounded;
    }
    if (!st)
        st = sppo__work_new(&h->memory, SPPO_DEVICE_CUDA, h->rows * h->pieces * LSE_CHUNK * 4,
                               false, sppo__op_name(c->op));
    if (!st) h->logits = (float *)h->memory->data;
    return st;
}

static void end(head *h) {
    sppo__storage_release(h->memory);
    sppo__storage_release(h->rounded);
}

static const void *weight_of(const head *h) {
    return h->weight + h->first * sppo__dtype_bytes(h->dtype, h->D);
}

/* Calls visit for each group of at most h->rows rows and h->pieces chunks, whose logits are made. */
template <typename Visit> static sppo_status each_group(head *h, Visit visit) {
    int64_t rows = h->rows, pieces = h->pieces;
    bool rounded = h->rounded_hidden != NULL;
    sppo_status st = SPPO_OK;
    for (h->row = 0; h->row < h->n && !st; h->row += rows) {
        h->rows = at_most(h->n - h->row, rows);
        for (h->first = 0; h->first < h->V && !st; h->first += pieces * LSE_CHUNK) {
            int64_t left = h->V - h->first;
            h->count = at_most(left, pieces * LSE_CHUNK);
            h->pieces = lse_chunks(h->count);
            sppo__cuda_multiply_call m = {};
            m.x = h->hidden + h->row * h->D;
            m.rounded = rounded ? h->rounded_hidden + h->row * h->D * 2 : NULL;
            m.R = h->rows;
            m.K = h->D;
            m.dtype = h->dtype;
            m.count = 1;
            m.weight[0] = weight_of(h);
            m.y[0] = h->logits;
            m.N[0] = h->count;
            st = sppo__cuda_multiply(h->c, &m);
            if (!st) st = visit();
        }
    }
    return st;
}

/* Block: row blockIdx.x / pieces of the group, and a part of it. */
static __global__ void part_kernel(head h, lse_part *part, float *picked) {
    int64_t row = blockIdx.x / h.pieces, piece = blockIdx.x % h.pieces, from = piece * LSE_CHUNK;
    int count = (int)(at_most(h.count - from, LSE_CHUNK));
    float *x = h.logits + row * h.count + from;
    int64_t target = h.target[h.row + row] - h.first - from;
    for (int i = (int)threadIdx.x; i < count; i += THREADS) {
        if (h.cap > 0) x[i] = h.cap * tanhf(x[i] / h.cap);
        if (i == target) picked[h.row + row] = x[i];
    }
    lse_of_part(part + (h.row + row) * h.chunks + h.first / LSE_CHUNK + piece, x, count);
}

/* Warp: a row. */
static __global__ void finish_kernel(float *picked, float *lse, const lse_part *part,
                                     int64_t chunks, int64_t n) {
    int64_t row = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (row >= n) return;  // so for the whole warp
    float maximum, of_row = lse_of_parts(part + row * chunks, chunks, &maximum);
    if (threadIdx.x % WARP != 0) return;
    lse[row] = of_row;
    picked[row] -= of_row;
}

static unsigned warps_for(int64_t rows) {
    return (unsigned)((rows + THREADS / WARP - 1) / (THREADS / WARP));
}

/* in: hidden, weight, target; out: logprob, lse. */
sppo_status sppo_cuda_token_logprob(sppo__call *c) {
    head h;
    if (!c->in[0]->shape[0]) return SPPO_OK;
    sppo__storage *parts = NULL;
    sppo_status st = begin(&h, c, false);
    if (!st)
        st = sppo__work_new(&parts, SPPO_DEVICE_CUDA, h.n * h.chunks * (int64_t)sizeof(lse_part),
                               false, "token_logprob");
    if (!st) {
        lse_part *part = (lse_part *)parts->data;
        st = each_group(&h, [&] {
            LAUNCH(part_kernel, (unsigned)(h.rows * h.pieces), THREADS, 0, h, part,
                   sppo__f32(c->out[0]));
            return sppo__cuda_launched(c);
        });
        if (!st)
            LAUNCH(finish_kernel, warps_for(h.n), THREADS, 0, sppo__f32(c->out[0]),
                   sppo__f32(c->out[1]), part, h.chunks, h.n);
        if (!st) st = sppo__cuda_launched(c);
    }
    sppo__storage_release(parts);
    end(&h);
    return st;
}

/* Logits become gradients: -dout softmax(logits), dout more at the target. */
static __global__ void dlogits_kernel(head h, const float *lse, const float *dout) {
    int64_t i = thread_value();
    if (i >= h.rows * h.count) return;
    int64_t row = h.row + i / h.count;
    float x = h.logits[i], slope = 1, g = dout[row];
    if (h.cap > 0) {
        float t = tanhf(x / h.cap);
        x = h.cap * t;
        slope = 1.0f - t * t;
    }
    bool chosen = h.target[row] == h.first + i % h.count;
    h.logits[i] = ((chosen ? g : 0.0f) - g * expf(x - lse[row])) * slope;
}

/* What a group's gradients of logits add to dhidden, by its weights as they are. */
static sppo_status add_dhidden(const head *h, float *dhidden) {
    sppo__storage *rounded = NULL;
    sppo__cuda_product p = {};
    p.dtype = h->dtype;
    p.add = true;
    p.M = h->rows;
    p.N = h->D;
    p.K = h->count;
    p.B = weight_of(h);
    p.C = dhidden + h->row * h->D;
    sppo_status st =
        sppo__cuda_round(h->c, h->logits, h->rows * h->count, h->dtype, &rounded, &p.A);
    if (!st) st = sppo__cuda_gemm(sppo__op_name(h->c->op), &p);
    sppo__storage_release(rounded);
    return st;
}

static sppo_status add_dweight(const head *h, float *dweight) {
    sppo__cuda_product p = {};
    p.dtype = SPPO_DTYPE_F32;
    p.turn_a = p.add = true;
    p.M = h->count;
    p.N = h->D;
    p.K = h->rows;
    p.A = h->logits;
    p.B = sppo__f32(h->c->in[0]) + h->row * h->D;
    p.C = dweight + h->first * h->D;
    return sppo__cuda_gemm(sppo__op_name(h->c->op), &p);
}

/* in: hidden, weight, target, lse, dout; out: dhidden, dweight. */
sppo_status sppo_cuda_token_logprob_backward(sppo__call *c) {
    head h;
    if (!c->in[0]->shape[0] || !c->in[0]->shape[1] || (!c->out[0] && !c->out[1])) return SPPO_OK;
    sppo_status st = begin(&h, c, true);
    if (!st)
        st = each_group(&h, [&] {
            LAUNCH(dlogits_kernel, blocks_for(h.rows * h.count), THREADS, 0, h, sppo__f32(c->in[3]),
                   sppo__f32(c->in[4]));
            sppo_status group = sppo__cuda_launched(c);
            if (!group && c->out[0]) group = add_dhidden(&h, sppo__f32(c->out[0]));
            if (!group && c->out[1]) group = add_dweight(&h, sppo__f32(c->out[1]));
            return group;
        });
    end(&h);
    return st;
}
