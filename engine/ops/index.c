/* index.c - rows by index. The arithmetic is in cpu/index.c. */

#include "ops/op.h"

static sppo_status take_rows_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_TAKE_ROWS_BACKWARD,
                    .in = {sppo__dout(fwd, 0), fwd->in[1]},
                    .n_in = 2,
                    .n_out = 1};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    return st || !c.out[0] ? st : sppo__run(&c);
}

sppo_status sppo_take_rows(sppo_tensor **out, sppo_tensor *x, sppo_tensor *index) {
    sppo__call c = {.op = SPPO_OP_TAKE_ROWS, .in = {x, index}, .n_in = 2, .save_in = 2};
    int64_t shape[SPPO_MAX_DIMS] = {0};
    sppo_status st = sppo__begin(&c);
    if (!st) st = sppo__want(&c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st) st = sppo__want(&c, 1, "index", SPPO_DTYPE_I32, SPPO_LAYOUT_ROWS);
    if (!st && index->ndim != 1)
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, "take_rows", "index",
                        sppo__shape_text(index), 1);
    if (!st && x->ndim < 1)
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_LEAST_NDIM, "take_rows", "x", sppo__shape_text(x), 1);
    if (!st) st = sppo__check_index(&c, 1, "index", x->shape[0]);
    for (int i = 0; i < x->ndim; i++) shape[i] = i ? x->shape[i] : index->shape[0];
    if (!st) st = sppo__out(&c, 0, SPPO_DTYPE_F32, x->ndim, shape);
    return sppo__finish(&c, st, take_rows_backward, out, 1);
}

sppo_status sppo_meta_take_rows(sppo__call *c) {
    sppo__cost_add(0, 2 * sppo__bytes(c->out[0]) + sppo__bytes(c->in[1]));
    sppo__cost_add_read(sppo__bytes(c->out[0]) + sppo__bytes(c->in[1]));
    return SPPO_OK;
}

sppo_status sppo_meta_take_rows_backward(sppo__call *c) {
    sppo__cost_add((double)sppo_tensor_count(c->in[0]),
                   3 * sppo__bytes(c->in[0]) + sppo__bytes(c->in[1]));
    sppo__cost_add_read(2 * sppo__bytes(c->in[0]) + sppo__bytes(c->in[1]));
    return SPPO_OK;
}
