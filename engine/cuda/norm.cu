/* norm.cu - row normalisations, one block a row of R rows, D columns. A row's sums depend on D
 * alone.
 *
 * rms_norm             grid R, block 32..256. Moves 12 D bytes a row (x twice), 2 D more where a
 *                      product wants y in bf16. If x is a sum whose launch waited, makes that too:
 *                      24 D bytes for both, where two launches move 24 D as well. Limit: memory
 * rms_norm_backward    dx the same with 24 D bytes; dweight: grid ceil(D / 32), block 32 x 4, reads
 *                      x and dy once. Limit: memory; for D below 4,096 too few blocks for that
 * layer_norm           the same as rms_norm, x three times: 16 D bytes a row
 * layer_norm_backward  the same as rms_norm_backward; dbias like dweight, reads dy once */

#include <cuda_bf16.h>

#include "cuda/operands.h"

typedef struct rms_norm {
    operands of;  // of.y is x, and what makes it, where that waited for this (later.c)
    float *y, *scale;
    const float *weight;
    int64_t R, D;
    float eps, offset;
} rms_norm;

/* A thread reads again what it wrote itself. */
static __global__ void rms_norm_kernel(rms_norm n, __nv_bfloat16 *rounded) {
    __shared__ float parts[WARP];
    int64_t row = (int64_t)blockIdx.x * n.D;
    float *x = n.of.y + row;
    float sum = 0;
    for (int64_t i = threadIdx.x; i < n.D; i += blockDim.x) {
        if (n.of.a) x[i] = n.of.a[row + i] + n.of.b[row + i];
        sum += x[i] * x[i];
    }
    float s = 1.0f / sqrtf(block_sum(sum, parts) / (float)n.D + n.eps);
    if (threadIdx.x == 0) n.scale[blockIdx.x] = s;
    for (int64_t i = threadIdx.x; i < n.D; i += blockDim.x) {
        float y = x[i] * s * (n.offset + n.weight[i]);
        n.y[row + i] = y;
        if (rounded) rounded[row + i] = __float2bfloat16_rn(y);
    }
}

static void launch_rms_norm(const void *arguments, void *rounded) {
    const rms_norm *n = (const rms_norm *)arguments;
    LAUNCH(rms_norm_kernel, (unsigned)n->R, threads_for(n->D, ROW_THREADS), 0, *n,
           (__nv_bfloat16 *)rounded);
}

/* in: x, weight; out: y, scale. */
sppo_status sppo_cuda_rms_norm(sppo__call *c) {
    int64_t R = sppo__rows(c->in[0]), D = sppo__columns(c->in[0]);
    if (!R || !D) return SPPO_OK;
    rms_norm n = {{sppo__f32(c->in[0]), NULL, NULL, R * D}, sppo__f32(c->out[0]),
                  sppo__f32(c->out[1]), sppo__f32(c->in[1]), R, D, c->f[0], c->f[1]};
    const operands *before = (const operands *)sppo__cuda_waiting(SPPO_OP_ADD);
    if (before && before->y == n.of.y && before->count == R * D) {
        n.of = *before;
        sppo__cuda_taken();
    }
    return sppo__cuda_later(c, launch_rms_norm, &n, sizeof n);
}

/* With h = x * scale, w = offset + weight: dx += scale * (dy * w - h * mean(dy * w * h)). */
static __global__ void dx_kernel(float *dx, const float *dy, const float *x, const float *weight,
                                 const float *scale, int64_t D, float offset) {
    __shared__ float parts[WARP];
    int64_t row = (int64_t)blockIdx.x * D;
    float s = scale[blockIdx.x], sum = 0;
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x)
        sum += dy[row + i] * (offset + weight[i]) * x[row + i];
    float along = block_sum(sum, parts) * s * s / (float)D;
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x)
        dx[row + i] += s * (dy[row + i] * (offset + weight[i]) - x[row + i] * along);
}

/* dy * h */
typedef struct weight_term {
    const float *dy, *x, *scale;
    int64_t D;
    __device__ float operator()(int64_t r, int64_t column) const {
        return dy[r * D + column] * (x[r * D + column] * scale[r]);
    }
} weight_term;

static __global__ void dweight_kernel(float *dweight, const float *dy, const float *x,
                                      const float *scale, int64_t R, int64_t D) {
    add_column_sums(weight_term{dy, x, scale, D}, R, D, dweight);
}

/* in: dy, x, weight, scale; out: dx, dweight. */
sppo_status sppo_cuda_rms_norm_backward(sppo__call *c) {
    int64_t R = sppo__rows(c->in[1]), D = sppo__columns(c->in[1]);
    const float *dy = sppo__f32(c->in[0]), *x = sppo__f32(c->in[1]), *scale = sppo__f32(c->in[3]);
    if (!R || !D) return SPPO_OK;
    if (c->out[0])
        LAUNCH(dx_kernel, (unsigned)R, threads_for(D, ROW_THREADS), 0, sppo__f32(c->out[0]), dy, x,
               sppo__f32(c->in[2]), scale, D, c->f[1]);
    if (c->out[1])
        LAUNCH(dweight_kernel, column_blocks(D), dim3(SHARED_COLUMNS, SHARED_ROWS), 0,
               sppo__f32(c->out[1]), dy, x, scale, R, D);
    return sppo__cuda_launched(c);
}

