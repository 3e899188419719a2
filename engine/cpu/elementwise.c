/* elementwise.c - value by value: each op is one formula on a vector. Every value is made the same
 * way wherever it stands, in the body of a loop or in its tail, so its bits depend on nothing else. */

#include "cpu/cpu.h"
#include "cpu/simd.h"

enum { TASK_VALUES = 1 << 15 };

// gelu(x) = 0.5 x (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3)
#define GELU_SLOPE 0.7978845608f
#define GELU_CUBE 0.044715f

typedef struct work {
    const float *in[3];  // NULL where absent
    float *out[2];
    const float *f;
    int64_t count;
} work;

static vf sigmoid(vf x) {
    return vset(1) / (vset(1) + vexp(-x));
}

/* No vector logarithm: this op is for one value an answer. */
static vf log_sigmoid(vf x) {
    float lane[VL];
    vstore(lane, x);
    for (int i = 0; i < VL; i++)
        lane[i] = (lane[i] < 0 ? lane[i] : 0) - log1pf(expf(-fabsf(lane[i])));
    return vload(lane);
}

/* sigmoid(2 u) with u as in gelu's tanh form: 0.5 * (1 + tanh(u)) without its cancellation. */
static vf gelu_share(vf x) {
    return sigmoid(vset(2 * GELU_SLOPE) * (x + vset(GELU_CUBE) * x * x * x));
}

/* gelu'(x) = s + x s (1 - s) 2 u'. */
static vf gelu_slope(vf x) {
    vf s = gelu_share(x);
    vf inner = vset(2 * GELU_SLOPE) * (vset(1) + vset(3 * GELU_CUBE) * x * x);
    return s + x * s * (vset(1) - s) * inner;
}

/* No vector form: this op is for one row of a head a text. */
static vf hyperbolic_tangent(vf x) {
    float lane[VL];
    vstore(lane, x);
    for (int i = 0; i < VL; i++) lane[i] = tanhf(lane[i]);
    return vload(lane);
}

/* The normal distribution: *below is P(X < x) for a standard normal X, the result its density.
 * P(X < -|x|) = erfc(z) / 2 with z = |x| / sqrt 2, and erfc(z) = exp(-z^2) t p(t), t = 1 / (1 + 0.3
 * z), with p fitted to a relative error of 2e-8 for z in 0..11. */
static vf normal(vf x, vf *below) {
    vf size = vmax(x, -x), bell = vexp(size * size * vset(-0.5f));
    vf t = vset(1) / vfma(size, vset(0.3f * 0.707106781f), vset(1));
    vf p = vset(-0.129556036f);
    p = vfma(p, t, vset(0.485737205f));
    p = vfma(p, t, vset(-0.512669809f));
    p = vfma(p, t, vset(0.548213077f));
    p = vfma(p, t, vset(-0.0950296176f));
    p = vfma(p, t, vset(0.215107803f));
    p = vfma(p, t, vset(0.148286114f));
    p = vfma(p, t, vset(0.170723832f));
    p = vfma(p, t, vset(0.169187412f));
    vf tail = bell * t * p * vset(0.5f);
    *below = vselect(x < vset(0), tail, vset(1) - tail);
    return bell * vset(0.398942280f);
}

/* x P(X < x), with -0 below where the tail underflows. */
static vf gelu(vf x) {
    vf below;
    normal(x, &below);
    return vselect(x < vset(-14), vset(-0.0f), x * below);
}

ALWAYS_INLINE vf forward(sppo__op op, vf a, vf b, const float *f) {
    switch (op) {
    case SPPO_OP_ADD: return a + b;
    case SPPO_OP_SUB: return a - b;
    case SPPO_OP_MUL: return a * b;
    case SPPO_OP_AFFINE: return vset(f[0]) * a + vset(f[1]);
    case SPPO_OP_SQUARE: return a * a;
    case SPPO_OP_EXP: return vexp(a);
    case SPPO_OP_RELU: return vselect(a < vset(0), vset(0), a);
    case SPPO_OP_LOG_SIGMOID: return log_sigmoid(a);
    case SPPO_OP_SWIGLU: return a * sigmoid(a) * b;
    case SPPO_OP_GEGLU: return a * gelu_share(a) * b;
    case SPPO_OP_SOFTCAP: return vsoftcap(a, f[0]);
    case SPPO_OP_GELU: return gelu(a);
    case SPPO_OP_TANH: return hyperbolic_tangent(a);
    default: return vset(0);
    }
}

