/* matmul.c - products with weights: what `linear` accepts, returns, and how it differentiates. */

#include "ops/op.h"
#include "ops/workspace.h"

enum { WEIGHTS = 4 };

static sppo_status linear_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_LINEAR_BACKWARD, .n_in = 1 + 2 * WEIGHTS, .n_out = 1 + WEIGHTS};
    c.in[0] = fwd->in[0];
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    for (int i = 1; i < fwd->n_in && !st; i++) {
        c.in[i] = fwd->in[i];
        c.in[WEIGHTS + i] = sppo__dout(fwd, i - 1);
        if (c.in[WEIGHTS + i]) st = sppo__din(fwd, i, &c.out[i]);
    }
    return st ? st : sppo__run(&c);
}

static sppo_status check_weight(const sppo_tensor *x, const sppo_tensor *w) {
    if (w->layout != SPPO_LAYOUT_PANELS)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_LAYOUT, "linear", "weight", "rows", "panels");
    if (w->shape[1] != sppo__columns(x))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_INNER, "linear", sppo__shape_text(x),
                          sppo__shape_text(w));
    return SPPO_OK;
}

sppo_status sppo_linear(sppo_tensor **out, sppo_tensor *x, sppo_tensor *const *weights, int count) {
    if (count < 1 || count > WEIGHTS)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "linear", "number of weights", 1LL,
                          (long long)WEIGHTS, (long long)count);
    sppo__call c = {.op = SPPO_OP_LINEAR, .in = {x}, .n_in = 1 + count};
    for (int i = 0; i < count; i++) {
        c.in[1 + i] = weights[i];
        if (weights[i]->needs_grad) c.save_in |= 1;
        if (x->needs_grad) c.save_in |= 2u << i;
    }
    sppo_status st = sppo__begin(&c);
    if (!st) st = sppo__want(&c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    for (int i = 0; i < count && !st; i++) {
        st = check_weight(c.in[0], weights[i]);
        if (st) break;
        int64_t shape[SPPO_MAX_DIMS] = {0};
        int ndim = x->ndim ? x->ndim : 1;
        for (int d = 0; d + 1 < ndim; d++) shape[d] = x->shape[d];
        shape[ndim - 1] = weights[i]->shape[0];
        st = sppo__out(&c, i, SPPO_DTYPE_F32, ndim, shape);
    }
    return sppo__finish(&c, st, linear_backward, out, count);
}

/* A panel's edge; rows of x as q8_0 where a weight is q8_0. */
sppo__workspace sppo__workspace_linear(const sppo__call *c) {
    int64_t rows = sppo__rows(c->in[0]), outputs = 0;
    bool q8 = false;
    for (int i = 1; i < c->n_in; i++) {
        outputs += c->in[i]->shape[0];
        q8 |= c->in[i]->dtype == SPPO_DTYPE_Q8_0;
    }
    if (!rows || !outputs) return (sppo__workspace){0, 0};
    return (sppo__workspace){.bytes = q8 ? q8_rows_bytes(rows, sppo__columns(c->in[0])) : 0,
                             .scratch = PANEL_ROWS * 64 * (int64_t)sizeof(float)};
}

sppo__workspace sppo__workspace_linear_backward(const sppo__call *c) {
    if (!sppo__rows(c->in[0]) || !sppo__columns(c->in[0])) return (sppo__workspace){0, 0};
    int64_t floats =
        PANEL_SCRATCH_DX > PANEL_SCRATCH_DWEIGHT ? PANEL_SCRATCH_DX : PANEL_SCRATCH_DWEIGHT;
    return (sppo__workspace){.scratch = floats * (int64_t)sizeof(float)};
}

static sppo_status add_bias_backward(const sppo__call *fwd) {
    sppo__call pass = {
        .op = SPPO_OP_ACCUMULATE, .in = {sppo__dout(fwd, 0)}, .n_in = 1, .n_out = 1, .f = {1}};
    sppo__call sum = {
        .op = SPPO_OP_ADD_BIAS_BACKWARD, .in = {sppo__dout(fwd, 0)}, .n_in = 1, .n_out = 1};
    sppo_status st = sppo__din(fwd, 0, &pass.out[0]);
    if (!st && pass.out[0]) st = sppo__run(&pass);
    if (!st) st = sppo__din(fwd, 1, &sum.out[0]);
    return st || !sum.out[0] ? st : sppo__run(&sum);
}

sppo_status sppo_add_bias(sppo_tensor **out, sppo_tensor *x, sppo_tensor *bias) {
    sppo__call c = {.op = SPPO_OP_ADD_BIAS, .in = {x, bias}, .n_in = 2};
    sppo_status st = sppo__begin(&c);
    if (!st) st = sppo__want(&c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st) st = sppo__want(&c, 1, "bias", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st && (bias->ndim != 1 || bias->shape[0] != sppo__columns(x)))
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_LAST_SIZE, "add_bias", "bias", sppo__shape_text(bias),
                        (long long)sppo__columns(x));
    if (!st) st = sppo__out_like(&c, 0, c.in[0]);
    return sppo__finish(&c, st, add_bias_backward, out, 1);
}

sppo_status sppo_meta_add_bias(sppo__call *c) {
    return sppo__cost(c, (double)sppo_tensor_count(c->in[0]));
}

sppo_status sppo_meta_add_bias_backward(sppo__call *c) {
    return sppo__cost(c, (double)sppo_tensor_count(c->in[0]));
}

sppo_status sppo_meta_linear(sppo__call *c) {
    double flops = 0, rows = (double)sppo__rows(c->in[0]);
    for (int i = 1; i < c->n_in; i++) flops += 2 * rows * (double)sppo_tensor_count(c->in[i]);
    return sppo__cost(c, flops);
}

sppo_status sppo_meta_linear_backward(sppo__call *c) {
    double flops = 0, rows = (double)sppo__rows(c->in[0]);
    for (int i = 1; i <= WEIGHTS; i++) {
        if (!c->in[i] || !c->in[WEIGHTS + i]) continue;
        double product = 2 * rows * (double)sppo_tensor_count(c->in[i]);
        flops += (c->out[0] ? product : 0) + (c->out[i] ? product : 0);
    }
    return sppo__cost(c, flops);
}
