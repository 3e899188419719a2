/* cudnn_sdpa.c - attention as a graph of cuDNN's operations, in the order and the form that its
 * engines know (found by trying with 9.19).
 *
 *   - LSE must be made, though nobody may read it.
 *   - Backward masks lengths before it takes LSE off, causality after.
 *   - tanh' is spelled out, 1 - t^2: TANH_BWD has no engine on sm_80 and sm_89.
 *   - dQ is one product, so its bits are the same in each run. Packed texts have engines for that
 *     on sm_90 alone, padded ones wherever backward has any; sums of several products, added up in
 *     any order, would have them for both.
 *
 * What an engine does not check is in tests/cuda/cudnn_test.c: a graph with the comparison turned
 * or without the scale is accepted and runs. */

#include "cuda/cudnn_graph.h"

static const cudnnDataType_t F32 = CUDNN_DATA_FLOAT;

typedef struct builder {
    sppo__graph *g;
    const sppo__sdpa_shape *shape;
    cudnnDataType_t type;  // of q, k, v, o and of P
    sppo__graph_tensor scale, cap, masked;
    sppo__graph_tensor query_length, key_length;  // padded
    sppo__graph_tensor offset_q, offset_k, offset_v, offset_o;
} builder;

/* [batch, tokens, heads, D] in memory, seen as [batch, heads, tokens, D]. */
static sppo__graph_sizes token_rows(const sppo__sdpa_shape *s, int64_t heads, int64_t tokens) {
    return (sppo__graph_sizes){{s->batch, heads, tokens, s->D},
                               {tokens * heads * s->D, s->D, heads * s->D, 1}};
}

static sppo__graph_sizes query_sizes(const builder *b) {
    return token_rows(b->shape, b->shape->heads, b->shape->queries);
}

static sppo__graph_sizes key_sizes(const builder *b) {
    return token_rows(b->shape, b->shape->kv_heads, b->shape->keys);
}

static sppo__graph_sizes score_sizes(const builder *b) {
    const sppo__sdpa_shape *s = b->shape;
    return sppo__graph_rows(s->batch, s->heads, s->queries, s->keys);
}

static sppo__graph_sizes row_sizes(const builder *b) {
    return sppo__graph_rows(b->shape->batch, b->shape->heads, b->shape->queries, 1);
}

static builder new_builder(sppo__graph *g, const sppo__sdpa_shape *shape) {
    builder b = {.g = g, .shape = shape, .type = shape->f32 ? F32 : CUDNN_DATA_BFLOAT16};
    sppo__graph_sizes lengths = sppo__graph_rows(shape->batch, 1, 1, 1);
    sppo__graph_sizes offsets = sppo__graph_rows(shape->batch + 1, 1, 1, 1);
    b.scale = sppo__graph_number(g, SPPO_SDPA_SCALE, F32);
    b.masked = sppo__graph_number(g, SPPO_SDPA_MASKED, F32);
    if (shape->cap) b.cap = sppo__graph_number(g, SPPO_SDPA_CAP, F32);
    if (shape->padded) {
        b.query_length =
            sppo__graph_stored(g, SPPO_SDPA_QUERY_LENGTH, CUDNN_DATA_INT32, lengths, NULL);
        b.key_length = sppo__graph_stored(g, SPPO_SDPA_KEY_LENGTH, CUDNN_DATA_INT32, lengths, NULL);
    }
    if (shape->packed) {
        b.offset_q = sppo__graph_stored(g, SPPO_SDPA_Q_OFFSET, CUDNN_DATA_INT64, offsets, NULL);
        b.offset_k = sppo__graph_stored(g, SPPO_SDPA_K_OFFSET, CUDNN_DATA_INT64, offsets, NULL);
        b.offset_v = sppo__graph_stored(g, SPPO_SDPA_V_OFFSET, CUDNN_DATA_INT64, offsets, NULL);
        b.offset_o = sppo__graph_stored(g, SPPO_SDPA_O_OFFSET, CUDNN_DATA_INT64, offsets, NULL);
    }
    return b;
}

/* A tensor that is there in some shapes only. */
static const sppo__graph_tensor *if_any(const sppo__graph_tensor *t) {
    return t->descriptor ? t : NULL;
}

/* ---- masks ---- */

