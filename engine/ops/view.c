/* view.c - other shapes over the same storage. Gradients go back through `accumulate`, which can
 * write into a view. */

#include "cpu/cpu.h"
#include "ops/op.h"

/* A call has i[0] = offset in bytes, i[1] = which view, i[2] and i[3] = its axes, or axis and start. */
enum { RESHAPE, NARROW, TRANSPOSE };

/* What every device's view kernel does: the output takes the input's storage. On a replay too. */
static sppo_status share(const sppo__call *c) {
    sppo_tensor *x = c->in[0], *y = c->out[0];
    if (y->storage) return SPPO_OK;
    y->storage = x->storage;
    y->storage->refs++;
    y->offset = x->offset + c->i[0];
    return SPPO_OK;
}

sppo_status sppo_meta_view(sppo__call *c) {
    return share(c);
}

sppo_status sppo_cpu_view_avx512vnni(sppo__call *c);
sppo_status sppo_cpu_view_avx512(sppo__call *c);
sppo_status sppo_cpu_view_avx2(sppo__call *c);
sppo_status sppo_cpu_view_plain(sppo__call *c);

sppo_status sppo_cpu_view_avx512vnni(sppo__call *c) {
    return share(c);
}

sppo_status sppo_cpu_view_avx512(sppo__call *c) {
    return share(c);
}

sppo_status sppo_cpu_view_avx2(sppo__call *c) {
    return share(c);
}

sppo_status sppo_cpu_view_plain(sppo__call *c) {
    return share(c);
}

/* din, seen as the output was seen, += dout. */
static sppo_status view_backward(const sppo__call *fwd) {
    const sppo_tensor *y = fwd->out[0];
    sppo_tensor *dx, *window, *dy = sppo__dout(fwd, 0);
    sppo_status st = sppo__din(fwd, 0, &dx);
    if (st || !dx || !dy) return st;
    st = sppo__tensor_shell(&window, dx->dtype, dx->device, SPPO_LAYOUT_ROWS, y->ndim, y->shape,
                            "view");
    if (st) return st;
    // x may have gaps, its gradient has none: the view is made anew over the gradient's strides.
    int64_t first = 0;
    int a = (int)fwd->i[2], b = (int)fwd->i[3];
    if (fwd->i[1] == NARROW) {
        for (int i = 0; i < y->ndim; i++) window->stride[i] = dx->stride[i];
        first = fwd->i[3] * dx->stride[a];
    } else if (fwd->i[1] == TRANSPOSE) {
        for (int i = 0; i < y->ndim; i++)
            window->stride[i] = dx->stride[i == a ? b : i == b ? a : i];
    }
    window->storage = dx->storage;
    window->storage->refs++;
    window->offset = dx->offset + sppo__dtype_bytes(dx->dtype, first);
    sppo__call c = {
        .op = SPPO_OP_ACCUMULATE, .in = {dy}, .n_in = 1, .out = {window}, .n_out = 1, .f = {1}};
    st = sppo__run(&c);
    sppo_tensor_release(window);
    return st;
}

/* y is a shell with its strides set; offset in bytes from x's first value. */
static sppo_status finish_view(sppo_tensor **out, sppo_tensor *x, sppo_tensor *y, int64_t offset,
                               int which, int64_t a, int64_t b) {
    sppo__call c = {.op = SPPO_OP_VIEW,
                    .in = {x},
                    .n_in = 1,
                    .out = {y},
                    .n_out = 1,
                    .i = {offset, which, a, b}};
    return sppo__finish(&c, SPPO_OK, view_backward, out, 1);
}

static sppo_status check_input(const char *name, const sppo_tensor *x) {
    if (!x->storage) return sppo__fail(SPPO_ERR_STATE, TEXT_RELEASED, name, 0, x->made_by);
    if (x->layout != SPPO_LAYOUT_ROWS)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_LAYOUT, name, "x", "panels", "rows");
    return SPPO_OK;
}

