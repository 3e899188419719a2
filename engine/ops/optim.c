/* optim.c - optimizer steps: what they accept. In place, never recorded. The arithmetic is in
 * cpu/optim.c. */

#include <math.h>

#include "ops/op.h"

/* Runs the step over p (out[0]) and its state (the other outputs), given the gradient. */
static sppo_status step(sppo__call *c) {
    static const char *const state_names[] = {"p", "state 1", "state 2"};
    sppo_status st = sppo__begin(c);
    for (int i = 0; i < c->n_out && !st; i++) {
        const sppo_tensor *t = c->out[i];
        if (!t->storage)
            st = sppo__fail(SPPO_ERR_STATE, TEXT_RELEASED, sppo__op_name(c->op), i, t->made_by);
        else if (t->dtype != SPPO_DTYPE_F32 || c->in[0]->dtype != SPPO_DTYPE_F32)
            st = sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, sppo__op_name(c->op), state_names[i],
                            sppo__dtype_name(t->dtype), "f32");
        else if (!sppo__same_shape(t, c->in[0]) || t->layout != c->in[0]->layout ||
                 !sppo__gap_free(t))
            st = sppo__fail(SPPO_ERR_SHAPE, TEXT_SHAPES, sppo__op_name(c->op), state_names[i],
                            sppo__shape_text(t), "grad", sppo__shape_text(c->in[0]));
    }
    for (int i = 0; i < 6 && !st; i++)
        if (!isfinite(c->f[i]))
            st = sppo__fail(SPPO_ERR_NONFINITE, TEXT_STEP_NUMBER, sppo__op_name(c->op), i);
    if (!st) st = sppo__run(c);
    for (int i = 0; i < c->n_in; i++)
        if (c->temporary & 1u << i) sppo_tensor_release(c->in[i]);
    return st;
}

sppo_status sppo_rmsprop_step(sppo_tensor *p, sppo_tensor *grad, sppo_tensor *v, float lr,
                              float alpha, float eps, float weight_decay, float scale) {
    sppo__call c = {.op = SPPO_OP_RMSPROP, .in = {grad}, .n_in = 1, .out = {p, v}, .n_out = 2,
                    .f = {lr, alpha, eps, weight_decay, scale}};
    return step(&c);
}

sppo_status sppo_adamw_step(sppo_tensor *p, sppo_tensor *grad, sppo_tensor *m, sppo_tensor *v,
                            float lr, float beta1, float beta2, float eps, float weight_decay,
                            float scale, int64_t number) {
    sppo__call c = {.op = SPPO_OP_ADAMW, .in = {grad}, .n_in = 1, .out = {p, m, v}, .n_out = 3,
                    .f = {lr, beta1, beta2, eps, weight_decay, scale}, .i = {number}};
    if (number < 1)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "adamw", "step", 1LL,
                          (long long)INT64_MAX, (long long)number);
    return step(&c);
}

sppo_status sppo_sgd_step(sppo_tensor *p, sppo_tensor *grad, float lr, float weight_decay,
                          float scale) {
    sppo__call c = {.op = SPPO_OP_SGD, .in = {grad}, .n_in = 1, .out = {p}, .n_out = 1,
                    .f = {lr, weight_decay, scale}};
    return step(&c);
}

/* Parameter and state are read and written, the gradient is read. */
#define COST(name, flops)                                                      \
    sppo_status sppo_meta_##name(sppo__call *c) {                              \
        double n = (double)sppo_tensor_count(c->in[0]);                        \
        sppo__cost_add(flops * n, sppo__bytes(c->in[0]) * (1 + 2 * c->n_out)); \
        return SPPO_OK;                                                        \
    }
COST(rmsprop, 9)
COST(adamw, 14)
COST(sgd, 4)
#undef COST