/* Number of each score's row (axis 2) or column (3). */
static sppo__graph_tensor numbered(const builder *b, sppo__graph_tensor x, int64_t axis) {
    sppo__graph_tensor y = sppo__graph_virtual(b->g, CUDNN_DATA_INT32, x.sizes, NULL);
    sppo__graph_point(
        b->g, &(sppo__graph_pointwise){CUDNN_POINTWISE_GEN_INDEX, F32, axis, &x, NULL, NULL, &y});
    return y;
}

static sppo__graph_tensor compared(const builder *b, cudnnPointwiseMode_t mode,
                                   sppo__graph_tensor x, sppo__graph_tensor with) {
    sppo__graph_tensor y = sppo__graph_virtual(b->g, CUDNN_DATA_BOOLEAN, x.sizes, NULL);
    sppo__graph_point(b->g,
                      &(sppo__graph_pointwise){mode, CUDNN_DATA_BOOLEAN, -1, &x, &with, NULL, &y});
    return y;
}

/* Sum or difference of numbers of rows or columns. */
static sppo__graph_tensor moved(const builder *b, cudnnPointwiseMode_t mode, sppo__graph_tensor x,
                                sppo__graph_tensor by) {
    sppo__graph_tensor y = sppo__graph_virtual(b->g, by.type, x.sizes, NULL);
    sppo__graph_point(b->g, &(sppo__graph_pointwise){mode, by.type, 3, &x, &by, NULL, &y});
    return y;
}

/* scores where `seen`, -infinity elsewhere. */
static sppo__graph_tensor where(const builder *b, sppo__graph_tensor scores,
                                sppo__graph_tensor seen) {
    sppo__graph_tensor y = sppo__graph_virtual(b->g, F32, scores.sizes, NULL);
    sppo__graph_point(b->g, &(sppo__graph_pointwise){CUDNN_POINTWISE_BINARY_SELECT, F32, -1,
                                                     &scores, &b->masked, &seen, &y});
    return y;
}

static sppo__graph_tensor mask_lengths(const builder *b, sppo__graph_tensor scores) {
    if (!b->shape->padded) return scores;
    sppo__graph_tensor row = numbered(b, scores, 2), column = numbered(b, scores, 3);
    sppo__graph_tensor rows = compared(b, CUDNN_POINTWISE_CMP_LT, row, b->query_length);
    sppo__graph_tensor columns = compared(b, CUDNN_POINTWISE_CMP_LT, column, b->key_length);
    return where(b, scores, compared(b, CUDNN_POINTWISE_LOGICAL_AND, rows, columns));
}

static sppo__graph_tensor mask_later(const builder *b, sppo__graph_tensor scores) {
    const sppo__sdpa_shape *s = b->shape;
    if (s->mask == SPPO_SDPA_FULL) return scores;
    sppo__graph_tensor row = numbered(b, scores, 2), column = numbered(b, scores, 3);
    if (s->mask == SPPO_SDPA_CAUSAL_LAST) {
        sppo__graph_tensor queries = b->query_length, keys = b->key_length;
        if (!s->padded) {
            queries = sppo__graph_number(b->g, SPPO_SDPA_QUERIES, CUDNN_DATA_INT32);
            keys = sppo__graph_number(b->g, SPPO_SDPA_KEYS, CUDNN_DATA_INT32);
        }
        row = moved(b, CUDNN_POINTWISE_ADD, row, keys);
        row = moved(b, CUDNN_POINTWISE_SUB, row, queries);
    }
    return where(b, scores, compared(b, CUDNN_POINTWISE_CMP_GE, row, column));
}

/* A query sees the last `window` keys up to its own. */
static sppo__graph_tensor mask_earlier(const builder *b, sppo__graph_tensor scores) {
    const sppo__sdpa_shape *s = b->shape;
    if (!s->window) return scores;
    sppo__graph_tensor row = numbered(b, scores, 2), column = numbered(b, scores, 3);
    bool lengths = s->mask == SPPO_SDPA_CAUSAL_LAST && s->padded;
    sppo__graph_tensor window =
        sppo__graph_number(b->g, SPPO_SDPA_WINDOW, lengths ? CUDNN_DATA_INT32 : F32);
    column = moved(b, CUDNN_POINTWISE_ADD, column, window);
    if (lengths) {
        column = moved(b, CUDNN_POINTWISE_SUB, column, b->key_length);
        column = moved(b, CUDNN_POINTWISE_ADD, column, b->query_length);
    }
    return where(b, scores, compared(b, CUDNN_POINTWISE_CMP_GT, column, row));
}

/* ---- both directions ---- */

