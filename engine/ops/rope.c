/* rope.c - rotary position embedding: what it accepts and how it differentiates. A rotation's
 * backward is the rotation by the negative angle. The arithmetic is in cpu/rope.c. */

#include <math.h>

#include "llm/segments.h"
#include "ops/op.h"

enum { HEAD_DIM = 256 };

static sppo_status rope_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_ROPE_BACKWARD,
                    .in = {sppo__dout(fwd, 0)},
                    .n_in = 1,
                    .n_out = 1,
                    .f = {fwd->f[0]},
                    .at = fwd->at};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    return st || !c.out[0] ? st : sppo__run(&c);
}

static sppo_status check(const sppo__call *c) {
    const sppo_tensor *x = c->in[0];
    sppo_status st = sppo__want(c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (st) return st;
    if (x->ndim != 3)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, "rope", "x", sppo__shape_text(x), 3);
    if (x->shape[2] < 2 || x->shape[2] > HEAD_DIM || x->shape[2] % 2)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_ROPE_SIZE, (long long)x->shape[2], HEAD_DIM);
    if (!(c->f[0] > 0) || !isfinite(c->f[0]))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_POSITIVE, "rope", "theta", (double)c->f[0]);
    return sppo__segments_use(c->at, "rope", x->shape[0]);
}

sppo_status sppo_rope(sppo_tensor **out, sppo_tensor *x, sppo_segments *at, float theta) {
    sppo__call c = {.op = SPPO_OP_ROPE, .in = {x}, .n_in = 1, .f = {theta}, .at = at};
    sppo_status st = sppo__begin(&c);
    if (!st) st = check(&c);
    if (!st) st = sppo__out_like(&c, 0, c.in[0]);
    return sppo__finish(&c, st, rope_backward, out, 1);
}

/* A pair of values takes 4 products and 2 sums. */
sppo_status sppo_meta_rope(sppo__call *c) {
    return sppo__cost(c, 3 * (double)sppo_tensor_count(c->in[0]));
}

sppo_status sppo_meta_rope_backward(sppo__call *c) {
    return sppo__cost(c, 4 * (double)sppo_tensor_count(c->in[0]));
}
