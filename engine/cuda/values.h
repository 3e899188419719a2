/* values.h - values of any dtype as f32, for .cu files. A q8_0 block is GGML's: an f16 scale, then
 * 32 int8. */

#ifndef SPPO_CUDA_VALUES_H
#define SPPO_CUDA_VALUES_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/kernel.h"

enum { Q8 = 32 };

typedef struct q8_block {
    __half scale;
    int8_t q[Q8];
} q8_block;

static __device__ inline float value_load(sppo_dtype dtype, const void *p, int64_t i) {
    switch (dtype) {
    case SPPO_DTYPE_BF16: return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    case SPPO_DTYPE_F16: return __half2float(((const __half *)p)[i]);
    case SPPO_DTYPE_Q8_0: {
        const q8_block *block = (const q8_block *)p + i / Q8;
        return __half2float(block->scale) * (float)block->q[i % Q8];
    }
    default: return ((const float *)p)[i];
    }
}

/* To the nearest, ties to even; not to q8_0. */
static __device__ inline void value_store(sppo_dtype dtype, void *p, int64_t i, float v) {
    switch (dtype) {
    case SPPO_DTYPE_BF16: ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(v); break;
    case SPPO_DTYPE_F16: ((__half *)p)[i] = __float2half_rn(v); break;
    default: ((float *)p)[i] = v;
    }
}

#endif
