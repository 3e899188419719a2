/* disentangled_attention_backward.c - gradients of attention with relative positions, from the
 * output and its log-sum-exp.
 *
 *     P = exp(S - lse)      dS = P * (dO V^T - sum(dO * O))
 *     dV = P^T dO           dK = dS^T Q + B^T-sums rel_q        dQ = dS K + A-sums rel_k
 *
 * where A[i, c] sums dS[i, j] over the keys at position c of query i, and B[j, c] over the queries.
 * A task has one head of all texts, in their order: its sums, those of the tables too, have one
 * order for any number of threads. */

#include "cpu/disentangled_attention.h"

typedef struct backward {
    disentangled d;
    const float *out, *lse, *dout;
    float *dq, *dk, *dv, *drel_k, *drel_q;  // NULL where not wanted
} backward;

/* A thread's memory. */
typedef struct room {
    float *keys, *values;    // panels [N / 64][D][64]
    float *key_rows;         // [N][W]
    float *dk, *dv;          // [N][W]
    float *panels;           // a table's: [C / 64][D][64]
    float *rel_k, *rel_q;    // [C][W], rel_q scaled
    float *drel_k, *drel_q;  // [C][W]
    float *p2c, *dp2c;       // [N][stride]
    float *q, *dout, *dq;    // [QUERIES][W], q scaled
    float *c2p, *dc2p;       // [QUERIES][stride]
    float *score, *dscore;   // [QUERIES][N]
} room;

static int64_t room_at(const disentangled *d, float *scratch, room *r) {
    int64_t N = whole_panels(d->longest), C = d->columns, stride = disentangled_stride(C), used = 0;
    struct {
        float **part;
        int64_t floats;
    } parts[] = {
        {&r->keys, N * d->D},        {&r->values, N * d->D},       {&r->key_rows, N * d->W},
        {&r->dk, N * d->W},          {&r->dv, N * d->W},           {&r->panels, C * d->D},
        {&r->rel_k, C * d->W},       {&r->rel_q, C * d->W},        {&r->drel_k, C * d->W},
        {&r->drel_q, C * d->W},      {&r->p2c, N * stride},        {&r->dp2c, N * stride},
        {&r->q, QUERIES * d->W},     {&r->dout, QUERIES * d->W},   {&r->dq, QUERIES * d->W},
        {&r->c2p, QUERIES * stride}, {&r->dc2p, QUERIES * stride}, {&r->score, QUERIES * N},
        {&r->dscore, QUERIES * N}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (scratch) *parts[i].part = scratch + used;
        used += (parts[i].floats + 15) / 16 * 16;
    }
    return used;
}

/* c (+)= a b for the W columns of b: value (r, k) of a at a[r * row_stride + k * column_stride]. */
static void multiply(const disentangled *d, int64_t rows, int64_t depth, const float *a,
                     int64_t row_stride, int64_t column_stride, const float *b, float *c,
                     bool add) {
    for (int64_t w = 0; w < d->W; w += 64)
        tile_f32(rows, depth, a, row_stride, column_stride, b + w, d->W, c + w, d->W, add);
}

static float dot(const float *x, const float *y, int64_t n) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum = sfma(x[i], y[i], sum);
    return sum;
}

/* Scores and dO V^T of query i become P and dS, 0 in what pads the row. */
static void weigh(const backward *b, const head_of_text *h, const room *r, int64_t i, int64_t row) {
    const disentangled *d = &b->d;
    float *score = r->score + row * h->N, *dscore = r->dscore + row * h->N;
    add_positions(d, h, i, r->c2p + row * h->stride, r->p2c, score);
    int64_t at = (h->start + i) * d->heads + h->head;
    vf lse = vset(b->lse[at]);
    vf delta = vset(dot(r->dout + row * d->W, b->out + at * d->D, d->D));
    for (int64_t j = 0; j < h->n; j += VL) {
        vf p = vexp(vload(score + j) - lse);
        vstore(score + j, p);
        vstore(dscore + j, p * (vload(dscore + j) - delta));
    }
}

/* Adds dS of query i to the gradients of the positions' scores it was made with. */
static void spread(const disentangled *d, const head_of_text *h, const room *r, int64_t i,
                   int64_t row) {
    const int32_t *table = rows_of_query(d, i);
    const float *dscore = r->dscore + row * h->N;
    float *dc2p = r->dc2p + row * h->stride;
    for (int64_t j = 0; j < h->n; j++) {
        int64_t column = table[j] - h->first;
        dc2p[column] += dscore[j];
        r->dp2c[j * h->stride + column] += dscore[j];
    }
}

