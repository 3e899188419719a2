/* matmul.cu - products with weights, by cuBLAS (gemm.c), and biases.
 *
 * linear              f32 weights: f32 products. bf16 weights: x is rounded to bf16 first, sums are
 *                     f32. 2 R N K operations. Limit: tensor cores, or memory below about 300 rows
 * linear_backward     the same for dx and for the gradient of each f32 weight; dy is rounded too
 * add_bias            one thread a value. Moves 8 bytes a value. Limit: memory
 * add_bias_backward   grid ceil(N / 32), block 32 x 4. Reads 4 bytes a value. Limit: memory */

#include "cuda/kernel.h"

enum { WEIGHTS = 4 };

sppo_status sppo__cuda_round(const sppo__call *c, const void *x, int64_t count, sppo_dtype dtype,
                             sppo__storage **memory, const void **out) {
    *out = x;
    if (dtype == SPPO_DTYPE_F32) return SPPO_OK;
    if (!*memory) {
        sppo_status st =
            sppo__storage_new(memory, SPPO_DEVICE_CUDA, count * 2, false, sppo__op_name(c->op));
        if (st) return st;
        st = sppo__cuda_convert(c, x, SPPO_DTYPE_F32, (*memory)->data, dtype, count, count);
        if (st) return st;
    }
    *out = (*memory)->data;
    return SPPO_OK;
}

sppo_status sppo__cuda_check_weight(const sppo__call *c, const sppo_tensor *w) {
    if (w->dtype == SPPO_DTYPE_F32 || w->dtype == SPPO_DTYPE_BF16) return SPPO_OK;
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_WEIGHT, sppo__op_name(c->op),
                      sppo__dtype_name(w->dtype));
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

/* in: x [R, K], weights [N_i, K]; out: y_i [R, N_i] = x W_i'. */
sppo_status sppo_cuda_linear(sppo__call *c) {
    int64_t R = sppo__rows(c->in[0]), K = sppo__columns(c->in[0]);
    rounded x = {c->in[0], NULL};
    sppo_status st = SPPO_OK;
    for (int i = 1; i < c->n_in && !st; i++) {
        const sppo_tensor *w = c->in[i];
        sppo__cuda_product p = {};
        p.dtype = w->dtype;
        p.turn_b = true;
        p.M = R;
        p.N = w->shape[0];
        p.K = K;
        p.C = sppo__f32(c->out[i - 1]);
        st = sppo__cuda_check_weight(c, w);
        if (!st) st = rows_for(c, &x, w->dtype, &p.A);
        p.B = sppo__raw(w);
        if (!st) st = sppo__cuda_gemm(sppo__op_name(c->op), &p);
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
    sppo_status st = sppo__cuda_check_weight(c, w);
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
