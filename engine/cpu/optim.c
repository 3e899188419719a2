/* optim.c - fused optimizer steps, in the order of PyTorch's single-tensor implementations
 * (torch/optim/{rmsprop,adamw,sgd}.py), each value alone: layout and threads do not matter. */

#include "cpu/cpu.h"
#include "cpu/simd.h"

enum { BLOCK = 16384 };

typedef struct job {
    sppo__call *c;
    int64_t n;
    double scalar[2];  // computed once a call, in f64 as PyTorch does
    void (*body)(const struct job *j, int64_t first, int64_t last);
} job;

static void run_block(void *context, int64_t task, int thread) {
    (void)thread;
    job *j = context;
    int64_t first = task * BLOCK, last = first + BLOCK;
    j->body(j, first, last < j->n ? last : j->n);
}

/* Padding of panels is stepped too: its gradient and state are zero, so it stays zero. */
static sppo_status over(job *j) {
    j->n = sppo_tensor_bytes(j->c->out[0]) / 4;
    sppo__parallel((j->n + BLOCK - 1) / BLOCK, run_block, j);
    return SPPO_OK;
}

static void rmsprop_block(const job *j, int64_t first, int64_t last) {
    const sppo__call *c = j->c;
    const float *g = sppo__f32(c->in[0]);
    float *p = sppo__f32(c->out[0]), *v = sppo__f32(c->out[1]);
    float lr = c->f[0], alpha = c->f[1], eps = c->f[2], decay = c->f[3], scale = c->f[4];
    float rest = (float)j->scalar[0];
    for (int64_t i = first; i < last; i++) {
        float grad = g[i] * scale;
        if (decay != 0) grad = grad + decay * p[i];
        v[i] = v[i] * alpha + rest * grad * grad;
        p[i] = p[i] - lr * (grad / (sqrtf(v[i]) + eps));
    }
}

sppo_status KERNEL(rmsprop)(sppo__call *c) {
    job j = {.c = c, .scalar = {1 - (double)c->f[1]}, .body = rmsprop_block};
    return over(&j);
}

static void adamw_block(const job *j, int64_t first, int64_t last) {
    const sppo__call *c = j->c;
    const float *g = sppo__f32(c->in[0]);
    float *p = sppo__f32(c->out[0]), *m = sppo__f32(c->out[1]), *v = sppo__f32(c->out[2]);
    float lr = c->f[0], beta2 = c->f[2], eps = c->f[3], decay = c->f[4], scale = c->f[5];
    float rest1 = (float)(1 - (double)c->f[1]), rest2 = (float)(1 - (double)c->f[2]);
    float size = (float)j->scalar[0], root = (float)j->scalar[1];
    float keep = (float)(1 - (double)lr * (double)decay);
    for (int64_t i = first; i < last; i++) {
        float grad = g[i] * scale;
        float x = p[i] * keep;
        m[i] = m[i] + (grad - m[i]) * rest1;
        v[i] = v[i] * beta2 + rest2 * grad * grad;
        p[i] = x - size * (m[i] / (sqrtf(v[i]) / root + eps));
    }
}

sppo_status KERNEL(adamw)(sppo__call *c) {
    double number = (double)c->i[0];
    double size = (double)c->f[0] / (1 - pow((double)c->f[1], number));
    job j = {.c = c, .scalar = {size, sqrt(1 - pow((double)c->f[2], number))}, .body = adamw_block};
    return over(&j);
}

static void sgd_block(const job *j, int64_t first, int64_t last) {
    const sppo__call *c = j->c;
    const float *g = sppo__f32(c->in[0]);
    float *p = sppo__f32(c->out[0]), lr = c->f[0], decay = c->f[1], scale = c->f[2];
    for (int64_t i = first; i < last; i++) {
        float grad = g[i] * scale;
        if (decay != 0) grad = grad + decay * p[i];
        p[i] = p[i] - lr * grad;
    }
}

sppo_status KERNEL(sgd)(sppo__call *c) {
    job j = {.c = c, .body = sgd_block};
    return over(&j);
}
