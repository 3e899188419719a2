/* cast.cu - the same values in another dtype or layout, one thread a value (to q8_0: a block of
 * 32): grid ceil(n / 128). Moves each value's bytes on both sides. Limit: memory.
 *
 * On this device a packed weight lies as cuBLAS reads it: rows in order, as in the rows layout, and
 * zeros up to a multiple of 64 rows, so that it takes the bytes that panels take (core/shape.c). */

#include "cuda/values.h"

static __global__ void convert_kernel(void *y, sppo_dtype to, const void *x, sppo_dtype from,
                                      int64_t n, int64_t padded) {
    int64_t i = thread_value();
    if (i < padded) value_store(to, y, i, i < n ? value_load(from, x, i) : 0.0f);
}

/* GGML's rounding: scale = max |x| / 127, values to the nearest, halves away from 0. NaN or
 * infinity among the values makes the scale, and so the block, not finite. */
static __global__ void quantize_kernel(q8_block *y, const void *x, sppo_dtype from, int64_t n,
                                       int64_t padded) {
    int64_t b = thread_value(), first = b * Q8;
    if (first >= padded) return;
    float value[Q8], largest = 0;
    bool finite = true;
    for (int i = 0; i < Q8; i++) {
        value[i] = first < n ? value_load(from, x, first + i) : 0.0f;
        largest = fmaxf(largest, fabsf(value[i]));
        finite = finite && isfinite(value[i]);
    }
    float scale = finite ? largest / 127 : NAN, inverse = scale > 0 ? 1.0f / scale : 0.0f;
    y[b].scale = __float2half_rn(scale);
    for (int i = 0; i < Q8; i++) y[b].q[i] = (int8_t)(finite ? roundf(value[i] * inverse) : 0.0f);
}

static sppo_status convert(const sppo__call *c, const void *x, sppo_dtype from, void *y,
                           sppo_dtype to, int64_t n, int64_t padded) {
    if (!padded) return SPPO_OK;
    if (to == SPPO_DTYPE_Q8_0)
        LAUNCH(quantize_kernel, blocks_for(padded / Q8), THREADS, 0, (q8_block *)y, x, from, n,
               padded);
    else LAUNCH(convert_kernel, blocks_for(padded), THREADS, 0, y, to, x, from, n, padded);
    return sppo__cuda_launched(c);
}

sppo_status sppo__cuda_convert(const sppo__call *c, const void *src, sppo_dtype from, void *dst,
                               sppo_dtype to, int64_t count, int64_t padded) {
    return convert(c, src, from, dst, to, count, padded);
}

sppo_status sppo_cuda_cast(sppo__call *c) {
    int64_t n = sppo_tensor_count(c->in[0]);
    return convert(c, sppo__raw(c->in[0]), c->in[0]->dtype, sppo__raw(c->out[0]), c->out[0]->dtype,
                   n, n);
}

sppo_status sppo_cuda_pack(sppo__call *c) {
    const sppo_tensor *x = c->in[0], *y = c->out[0];
    int64_t rows = (x->shape[0] + SPPO_PANEL - 1) / SPPO_PANEL * SPPO_PANEL;
    return convert(c, sppo__raw(x), x->dtype, sppo__raw(y), y->dtype, sppo_tensor_count(x),
                   rows * x->shape[1]);
}

sppo_status sppo_cuda_unpack(sppo__call *c) {
    int64_t n = sppo_tensor_count(c->in[0]);
    return convert(c, sppo__raw(c->in[0]), c->in[0]->dtype, sppo__raw(c->out[0]), c->out[0]->dtype,
                   n, n);
}

/* Rows with gaps, in units of 2 or 4 bytes. */
typedef struct rows {
    int ndim;
    int64_t shape[SPPO_MAX_DIMS], stride[SPPO_MAX_DIMS];
} rows;

template <typename unit>
static __global__ void copy_kernel(unit *y, const unit *x, rows r, int64_t n) {
    int64_t i = thread_value(), rest = i, at = 0;
    if (i >= n) return;
    for (int d = r.ndim - 1; d >= 0; d--) {
        at += rest % r.shape[d] * r.stride[d];
        rest /= r.shape[d];
    }
    y[i] = x[at];
}

/* The input may have gaps, the output has none. q8_0 has them between rows only: there a row is 17
 * units of 2 bytes for 32 values. */
sppo_status sppo_cuda_copy(sppo__call *c) {
    const sppo_tensor *x = c->in[0];
    rows r = {x->ndim, {}, {}};
    int64_t bytes = sppo_tensor_bytes(x);
    if (!bytes) return SPPO_OK;
    for (int d = 0; d < x->ndim; d++) {
        bool last = d == x->ndim - 1, q8 = x->dtype == SPPO_DTYPE_Q8_0;
        r.shape[d] = q8 && last ? x->shape[d] / 32 * 17 : x->shape[d];
        r.stride[d] = q8 && !last ? x->stride[d] / 32 * 17 : x->stride[d];
    }
    if (x->dtype == SPPO_DTYPE_F32 || x->dtype == SPPO_DTYPE_I32)
        LAUNCH(copy_kernel<uint32_t>, blocks_for(bytes / 4), THREADS, 0,
               (uint32_t *)sppo__raw(c->out[0]), (const uint32_t *)sppo__raw(x), r, bytes / 4);
    else
        LAUNCH(copy_kernel<uint16_t>, blocks_for(bytes / 2), THREADS, 0,
               (uint16_t *)sppo__raw(c->out[0]), (const uint16_t *)sppo__raw(x), r, bytes / 2);
    return sppo__cuda_launched(c);
}
