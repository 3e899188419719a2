/* disentangled_attention.h - what the forward and the backward pass of DeBERTa's attention share: a
 * head of one text, its keys and the scores of its relative positions.
 *
 * D head size, W = D padded to whole panels, n tokens of the text, N = n padded to whole panels. The
 * text reaches the table's rows first .. first + C - 1, C padded to whole panels; rows of scores
 * against them have `stride` floats, no power of two so that columns spread over the cache. */

#ifndef SPPO_DISENTANGLED_ATTENTION_H
#define SPPO_DISENTANGLED_ATTENTION_H

#include <math.h>

#include "core/error.h"
#include "cpu/cpu.h"
#include "cpu/tile.h"
#include "llm/segments.h"
#include "ops/workspace.h"

enum { QUERIES = DISENTANGLED_QUERIES };

typedef struct disentangled {
    int64_t heads, D, W;
    int64_t rows;              // of the tables
    int64_t longest, columns;  // most n and C of any text
    float scale;
    const sppo_segments *at;
    const float *q, *k, *v, *rel_k, *rel_q;
    const int32_t *row;  // table row of relative position longest - 1 - t, at t
    sppo__storage *memory;
} disentangled;

typedef struct head_of_text {
    int64_t start, n, N, head;
    int64_t first, C, stride;
} head_of_text;

/* The sizes of a call and its table of rows; the caller releases d->memory. */
static inline sppo_status disentangled_begin(disentangled *d, const sppo__call *c) {
    *d = (disentangled){.heads = c->in[0]->shape[1],
                        .D = c->in[0]->shape[2],
                        .W = whole_panels(c->in[0]->shape[2]),
                        .rows = c->in[3]->shape[0],
                        .scale = c->f[0],
                        .at = c->at};
    const float **in[] = {&d->q, &d->k, &d->v, &d->rel_k, &d->rel_q};
    for (int i = 0; i < 5; i++) *in[i] = sppo__f32(c->in[i]);
    disentangled_sizes sizes = sppo__disentangled_sizes(c);
    d->longest = sizes.longest;
    d->columns = sizes.C;
    int64_t bytes = disentangled_table_bytes(d->longest);
    sppo_status st =
        sppo__work_new(&d->memory, SPPO_DEVICE_CPU, bytes, false, sppo__op_name(c->op));
    if (st) return st;
    int32_t *row = d->memory->data;
    for (int64_t t = 0; t < bytes / (int64_t)sizeof *row; t++)
        row[t] = sppo__disentangled_row(c, d->longest - 1 - t);
    d->row = row;
    return SPPO_OK;
}

/* Rows of relative positions of query i and keys 0, 1, .. */
static inline const int32_t *rows_of_query(const disentangled *d, int64_t i) {
    return d->row + d->longest - 1 - i;
}

static inline head_of_text head_at(const disentangled *d, int segment, int64_t head) {
    const sppo__segment *s = &d->at->segment[segment];
    head_of_text h = {.start = s->start, .n = s->count, .N = whole_panels(s->count), .head = head};
    if (!h.n) return h;
    h.first = d->row[d->longest + h.n - 2];
    h.C = whole_panels(d->row[d->longest - h.n] - h.first + 1);
    h.stride = disentangled_stride(h.C);
    return h;
}

/* Values of token or table row `row` in a [.., heads, D] tensor. */
static inline const float *values_at(const disentangled *d, const float *x, int64_t row,
                                     int64_t head) {
    return x + (row * d->heads + head) * d->D;
}

/* `count` rows from `row` as panels [D][64] of `padded` columns in all, times `factor`; zeros behind
 * them. */
static inline void load_panels(const disentangled *d, const float *x, int64_t row, int64_t head,
                               int64_t count, int64_t padded, float factor, float *dst) {
    for (int64_t p = 0; p < padded; p += 64, dst += d->D * 64)
        for (int64_t i = 0; i < 64; i++) {
            const float *from = values_at(d, x, row + p + i, head);
            bool there = p + i < count;
            for (int64_t j = 0; j < d->D; j++) dst[j * 64 + i] = there ? from[j] * factor : 0;
        }
}

/* `count` rows from `row` as [padded][W] rows, times `factor`; zeros behind and beside them. */
static inline void load_rows(const disentangled *d, const float *x, int64_t row, int64_t head,
                             int64_t count, int64_t padded, float factor, float *dst) {
    memset(dst, 0, sizeof *dst * (size_t)(padded * d->W));
    for (int64_t i = 0; i < count; i++, dst += d->W) {
        const float *from = values_at(d, x, row + i, head);
        for (int64_t j = 0; j < d->D; j++) dst[j] = from[j] * factor;
    }
}

/* Rows of a table that a text reaches and the table has. */
static inline int64_t reached(const disentangled *d, const head_of_text *h) {
    return d->rows - h->first < h->C ? d->rows - h->first : h->C;
}

/* score[r, c] = a[r, :] . panels[:, c] for `columns` columns in whole panels. */
static inline void products(const disentangled *d, int64_t rows, const float *a, int64_t lda,
                            const float *panels, int64_t columns, float *score, int64_t ld) {
    for (int64_t c = 0; c < columns; c += 64)
        tile_f32(rows, d->D, a, lda, 1, panels + c * d->D, 64, score + c, ld, false);
}

/* scale k_j . rel_q[first + c] for all keys, [N][stride]; `panels` is room for a table's panels. */
static inline void position_scores(const disentangled *d, const head_of_text *h, float *panels,
                                   float *p2c) {
    load_panels(d, d->rel_q, h->first, h->head, reached(d, h), h->C, d->scale, panels);
    products(d, h->n, values_at(d, d->k, h->start, h->head), d->heads * d->D, panels, h->C, p2c,
             h->stride);
}

/* Adds the positions' scores to those of query i; what pads the row becomes -inf. Returns the
 * largest score. */
static inline float add_positions(const disentangled *d, const head_of_text *h, int64_t i,
                                  const float *c2p, const float *p2c, float *score) {
    const int32_t *row = rows_of_query(d, i);
    vi first = vset_i32((int32_t)h->first), lane = vset_i32(0);
    for (int j = 0; j < VL; j++) lane[j] = (int32_t)(j * h->stride);
    vf highest = vset(-INFINITY);
    for (int64_t j = 0; j < h->n; j += VL) {
        vi column = vload_i32(row + j) - first;
        vf s = vload(score + j) + vgather(c2p, column);
        s = s + vgather(p2c + j * h->stride, column + lane);
        vstore(score + j, s);
        if (j + VL > h->n)
            for (int64_t p = h->n; p < j + VL; p++) score[p] = -INFINITY;
        highest = vmax(highest, vload(score + j));
    }
    return vmaximum(highest);
}

#endif