sppo_status sppo_view(sppo_tensor **out, sppo_tensor *x, int ndim, const int64_t *shape) {
    sppo_status st = check_input("view", x);
    if (st) return st;
    if (!sppo__gap_free(x))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_GAPS, "view", sppo__shape_text(x));
    if (ndim < 0 || ndim > SPPO_MAX_DIMS)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_NDIM, "view", ndim);
    int64_t size[SPPO_MAX_DIMS], known = 1, count = sppo_tensor_count(x);
    int open = -1;
    for (int i = 0; i < ndim; i++) {
        size[i] = shape[i];
        if (size[i] == -1 && open >= 0) return sppo__fail(SPPO_ERR_SHAPE, TEXT_VIEW_MINUS);
        if (size[i] == -1) open = i;
        else if (size[i] < 0 || __builtin_mul_overflow(known, size[i], &known))
            return sppo__fail(SPPO_ERR_SHAPE, TEXT_VIEW_SIZE, sppo__shape_text(x),
                              sppo__dims_text(ndim, shape));
    }
    if (open >= 0) size[open] = known ? count / known : 0;
    if (known * (open >= 0 ? size[open] : 1) != count)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_VIEW_SIZE, sppo__shape_text(x),
                          sppo__dims_text(ndim, shape));
    sppo_tensor *y;
    st = sppo__tensor_shell(&y, x->dtype, x->device, SPPO_LAYOUT_ROWS, ndim, size, x->made_by);
    return st ? st : finish_view(out, x, y, 0, RESHAPE, 0, 0);
}

sppo_status sppo_narrow(sppo_tensor **out, sppo_tensor *x, int axis, int64_t start,
                        int64_t length) {
    sppo_status st = check_input("narrow", x);
    if (st) return st;
    if (axis < 0 || axis >= x->ndim)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_AXIS, "narrow", axis, x->ndim);
    if (start < 0 || length < 0 || start > x->shape[axis] || length > x->shape[axis] - start)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_NARROW, (long long)start,
                          (long long)(start + length), axis, (long long)x->shape[axis]);
    if (x->dtype == SPPO_DTYPE_Q8_0 && axis == x->ndim - 1 && (start % 32 || length % 32))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_Q8_ROWS, "narrow", (long long)length);
    sppo_tensor *y;
    int64_t shape[SPPO_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) shape[i] = i == axis ? length : x->shape[i];
    st = sppo__tensor_shell(&y, x->dtype, x->device, SPPO_LAYOUT_ROWS, x->ndim, shape, x->made_by);
    if (st) return st;
    for (int i = 0; i < x->ndim; i++) y->stride[i] = x->stride[i];
    return finish_view(out, x, y, sppo__dtype_bytes(x->dtype, start * x->stride[axis]), NARROW,
                       axis, start);
}

sppo_status sppo_transpose(sppo_tensor **out, sppo_tensor *x, int a, int b) {
    sppo_status st = check_input("transpose", x);
    if (st) return st;
    if (a < 0 || a >= x->ndim || b < 0 || b >= x->ndim)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_AXIS, "transpose", a < 0 || a >= x->ndim ? a : b,
                          x->ndim);
    if (x->dtype == SPPO_DTYPE_Q8_0)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, "transpose", "x", "q8_0", "f32");
    int64_t shape[SPPO_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) shape[i] = x->shape[i == a ? b : i == b ? a : i];
    sppo_tensor *y;
    st = sppo__tensor_shell(&y, x->dtype, x->device, SPPO_LAYOUT_ROWS, x->ndim, shape, x->made_by);
    if (st) return st;
    for (int i = 0; i < x->ndim; i++) y->stride[i] = x->stride[i == a ? b : i == b ? a : i];
    return finish_view(out, x, y, 0, TRANSPOSE, a, b);
}

static sppo_status copy_backward(const sppo__call *fwd) {
    sppo_tensor *dx, *dy = sppo__dout(fwd, 0);
    sppo_status st = sppo__din(fwd, 0, &dx);
    if (st || !dx || !dy) return st;
    sppo__call c = {
        .op = SPPO_OP_ACCUMULATE, .in = {dy}, .n_in = 1, .out = {dx}, .n_out = 1, .f = {1}};
    return sppo__run(&c);
}

sppo_status sppo_contiguous(sppo_tensor **out, sppo_tensor *x) {
    sppo_status st = SPPO_OK;
    if (x->layout == SPPO_LAYOUT_PANELS || sppo__gap_free(x)) {
        sppo_tensor_retain(x);
        *out = x;
        return SPPO_OK;
    }
    st = check_input("contiguous", x);
    if (st) return st;
    sppo__call c = {.op = SPPO_OP_COPY, .in = {x}, .n_in = 1};
    st = sppo__out_like(&c, 0, x);
    return sppo__finish(&c, st, copy_backward, out, 1);
}
