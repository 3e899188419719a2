/* lse.h - log-sum-exp of a row of logits in parts of 1,024 of the vocabulary, which `token_logprob`
 * and the sampler share: from the same logits both get the same bits, however a row was cut. */

#ifndef SPPO_CUDA_LSE_H
#define SPPO_CUDA_LSE_H

#include "cuda/kernel.h"

extern "C" {
#include "ops/workspace.h"
}

typedef struct lse_part {
    float maximum;
    float sum;  // of exp(x - maximum)
} lse_part;

static __host__ __device__ inline int64_t at_most(int64_t n, int64_t most) {
    return n < most ? n : most;
}

static __device__ inline float lse_shift(float maximum) {
    return maximum == -INFINITY ? 0.0f : maximum;
}

/* One part of `count` <= LSE_CHUNK values, by a block; `part` gets it from thread 0. A NaN makes
 * the sum NaN; if all are -inf it is 0. */
static __device__ inline void lse_of_part(lse_part *part, const float *x, int count) {
    __shared__ float tops[WARP], parts[WARP];
    float top = -INFINITY, sum = 0;
    for (int i = (int)threadIdx.x; i < count; i += THREADS) top = fmaxf(top, x[i]);
    top = block_maximum(top, tops);
    for (int i = (int)threadIdx.x; i < count; i += THREADS) sum += expf(x[i] - lse_shift(top));
    sum = block_sum(sum, parts);
    if (threadIdx.x == 0) *part = lse_part{top, sum};
}

/* All parts of a row, by a warp; the same bits in each lane. -inf if there is nothing but -inf. */
static __device__ inline float lse_of_parts(const lse_part *part, int64_t count, float *maximum) {
    int lane = (int)threadIdx.x % WARP;
    float top = -INFINITY, sum = 0;
    for (int64_t i = lane; i < count; i += WARP) top = fmaxf(top, part[i].maximum);
    top = warp_maximum(top);
    for (int64_t i = lane; i < count; i += WARP) {
        // A part of nothing but -inf adds its sum, 0 or NaN.
        bool none = part[i].maximum == -INFINITY;
        sum += part[i].sum * (none ? 1.0f : expf(part[i].maximum - lse_shift(top)));
    }
    *maximum = top;
    return lse_shift(top) + logf(warp_sum(sum));
}

#endif
