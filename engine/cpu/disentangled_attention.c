/* disentangled_attention.c - forward attention with relative positions, a head of one text a task.
 *
 * The scores of every position within reach are made as two products, against the queries and
 * against the keys, and each pair of tokens picks its two from them. */

#include "cpu/disentangled_attention.h"

typedef struct forward {
    disentangled d;
    float *out, *lse;
} forward;

/* A thread's memory. */
typedef struct room {
    float *keys;    // panels [N / 64][D][64]
    float *values;  // [N][W]
    float *panels;  // a table's: [C / 64][D][64]
    float *p2c;     // [N][stride]
    float *q;       // [QUERIES][D], scaled
    float *c2p;     // [QUERIES][stride]
    float *score;   // [QUERIES][N]
    float *sum_v;   // [QUERIES][W]
} room;

static int64_t room_at(const disentangled *d, float *scratch, room *r) {
    int64_t N = whole_panels(d->longest), stride = disentangled_stride(d->columns), used = 0;
    struct {
        float **part;
        int64_t floats;
    } parts[] = {
        {&r->keys, N * d->D},     {&r->values, N * d->W},     {&r->panels, d->columns * d->D},
        {&r->p2c, N * stride},    {&r->q, QUERIES * d->D},    {&r->c2p, QUERIES * stride},
        {&r->score, QUERIES * N}, {&r->sum_v, QUERIES * d->W}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (scratch) *parts[i].part = scratch + used;
        used += (parts[i].floats + 15) / 16 * 16;
    }
    return used;
}

/* Queries i .. i + rows - 1. */
static void attend(const forward *f, const head_of_text *h, room *r, int64_t i, int64_t rows) {
    const disentangled *d = &f->d;
    for (int64_t row = 0; row < rows; row++) {
        const float *q = values_at(d, d->q, h->start + i + row, h->head);
        for (int64_t j = 0; j < d->D; j++) r->q[row * d->D + j] = q[j] * d->scale;
    }
    products(d, rows, r->q, d->D, r->panels, h->C, r->c2p, h->stride);
    products(d, rows, r->q, d->D, r->keys, h->N, r->score, h->N);
    for (int64_t row = 0; row < rows; row++) {
        float *score = r->score + row * h->N;
        float most = add_positions(d, h, i + row, r->c2p + row * h->stride, r->p2c, score);
        vf highest = vset(most), sum = vset(0);
        for (int64_t j = 0; j < h->n; j += VL) {
            vf p = vexp(vload(score + j) - highest);
            vstore(score + j, p);
            sum = sum + p;
        }
        float total = vsum(sum), share = 1.0f / total;
        for (int64_t j = 0; j < h->n; j += VL) vstore(score + j, vload(score + j) * vset(share));
        f->lse[(h->start + i + row) * d->heads + h->head] = most + logf(total);
    }
    for (int64_t w = 0; w < d->W; w += 64)
        tile_f32(rows, h->n, r->score, h->N, 1, r->values + w, d->W, r->sum_v + w, d->W, false);
    for (int64_t row = 0; row < rows; row++)
        memcpy(f->out + ((h->start + i + row) * d->heads + h->head) * d->D, r->sum_v + row * d->W,
               sizeof(float) * (size_t)d->D);
}

static void task(void *context, int64_t number, int thread) {
    const forward *f = context;
    const disentangled *d = &f->d;
    head_of_text h = head_at(d, (int)(number / d->heads), number % d->heads);
    if (!h.n) return;
    room r;
    room_at(d, sppo__scratch(thread), &r);
    position_scores(d, &h, r.panels, r.p2c);
    load_panels(d, d->rel_k, h.first, h.head, reached(d, &h), h.C, 1, r.panels);
    load_panels(d, d->k, h.start, h.head, h.n, h.N, 1, r.keys);
    load_rows(d, d->v, h.start, h.head, h.n, h.n, 1, r.values);
    for (int64_t i = 0; i < h.n; i += QUERIES)
        attend(f, &h, &r, i, h.n - i < QUERIES ? h.n - i : QUERIES);
}

/* in: q, k, v, rel_k, rel_q; out: out, lse. */
sppo_status KERNEL(disentangled_attention)(sppo__call *c) {
    forward f = {.out = sppo__f32(c->out[0]), .lse = sppo__f32(c->out[1])};
    room none;
    sppo_status st = disentangled_begin(&f.d, c);
    if (!st) st = sppo__scratch_reserve(room_at(&f.d, NULL, &none) * 4);
    if (!st) sppo__parallel(f.d.at->count * f.d.heads, task, &f);
    sppo__storage_release(f.d.memory);
    return st;
}
