/* rope.c - rotary position embedding, half-split: value i of a head is paired with value i + D/2.
 *
 * Frequencies and angles are rounded to f32 where Hugging Face's Llama rounds them: at position
 * 100,000 one rounding of a frequency moves an angle by 0.006. */

#include <math.h>

#include "cpu/cpu.h"
#include "cpu/simd.h"
#include "llm/segments.h"

enum { HALF = 128, TOKENS = 16 };  // largest D / 2; tokens in a task

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

/* A frequency as rope_type "llama3" has it; each step rounds as PyTorch's tensors do, to which
 * number / tensor is the tensor's reciprocal times the number. */
static float llama3(float frequency, const float *f) {
    float factor = f[1], low = f[2], high = f[3], original = f[4];
    float length = 1.0f / frequency * (float)(2 * 3.14159265358979323846);  // of a turn, in tokens
    if (length < (float)((double)original / (double)high)) return frequency;
    if (length > (float)((double)original / (double)low)) return frequency / factor;
    float smooth = (1.0f / length * original - low) / (float)((double)high - (double)low);
    return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

/* Those of the last call are kept: a model has one theta. `f` as in ops/rope.c. Ops are run by one
 * thread. */
static const float *frequencies(const float *f, int64_t half) {
    enum { SETTINGS = 5 };
    static float kept[HALF], kept_f[SETTINGS];
    static int64_t kept_half;
    bool same = half == kept_half;
    for (int i = 0; i < SETTINGS; i++) same = same && f[i] == kept_f[i];
    if (!same) {
        for (int64_t i = 0; i < half; i++) {
            float exponent = (float)(2 * i) / (float)(2 * half);
            kept[i] = 1.0f / (float)pow((double)f[0], (double)exponent);
            if (f[1] > 0 && f[2] > 0) kept[i] = llama3(kept[i], f);
            else if (f[1] > 0) kept[i] /= f[1];
        }
        memcpy(kept_f, f, sizeof kept_f);
        kept_half = half;
    }
    return kept;
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
    r.frequency = frequencies(c->f, r.half);
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
