/* softmax.c - softmax and its logarithm over the last axis. The arithmetic is in cpu/softmax.c. */

#include "ops/op.h"

/* Both derivatives need the result, not the input. */
static sppo_status pass(const sppo__call *fwd, sppo__op op) {
    sppo__call c = {.op = op, .in = {sppo__dout(fwd, 0), fwd->out[0]}, .n_in = 2, .n_out = 1};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    return st || !c.out[0] ? st : sppo__run(&c);
}

static sppo_status softmax_backward(const sppo__call *fwd) {
    return pass(fwd, SPPO_OP_SOFTMAX_BACKWARD);
}

static sppo_status log_softmax_backward(const sppo__call *fwd) {
    return pass(fwd, SPPO_OP_LOG_SOFTMAX_BACKWARD);
}

static sppo_status make(sppo_tensor **out, sppo_tensor *x, sppo__op op, sppo__backward backward) {
    sppo__call c = {.op = op, .in = {x}, .n_in = 1, .save_out = 1};
    sppo_status st = sppo__begin(&c);
    if (!st) st = sppo__want(&c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st) st = sppo__out_like(&c, 0, c.in[0]);
    return sppo__finish(&c, st, backward, out, 1);
}

sppo_status sppo_softmax(sppo_tensor **out, sppo_tensor *x) {
    return make(out, x, SPPO_OP_SOFTMAX, softmax_backward);
}

sppo_status sppo_log_softmax(sppo_tensor **out, sppo_tensor *x) {
    return make(out, x, SPPO_OP_LOG_SOFTMAX, log_softmax_backward);
}

#define COST(name, flops) \
    sppo_status sppo_meta_##name(sppo__call *c) { \
        return sppo__cost(c, flops * (double)sppo_tensor_count(c->in[0])); \
    }
COST(softmax, 12)
COST(softmax_backward, 5)
COST(log_softmax, 12)
COST(log_softmax_backward, 12)
#undef COST