/* What is added to the gradient of input `which`; g is the gradient of the output, a (and b) what
 * the op file says backward reads: the inputs, or the output. */
ALWAYS_INLINE vf backward(sppo__op op, int which, vf g, vf a, vf b, const float *f) {
    switch (op) {
    case SPPO_OP_MUL_BACKWARD: return which ? g * a : g * b;
    case SPPO_OP_SQUARE_BACKWARD: return g * (a + a);
    case SPPO_OP_EXP_BACKWARD: return g * a;
    case SPPO_OP_RELU_BACKWARD: return vselect(a <= vset(0), vset(0), g);
    case SPPO_OP_LOG_SIGMOID_BACKWARD: return g * sigmoid(-a);
    case SPPO_OP_TANH_BACKWARD: return g * (vset(1) - a * a);
    case SPPO_OP_GELU_BACKWARD: {
        vf below, density = normal(a, &below);
        return g * vfma(vmin(vmax(a, vset(-14)), vset(14)), density, below);
    }
    case SPPO_OP_SWIGLU_BACKWARD: {
        vf s = sigmoid(a);
        return which ? g * a * s : g * b * s * (vset(1) + a * (vset(1) - s));
    }
    case SPPO_OP_GEGLU_BACKWARD: return which ? g * a * gelu_share(a) : g * b * gelu_slope(a);
    case SPPO_OP_SOFTCAP_BACKWARD: {
        vf t = a / vset(f[0]);
        return g * (vset(1) - t * t);
    }
    default: return vset(0);
    }
}

/* n = VL in the body of the loop, fewer at the end. */
ALWAYS_INLINE vf get(const float *p, int64_t i, int64_t n) {
    if (!p) return vset(0);
    return n == VL ? vload(p + i) : vload_part(p + i, n);
}

ALWAYS_INLINE void put(float *p, int64_t i, int64_t n, vf v) {
    if (n == VL) vstore(p + i, v);
    else vstore_part(p + i, v, n);
}

ALWAYS_INLINE void forward_values(sppo__op op, const work *w, int64_t i, int64_t n) {
    vf a = get(w->in[0], i, n), b = get(w->in[1], i, n);
    put(w->out[0], i, n, forward(op, a, b, w->f));
}

ALWAYS_INLINE void backward_values(sppo__op op, const work *w, int64_t i, int64_t n) {
    vf g = get(w->in[0], i, n), a = get(w->in[1], i, n), b = get(w->in[2], i, n);
    // One after the other: both gradients may be the same tensor's.
    for (int which = 0; which < 2; which++)
        if (w->out[which])
            put(w->out[which], i, n, get(w->out[which], i, n) + backward(op, which, g, a, b, w->f));
}

/* Task number `task` of the op, which is a constant wherever this is called. */
ALWAYS_INLINE void values(sppo__op op, bool back, const work *w, int64_t task) {
    int64_t i = task * TASK_VALUES;
    int64_t end = w->count - i < TASK_VALUES ? w->count : i + TASK_VALUES;
    for (; i + VL <= end; i += VL) {
        if (back) backward_values(op, w, i, VL);
        else forward_values(op, w, i, VL);
    }
    if (i == end) return;
    if (back) backward_values(op, w, i, end - i);
    else forward_values(op, w, i, end - i);
}

