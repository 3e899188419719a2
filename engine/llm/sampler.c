/* sampler.c - drawing tokens: what sppo_sample_tokens accepts. The drawing itself is in
 * cpu/sample.c. */

#include "llm/sampler.h"

#include "ops/op.h"
#include "ops/workspace.h"

static sppo_status check_option(const char *name, float value, double high) {
    if (value >= 0 && (double)value <= high) return SPPO_OK;  // false for NaN
    return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_SAMPLE_OPTION, name, 0.0, high, (double)value);
}

static sppo_status check(const sppo__call *c, const sppo_sample_options *o) {
    sppo_status st = sppo__want(c, 0, "logits", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
    if (!st && c->in[0]->ndim != 2)
        st = sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, "sample", "logits",
                        sppo__shape_text(c->in[0]), 2);
    if (!st) st = check_option("temperature", o->temperature, 1e30);
    if (!st) st = check_option("top_p", o->top_p, 1);
    if (!st) st = check_option("min_p", o->min_p, 1);
    if (!st && o->top_k < 0)
        st = sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "sample", "top_k", 0LL, (long long)INT32_MAX,
                        (long long)o->top_k);
    return st;
}

sppo_status sppo_sample_tokens(sppo_tensor *logits, const sppo_sample_options *options,
                               uint64_t seed, const uint32_t *keys, int32_t *ids, float *logprobs) {
    const struct sppo__sampling s = {*options, seed, keys, ids, logprobs};
    sppo__call c = {.op = SPPO_OP_SAMPLE, .in = {logits}, .n_in = 1, .sampling = &s};
    sppo_status st = sppo__begin(&c);
    if (!st) st = check(&c, options);
    st = sppo__finish(&c, st, NULL, NULL, 0);
    for (int64_t i = 0; !st && i < logits->shape[0]; i++)
        if (ids[i] < 0) st = sppo__fail(SPPO_ERR_NONFINITE, TEXT_SAMPLE_NONFINITE, (long long)i);
    return st;
}

/* A row's parts of the log-sum-exp, its weights and an order of its ids. */
sppo__workspace sppo__workspace_sample(const sppo__call *c) {
    int64_t V = c->in[0]->shape[1], chunks = lse_chunks(V);
    return (sppo__workspace){.scratch = chunks * (int64_t)(sizeof(double) + LSE_PART_BYTES) +
                                        (V + SAMPLE_PADDING) * (int64_t)sizeof(float) +
                                        V * (int64_t)sizeof(int32_t)};
}

/* Without values every token is 0, its log-prob 0; four passes over a row's exponentials. */
sppo_status sppo_meta_sample(sppo__call *c) {
    for (int64_t i = 0; i < c->in[0]->shape[0]; i++) {
        c->sampling->ids[i] = 0;
        c->sampling->logprobs[i] = 0;
    }
    return sppo__cost(c, 4 * (double)sppo_tensor_count(c->in[0]));
}