/* The deviation from the differences to the mean: no cancellation of large squares. */
static __global__ void layer_norm_kernel(float *y, float *mean, float *scale, const float *x,
                                         const float *weight, const float *bias, int64_t D,
                                         float eps) {
    __shared__ float parts[WARP], square_parts[WARP];
    x += (int64_t)blockIdx.x * D;
    y += (int64_t)blockIdx.x * D;
    float sum = 0, squares = 0;
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x) sum += x[i];
    float m = block_sum(sum, parts) / (float)D;
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x) squares += (x[i] - m) * (x[i] - m);
    float s = 1.0f / sqrtf(block_sum(squares, square_parts) / (float)D + eps);
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = m;
        scale[blockIdx.x] = s;
    }
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x)
        y[i] = (x[i] - m) * s * weight[i] + bias[i];
}

/* in: x, weight, bias; out: y, mean, scale. */
sppo_status sppo_cuda_layer_norm(sppo__call *c) {
    int64_t R = sppo__rows(c->in[0]), D = sppo__columns(c->in[0]);
    if (!R || !D) return SPPO_OK;
    LAUNCH(layer_norm_kernel, (unsigned)R, threads_for(D, ROW_THREADS), 0, sppo__f32(c->out[0]),
           sppo__f32(c->out[1]), sppo__f32(c->out[2]), sppo__f32(c->in[0]), sppo__f32(c->in[1]),
           sppo__f32(c->in[2]), D, c->f[0]);
    return sppo__cuda_launched(c);
}

/* With h = (x - mean) * scale and g = dy * weight: dx += scale * (g - mean(g) - h * mean(g h)). */
static __global__ void layer_dx_kernel(float *dx, const float *dy, const float *x,
                                       const float *weight, const float *mean, const float *scale,
                                       int64_t D) {
    __shared__ float parts[WARP], along_parts[WARP];
    int64_t row = (int64_t)blockIdx.x * D;
    float m = mean[blockIdx.x], s = scale[blockIdx.x], sum = 0, sum_h = 0;
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x) {
        float g = dy[row + i] * weight[i];
        sum += g;
        sum_h += g * ((x[row + i] - m) * s);
    }
    float level = block_sum(sum, parts) / (float)D;
    float along = block_sum(sum_h, along_parts) / (float)D;
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x)
        dx[row + i] += s * (dy[row + i] * weight[i] - level - (x[row + i] - m) * s * along);
}

/* dy * h */
typedef struct layer_weight_term {
    const float *dy, *x, *mean, *scale;
    int64_t D;
    __device__ float operator()(int64_t r, int64_t column) const {
        return dy[r * D + column] * ((x[r * D + column] - mean[r]) * scale[r]);
    }
} layer_weight_term;

static __global__ void layer_dweight_kernel(float *dweight, const float *dy, const float *x,
                                            const float *mean, const float *scale, int64_t R,
                                            int64_t D) {
    add_column_sums(layer_weight_term{dy, x, mean, scale, D}, R, D, dweight);
}

static __global__ void layer_dbias_kernel(float *dbias, const float *dy, int64_t R, int64_t D) {
    add_column_sums(value_term{dy, D}, R, D, dbias);
}

/* in: dy, x, weight, mean, scale; out: dx, dweight, dbias. */
sppo_status sppo_cuda_layer_norm_backward(sppo__call *c) {
    int64_t R = sppo__rows(c->in[1]), D = sppo__columns(c->in[1]);
    const float *dy = sppo__f32(c->in[0]), *x = sppo__f32(c->in[1]);
    const float *mean = sppo__f32(c->in[3]), *scale = sppo__f32(c->in[4]);
    const dim3 block(SHARED_COLUMNS, SHARED_ROWS);
    if (!R || !D) return SPPO_OK;
    if (c->out[0])
        LAUNCH(layer_dx_kernel, (unsigned)R, threads_for(D, ROW_THREADS), 0, sppo__f32(c->out[0]),
               dy, x, sppo__f32(c->in[2]), mean, scale, D);
    if (c->out[1])
        LAUNCH(layer_dweight_kernel, column_blocks(D), block, 0, sppo__f32(c->out[1]), dy, x, mean,
               scale, R, D);
    if (c->out[2])
        LAUNCH(layer_dbias_kernel, column_blocks(D), block, 0, sppo__f32(c->out[2]), dy, R, D);
    return sppo__cuda_launched(c);
}