/* cap(scale Q K'); *slope is tanh of it, where there is a cap. */
static sppo__graph_tensor make_scores(const builder *b, sppo__graph_tensor q, sppo__graph_tensor k,
                                      sppo__graph_tensor *slope) {
    sppo__graph *g = b->g;
    sppo__graph_tensor s = sppo__graph_virtual(g, F32, score_sizes(b), NULL);
    sppo__graph_multiply(g, &(sppo__graph_product){q, k, s, if_any(&b->query_length),
                                                   if_any(&b->key_length), NULL,
                                                   b->shape->padded && !b->shape->backward});
    s = sppo__graph_two(g, CUDNN_POINTWISE_MUL, s, b->scale);
    if (!b->shape->cap) return s;
    s = sppo__graph_two(g, CUDNN_POINTWISE_DIV, s, b->cap);
    *slope = sppo__graph_one(g, CUDNN_POINTWISE_TANH_FWD, s);
    return sppo__graph_two(g, CUDNN_POINTWISE_MUL, *slope, b->cap);
}

static void build_forward(const builder *b) {
    sppo__graph *g = b->g;
    sppo__graph_tensor q =
        sppo__graph_stored(g, SPPO_SDPA_Q, b->type, query_sizes(b), if_any(&b->offset_q));
    sppo__graph_tensor k = sppo__graph_stored(
        g, SPPO_SDPA_K, b->type, sppo__graph_turned(key_sizes(b)), if_any(&b->offset_k));
    sppo__graph_tensor v =
        sppo__graph_stored(g, SPPO_SDPA_V, b->type, key_sizes(b), if_any(&b->offset_v));
    sppo__graph_tensor o =
        sppo__graph_stored(g, SPPO_SDPA_O, b->type, query_sizes(b), if_any(&b->offset_o));
    sppo__graph_tensor lse = sppo__graph_stored(g, SPPO_SDPA_LSE, F32, row_sizes(b), NULL);
    sppo__graph_tensor highest = sppo__graph_virtual(g, F32, row_sizes(b), NULL);
    sppo__graph_tensor sum = sppo__graph_virtual(g, F32, row_sizes(b), NULL);
    sppo__graph_tensor slope, s = make_scores(b, q, k, &slope);
    s = mask_earlier(b, mask_later(b, mask_lengths(b, s)));
    sppo__graph_reduce(g, CUDNN_REDUCE_TENSOR_MAX, s, highest);
    s = sppo__graph_one(g, CUDNN_POINTWISE_EXP,
                        sppo__graph_two(g, CUDNN_POINTWISE_SUB, s, highest));
    sppo__graph_reduce(g, CUDNN_REDUCE_TENSOR_ADD, s, sum);
    sppo__graph_tensor log = sppo__graph_one(g, CUDNN_POINTWISE_LOG, sum);
    sppo__graph_point(
        g, &(sppo__graph_pointwise){CUDNN_POINTWISE_ADD, F32, -1, &highest, &log, NULL, &lse});
    sppo__graph_tensor p = sppo__graph_virtual(g, b->type, score_sizes(b), NULL);
    sppo__graph_point(g,
                      &(sppo__graph_pointwise){CUDNN_POINTWISE_DIV, F32, -1, &s, &sum, NULL, &p});
    sppo__graph_multiply(g, &(sppo__graph_product){p, v, o, if_any(&b->query_length), NULL,
                                                   if_any(&b->key_length), false});
}

/* sum(dO * O) of each row; times 1, where other graphs have dropout. */
static sppo__graph_tensor make_delta(const builder *b, sppo__graph_tensor o,
                                     sppo__graph_tensor dout) {
    sppo__graph *g = b->g;
    sppo__graph_tensor one = sppo__graph_number(g, SPPO_SDPA_ONE, F32);
    sppo__graph_tensor sum = sppo__graph_virtual(g, F32, row_sizes(b), NULL);
    sppo__graph_tensor delta = sppo__graph_stored(g, SPPO_SDPA_DELTA, F32, row_sizes(b), NULL);
    sppo__graph_reduce(g, CUDNN_REDUCE_TENSOR_ADD, sppo__graph_two(g, CUDNN_POINTWISE_MUL, dout, o),
                       sum);
    sppo__graph_point(
        g, &(sppo__graph_pointwise){CUDNN_POINTWISE_MUL, F32, -1, &sum, &one, NULL, &delta});
    return delta;
}

