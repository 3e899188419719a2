/* elementwise.c - value by value: what these ops accept and how they differentiate. The arithmetic
 * is in cpu/elementwise.c. */

#include <math.h>

#include "ops/op.h"

/* Gradient of input i += scale * gradient of the output. */
static sppo_status pass_on(const sppo__call *fwd, int i, float scale) {
    sppo__call c = {
        .op = SPPO_OP_ACCUMULATE, .in = {sppo__dout(fwd, 0)}, .n_in = 1, .n_out = 1, .f = {scale}};
    sppo_status st = sppo__din(fwd, i, &c.out[0]);
    return st || !c.out[0] ? st : sppo__run(&c);
}

static sppo_status add_backward(const sppo__call *fwd) {
    sppo_status st = pass_on(fwd, 0, 1);
    return st ? st : pass_on(fwd, 1, 1);
}

static sppo_status sub_backward(const sppo__call *fwd) {
    sppo_status st = pass_on(fwd, 0, 1);
    return st ? st : pass_on(fwd, 1, -1);
}

static sppo_status affine_backward(const sppo__call *fwd) {
    return pass_on(fwd, 0, fwd->f[0]);
}

/* A backward kernel that reads the gradient of the output and both inputs. */
static sppo_status binary_backward(const sppo__call *fwd, sppo__op op) {
    sppo__call c = {
        .op = op, .in = {sppo__dout(fwd, 0), fwd->in[0], fwd->in[1]}, .n_in = 3, .n_out = 2};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    if (!st) st = sppo__din(fwd, 1, &c.out[1]);
    return st ? st : sppo__run(&c);
}

static sppo_status mul_backward(const sppo__call *fwd) {
    return binary_backward(fwd, SPPO_OP_MUL_BACKWARD);
}

static sppo_status swiglu_backward(const sppo__call *fwd) {
    return binary_backward(fwd, SPPO_OP_SWIGLU_BACKWARD);
}

static sppo_status geglu_backward(const sppo__call *fwd) {
    return binary_backward(fwd, SPPO_OP_GEGLU_BACKWARD);
}

/* A backward kernel that reads the gradient of the output and one tensor more. */
static sppo_status unary_backward(const sppo__call *fwd, sppo__op op, sppo_tensor *saved) {
    sppo__call c = {
        .op = op, .in = {sppo__dout(fwd, 0), saved}, .n_in = 2, .n_out = 1, .f = {fwd->f[0]}};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    return st || !c.out[0] ? st : sppo__run(&c);
}

static sppo_status square_backward(const sppo__call *fwd) {
    return unary_backward(fwd, SPPO_OP_SQUARE_BACKWARD, fwd->in[0]);
}

static sppo_status exp_backward(const sppo__call *fwd) {
    return unary_backward(fwd, SPPO_OP_EXP_BACKWARD, fwd->out[0]);
}

static sppo_status relu_backward(const sppo__call *fwd) {
    return unary_backward(fwd, SPPO_OP_RELU_BACKWARD, fwd->out[0]);
}

static sppo_status log_sigmoid_backward(const sppo__call *fwd) {
    return unary_backward(fwd, SPPO_OP_LOG_SIGMOID_BACKWARD, fwd->in[0]);
}

static sppo_status softcap_backward(const sppo__call *fwd) {
    return unary_backward(fwd, SPPO_OP_SOFTCAP_BACKWARD, fwd->out[0]);
}

static sppo_status gelu_backward(const sppo__call *fwd) {
    return unary_backward(fwd, SPPO_OP_GELU_BACKWARD, fwd->in[0]);
}

static sppo_status tanh_backward(const sppo__call *fwd) {
    return unary_backward(fwd, SPPO_OP_TANH_BACKWARD, fwd->out[0]);
}

static sppo_status binary(sppo__call *c, const char *first, const char *second,
                          sppo__backward backward, sppo_tensor **out) {
    sppo_status st = sppo__begin(c);
    if (!st) st = sppo__want(c, 0, first, SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st) st = sppo__want(c, 1, second, SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st && !sppo__same_shape(c->in[0], c->in[1]))
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_SHAPES, sppo__op_name(c->op), first,
                        sppo__shape_text(c->in[0]), second, sppo__shape_text(c->in[1]));
    if (!st) st = sppo__out_like(c, 0, c->in[0]);
    return sppo__finish(c, st, backward, out, 1);
}

sppo_status sppo_add(sppo_tensor **out, sppo_tensor *a, sppo_tensor *b) {
    sppo__call c = {.op = SPPO_OP_ADD, .in = {a, b}, .n_in = 2};
    return binary(&c, "a", "b", add_backward, out);
}

