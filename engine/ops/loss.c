/* loss.c - log-probs of given tokens: what `token_logprob` accepts, returns, and how it
 * differentiates. A call has f[0] = softcap, 0 for none. */

#include <math.h>

#include "ops/op.h"
#include "ops/workspace.h"

/* Log-sum-exp of each row was kept in out[1]; the logits are made again. */
static sppo_status token_logprob_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_TOKEN_LOGPROB_BACKWARD,
                    .n_in = 5,
                    .n_out = 2,
                    .in = {fwd->in[0], fwd->in[1], fwd->in[2], fwd->out[1], sppo__dout(fwd, 0)},
                    .f = {fwd->f[0]}};
    if (!c.in[4]) return SPPO_OK;
    sppo_status st = sppo__din(fwd, 0, &c.out[0]);
    if (!st) st = sppo__din(fwd, 1, &c.out[1]);
    return st ? st : sppo__run(&c);
}

static sppo_status check(const sppo__call *c) {
    const sppo_tensor *hidden = c->in[0], *weight = c->in[1], *target = c->in[2];
    sppo_status st = sppo__want(c, 0, "hidden", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st) st = sppo__want(c, 2, "target", SPPO_DTYPE_I32, SPPO_LAYOUT_ROWS);
    if (st) return st;
    if (weight->layout != SPPO_LAYOUT_PANELS)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_LAYOUT, "token_logprob", "weight", "rows",
                          "panels");
    if (hidden->ndim != 2)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, "token_logprob", "hidden",
                          sppo__shape_text(hidden), 2);
    if (hidden->shape[1] != weight->shape[1])
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_INNER, "token_logprob", sppo__shape_text(hidden),
                          sppo__shape_text(weight));
    if (target->ndim != 1 || target->shape[0] != hidden->shape[0])
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_SHAPES, "token_logprob", "hidden",
                          sppo__shape_text(hidden), "target", sppo__shape_text(target));
    if (c->f[0] != 0 && (!(c->f[0] > 0) || !isfinite(c->f[0])))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_POSITIVE, "token_logprob", "softcap",
                          (double)c->f[0]);
    return sppo__check_index(c, 2, "target", weight->shape[0]);
}

sppo_status sppo_token_logprob(sppo_tensor **out, sppo_tensor *hidden, sppo_tensor *weight,
                               sppo_tensor *target, float softcap) {
    sppo__call c = {.op = SPPO_OP_TOKEN_LOGPROB,
                    .in = {hidden, weight, target},
                    .n_in = 3,
                    .f = {softcap},
                    .save_in = 7,
                    .save_out = 2};
    sppo_status st = sppo__begin(&c);
    if (!st) st = check(&c);
    for (int i = 0; i < 2 && !st; i++) st = sppo__out(&c, i, SPPO_DTYPE_F32, 1, c.in[0]->shape);
    return sppo__finish(&c, st, token_logprob_backward, out, 1);
}

/* q8_0 weights want their rows as q8_0. */
static int64_t rows_bytes(const sppo__call *c) {
    const sppo_tensor *hidden = c->in[0];
    bool q8 = c->in[1]->dtype == SPPO_DTYPE_Q8_0;
    return q8 ? q8_rows_bytes(hidden->shape[0], hidden->shape[1]) : 0;
}

/* A maximum and a sum for each row and chunk of the vocabulary. */
sppo__workspace sppo__workspace_token_logprob(const sppo__call *c) {
    int64_t n = c->in[0]->shape[0];
    if (!n) return (sppo__workspace){0, 0};
    return (sppo__workspace){.bytes = n * lse_chunks(c->in[1]->shape[0]) * LSE_PART_BYTES +
                                      rows_bytes(c),
                             .scratch = HEAD_ROWS * LSE_CHUNK * (int64_t)sizeof(float)};
}

/* The gradients of one group of logits. */
sppo__workspace sppo__workspace_token_logprob_backward(const sppo__call *c) {
    int64_t n = c->in[0]->shape[0], rows = n < HEAD_GROUP_ROWS ? n : HEAD_GROUP_ROWS;
    if (!n || !c->in[0]->shape[1] || (!c->out[0] && !c->out[1])) return (sppo__workspace){0, 0};
    int64_t chunks = head_group_chunks(rows, lse_chunks(c->in[1]->shape[0]));
    return (sppo__workspace){.bytes =
                                 rows * chunks * LSE_CHUNK * (int64_t)sizeof(float) + rows_bytes(c),
                             .scratch = PANEL_SCRATCH_DX * (int64_t)sizeof(float)};
}

static double product(const sppo__call *c) {
    return 2 * (double)c->in[0]->shape[0] * (double)sppo_tensor_count(c->in[1]);
}

sppo_status sppo_meta_token_logprob(sppo__call *c) {
    return sppo__cost(c, product(c));
}

sppo_status sppo_meta_token_logprob_backward(sppo__call *c) {
    return sppo__cost(c, product(c) * (1 + (c->out[0] ? 1 : 0) + (c->out[1] ? 1 : 0)));
}