/* out = x' rows, for dV and dK; the gradients of the heads that share a kv head are added up. */
static void make_key_gradient(const builder *b, sppo__graph_tensor x, sppo__graph_tensor rows,
                              sppo__sdpa_role role, const sppo__graph_tensor *offsets) {
    const sppo__sdpa_shape *s = b->shape;
    sppo__graph *g = b->g;
    sppo__graph_tensor turned =
        sppo__graph_virtual(g, b->type, sppo__graph_turned(score_sizes(b)), NULL);
    sppo__graph_tensor out = sppo__graph_stored(g, role, b->type, key_sizes(b), if_any(offsets));
    sppo__graph_tensor full = out;
    if (s->heads != s->kv_heads)
        full = sppo__graph_virtual(g, b->type, sppo__graph_rows(s->batch, s->heads, s->keys, s->D),
                                   NULL);
    sppo__graph_reshape(g, x, turned);
    sppo__graph_multiply(g, &(sppo__graph_product){turned, rows, full, if_any(&b->key_length), NULL,
                                                   if_any(&b->query_length), false});
    if (s->heads != s->kv_heads) sppo__graph_reduce(g, CUDNN_REDUCE_TENSOR_ADD, full, out);
}

static void build_backward(const builder *b) {
    sppo__graph *g = b->g;
    const sppo__graph_tensor *of_q = if_any(&b->offset_q), *of_k = if_any(&b->offset_k);
    const sppo__graph_tensor *of_v = if_any(&b->offset_v), *of_o = if_any(&b->offset_o);
    const sppo__graph_tensor *queries = if_any(&b->query_length), *keys = if_any(&b->key_length);
    sppo__graph_sizes turned = sppo__graph_turned(key_sizes(b));
    sppo__graph_tensor q = sppo__graph_stored(g, SPPO_SDPA_Q, b->type, query_sizes(b), of_q);
    sppo__graph_tensor k = sppo__graph_stored(g, SPPO_SDPA_K, b->type, turned, of_k);
    sppo__graph_tensor v = sppo__graph_stored(g, SPPO_SDPA_V, b->type, turned, of_v);
    sppo__graph_tensor o = sppo__graph_stored(g, SPPO_SDPA_O, b->type, query_sizes(b), of_o);
    sppo__graph_tensor dout = sppo__graph_stored(g, SPPO_SDPA_DO, b->type, query_sizes(b), of_o);
    sppo__graph_tensor lse = sppo__graph_stored(g, SPPO_SDPA_LSE, F32, row_sizes(b), NULL);
    sppo__graph_tensor dq = sppo__graph_stored(g, SPPO_SDPA_DQ, b->type, query_sizes(b), of_q);
    sppo__graph_tensor delta = make_delta(b, o, dout);

    sppo__graph_tensor slope, s = mask_lengths(b, make_scores(b, q, k, &slope));
    s = sppo__graph_two(g, CUDNN_POINTWISE_SUB, s, lse);
    s = mask_earlier(b, mask_later(b, s));
    sppo__graph_tensor p = sppo__graph_one(g, CUDNN_POINTWISE_EXP, s);
    make_key_gradient(b, p, dout, SPPO_SDPA_DV, &b->offset_v);

    sppo__graph_tensor ds = sppo__graph_virtual(g, F32, score_sizes(b), NULL);
    sppo__graph_multiply(g, &(sppo__graph_product){dout, v, ds, queries, keys, NULL, false});
    ds = sppo__graph_two(g, CUDNN_POINTWISE_SUB, ds, delta);
    ds = sppo__graph_two(g, CUDNN_POINTWISE_MUL, ds, p);
    if (b->shape->cap) {
        sppo__graph_tensor square = sppo__graph_two(g, CUDNN_POINTWISE_MUL, slope, slope);
        square = sppo__graph_two(g, CUDNN_POINTWISE_MUL, ds, square);
        ds = sppo__graph_two(g, CUDNN_POINTWISE_SUB, ds, square);
    }
    ds = sppo__graph_two(g, CUDNN_POINTWISE_MUL, ds, b->scale);
    make_key_gradient(b, ds, q, SPPO_SDPA_DK, &b->offset_k);

    sppo__graph_tensor rows = sppo__graph_virtual(g, b->type, key_sizes(b), of_k);
    sppo__graph_reshape(g, k, rows);
    sppo__graph_multiply(g, &(sppo__graph_product){ds, rows, dq, queries, NULL, keys, false});
}

void sppo__graph_sdpa(sppo__graph *g, const sppo__sdpa_shape *shape) {
    builder b = new_builder(g, shape);
    if (shape->backward) build_backward(&b);
    else build_forward(&b);
}
