/* rope.c - rotary position embedding: what it accepts and how it differentiates. A rotation's
 * backward is the rotation by the negative angle. The arithmetic is in cpu/rope.c.
 *
 * A call has f[0] = theta and the scaling: f[1] = factor (0: none), f[2] = low_freq_factor,
 * f[3] = high_freq_factor, f[4] = original_positions. */

#include <math.h>

#include "llm/segments.h"
#include "ops/op.h"

enum { HEAD_DIM = 256 };

static sppo_status rope_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_ROPE_BACKWARD,
                    .in = {sppo__dout(fwd, 0)},
                    .n_in = 1,
                    .n_out = 1,
                    .f = {fwd->f[0], fwd->f[1], fwd->f[2], fwd->f[3], fwd->f[4]},
                    .at = fwd->at};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    return st || !c.out[0] ? st : sppo__run(&c);
}

static sppo_status check_positive(const char *name, float value) {
    if (value > 0 && isfinite(value)) return SPPO_OK;
    return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_POSITIVE, "rope", name, (double)value);
}

static sppo_status check_scaling(const sppo_rope_scaling *s) {
    sppo_status st = check_positive("factor", s->factor);
    if (st || (s->low_freq_factor == 0 && s->high_freq_factor == 0)) return st;
    if (!(s->low_freq_factor > 0) || !(s->high_freq_factor > s->low_freq_factor) ||
        !isfinite(s->high_freq_factor))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_ROPE_SCALING, (double)s->low_freq_factor,
                          (double)s->high_freq_factor);
    return check_positive("original_positions", s->original_positions);
}

static sppo_status check(const sppo__call *c) {
    const sppo_tensor *x = c->in[0];
    sppo_status st = sppo__want(c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (st) return st;
    if (x->ndim != 3)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, "rope", "x", sppo__shape_text(x), 3);
    if (x->shape[2] < 2 || x->shape[2] > HEAD_DIM || x->shape[2] % 2)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_ROPE_SIZE, (long long)x->shape[2], HEAD_DIM);
    st = check_positive("theta", c->f[0]);
    return st ? st : sppo__segments_use(c->at, "rope", x->shape[0]);
}

sppo_status sppo_rope(sppo_tensor **out, sppo_tensor *x, sppo_segments *at, float theta,
                      const sppo_rope_scaling *scaling) {
    sppo__call c = {.op = SPPO_OP_ROPE, .in = {x}, .n_in = 1, .f = {theta}, .at = at};
    if (scaling) {
        c.f[1] = scaling->factor;
        c.f[2] = scaling->low_freq_factor;
        c.f[3] = scaling->high_freq_factor;
        c.f[4] = scaling->original_positions;
    }
    sppo_status st = sppo__begin(&c);
    if (!st) st = check(&c);
    if (!st && scaling) st = check_scaling(scaling);
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
