/* reduce.c - sums. The arithmetic is in cpu/reduce.c. */

#include "ops/op.h"

static sppo_status sum_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_SUM_BACKWARD, .in = {sppo__dout(fwd, 0)}, .n_in = 1, .n_out = 1};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    return st || !c.out[0] ? st : sppo__run(&c);
}

sppo_status sppo_sum(sppo_tensor **out, sppo_tensor *x) {
    sppo__call c = {.op = SPPO_OP_SUM, .in = {x}, .n_in = 1};
    int64_t one = 1;
    sppo_status st = sppo__begin(&c);
    if (!st) st = sppo__want(&c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st) st = sppo__out(&c, 0, SPPO_DTYPE_F32, 1, &one);
    return sppo__finish(&c, st, sum_backward, out, 1);
}

static sppo_status segment_sum_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_SEGMENT_SUM_BACKWARD,
                    .in = {sppo__dout(fwd, 0), fwd->in[1]},
                    .n_in = 2,
                    .n_out = 1};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    return st || !c.out[0] ? st : sppo__run(&c);
}

sppo_status sppo_segment_sum(sppo_tensor **out, sppo_tensor *x, sppo_tensor *group,
                             int64_t groups) {
    sppo__call c = {.op = SPPO_OP_SEGMENT_SUM, .in = {x, group}, .n_in = 2, .save_in = 2};
    sppo_status st = sppo__begin(&c);
    if (!st) st = sppo__want(&c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st) st = sppo__want(&c, 1, "group", SPPO_DTYPE_I32, SPPO_LAYOUT_ROWS);
    if (!st && x->ndim != 1)
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, "segment_sum", "x", sppo__shape_text(x), 1);
    if (!st && !sppo__same_shape(x, group))
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_SHAPES, "segment_sum", "x", sppo__shape_text(x),
                        "group", sppo__shape_text(group));
    if (!st && (groups < 0 || groups > INT32_MAX))
        st = sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "segment_sum", "groups", 0LL,
                        (long long)INT32_MAX, (long long)groups);
    if (!st) st = sppo__check_index(&c, 1, "group", groups);
    if (!st) st = sppo__out(&c, 0, SPPO_DTYPE_F32, 1, &groups);
    return sppo__finish(&c, st, segment_sum_backward, out, 1);
}

/* A number about the values of any f32 tensor, panels too; on meta it is 0. */
static sppo_status measure(sppo__op op, const sppo_tensor *x, double *result) {
    // The kernel only reads; calls have no const inputs.
    sppo__call c = {.op = op, .in = {(sppo_tensor *)(uintptr_t)x}, .n_in = 1, .result = result};
    *result = 0;
    int recording = sppo_grad_enable(0);
    sppo_status st = sppo__begin(&c);
    sppo_grad_enable(recording);
    if (!st && x->dtype != SPPO_DTYPE_F32)
        st = sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, sppo__op_name(op), "x",
                        sppo__dtype_name(x->dtype), "f32");
    return sppo__finish(&c, st, NULL, NULL, 0);
}

sppo_status sppo_sum_squares(const sppo_tensor *x, double *out) {
    return measure(SPPO_OP_SUM_SQUARES, x, out);
}

sppo_status sppo_tensor_nonfinite(const sppo_tensor *x, int64_t *count) {
    double result;
    sppo_status st = measure(SPPO_OP_NONFINITE, x, &result);
    if (!st) *count = (int64_t)result;
    return st;
}

#define COST(name, flops) \
    sppo_status sppo_meta_##name(sppo__call *c) { \
        return sppo__cost(c, flops * (double)sppo_tensor_count(c->in[0])); \
    }
COST(sum, 1)
COST(segment_sum, 1)
COST(segment_sum_backward, 1)
COST(sum_squares, 2)
COST(nonfinite, 1)
#undef COST

sppo_status sppo_meta_sum_backward(sppo__call *c) {
    return sppo__cost(c, (double)sppo_tensor_count(c->out[0]));
}
