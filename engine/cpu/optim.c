/* optim.c - fused optimizer steps, in the order of PyTorch's single-tensor implementations
 * (torch/optim/{rmsprop,adamw,sgd}.py), each value alone: layout and threads do not matter. */

#include "cpu/cpu.h"
#include "cpu/simd.h"

enum { BLOCK = 1 << 15 };

typedef struct work {
    const float *f, *grad;
    float *p, *state[2];
    int64_t count;
} work;

/* Values i .. i + n - 1, n <= VL. */
static inline vf get(const float *p, int64_t i, int64_t n) {
    return n == VL ? vload(p + i) : vload_part(p + i, n);
}

static inline void put(float *p, int64_t i, int64_t n, vf v) {
    if (n == VL) vstore(p + i, v);
    else vstore_part(p + i, v, n);
}

/* The gradient, scaled, with the decay of the weights as a part of it. */
static inline vf decayed(const work *w, vf p, int64_t i, int64_t n) {
    vf g = get(w->grad, i, n) * vset(w->f[0]);
    return w->f[1] != 0 ? g + vset(w->f[1]) * p : g;
}

/* f: scale, weight decay, -lr, alpha, 1 - alpha, eps. */
static inline void rmsprop_values(const work *w, int64_t i, int64_t n) {
    const float *f = w->f;
    vf p = get(w->p, i, n), g = decayed(w, p, i, n);
    vf v = get(w->state[0], i, n) * vset(f[3]) + vset(f[4]) * g * g;
    put(w->state[0], i, n, v);
    put(w->p, i, n, p + vset(f[2]) * g / (vsqrt(v) + vset(f[5])));
}

/* f: scale, 1 - lr * weight decay, -lr / (1 - beta1^t), 1 - beta1, beta2, 1 - beta2,
 * sqrt(1 - beta2^t), eps. */
static inline void adamw_values(const work *w, int64_t i, int64_t n) {
    const float *f = w->f;
    vf g = get(w->grad, i, n) * vset(f[0]), m = get(w->state[0], i, n);
    m = m + vset(f[3]) * (g - m);
    vf v = get(w->state[1], i, n) * vset(f[4]) + vset(f[5]) * g * g;
    put(w->state[0], i, n, m);
    put(w->state[1], i, n, v);
    vf p = get(w->p, i, n) * vset(f[1]);
    put(w->p, i, n, p + vset(f[2]) * m / (vsqrt(v) / vset(f[6]) + vset(f[7])));
}

/* f: scale, weight decay, -lr. */
static inline void sgd_values(const work *w, int64_t i, int64_t n) {
    vf p = get(w->p, i, n);
    put(w->p, i, n, p + vset(w->f[2]) * decayed(w, p, i, n));
}

/* Padding of panels is stepped too: its gradient and state are zero, so it stays zero. */
static sppo_status run(const sppo__call *c, sppo__task fn) {
    work w = {.f = c->f,
              .grad = sppo__f32(c->in[0]),
              .p = sppo__f32(c->out[0]),
              .count = sppo_tensor_bytes(c->out[0]) / 4};
    for (int i = 1; i < c->n_out; i++) w.state[i - 1] = sppo__f32(c->out[i]);
    sppo__parallel((w.count + BLOCK - 1) / BLOCK, fn, &w);
    return SPPO_OK;
}

#define STEP(name) \
    static void name##_task(void *context, int64_t task, int thread) { \
        const work *w = context; \
        (void)thread; \
        int64_t i = task * BLOCK, end = w->count - i < BLOCK ? w->count : i + BLOCK; \
        for (; i + VL <= end; i += VL) name##_values(w, i, VL); \
        if (i < end) name##_values(w, i, end - i); \
    } \
    sppo_status KERNEL(name)(sppo__call * c) { \
        return run(c, name##_task); \
    }

STEP(rmsprop)
STEP(adamw)
STEP(sgd)
