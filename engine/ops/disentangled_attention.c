/* disentangled_attention.c - DeBERTa's attention: what it accepts, its hidden output, how it
 * differentiates and what it costs. The arithmetic is in cpu/disentangled_attention*.c.
 *
 * A call has i[0] = buckets, i[1] = max_positions, f[0] = scale. */

#include <math.h>

#include "llm/segments.h"
#include "ops/workspace.h"

enum { HEAD_DIM = 256, BUCKETS = 1 << 14, POSITIONS = 1 << 24, INPUTS = 5 };

static const char *const names[INPUTS] = {"q", "k", "v", "rel_k", "rel_q"};

/* Distances beyond buckets / 2 share rows by their logarithm (make_log_bucket_position in
 * transformers' modeling_deberta_v2.py). */
int32_t sppo__disentangled_row(const sppo__call *c, int64_t r) {
    int64_t buckets = c->i[0], middle = buckets / 2, distance = r < 0 ? -r : r, bucket = distance;
    if (distance > middle) {
        double ratio =
            log((double)distance / (double)middle) / log((double)(c->i[1] - 1) / (double)middle);
        bucket = (int64_t)ceil(ratio * (double)(middle - 1)) + middle;
    }
    int64_t row = buckets + (r < 0 ? -bucket : bucket), rows = c->in[3]->shape[0];
    return (int32_t)(row < 0 ? 0 : row >= rows ? rows - 1 : row);
}

disentangled_sizes sppo__disentangled_sizes(const sppo__call *c) {
    disentangled_sizes s = {.D = c->in[0]->shape[2], .W = whole_panels(c->in[0]->shape[2])};
    for (int i = 0; i < c->at->count; i++)
        if (c->at->segment[i].count > s.longest) s.longest = c->at->segment[i].count;
    s.N = whole_panels(s.longest);
    if (s.longest)
        s.C = whole_panels(sppo__disentangled_row(c, s.longest - 1) -
                           sppo__disentangled_row(c, 1 - s.longest) + 1);
    s.stride = disentangled_stride(s.C);
    return s;
}

/* Floats as a thread's room has them: each part begins at a whole vector. */
static int64_t floats_of(const int64_t *parts, int count) {
    int64_t floats = 0;
    for (int i = 0; i < count; i++) floats += (parts[i] + 15) / 16 * 16;
    return floats;
}

sppo__workspace sppo__workspace_disentangled_attention(const sppo__call *c) {
    disentangled_sizes s = sppo__disentangled_sizes(c);
    const int64_t Q = DISENTANGLED_QUERIES,
                  parts[] = {s.N * s.D, s.N * s.W,    s.C * s.D, s.N * s.stride,
                             Q * s.D,   Q * s.stride, Q * s.N,   Q * s.W};
    return (sppo__workspace){.bytes = disentangled_table_bytes(s.longest),
                             .scratch = floats_of(parts, 8) * 4};
}

sppo__workspace sppo__workspace_disentangled_attention_backward(const sppo__call *c) {
    disentangled_sizes s = sppo__disentangled_sizes(c);
    const int64_t Q = DISENTANGLED_QUERIES,
                  parts[] = {s.N * s.D,      s.N * s.D,      s.N * s.W, s.N * s.W, s.N * s.W,
                             s.C * s.D,      s.C * s.W,      s.C * s.W, s.C * s.W, s.C * s.W,
                             s.N * s.stride, s.N * s.stride, Q * s.W,   Q * s.W,   Q * s.W,
                             Q * s.stride,   Q * s.stride,   Q * s.N,   Q * s.N};
    return (sppo__workspace){.bytes = disentangled_table_bytes(s.longest),
                             .scratch = floats_of(parts, 19) * 4};
}

static sppo_status disentangled_attention_backward(const sppo__call *fwd) {
    sppo__call c = {.op = SPPO_OP_DISENTANGLED_ATTENTION_BACKWARD,
                    .n_in = 8,
                    .n_out = INPUTS,
                    .in[5] = fwd->out[0],
                    .in[6] = fwd->out[1],
                    .in[7] = sppo__dout(fwd, 0),
                    .f = {fwd->f[0]},
                    .i = {fwd->i[0], fwd->i[1]},
                    .at = fwd->at};
    sppo_status st = SPPO_OK;
    for (int i = 0; i < INPUTS && !st; i++) {
        c.in[i] = fwd->in[i];
        st = sppo__din(fwd, i, &c.out[i]);
    }
    return st ? st : sppo__run(&c);
}