sppo_status sppo_sub(sppo_tensor **out, sppo_tensor *a, sppo_tensor *b) {
    sppo__call c = {.op = SPPO_OP_SUB, .in = {a, b}, .n_in = 2};
    return binary(&c, "a", "b", sub_backward, out);
}

/* The gradient of one factor reads the other. */
sppo_status sppo_mul(sppo_tensor **out, sppo_tensor *a, sppo_tensor *b) {
    sppo__call c = {.op = SPPO_OP_MUL, .in = {a, b}, .n_in = 2};
    if (a->needs_grad) c.save_in |= 2;
    if (b->needs_grad) c.save_in |= 1;
    return binary(&c, "a", "b", mul_backward, out);
}

sppo_status sppo_swiglu(sppo_tensor **out, sppo_tensor *gate, sppo_tensor *up) {
    sppo__call c = {.op = SPPO_OP_SWIGLU, .in = {gate, up}, .n_in = 2, .save_in = 3};
    return binary(&c, "gate", "up", swiglu_backward, out);
}

sppo_status sppo_geglu(sppo_tensor **out, sppo_tensor *gate, sppo_tensor *up) {
    sppo__call c = {.op = SPPO_OP_GEGLU, .in = {gate, up}, .n_in = 2, .save_in = 3};
    return binary(&c, "gate", "up", geglu_backward, out);
}

static sppo_status unary(sppo__call *c, sppo__backward backward, sppo_tensor **out) {
    sppo_status st = sppo__begin(c);
    if (!st) st = sppo__want(c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st) st = sppo__out_like(c, 0, c->in[0]);
    return sppo__finish(c, st, backward, out, 1);
}

sppo_status sppo_affine(sppo_tensor **out, sppo_tensor *x, float a, float b) {
    sppo__call c = {.op = SPPO_OP_AFFINE, .in = {x}, .n_in = 1, .f = {a, b}};
    return unary(&c, affine_backward, out);
}

sppo_status sppo_square(sppo_tensor **out, sppo_tensor *x) {
    sppo__call c = {.op = SPPO_OP_SQUARE, .in = {x}, .n_in = 1, .save_in = 1};
    return unary(&c, square_backward, out);
}

sppo_status sppo_exp(sppo_tensor **out, sppo_tensor *x) {
    sppo__call c = {.op = SPPO_OP_EXP, .in = {x}, .n_in = 1, .save_out = 1};
    return unary(&c, exp_backward, out);
}

sppo_status sppo_relu(sppo_tensor **out, sppo_tensor *x) {
    sppo__call c = {.op = SPPO_OP_RELU, .in = {x}, .n_in = 1, .save_out = 1};
    return unary(&c, relu_backward, out);
}

sppo_status sppo_log_sigmoid(sppo_tensor **out, sppo_tensor *x) {
    sppo__call c = {.op = SPPO_OP_LOG_SIGMOID, .in = {x}, .n_in = 1, .save_in = 1};
    return unary(&c, log_sigmoid_backward, out);
}

sppo_status sppo_softcap(sppo_tensor **out, sppo_tensor *x, float cap) {
    sppo__call c = {.op = SPPO_OP_SOFTCAP, .in = {x}, .n_in = 1, .f = {cap}, .save_out = 1};
    if (!(cap > 0) || !isfinite(cap))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_POSITIVE, "softcap", "cap", (double)cap);
    return unary(&c, softcap_backward, out);
}

sppo_status sppo_gelu(sppo_tensor **out, sppo_tensor *x) {
    sppo__call c = {.op = SPPO_OP_GELU, .in = {x}, .n_in = 1, .save_in = 1};
    return unary(&c, gelu_backward, out);
}

sppo_status sppo_tanh(sppo_tensor **out, sppo_tensor *x) {
    sppo__call c = {.op = SPPO_OP_TANH, .in = {x}, .n_in = 1, .save_out = 1};
    return unary(&c, tanh_backward, out);
}

/* Operations a value; an exponential counts as ten. */
#define META(name, flops) \
    sppo_status sppo_meta_##name(sppo__call *c) { \
        return sppo__cost(c, (flops) * (double)sppo_tensor_count(c->in[0])); \
    }

META(add, 1)
META(sub, 1)
META(mul, 1)
META(mul_backward, 4)
META(affine, 2)
META(square, 1)
META(square_backward, 3)
META(exp, 10)
META(exp_backward, 2)
META(relu, 1)
META(relu_backward, 1)
META(log_sigmoid, 20)
META(log_sigmoid_backward, 13)
META(swiglu, 13)
META(swiglu_backward, 21)
META(geglu, 18)
META(geglu_backward, 33)
META(softcap, 30)
META(softcap_backward, 4)
META(accumulate, 2)
META(gelu, 34)
META(gelu_backward, 37)
META(tanh, 20)
META(tanh_backward, 4)
