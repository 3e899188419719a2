/* optim.cu - fused optimizer steps, in the order of PyTorch's single-tensor implementations as in
 * cpu/optim.c; one thread a value, grid ceil(n / 128). Moves 20 bytes a value (rmsprop), 28
 * (adamw), 12 (sgd). Limit: memory. */

#include "cuda/kernel.h"

typedef struct numbers {
    float f[8];  // of the call, ops/optim.c
} numbers;

/* The gradient, scaled, with the decay of the weights as a part of it. */
static __device__ inline float decayed(const float *f, float p, float grad) {
    float g = grad * f[0];
    return f[1] != 0 ? g + f[1] * p : g;
}

/* f: scale, weight decay, -lr, alpha, 1 - alpha, eps. */
static __global__ void rmsprop_kernel(float *p, float *v, const float *grad, numbers a, int64_t n) {
    int64_t i = thread_value();
    if (i >= n) return;
    const float *f = a.f;
    float g = decayed(f, p[i], grad[i]), w = v[i] * f[3] + f[4] * g * g;
    v[i] = w;
    p[i] += f[2] * g / (sqrtf(w) + f[5]);
}

/* f: scale, 1 - lr * weight decay, -lr / (1 - beta1^t), 1 - beta1, beta2, 1 - beta2,
 * sqrt(1 - beta2^t), eps. */
static __global__ void adamw_kernel(float *p, float *m, float *v, const float *grad, numbers a,
                                    int64_t n) {
    int64_t i = thread_value();
    if (i >= n) return;
    const float *f = a.f;
    float g = grad[i] * f[0], u = m[i] + f[3] * (g - m[i]), w = v[i] * f[4] + f[5] * g * g;
    m[i] = u;
    v[i] = w;
    p[i] = p[i] * f[1] + f[2] * u / (sqrtf(w) / f[6] + f[7]);
}

/* f: scale, weight decay, -lr. */
static __global__ void sgd_kernel(float *p, const float *grad, numbers a, int64_t n) {
    int64_t i = thread_value();
    if (i < n) p[i] += a.f[2] * decayed(a.f, p[i], grad[i]);
}

static numbers numbers_of(const sppo__call *c) {
    numbers a;
    for (int i = 0; i < 8; i++) a.f[i] = c->f[i];
    return a;
}

/* Padding of packed weights is stepped too: its gradient and state are zero, so it stays zero. */
static int64_t count_of(const sppo__call *c) {
    return sppo_tensor_bytes(c->out[0]) / 4;
}

sppo_status sppo_cuda_rmsprop(sppo__call *c) {
    int64_t n = count_of(c);
    if (!n) return SPPO_OK;
    LAUNCH(rmsprop_kernel, blocks_for(n), THREADS, 0, sppo__f32(c->out[0]), sppo__f32(c->out[1]),
           sppo__f32(c->in[0]), numbers_of(c), n);
    return sppo__cuda_launched(c);
}

sppo_status sppo_cuda_adamw(sppo__call *c) {
    int64_t n = count_of(c);
    if (!n) return SPPO_OK;
    LAUNCH(adamw_kernel, blocks_for(n), THREADS, 0, sppo__f32(c->out[0]), sppo__f32(c->out[1]),
           sppo__f32(c->out[2]), sppo__f32(c->in[0]), numbers_of(c), n);
    return sppo__cuda_launched(c);
}

sppo_status sppo_cuda_sgd(sppo__call *c) {
    int64_t n = count_of(c);
    if (!n) return SPPO_OK;
    LAUNCH(sgd_kernel, blocks_for(n), THREADS, 0, sppo__f32(c->out[0]), sppo__f32(c->in[0]),
           numbers_of(c), n);
    return sppo__cuda_launched(c);
}