static sppo_status run(const sppo__call *c, sppo__task fn) {
    work w = {.f = c->f, .count = sppo_tensor_count(c->in[0])};
    for (int i = 0; i < c->n_in; i++)
        if (c->in[i]->storage) {
            w.in[i] = sppo__f32(c->in[i]);
            sppo__read_add(w.count * (int64_t)sizeof(float));
        }
    for (int i = 0; i < c->n_out; i++)
        if (c->out[i]) w.out[i] = sppo__f32(c->out[i]);
    sppo__parallel_values(w.count, (w.count + TASK_VALUES - 1) / TASK_VALUES, fn, &w);
    return SPPO_OK;
}

#define ELEMENTWISE(NAME, name, back) \
    static void name##_task(void *context, int64_t task, int thread) { \
        (void)thread; \
        values(SPPO_OP_##NAME, back, context, task); \
    } \
    sppo_status KERNEL(name)(sppo__call * c) { \
        return run(c, name##_task); \
    }

ELEMENTWISE(ADD, add, false)
ELEMENTWISE(SUB, sub, false)
ELEMENTWISE(MUL, mul, false)
ELEMENTWISE(MUL_BACKWARD, mul_backward, true)
ELEMENTWISE(AFFINE, affine, false)
ELEMENTWISE(SQUARE, square, false)
ELEMENTWISE(SQUARE_BACKWARD, square_backward, true)
ELEMENTWISE(EXP, exp, false)
ELEMENTWISE(EXP_BACKWARD, exp_backward, true)
ELEMENTWISE(RELU, relu, false)
ELEMENTWISE(RELU_BACKWARD, relu_backward, true)
ELEMENTWISE(LOG_SIGMOID, log_sigmoid, false)
ELEMENTWISE(LOG_SIGMOID_BACKWARD, log_sigmoid_backward, true)
ELEMENTWISE(SWIGLU, swiglu, false)
ELEMENTWISE(SWIGLU_BACKWARD, swiglu_backward, true)
ELEMENTWISE(GEGLU, geglu, false)
ELEMENTWISE(GEGLU_BACKWARD, geglu_backward, true)
ELEMENTWISE(SOFTCAP, softcap, false)
ELEMENTWISE(SOFTCAP_BACKWARD, softcap_backward, true)
ELEMENTWISE(GELU, gelu, false)
ELEMENTWISE(GELU_BACKWARD, gelu_backward, true)
ELEMENTWISE(TANH, tanh, false)
ELEMENTWISE(TANH_BACKWARD, tanh_backward, true)

typedef struct window {
    const sppo_tensor *out;  // rows, perhaps with gaps
    const float *in;         // without gaps
    float factor;
    int64_t rows, columns, block;  // block: rows of a task
} window;

static void accumulate_task(void *context, int64_t task, int thread) {
    const window *w = context;
    (void)thread;
    const sppo_tensor *t = w->out;
    int64_t stride = t->ndim ? t->stride[t->ndim - 1] : 1;
    int64_t end = w->rows - task * w->block < w->block ? w->rows : (task + 1) * w->block;
    for (int64_t row = task * w->block; row < end; row++) {
        const float *in = w->in + row * w->columns;
        float *out = sppo__f32(t);
        int64_t rest = row;
        for (int d = t->ndim - 2; d >= 0; d--) {
            out += rest % t->shape[d] * t->stride[d];
            rest /= t->shape[d];
        }
        if (stride == 1)
            for (int64_t i = 0; i < w->columns; i++) out[i] += w->factor * in[i];
        else
            for (int64_t i = 0; i < w->columns; i++) out[i * stride] += w->factor * in[i];
    }
}

/* out += f[0] * in; out may have gaps. */
sppo_status KERNEL(accumulate)(sppo__call *c) {
    const sppo_tensor *out = c->out[0];
    window w = {.out = out,
                .in = sppo__f32(c->in[0]),
                .factor = c->f[0],
                .rows = sppo__rows(out),
                .columns = sppo__columns(out)};
    if (!w.columns) return SPPO_OK;
    w.block = (TASK_VALUES + w.columns - 1) / w.columns;
    sppo__parallel((w.rows + w.block - 1) / w.block, accumulate_task, &w);
    return SPPO_OK;
}
