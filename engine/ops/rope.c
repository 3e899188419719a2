/* rope.c - rotary position embedding: what it accepts and how it differentiates. A rotation's
 * backward is the rotation by the negative angle. The arithmetic is in cpu/rope.c.
 *
 * A call has f[0] = theta and the scaling: f[1] = factor (0: none), f[2] = low_freq_factor,
 * f[3] = high_freq_factor, f[4] = original_positions. */

#include "ops/rope.h"

#include <math.h>
#include <string.h>

#include "llm/segments.h"
#include "ops/op.h"

enum { HEAD_DIM = 2 * SPPO_ROPE_HALF };

/* A frequency as rope_type "llama3" has it; each step rounds as PyTorch's tensors do, to which
 * number / tensor is the tensor's reciprocal times the number. */
static float llama3(float frequency, const float *f) {
    float factor = f[1], low = f[2], high = f[3], original = f[4];
    float length = 1.0f / frequency * (float)(2 * 3.14159265358979323846);  // of a turn, in tokens
    if (length < (float)((double)original / (double)high)) return frequency;
    if (length > (float)((double)original / (double)low)) return frequency / factor;
    float smooth = (1.0f / length * original - low) / (float)((double)high - (double)low);
    return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

/* Those of the last call are kept: a model has one theta. Ops are run by one thread. */
const float *sppo__rope_frequencies(const float *f, int64_t half) {
    static float kept[SPPO_ROPE_HALF], kept_f[5];
    static int64_t kept_half;
    bool known = half == kept_half;
    for (int i = 0; i < 5; i++) known = known && f[i] == kept_f[i];
    if (!known) {
        for (int64_t i = 0; i < half; i++) {
            float exponent = (float)(2 * i) / (float)(2 * half);
            kept[i] = 1.0f / (float)pow((double)f[0], (double)exponent);
            if (f[1] > 0 && f[2] > 0) kept[i] = llama3(kept[i], f);
            else if (f[1] > 0) kept[i] /= f[1];
        }
        memcpy(kept_f, f, sizeof kept_f);
        kept_half = half;
    }
    return kept;
}

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
