/* cast.c - the same values in another dtype or layout: what `cast`, `pack` and `unpack` accept and
 * return. None is recorded. `copy` is made by ops/view.c. */

#include "ops/op.h"

static sppo_status want_rows_float(const sppo__call *c) {
    const sppo_tensor *x = c->in[0];
    if (x->dtype == SPPO_DTYPE_I32)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, sppo__op_name(c->op), "x", "i32",
                          "f32, bf16, f16 or q8_0");
    return sppo__want(c, 0, "x", x->dtype, SPPO_LAYOUT_ROWS);
}

static sppo_status want_matrix(const sppo__call *c) {
    const sppo_tensor *x = c->in[0];
    if (x->ndim == 2) return SPPO_OK;
    return sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, sppo__op_name(c->op), "x",
                      sppo__shape_text(x), 2);
}

sppo_status sppo_cast(sppo_tensor **out, sppo_tensor *x, sppo_dtype dtype) {
    sppo__call c = {.op = SPPO_OP_CAST, .in = {x}, .n_in = 1};
    sppo_status st = sppo__begin(&c);
    if (!st) st = want_rows_float(&c);
    if (!st && (dtype < SPPO_DTYPE_F32 || dtype > SPPO_DTYPE_Q8_0))
        st = sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, "cast", "dtype", sppo__dtype_name(dtype),
                        "f32, bf16, f16 or q8_0");
    if (!st) st = sppo__out(&c, 0, dtype, x->ndim, x->shape);
    return sppo__finish(&c, st, NULL, out, 1);
}

sppo_status sppo_pack(sppo_tensor **out, sppo_tensor *x, sppo_dtype dtype) {
    sppo__call c = {.op = SPPO_OP_PACK, .in = {x}, .n_in = 1};
    sppo_status st = sppo__begin(&c);
    if (!st) st = want_rows_float(&c);
    if (!st) st = want_matrix(&c);
    if (!st && dtype != SPPO_DTYPE_F32 && dtype != SPPO_DTYPE_BF16 && dtype != SPPO_DTYPE_Q8_0)
        st = sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, "pack", "dtype", sppo__dtype_name(dtype),
                        "f32, bf16 or q8_0");
    if (!st)
        st = sppo__tensor_shell(&c.out[0], dtype, x->device, SPPO_LAYOUT_PANELS, 2, x->shape,
                                "pack");
    if (!st) {
        c.n_out = 1;
        st = sppo__tensor_fill(c.out[0], false);
    }
    return sppo__finish(&c, st, NULL, out, 1);
}

sppo_status sppo_unpack(sppo_tensor **out, sppo_tensor *x) {
    sppo__call c = {.op = SPPO_OP_UNPACK, .in = {x}, .n_in = 1};
    sppo_status st = sppo__begin(&c);
    if (!st) st = sppo__want(&c, 0, "x", x->dtype, SPPO_LAYOUT_PANELS);
    if (!st) st = sppo__out(&c, 0, SPPO_DTYPE_F32, 2, x->shape);
    return sppo__finish(&c, st, NULL, out, 1);
}

sppo_status sppo_meta_copy(sppo__call *c) {
    return sppo__cost(c, 0);
}

sppo_status sppo_meta_cast(sppo__call *c) {
    return sppo__cost(c, 0);
}

sppo_status sppo_meta_pack(sppo__call *c) {
    return sppo__cost(c, 0);
}

sppo_status sppo_meta_unpack(sppo__call *c) {
    return sppo__cost(c, 0);
}
