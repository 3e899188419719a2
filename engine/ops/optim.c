/* optim.c - optimizer steps: what they accept. In place, never recorded. The arithmetic is in
 * cpu/optim.c. */

#include <math.h>

#include "ops/op.h"

static const char *const layouts[] = {"rows", "panels"};

/* Parameter or state t: f32 like the gradient, of its shape and layout, and changed in place. */
static sppo_status check(const sppo__call *c, const char *name, const sppo_tensor *t) {
    const sppo_tensor *grad = c->in[0];
    const char *op = sppo__op_name(c->op);
    if (t->dtype != SPPO_DTYPE_F32)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, op, name, sppo__dtype_name(t->dtype),
                          "f32");
    if (!sppo__same_shape(t, grad))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_SHAPES, op, name, sppo__shape_text(t), "grad",
                          sppo__shape_text(grad));
    if (t->layout != grad->layout)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_LAYOUT, op, name, layouts[t->layout],
                          layouts[grad->layout]);
    if (!sppo__gap_free(t) && t->layout == SPPO_LAYOUT_ROWS)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_GAPS_IN, op, name, sppo__shape_text(t));
    return SPPO_OK;
}

/* Runs the step over p and its state, the outputs, given the gradient; `names` are theirs. */
static sppo_status step(sppo__call *c, const char *const *names) {
    c->n_in = 1 + c->n_out;
    for (int i = 0; i < c->n_out; i++) c->in[1 + i] = c->out[i];
    int recording = sppo_grad_enable(0);
    sppo_status st = sppo__begin(c);
    sppo_grad_enable(recording);
    if (!st) st = sppo__want(c, 0, "grad", SPPO_DTYPE_F32, c->in[0]->layout);
    // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage)
    for (int i = 0; i < c->n_out && !st; i++) st = check(c, names[i], c->out[i]);
    for (int i = 0; i < 8 && !st; i++)
        if (!isfinite(c->f[i]))
            st = sppo__fail(SPPO_ERR_NONFINITE, TEXT_STEP_NUMBER, sppo__op_name(c->op));
    if (!st) st = sppo__run(c);
    for (int i = 0; i < c->n_in; i++)
        if (c->temporary & 1u << i) sppo_tensor_release(c->in[i]);
    return st;
}

/* What a kernel reads is rounded to f32 here, once 1 - alpha and the like are made: as PyTorch does. */

sppo_status sppo_rmsprop_step(sppo_tensor *p, sppo_tensor *grad, sppo_tensor *v, double lr,
                              double alpha, double eps, double weight_decay, double scale) {
    sppo__call c = {.op = SPPO_OP_RMSPROP,
                    .in = {grad},
                    .out = {p, v},
                    .n_out = 2,
                    .f = {(float)scale, (float)weight_decay, (float)-lr, (float)alpha,
                          (float)(1 - alpha), (float)eps}};
    return step(&c, (const char *const[]){"p", "v"});
}

sppo_status sppo_adamw_step(sppo_tensor *p, sppo_tensor *grad, sppo_tensor *m, sppo_tensor *v,
                            double lr, double beta1, double beta2, double eps, double weight_decay,
                            double scale, int64_t number) {
    if (number < 1)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "adamw", "step", 1LL, (long long)INT64_MAX,
                          (long long)number);
    double bias1 = 1 - pow(beta1, (double)number), bias2 = 1 - pow(beta2, (double)number);
    sppo__call c = {.op = SPPO_OP_ADAMW,
                    .in = {grad},
                    .out = {p, m, v},
                    .n_out = 3,
                    .f = {(float)scale, (float)(1 - lr * weight_decay), (float)(-lr / bias1),
                          (float)(1 - beta1), (float)beta2, (float)(1 - beta2), (float)sqrt(bias2),
                          (float)eps}};
    return step(&c, (const char *const[]){"p", "m", "v"});
}

sppo_status sppo_sgd_step(sppo_tensor *p, sppo_tensor *grad, double lr, double weight_decay,
                          double scale) {
    sppo__call c = {.op = SPPO_OP_SGD,
                    .in = {grad},
                    .out = {p},
                    .n_out = 1,
                    .f = {(float)scale, (float)weight_decay, (float)-lr}};
    return step(&c, (const char *const[]){"p"});
}

#define META(name, flops) \
    sppo_status sppo_meta_##name(sppo__call *c) { \
        return sppo__cost(c, (flops) * (double)sppo_tensor_count(c->in[0])); \
    }

META(rmsprop, 9)
META(adamw, 14)
META(sgd, 4)
