/* matmul.cu - products with weights, by cuBLAS (gemm.c) or for few rows few_rows.cu, and biases.
 *
 * linear              f32 weights: f32 products. bf16 and q8_0 weights: x is rounded to bf16 first,
 *                     sums are f32; q8_0 becomes bf16. Up to 8 rows of bf16 (64 of q8_0): our own
 *                     kernel, one launch for all weights, x stays f32. 2 R N K operations. Limit:
 *                     tensor cores, or memory below about 300 rows
 * linear_backward     the same for dx and for the gradient of each f32 weight; dy is rounded too;
 *                     always cuBLAS, not q8_0
 * add_bias            one thread a value. Moves 8 bytes a value. Limit: memory
 * add_bias_backward   grid ceil(N / 32), block 32 x 4. Reads 4 bytes a value. Limit: memory */

#include "cuda/kernel.h"
#include "ops/workspace.h"

enum { WEIGHTS = 4 };

sppo_status sppo__cuda_round(const sppo__call *c, const void *x, int64_t count, sppo_dtype dtype,
                             sppo__storage **memory, const void **out) {
    *out = x;
    if (dtype == SPPO_DTYPE_F32) return SPPO_OK;
    if (!*memory) {
        sppo_status st =
            sppo__work_new(memory, SPPO_DEVICE_CUDA, count * 2, false, sppo__op_name(c->op));
        if (st) return st;
        if (sppo__cuda_rounds(x, count, (*memory)->data)) st = sppo__cuda_launched(c);
        else st = sppo__cuda_convert(c, x, SPPO_DTYPE_F32, (*memory)->data, dtype, count, count);
        if (st) return st;
    }
    *out = (*memory)->data;
    return SPPO_OK;
}

sppo_status sppo__cuda_check_weight(const sppo__call *c, const sppo_tensor *w, bool backward) {
    bool q8 = w->dtype == SPPO_DTYPE_Q8_0 && !backward;
    if (w->dtype == SPPO_DTYPE_F32 || w->dtype == SPPO_DTYPE_BF16 || q8) return SPPO_OK;
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_WEIGHT, sppo__op_name(c->op),
                      sppo__dtype_name(w->dtype));
}

bool sppo__cuda_wants_rounded(sppo_dtype dtype, int64_t R) {
    return dtype != SPPO_DTYPE_F32 && !cuda_few_rows(dtype, R);
}

/* y = x W' for weight i in q8_0: some of its rows at a time become bf16. */
static sppo_status multiply_unpacked(const sppo__call *c, const sppo__cuda_multiply_call *m,
                                     int i) {
    int64_t rows = cuda_unpacked_rows(m->K), N = m->N[i];
    int64_t row_bytes = sppo__dtype_bytes(SPPO_DTYPE_Q8_0, m->K);
    if (rows > N) rows = N;
    sppo__storage *memory;
    sppo_status st = sppo__work_new(&memory, SPPO_DEVICE_CUDA, rows * m->K * 2, false,
                                       sppo__op_name(c->op));
    if (st) return st;
    for (int64_t first = 0; first < N && !st; first += rows) {
        int64_t some = N - first < rows ? N - first : rows;
        const char *w = (const char *)m->weight[i] + first * row_bytes;
        st = sppo__cuda_convert(c, w, SPPO_DTYPE_Q8_0, memory->data, SPPO_DTYPE_BF16, some * m->K,
                                some * m->K);
        sppo__cuda_product p = {};
        p.dtype = SPPO_DTYPE_BF16;
        p.turn_b = true;
        p.M = m->R;
        p.N = some;
        p.K = m->K;
        p.A = m->rounded;
        p.B = memory->data;
        p.C = m->y[i] + first;
        p.row_c = N;
        if (!st) st = sppo__cuda_gemm(sppo__op_name(c->op), &p);
    }
    sppo__storage_release(memory);
    return st;
}

sppo_status sppo__cuda_multiply(const sppo__call *c, const sppo__cuda_multiply_call *m) {
    if (cuda_few_rows(m->dtype, m->R)) return sppo__cuda_few_rows(c, m);
    sppo_status st = SPPO_OK;
    for (int i = 0; i < m->count && !st; i++) {
        if (m->dtype == SPPO_DTYPE_Q8_0) {
            st = multiply_unpacked(c, m, i);
            continue;
        }
        sppo__cuda_product p = {};
        p.dtype = m->dtype;
        p.turn_b = true;
        p.M = m->R;
        p.N = m->N[i];
        p.K = m->K;
        p.A = m->dtype == SPPO_DTYPE_BF16 ? m->rounded : m->x;
        p.B = m->weight[i];
        p.C = m->y[i];
        st = sppo__cuda_gemm(sppo__op_name(c->op), &p);
    }
    return st;
}

/* Rows of x in the dtype of the weight that they meet: x itself, or a rounded copy that is made
 * once for all weights. */
typedef struct rounded {
    const sppo_tensor *x;
    sppo__storage *memory;
} rounded;

