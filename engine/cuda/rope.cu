/* rope.cu - rotary position embedding, half-split: value i of a head is paired with value i + D/2.
 *
 * Grid: tokens; block 32..256; shared memory 4 D bytes: the token's cosines and sines, made once
 * for all heads. Moves 8 bytes a value, backward 12. Limit: memory. Frequencies (at most 128) come
 * as an argument, positions from the device. */

#include "cuda/kernel.h"

extern "C" {
#include "ops/rope.h"
}

typedef struct frequencies {
    float of[SPPO_ROPE_HALF];
} frequencies;

/* (a, b) -> (a cos - b sin, b cos + a sin), written or, turning back, added. */
template <bool back>
static __global__ void rope_kernel(float *out, const float *x, const int32_t *position,
                                   frequencies frequency, int64_t heads, int half) {
    DYNAMIC_SHARED(float, turn);
    float *cosine = turn, *sine = turn + half;
    for (int i = (int)threadIdx.x; i < half; i += (int)blockDim.x) {
        float angle = (float)position[blockIdx.x] * frequency.of[i];
        cosine[i] = cosf(angle);
        sine[i] = back ? -sinf(angle) : sinf(angle);
    }
    __syncthreads();
    int64_t first = (int64_t)blockIdx.x * heads * 2 * half;
    for (int64_t pair = threadIdx.x; pair < heads * half; pair += blockDim.x) {
        int i = (int)(pair % half);
        int64_t at = first + pair / half * 2 * half + i;
        float a = x[at], b = x[at + half];
        float low = a * cosine[i] - b * sine[i], high = b * cosine[i] + a * sine[i];
        out[at] = back ? out[at] + low : low;
        out[at + half] = back ? out[at + half] + high : high;
    }
}

template <bool back> static sppo_status run(sppo__call *c) {
    const sppo_tensor *x = c->in[0];
    int64_t tokens = x->shape[0], heads = x->shape[1], half = x->shape[2] / 2;
    if (!tokens || !heads) return SPPO_OK;
    const int32_t *position;
    sppo_status st = sppo__cuda_positions(sppo__op_name(c->op), c->at, &position);
    if (st) return st;
    frequencies f = {};
    const float *frequency = sppo__rope_frequencies(c->f, half);
    for (int64_t i = 0; i < half; i++) f.of[i] = frequency[i];
    LAUNCH(rope_kernel<back>, (unsigned)tokens, threads_for(heads * half, ROW_THREADS),
           2 * (size_t)half * sizeof(float), sppo__f32(c->out[0]), sppo__f32(x), position, f, heads,
           (int)half);
    return sppo__cuda_launched(c);
}

sppo_status sppo_cuda_rope(sppo__call *c) {
    return run<false>(c);
}

sppo_status sppo_cuda_rope_backward(sppo__call *c) {
    return run<true>(c);
}
