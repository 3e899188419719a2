/* rope.cu - rotary position embedding, half-split: value i of a head is paired with value i + D/2.
 *
 * Grid: tokens, by 2 where keys joined queries whose launch waited; block 32..256; shared memory 4 D bytes: the token's cosines and sines, made once
 * for all heads. Moves 8 bytes a value, backward 12. Limit: memory. Frequencies (at most 128) come
 * as an argument, positions from the device. */

#include <string.h>

#include "cuda/kernel.h"

extern "C" {
#include "ops/rope.h"
}

typedef struct frequencies {
    float of[SPPO_ROPE_HALF];
} frequencies;

/* (a, b) -> (a cos - b sin, b cos + a sin), written or, turning back, added. */
enum { SIDES = 2 };

/* One or two tensors of the same tokens: queries and keys. */
typedef struct rope {
    float *out[SIDES];
    const float *x[SIDES];
    int64_t heads[SIDES];
    const int32_t *position;
    int64_t tokens;
    frequencies frequency;
    int half, sides;
} rope;

template <bool back> static __global__ void rope_kernel(rope p) {
    DYNAMIC_SHARED(float, turn);
    int half = p.half, side = (int)blockIdx.y;
    int64_t heads = p.heads[side];
    const float *x = p.x[side];
    float *out = p.out[side], *cosine = turn, *sine = turn + half;
    for (int i = (int)threadIdx.x; i < half; i += (int)blockDim.x) {
        float angle = (float)p.position[blockIdx.x] * p.frequency.of[i];
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

template <bool back> static void launch(const rope *p) {
    int64_t heads = p->heads[p->sides - 1] > p->heads[0] ? p->heads[p->sides - 1] : p->heads[0];
    LAUNCH(rope_kernel<back>, dim3((unsigned)p->tokens, (unsigned)p->sides),
           threads_for(heads * p->half, ROW_THREADS), 2 * (size_t)p->half * sizeof(float), *p);
}

static void launch_later(const void *arguments, void *) {
    launch<false>((const rope *)arguments);
}

/* Puts what waits before p, if both turn the same tokens by the same angles; keys may be taken for
 * queries that wait. */
static void join(rope *p) {
    const rope *q = (const rope *)sppo__cuda_waiting(SPPO_OP_ROPE);
    if (!q || q->sides == SIDES || q->tokens != p->tokens || q->half != p->half ||
        q->position != p->position || p->x[0] == q->out[0] ||
        memcmp(&q->frequency, &p->frequency, sizeof p->frequency) != 0)
        return;
    p->out[1] = p->out[0];
    p->x[1] = p->x[0];
    p->heads[1] = p->heads[0];
    p->out[0] = q->out[0];
    p->x[0] = q->x[0];
    p->heads[0] = q->heads[0];
    p->sides = SIDES;
    sppo__cuda_taken();
}

template <bool back> static sppo_status run(sppo__call *c) {
    const sppo_tensor *x = c->in[0];
    int64_t tokens = x->shape[0], heads = x->shape[1], half = x->shape[2] / 2;
    if (!tokens || !heads) return SPPO_OK;
    const int32_t *position;
    sppo_status st = sppo__cuda_positions(sppo__op_name(c->op), c->at, &position);
    if (st) return st;
    rope p = {};
    p.out[0] = sppo__f32(c->out[0]);
    p.x[0] = sppo__f32(x);
    p.heads[0] = heads;
    p.position = position;
    p.tokens = tokens;
    p.half = (int)half;
    p.sides = 1;
    const float *frequency = sppo__rope_frequencies(c->f, half);
    for (int64_t i = 0; i < half; i++) p.frequency.of[i] = frequency[i];
    if (!back) {
        join(&p);
        return sppo__cuda_later(c, launch_later, &p, sizeof p);
    }
    launch<back>(&p);
    return sppo__cuda_launched(c);
}

sppo_status sppo_cuda_rope(sppo__call *c) {
    return run<false>(c);
}

sppo_status sppo_cuda_rope_backward(sppo__call *c) {
    return run<true>(c);
}