static sppo_status rows_for(const sppo__call *c, rounded *r, sppo_dtype dtype, const void **out) {
    return sppo__cuda_round(c, sppo__raw(r->x), sppo_tensor_count(r->x), dtype, &r->memory, out);
}

/* in: x [R, K], weights [N_i, K]; out: y_i [R, N_i] = x W_i'. Neighbours of one dtype go
 * together. */
sppo_status sppo_cuda_linear(sppo__call *c) {
    rounded x = {c->in[0], NULL};
    sppo_status st = SPPO_OK;
    for (int i = 1; i < c->n_in && !st;) {
        sppo__cuda_multiply_call m = {};
        m.x = sppo__f32(x.x);
        m.R = sppo__rows(x.x);
        m.K = sppo__columns(x.x);
        m.dtype = c->in[i]->dtype;
        for (; i < c->n_in && c->in[i]->dtype == m.dtype; i++, m.count++) {
            m.weight[m.count] = sppo__raw(c->in[i]);
            m.N[m.count] = c->in[i]->shape[0];
            m.y[m.count] = sppo__f32(c->out[i - 1]);
        }
        st = sppo__cuda_check_weight(c, c->in[i - 1], false);
        if (!st && sppo__cuda_wants_rounded(m.dtype, m.R))
            st = rows_for(c, &x, SPPO_DTYPE_BF16, &m.rounded);
        if (!st) st = sppo__cuda_multiply(c, &m);
    }
    sppo__storage_release(x.memory);
    return st;
}

/* dx += dy W */
static sppo_status add_dx(const sppo__call *c, const sppo_tensor *w, rounded *dy) {
    sppo__cuda_product p = {};
    p.dtype = w->dtype;
    p.add = true;
    p.M = sppo__rows(c->in[0]);
    p.N = sppo__columns(c->in[0]);
    p.K = w->shape[0];
    p.C = sppo__f32(c->out[0]);
    sppo_status st = sppo__cuda_check_weight(c, w, true);
    if (!st) st = rows_for(c, dy, w->dtype, &p.A);
    p.B = sppo__raw(w);
    return st ? st : sppo__cuda_gemm(sppo__op_name(c->op), &p);
}

/* dW += dy' x */
static sppo_status add_dweight(const sppo__call *c, const sppo_tensor *dw, const sppo_tensor *dy) {
    sppo__cuda_product p = {};
    p.dtype = SPPO_DTYPE_F32;
    p.turn_a = p.add = true;
    p.M = dw->shape[0];
    p.N = sppo__columns(c->in[0]);
    p.K = sppo__rows(c->in[0]);
    p.A = sppo__raw(dy);
    p.B = sppo__raw(c->in[0]);
    p.C = sppo__f32(dw);
    return sppo__cuda_gemm(sppo__op_name(c->op), &p);
}

/* in: x, w0..w3, dy0..dy3; out: dx, dw0..dw3. Values of x or of a weight are there only if they are
 * read. */
sppo_status sppo_cuda_linear_backward(sppo__call *c) {
    sppo_status st = SPPO_OK;
    for (int i = 1; i <= WEIGHTS && c->in[i] && !st; i++) {
        const sppo_tensor *w = c->in[i], *dw = c->out[i];
        rounded dy = {c->in[WEIGHTS + i], NULL};
        if (!dy.x) continue;
        if (c->out[0]) st = add_dx(c, w, &dy);
        if (!st && dw) st = add_dweight(c, dw, dy.x);
        sppo__storage_release(dy.memory);
    }
    return st;
}

static __global__ void add_bias_kernel(float *y, const float *x, const float *bias, int64_t N,
                                       int64_t n) {
    int64_t i = thread_value();
    if (i < n) y[i] = x[i] + bias[i % N];
}

/* in: x, bias. */
sppo_status sppo_cuda_add_bias(sppo__call *c) {
    int64_t n = sppo_tensor_count(c->in[0]);
    if (!n) return SPPO_OK;
    LAUNCH(add_bias_kernel, blocks_for(n), THREADS, 0, sppo__f32(c->out[0]), sppo__f32(c->in[0]),
           sppo__f32(c->in[1]), sppo__columns(c->in[0]), n);
    return sppo__cuda_launched(c);
}

static __global__ void dbias_kernel(float *dbias, const float *dy, int64_t R, int64_t N) {
    add_column_sums(value_term{dy, N}, R, N, dbias);
}

/* in: dy; out: dbias. */
sppo_status sppo_cuda_add_bias_backward(sppo__call *c) {
    int64_t R = sppo__rows(c->in[0]), N = sppo__columns(c->in[0]);
    if (!N) return SPPO_OK;
    LAUNCH(dbias_kernel, column_blocks(N), dim3(SHARED_COLUMNS, SHARED_ROWS), 0,
           sppo__f32(c->out[0]), sppo__f32(c->in[0]), R, N);
    return sppo__cuda_launched(c);
}