static sppo_status check_options(const sppo__call *c) {
    const char *name = sppo__op_name(c->op);
    if (c->i[0] < 2 || c->i[0] > BUCKETS)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, name, "buckets", 2LL, (long long)BUCKETS,
                          (long long)c->i[0]);
    if (c->i[1] < c->i[0] / 2 + 2 || c->i[1] > POSITIONS)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, name, "max_positions",
                          (long long)c->i[0] / 2 + 2, (long long)POSITIONS, (long long)c->i[1]);
    if (!(c->f[0] > 0) || !isfinite(c->f[0]))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_POSITIVE, name, "scale", (double)c->f[0]);
    return SPPO_OK;
}

static sppo_status check_shapes(const sppo__call *c) {
    const char *name = sppo__op_name(c->op);
    const sppo_tensor *q = c->in[0];
    for (int i = 0; i < INPUTS; i++) {
        sppo_status st = sppo__want(c, i, names[i], SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
        if (st) return st;
        if (c->in[i]->ndim != 3)
            return sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, name, names[i],
                              sppo__shape_text(c->in[i]), 3);
    }
    if (q->shape[1] < 1 || q->shape[2] < 1 || q->shape[2] > HEAD_DIM)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_HEAD_DIM, name,
                          q->shape[1] < 1 ? 0 : (long long)q->shape[2], HEAD_DIM);
    for (int i = 1; i < 3; i++)
        if (!sppo__same_shape(q, c->in[i]))
            return sppo__fail(SPPO_ERR_SHAPE, TEXT_SHAPES, name, "q", sppo__shape_text(q), names[i],
                              sppo__shape_text(c->in[i]));
    for (int i = 3; i < INPUTS; i++) {
        const int64_t *shape = c->in[i]->shape;
        if (shape[0] != 2 * c->i[0] || shape[1] != q->shape[1] || shape[2] != q->shape[2])
            return sppo__fail(SPPO_ERR_SHAPE, TEXT_TABLE, name, names[i],
                              sppo__shape_text(c->in[i]), 2 * (long long)c->i[0],
                              (long long)q->shape[1], (long long)q->shape[2]);
    }
    return SPPO_OK;
}

static sppo_status check_segments(const sppo__call *c) {
    const char *name = sppo__op_name(c->op);
    if (c->at->kv) return sppo__fail(SPPO_ERR_STATE, TEXT_SEGMENTS_STORED, name);
    for (int i = 0; i < c->at->count; i++)
        if (c->at->segment[i].parent >= 0)
            return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_SEGMENTS_FLAT, name, i);
    return sppo__segments_use(c->at, name, c->in[0]->shape[0]);
}

sppo_status sppo_disentangled_attention(sppo_tensor **out, sppo_tensor *q, sppo_tensor *k,
                                        sppo_tensor *v, sppo_tensor *rel_k, sppo_tensor *rel_q,
                                        sppo_segments *at,
                                        const sppo_disentangled_options *options) {
    sppo__call c = {.op = SPPO_OP_DISENTANGLED_ATTENTION,
                    .in = {q, k, v, rel_k, rel_q},
                    .n_in = INPUTS,
                    .f = {options->scale},
                    .i = {options->buckets, options->max_positions},
                    .at = at,
                    .save_in = 31,
                    .save_out = 3};
    sppo_status st = sppo__begin(&c);
    if (!st) st = check_shapes(&c);
    if (!st && c.f[0] == 0) c.f[0] = 1.0f / sqrtf(3.0f * (float)q->shape[2]);
    if (!st) st = check_options(&c);
    if (!st) st = check_segments(&c);
    if (!st) st = sppo__out_like(&c, 0, c.in[0]);
    // Log-sum-exp of each row's scores, which backward makes its weights from.
    if (!st) st = sppo__out(&c, 1, SPPO_DTYPE_F32, 2, c.in[0]->shape);
    return sppo__finish(&c, st, disentangled_attention_backward, out, 1);
}

/* Pairs of a query and a key, and pairs of a token and a relative position within its reach. */
static double pairs(const sppo__call *c, double *positions) {
    double keys = 0;
    *positions = 0;
    for (int i = 0; i < c->at->count; i++) {
        double n = (double)c->at->segment[i].count, reach = 2 * n - 1;
        keys += n * n;
        *positions += n * (reach < 2 * (double)c->i[0] ? reach : 2 * (double)c->i[0]);
    }
    return keys;
}

/* Two products of 2 D operations a pair of tokens and head, one for each table of positions. */
sppo_status sppo_meta_disentangled_attention(sppo__call *c) {
    double positions, keys = pairs(c, &positions);
    double width = (double)(c->in[0]->shape[1] * c->in[0]->shape[2]);
    return sppo__cost(c, 4 * width * (keys + positions));
}

/* Five products a pair of tokens; for each table the scores again and two gradients. */
sppo_status sppo_meta_disentangled_attention_backward(sppo__call *c) {
    double positions, keys = pairs(c, &positions);
    double width = (double)(c->in[0]->shape[1] * c->in[0]->shape[2]);
    return sppo__cost(c, 2 * width * (5 * keys + 6 * positions));
}
