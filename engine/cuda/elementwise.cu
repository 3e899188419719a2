/* elementwise.cu - value by value, one thread each: grid ceil(n / 128). Limit: memory; a forward op
 * moves 4 bytes for each input and output value, a backward op reads its outputs too. */

#include <cuda_bf16.h>

#include "cuda/operands.h"

// gelu(x) = 0.5 x (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3)
#define GELU_SLOPE 0.7978845608f
#define GELU_CUBE 0.044715f

static __device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

/* sigmoid(2 u): 0.5 (1 + tanh(u)) without its cancellation. */
static __device__ inline float gelu_share(float x) {
    return sigmoid(2 * GELU_SLOPE * (x + GELU_CUBE * x * x * x));
}

/* gelu'(x) = s + x s (1 - s) 2 u'. */
static __device__ inline float gelu_slope(float x) {
    float s = gelu_share(x);
    return s + x * s * (1.0f - s) * (2 * GELU_SLOPE * (1.0f + 3 * GELU_CUBE * x * x));
}

/* P(X < x) for a standard normal X, without cancellation on either side. */
static __device__ inline float normal_below(float x) {
    return 0.5f * erfcf(-0.707106781f * x);
}

/* x P(X < x), with -0 below where the tail underflows, as in cpu/elementwise.c. */
static __device__ inline float gelu(float x) {
    return x < -14.0f ? -0.0f : x * normal_below(x);
}

/* P(X < x) + x p(x), p the density of X. */
static __device__ inline float gelu_derivative(float x) {
    float density = 0.398942280f * expf(-0.5f * x * x);
    return normal_below(x) + fminf(fmaxf(x, -14.0f), 14.0f) * density;
}

template <sppo__op op>
static __device__ inline float forward(float a, float b, float f0, float f1) {
    switch (op) {
    case SPPO_OP_ADD: return a + b;
    case SPPO_OP_SUB: return a - b;
    case SPPO_OP_MUL: return a * b;
    case SPPO_OP_AFFINE: return f0 * a + f1;
    case SPPO_OP_SQUARE: return a * a;
    case SPPO_OP_EXP: return expf(a);
    case SPPO_OP_RELU: return a < 0 ? 0.0f : a;
    case SPPO_OP_LOG_SIGMOID: return (a < 0 ? a : 0.0f) - log1pf(expf(-fabsf(a)));
    case SPPO_OP_SWIGLU: return a * sigmoid(a) * b;
    case SPPO_OP_GEGLU: return a * gelu_share(a) * b;
    case SPPO_OP_SOFTCAP: return f0 * tanhf(a / f0);
    case SPPO_OP_GELU: return gelu(a);
    case SPPO_OP_TANH: return tanhf(a);
    default: return 0;
    }
}

/* What is added to the gradient of input `which`; as in cpu/elementwise.c. */
template <sppo__op op>
static __device__ inline float backward(int which, float g, float a, float b, float f0) {
    switch (op) {
    case SPPO_OP_MUL_BACKWARD: return which ? g * a : g * b;
    case SPPO_OP_SQUARE_BACKWARD: return g * (a + a);
    case SPPO_OP_EXP_BACKWARD: return g * a;
    case SPPO_OP_RELU_BACKWARD: return a <= 0 ? 0.0f : g;
    case SPPO_OP_LOG_SIGMOID_BACKWARD: return g * sigmoid(-a);
    case SPPO_OP_SWIGLU_BACKWARD: {
        float s = sigmoid(a);
        return which ? g * a * s : g * b * s * (1.0f + a * (1.0f - s));
    }
    case SPPO_OP_GEGLU_BACKWARD: return which ? g * a * gelu_share(a) : g * b * gelu_slope(a);
    case SPPO_OP_SOFTCAP_BACKWARD: {
        float t = a / f0;
        return g * (1.0f - t * t);
    }
    case SPPO_OP_GELU_BACKWARD: return g * gelu_derivative(a);
    case SPPO_OP_TANH_BACKWARD: return g * (1.0f - a * a);
    default: return 0;
    }
}

template <sppo__op op>
static __global__ void forward_kernel(float *y, const float *a, const float *b, float f0, float f1,
                                      int64_t n) {
    int64_t i = thread_value();
    if (i < n) y[i] = forward<op>(a[i], b ? b[i] : 0.0f, f0, f1);
}

/* What often stands before a product, and may be asked for its values in bf16 as well. */
template <sppo__op op>
static __global__ void rounding_kernel(operands p, __nv_bfloat16 *rounded) {
    int64_t i = thread_value();
    if (i >= p.count) return;
    float y = forward<op>(p.a[i], p.b[i], 0, 0);
    p.y[i] = y;
    if (rounded) rounded[i] = __float2bfloat16_rn(y);
}