/* Queries i .. i + rows - 1. */
static void attend(const backward *b, const head_of_text *h, room *r, int64_t i, int64_t rows) {
    const disentangled *d = &b->d;
    load_rows(d, d->q, h->start + i, h->head, rows, rows, d->scale, r->q);
    load_rows(d, b->dout, h->start + i, h->head, rows, rows, 1, r->dout);
    products(d, rows, r->q, d->W, r->panels, h->C, r->c2p, h->stride);
    products(d, rows, r->q, d->W, r->keys, h->N, r->score, h->N);
    products(d, rows, r->dout, d->W, r->values, h->N, r->dscore, h->N);
    memset(r->dc2p, 0, sizeof(float) * (size_t)(rows * h->stride));
    for (int64_t row = 0; row < rows; row++) {
        weigh(b, h, r, i + row, row);
        spread(d, h, r, i + row, row);
    }
    if (b->dv) multiply(d, h->n, rows, r->score, 1, h->N, r->dout, r->dv, true);
    if (b->dk) multiply(d, h->n, rows, r->dscore, 1, h->N, r->q, r->dk, true);
    if (b->drel_k) multiply(d, h->C, rows, r->dc2p, 1, h->stride, r->q, r->drel_k, true);
    if (!b->dq) return;
    multiply(d, rows, h->n, r->dscore, h->N, 1, r->key_rows, r->dq, false);
    multiply(d, rows, h->C, r->dc2p, h->stride, 1, r->rel_k, r->dq, true);
    for (int64_t row = 0; row < rows; row++) {
        float *dq = b->dq + ((h->start + i + row) * d->heads + h->head) * d->D;
        for (int64_t j = 0; j < d->D; j++) dq[j] += r->dq[row * d->W + j] * d->scale;
    }
}

/* gradient[row .., head, :] += rows * factor */
static void add_rows(const disentangled *d, float *gradient, int64_t row, int64_t head,
                     int64_t count, const float *rows, float factor) {
    if (!gradient) return;
    for (int64_t i = 0; i < count; i++) {
        float *dst = gradient + ((row + i) * d->heads + head) * d->D;
        for (int64_t j = 0; j < d->D; j++) dst[j] += rows[i * d->W + j] * factor;
    }
}

static void run_text(const backward *b, const head_of_text *h, room *r) {
    const disentangled *d = &b->d;
    int64_t rows = reached(d, h);
    position_scores(d, h, r->panels, r->p2c);
    load_panels(d, d->rel_k, h->first, h->head, rows, h->C, 1, r->panels);
    load_rows(d, d->rel_k, h->first, h->head, rows, h->C, 1, r->rel_k);
    load_rows(d, d->rel_q, h->first, h->head, rows, h->C, d->scale, r->rel_q);
    load_panels(d, d->k, h->start, h->head, h->n, h->N, 1, r->keys);
    load_panels(d, d->v, h->start, h->head, h->n, h->N, 1, r->values);
    load_rows(d, d->k, h->start, h->head, h->n, h->n, 1, r->key_rows);
    memset(r->dk, 0, sizeof(float) * (size_t)(h->n * d->W));
    memset(r->dv, 0, sizeof(float) * (size_t)(h->n * d->W));
    memset(r->drel_k, 0, sizeof(float) * (size_t)(h->C * d->W));
    memset(r->dp2c, 0, sizeof(float) * (size_t)(h->n * h->stride));
    for (int64_t i = 0; i < h->n; i += QUERIES)
        attend(b, h, r, i, h->n - i < QUERIES ? h->n - i : QUERIES);
    if (b->dk) multiply(d, h->n, h->C, r->dp2c, h->stride, 1, r->rel_q, r->dk, true);
    if (b->drel_q) multiply(d, h->C, h->n, r->dp2c, 1, h->stride, r->key_rows, r->drel_q, false);
    add_rows(d, b->dk, h->start, h->head, h->n, r->dk, 1);
    add_rows(d, b->dv, h->start, h->head, h->n, r->dv, 1);
    add_rows(d, b->drel_k, h->first, h->head, rows, r->drel_k, 1);
    add_rows(d, b->drel_q, h->first, h->head, rows, r->drel_q, d->scale);
}

static void task(void *context, int64_t head, int thread) {
    const backward *b = context;
    room r;
    room_at(&b->d, sppo__scratch(thread), &r);
    for (int i = 0; i < b->d.at->count; i++) {
        head_of_text h = head_at(&b->d, i, head);
        if (h.n) run_text(b, &h, &r);
    }
}

/* in: q, k, v, rel_k, rel_q, out, lse, dout; out: dq, dk, dv, drel_k, drel_q. */
sppo_status KERNEL(disentangled_attention_backward)(sppo__call *c) {
    backward b = {.out = sppo__f32(c->in[5]), .lse = sppo__f32(c->in[6])};
    b.dout = sppo__f32(c->in[7]);
    float **out[] = {&b.dq, &b.dk, &b.dv, &b.drel_k, &b.drel_q};
    for (int i = 0; i < 5; i++)
        if (c->out[i]) *out[i] = sppo__f32(c->out[i]);
    room none;
    sppo_status st = disentangled_begin(&b.d, c);
    if (!st) st = sppo__scratch_reserve(room_at(&b.d, NULL, &none) * 4);
    if (!st) sppo__parallel(b.d.heads, task, &b);
    sppo__storage_release(b.d.memory);
    return st;
}
