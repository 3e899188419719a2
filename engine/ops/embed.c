/* embed.c - rows of a table by token id. The arithmetic is in cpu/embed.c. */

#include "ops/op.h"

static sppo_status embed_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_EMBED_BACKWARD,
                    .in = {sppo__dout(fwd, 0), fwd->in[1]},
                    .n_in = 2,
                    .n_out = 1};
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    return st || !c.out[0] ? st : sppo__run(&c);
}

sppo_status sppo_embed(sppo_tensor **out, sppo_tensor *weight, sppo_tensor *tokens) {
    sppo__call c = {.op = SPPO_OP_EMBED, .in = {weight, tokens}, .n_in = 2, .save_in = 2};
    sppo_status st = sppo__begin(&c);
    if (!st && weight->ndim != 2)
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, "embed", "weight", sppo__shape_text(weight),
                        2);
    if (!st && (weight->dtype == SPPO_DTYPE_I32 || weight->dtype == SPPO_DTYPE_F16))
        st = sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, "embed", "weight",
                        sppo__dtype_name(weight->dtype), "f32, bf16 or q8_0");
    if (!st) st = sppo__want(&c, 1, "tokens", SPPO_DTYPE_I32, SPPO_LAYOUT_ROWS);
    if (!st && tokens->ndim != 1)
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, "embed", "tokens", sppo__shape_text(tokens),
                        1);
    if (!st) st = sppo__check_index(&c, 1, "tokens", weight->shape[0]);
    if (!st)
        st = sppo__out(&c, 0, SPPO_DTYPE_F32, 2, (int64_t[]){c.in[1]->shape[0], weight->shape[1]});
    return sppo__finish(&c, st, embed_backward, out, 1);
}

sppo_status sppo_meta_embed(sppo__call *c) {
    sppo__cost_add(0, 2 * sppo__bytes(c->out[0]) + sppo__bytes(c->in[1]));
    const sppo_tensor *table = c->in[0];
    double row = (double)sppo__dtype_bytes(table->dtype, table->shape[1]);
    sppo__cost_add_read((double)c->in[1]->shape[0] * row + sppo__bytes(c->in[1]));
    return SPPO_OK;
}

sppo_status sppo_meta_embed_backward(sppo__call *c) {
    sppo__cost_add((double)sppo_tensor_count(c->in[0]),
                   3 * sppo__bytes(c->in[0]) + sppo__bytes(c->in[1]));
    sppo__cost_add_read(2 * sppo__bytes(c->in[0]) + sppo__bytes(c->in[1]));
    return SPPO_OK;
}
