/* softmax.cu - softmax over rows, one block a row of R rows, D columns: grid R, block 32..1024. A
 * row's sums depend on D alone. Forward reads x three times and writes y: 16 D bytes a row;
 * backward 20 to 24 D bytes. Limit: memory; exponentials are made twice rather than stored. */

#include "cuda/kernel.h"

enum { MOST = 1024 };

/* Threads add up in f32 what they see of the row, the threads' sums are added in f64: a row as long
 * as a vocabulary loses no digits. A NaN in the row makes the sum, and so the row, NaN. */
template <bool logarithm>
static __global__ void softmax_kernel(float *y, const float *x, int64_t D) {
    __shared__ float tops[WARP];
    __shared__ double parts[WARP];
    x += (int64_t)blockIdx.x * D;
    y += (int64_t)blockIdx.x * D;
    float top = -INFINITY, sum = 0;
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x) top = fmaxf(top, x[i]);
    top = block_maximum(top, tops);
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x) sum += expf(x[i] - top);
    float total = (float)block_sum((double)sum, parts);
    float scale = 1.0f / total, rest = logf(total);
    for (int64_t i = threadIdx.x; i < D; i += blockDim.x)
        y[i] = logarithm ? x[i] - top - rest : expf(x[i] - top) * scale;
}

/* softmax: dx += y (dy - sum(dy y)); log_softmax: dx += dy - exp(y) sum(dy) */
template <bool logarithm>
static __global__ void backward_kernel(float *dx, const float *dy, const float *y, int64_t D) {
    __shared__ float parts[WARP];
    int64_t row = (int64_t)blockIdx.x * D;
    float sum = 0;
    for (int64_t i = row + threadIdx.x; i < row + D; i += blockDim.x)
        sum += logarithm ? dy[i] : dy[i] * y[i];
    sum = block_sum(sum, parts);
    for (int64_t i = row + threadIdx.x; i < row + D; i += blockDim.x)
        dx[i] += logarithm ? dy[i] - expf(y[i]) * sum : y[i] * (dy[i] - sum);
}

template <bool logarithm> static sppo_status run(sppo__call *c) {
    int64_t R = sppo__rows(c->in[0]), D = sppo__columns(c->in[0]);
    if (!R || !D) return SPPO_OK;
    LAUNCH(softmax_kernel<logarithm>, (unsigned)R, threads_for(D, MOST), 0, sppo__f32(c->out[0]),
           sppo__f32(c->in[0]), D);
    return sppo__cuda_launched(c);
}

template <bool logarithm> static sppo_status run_backward(sppo__call *c) {
    int64_t R = sppo__rows(c->in[0]), D = sppo__columns(c->in[0]);
    if (!R || !D) return SPPO_OK;
    LAUNCH(backward_kernel<logarithm>, (unsigned)R, threads_for(D, MOST), 0, sppo__f32(c->out[0]),
           sppo__f32(c->in[0]), sppo__f32(c->in[1]), D);
    return sppo__cuda_launched(c);
}

sppo_status sppo_cuda_softmax(sppo__call *c) {
    return run<false>(c);
}

sppo_status sppo_cuda_log_softmax(sppo__call *c) {
    return run<true>(c);
}

sppo_status sppo_cuda_softmax_backward(sppo__call *c) {
    return run_backward<false>(c);
}

sppo_status sppo_cuda_log_softmax_backward(sppo__call *c) {
    return run_backward<true>(c);
}