/* One output after the other: both gradients may be the same tensor's. */
template <sppo__op op>
static __global__ void backward_kernel(float *da, float *db, const float *dy, const float *a,
                                       const float *b, float f0, int64_t n) {
    int64_t i = thread_value();
    if (i >= n) return;
    float g = dy[i], va = a ? a[i] : 0.0f, vb = b ? b[i] : 0.0f;
    if (da) da[i] += backward<op>(0, g, va, vb, f0);
    if (db) db[i] += backward<op>(1, g, va, vb, f0);
}

/* Values of a tensor; NULL where it is absent or not kept. */
static float *values(const sppo_tensor *t) {
    return t && t->storage ? sppo__f32(t) : NULL;
}

template <sppo__op op> static sppo_status run_forward(sppo__call *c) {
    int64_t n = sppo_tensor_count(c->in[0]);
    if (!n) return SPPO_OK;
    LAUNCH(forward_kernel<op>, blocks_for(n), THREADS, 0, values(c->out[0]), values(c->in[0]),
           values(c->in[1]), c->f[0], c->f[1], n);
    return sppo__cuda_launched(c);
}

template <sppo__op op> static void launch_later(const void *arguments, void *rounded) {
    const operands *p = (const operands *)arguments;
    LAUNCH(rounding_kernel<op>, blocks_for(p->count), THREADS, 0, *p, (__nv_bfloat16 *)rounded);
}

/* The launch waits for the op that reads the output. */
template <sppo__op op> static sppo_status run_later(sppo__call *c) {
    operands p = {values(c->out[0]), values(c->in[0]), values(c->in[1]),
                  sppo_tensor_count(c->in[0])};
    return p.count ? sppo__cuda_later(c, launch_later<op>, &p, sizeof p) : SPPO_OK;
}

template <sppo__op op> static sppo_status run_backward(sppo__call *c) {
    int64_t n = sppo_tensor_count(c->in[0]);
    if (!n) return SPPO_OK;
    LAUNCH(backward_kernel<op>, blocks_for(n), THREADS, 0, values(c->out[0]), values(c->out[1]),
           values(c->in[0]), values(c->in[1]), values(c->in[2]), c->f[0], n);
    return sppo__cuda_launched(c);
}

#define FORWARD(NAME, name) \
    sppo_status sppo_cuda_##name(sppo__call *c) { \
        return run_forward<SPPO_OP_##NAME>(c); \
    }
#define LATER(NAME, name) \
    sppo_status sppo_cuda_##name(sppo__call *c) { \
        return run_later<SPPO_OP_##NAME>(c); \
    }
#define BACKWARD(NAME, name) \
    sppo_status sppo_cuda_##name##_backward(sppo__call *c) { \
        return run_backward<SPPO_OP_##NAME##_BACKWARD>(c); \
    }

LATER(ADD, add)
FORWARD(SUB, sub)
FORWARD(MUL, mul)
BACKWARD(MUL, mul)
FORWARD(AFFINE, affine)
FORWARD(SQUARE, square)
BACKWARD(SQUARE, square)
FORWARD(EXP, exp)
BACKWARD(EXP, exp)
FORWARD(RELU, relu)
BACKWARD(RELU, relu)
FORWARD(LOG_SIGMOID, log_sigmoid)
BACKWARD(LOG_SIGMOID, log_sigmoid)
LATER(SWIGLU, swiglu)
BACKWARD(SWIGLU, swiglu)
LATER(GEGLU, geglu)
BACKWARD(GEGLU, geglu)
FORWARD(SOFTCAP, softcap)
BACKWARD(SOFTCAP, softcap)
FORWARD(GELU, gelu)
BACKWARD(GELU, gelu)
FORWARD(TANH, tanh)
BACKWARD(TANH, tanh)

/* A tensor with gaps, as a kernel gets it by value. */
typedef struct window {
    int ndim;
    int64_t shape[SPPO_MAX_DIMS], stride[SPPO_MAX_DIMS];
} window;

static __global__ void accumulate_kernel(float *out, window w, const float *in, float factor,
                                         int64_t n) {
    int64_t i = thread_value(), rest = i, at = 0;
    if (i >= n) return;
    for (int d = w.ndim - 1; d > 0; d--) {
        at += rest % w.shape[d] * w.stride[d];
        rest /= w.shape[d];
    }
    out[at + rest * w.stride[0]] += factor * in[i];
}

/* out += f[0] * in; out may have gaps. Without them there is nothing to divide. */
sppo_status sppo_cuda_accumulate(sppo__call *c) {
    const sppo_tensor *out = c->out[0];
    int64_t n = sppo_tensor_count(out);
    window w = {1, {n}, {1}};
    if (!n) return SPPO_OK;
    if (!sppo__gap_free(out)) {
        w.ndim = out->ndim;
        for (int d = 0; d < out->ndim; d++) {
            w.shape[d] = out->shape[d];
            w.stride[d] = out->stride[d];
        }
    }
    LAUNCH(accumulate_kernel, blocks_for(n), THREADS, 0, sppo__f32(out), w, sppo__f32(c->in[0]),
           c->f[0], n);
    return sppo__cuda_launched(c);
}
