/* norm.c - row normalisations: what they accept, what they return, how they differentiate. The
 * arithmetic is in cpu/norm.c. */

#include <math.h>

#include "ops/op.h"

/* The forward pass kept each row's 1 / rms in out[1]: backward needs no second reduction over x. */
static sppo_status rms_norm_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_RMS_NORM_BACKWARD,
                    .n_in = 4,
                    .n_out = 2,
                    .in = {sppo__dout(fwd, 0), fwd->in[0], fwd->in[1], fwd->out[1]},
                    .f = {fwd->f[0], fwd->f[1]}};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    if (!st) st = sppo__din(fwd, 1, &c.out[1]);
    return st ? st : sppo__run(&c);
}

static sppo_status check(const sppo__call *c) {
    const sppo_tensor *x = c->in[0], *weight = c->in[1];
    sppo_status st = sppo__want(c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st) st = sppo__want(c, 1, "weight", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (st) return st;
    if (weight->ndim != 1 || weight->shape[0] != sppo__columns(x))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_LAST_SIZE, sppo__op_name(c->op), "weight",
                          sppo__shape_text(weight), (long long)sppo__columns(x));
    if (!(c->f[0] > 0))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_POSITIVE, sppo__op_name(c->op), "eps",
                          (double)c->f[0]);
    if (!isfinite(c->f[1]))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_FINITE, "rms_norm", "offset", (double)c->f[1]);
    return SPPO_OK;
}

sppo_status sppo_rms_norm(sppo_tensor **out, sppo_tensor *x, sppo_tensor *weight, float eps,
                          float offset) {
    sppo__call c = {.op = SPPO_OP_RMS_NORM,
                    .in = {x, weight},
                    .n_in = 2,
                    .f = {eps, offset},
                    .save_in = 3,
                    .save_out = 2};
    sppo_status st = sppo__begin(&c);
    if (!st) st = check(&c);
    if (!st) st = sppo__out_like(&c, 0, c.in[0]);
    if (!st) st = sppo__out(&c, 1, SPPO_DTYPE_F32, 1, (int64_t[]){sppo__rows(x)});
    return sppo__finish(&c, st, rms_norm_backward, out, 1);
}

/* The forward pass kept each row's mean in out[1] and 1 / deviation in out[2]. */
static sppo_status layer_norm_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_LAYER_NORM_BACKWARD,
                    .n_in = 5,
                    .n_out = 3,
                    .in = {sppo__dout(fwd, 0), fwd->in[0], fwd->in[1], fwd->out[1], fwd->out[2]}};
    sppo_status st = SPPO_OK;
    for (int i = 0; i < 3 && !st; i++) st = sppo__din(fwd, i, &c.out[i]);
    return st ? st : sppo__run(&c);
}

sppo_status sppo_layer_norm(sppo_tensor **out, sppo_tensor *x, sppo_tensor *weight,
                            sppo_tensor *bias, float eps) {
    sppo__call c = {.op = SPPO_OP_LAYER_NORM,
                    .in = {x, weight, bias},
                    .n_in = 3,
                    .f = {eps},
                    .save_in = 3,
                    .save_out = 6};
    sppo_status st = sppo__begin(&c);
    if (!st) st = check(&c);
    if (!st) st = sppo__want(&c, 2, "bias", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st && !sppo__same_shape(c.in[1], c.in[2]))
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_LAST_SIZE, "layer_norm", "bias",
                        sppo__shape_text(c.in[2]), (long long)sppo__columns(x));
    if (!st) st = sppo__out_like(&c, 0, c.in[0]);
    for (int i = 1; i < 3 && !st; i++)
        st = sppo__out(&c, i, SPPO_DTYPE_F32, 1, (int64_t[]){sppo__rows(x)});
    return sppo__finish(&c, st, layer_norm_backward, out, 1);
}

sppo_status sppo_meta_rms_norm(sppo__call *c) {
    return sppo__cost(c, 4 * (double)sppo_tensor_count(c->in[0]));
}

sppo_status sppo_meta_rms_norm_backward(sppo__call *c) {
    return sppo__cost(c, 10 * (double)sppo_tensor_count(c->in[0]));
}

sppo_status sppo_meta_layer_norm(sppo__call *c) {
    return sppo__cost(c, 8 * (double)sppo_tensor_count(c->in[0]));
}

sppo_status sppo_meta_layer_norm_backward(sppo__call *c) {
    return sppo__cost(c, 17 * (double)sppo_tensor_count(c->in[1]));
}
