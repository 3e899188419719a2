/* rope.c - rotary position embedding, half-split: value i of a head is paired with value i + D/2.
 * Angles are rounded to f32 where Hugging Face's Llama rounds them. */

#include <math.h>

#include "cpu/cpu.h"
#include "cpu/simd.h"
#include "llm/segments.h"
#include "ops/rope.h"

enum { HALF = SPPO_ROPE_HALF, TOKENS = 16 };  // TOKENS: in a task

typedef struct rope {
    const float *x;
    float *out;
    const sppo_segments *at;
    int64_t tokens, heads, half;
    float direction;  // 1, or -1 to turn back
    bool add;
    const float *frequency;  // [half]
} rope;

/* One head: (a, b) -> (a cos - b sin, b cos + a sin), written or added. */
static void rotate(const rope *r, const float *x, const float *cosine, const float *sine,
                   float *out) {
    int64_t half = r->half, i = 0;
    for (; i + VL <= half; i += VL) {
        vf a = vload(x + i), b = vload(x + half + i), c = vload(cosine + i), s = vload(sine + i);
        vf low = a * c - b * s, high = b * c + a * s;
        if (r->add) {
            low = vload(out + i) + low;
            high = vload(out + half + i) + high;
        }
        vstore(out + i, low);
        vstore(out + half + i, high);
    }
    for (; i < half; i++) {
        float low = x[i] * cosine[i] - x[half + i] * sine[i];
        float high = x[half + i] * cosine[i] + x[i] * sine[i];
        out[i] = r->add ? out[i] + low : low;
        out[half + i] = r->add ? out[half + i] + high : high;
    }
}

static void rope_tokens(void *context, int64_t task, int thread) {
    const rope *r = context;
    (void)thread;
    int64_t token = task * TOKENS, end = token + TOKENS < r->tokens ? token + TOKENS : r->tokens;
    const sppo__segment *segment = r->at->segment + sppo__segments_find(r->at, token);
    for (; token < end; token++) {
        while (token >= segment->start + segment->count) segment++;
        float position = (float)(segment->position + token - segment->start);
        float cosine[HALF], sine[HALF];
        for (int64_t i = 0; i < r->half; i++) {
            float angle = position * r->frequency[i];
            cosine[i] = cosf(angle);
            sine[i] = r->direction * sinf(angle);
        }
        int64_t stride = 2 * r->half;
        for (int64_t h = token * r->heads; h < (token + 1) * r->heads; h++)
            rotate(r, r->x + h * stride, cosine, sine, r->out + h * stride);
    }
}

static sppo_status run(const sppo__call *c, float direction, bool add) {
    const sppo_tensor *x = c->in[0];
    rope r = {.x = sppo__f32(x),
              .out = sppo__f32(c->out[0]),
              .at = c->at,
              .tokens = x->shape[0],
              .heads = x->shape[1],
              .half = x->shape[2] / 2,
              .direction = direction,
              .add = add};
    r.frequency = sppo__rope_frequencies(c->f, r.half);
    int64_t values = r.tokens * r.heads * 2 * r.half;
    sppo__read_add(values * (int64_t)sizeof(float));
    sppo__parallel_values(values, (r.tokens + TOKENS - 1) / TOKENS, rope_tokens, &r);
    return SPPO_OK;
}

sppo_status KERNEL(rope)(sppo__call *c) {
    return run(c, 1.0f, false);
}

sppo_status KERNEL(rope_backward)(sppo__call *c) {
    return run(c, -1.0f, true);
}
