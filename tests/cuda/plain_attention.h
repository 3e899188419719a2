/* plain_attention.h - attention and its gradients in double precision, written the plain way, for
 * tests of cuDNN's graphs. Included once. */

#ifndef SPPO_TESTS_PLAIN_ATTENTION_H
#define SPPO_TESTS_PLAIN_ATTENTION_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cudnn_sdpa.h"

enum { GAP = 1, MOST = 8 };  // tokens between packed texts; texts of a batch
static const float CAP = 2;

typedef struct texts {
    sppo__sdpa_shape shape;
    int32_t queries[MOST], keys[MOST];             // lengths
    int64_t q_begin[MOST + 1], k_begin[MOST + 1];  // first token of each in memory
} texts;

typedef struct arrays {
    float *q, *k, *v, *dout;  // as given; what follows in double
    double *o, *lse, *dq, *dk, *dv;
} arrays;

static void *need(void *p) {
    if (p) return p;
    fprintf(stderr, "cudnn_test: out of memory\n");
    exit(1);
}

static texts texts_of(const sppo__sdpa_shape *shape) {
    texts t = {.shape = *shape};
    for (int b = 0; b < shape->batch; b++) {
        t.queries[b] = (int32_t)(shape->queries - (shape->padded ? 3 * b + 1 : 0));
        t.keys[b] = (int32_t)(shape->keys - (shape->padded ? 3 * b + 1 : 0));
        t.q_begin[b + 1] = t.q_begin[b] + (shape->packed ? t.queries[b] + GAP : shape->queries);
        t.k_begin[b + 1] = t.k_begin[b] + (shape->packed ? t.keys[b] + GAP : shape->keys);
    }
    return t;
}

static float to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float *random_values(int64_t count, float scale, bool bf16, unsigned *state) {
    float *x = need(malloc((size_t)count * sizeof *x));
    for (int64_t i = 0; i < count; i++) {
        *state = *state * 1664525u + 1013904223u;
        x[i] = scale * ((float)(*state >> 8) / 8388608.0f - 1.0f);
        if (bf16) x[i] = to_bf16(x[i]);
    }
    return x;
}

static bool sees(const texts *t, int b, int64_t i, int64_t j) {
    const sppo__sdpa_shape *s = &t->shape;
    if (s->mask == SPPO_SDPA_FULL) return true;
    int64_t last = i + (s->mask == SPPO_SDPA_CAUSAL_LAST ? t->keys[b] - t->queries[b] : 0);
    return j <= last && (!s->window || j > last - s->window);
}

/* One row: query i of text b, head h. */
static void plain_row(const texts *t, arrays *a, int b, int64_t h, int64_t i, double *p,
                      double *t2) {
    const sppo__sdpa_shape *s = &t->shape;
    int64_t D = s->D, kv = h / (s->heads / s->kv_heads);
    int64_t q_at = ((t->q_begin[b] + i) * s->heads + h) * D;
    double scale = 1.0 / sqrt((double)D), sum = 0, delta = 0;
    for (int64_t j = 0; j < t->keys[b]; j++) {
        int64_t k_at = ((t->k_begin[b] + j) * s->kv_heads + kv) * D;
        double score = 0;
        for (int64_t d = 0; d < D; d++) score += (double)a->q[q_at + d] * (double)a->k[k_at + d];
        score *= scale;
        t2[j] = s->cap ? tanh(score / (double)CAP) : 0;
        if (s->cap) score = (double)CAP * t2[j];
        p[j] = sees(t, b, i, j) ? exp(score) : 0;
        sum += p[j];
    }
    a->lse[(b * s->heads + h) * s->queries + i] = log(sum);
    for (int64_t j = 0; j < t->keys[b]; j++) {
        int64_t k_at = ((t->k_begin[b] + j) * s->kv_heads + kv) * D;
        p[j] /= sum;
        for (int64_t d = 0; d < D; d++) {
            a->o[q_at + d] += p[j] * (double)a->v[k_at + d];
            a->dv[k_at + d] += p[j] * (double)a->dout[q_at + d];
        }
    }
    for (int64_t d = 0; d < D; d++) delta += a->o[q_at + d] * (double)a->dout[q_at + d];
    for (int64_t j = 0; j < t->keys[b]; j++) {
        int64_t k_at = ((t->k_begin[b] + j) * s->kv_heads + kv) * D;
        double dp = -delta;
        for (int64_t d = 0; d < D; d++) dp += (double)a->dout[q_at + d] * (double)a->v[k_at + d];
        double ds = p[j] * dp * (1 - t2[j] * t2[j]) * scale;
        for (int64_t d = 0; d < D; d++) {
            a->dq[q_at + d] += ds * (double)a->k[k_at + d];
            a->dk[k_at + d] += ds * (double)a->q[q_at + d];
        }
    }
}

static arrays plain(const texts *t, int64_t q_count, int64_t k_count) {
    const sppo__sdpa_shape *s = &t->shape;
    unsigned state = 7;
    arrays a = {.q = random_values(q_count, 2, !s->f32, &state),
                .k = random_values(k_count, 2, !s->f32, &state),
                .v = random_values(k_count, 1, !s->f32, &state),
                .dout = random_values(q_count, 1, !s->f32, &state),
                .o = need(calloc((size_t)q_count, sizeof(double))),
                .dq = need(calloc((size_t)q_count, sizeof(double))),
                .dk = need(calloc((size_t)k_count, sizeof(double))),
                .dv = need(calloc((size_t)k_count, sizeof(double))),
                .lse = need(calloc((size_t)(s->batch * s->heads * s->queries), sizeof(double)))};
    double *p = need(malloc((size_t)s->keys * 2 * sizeof *p));
    for (int b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->heads; h++)
            for (int64_t i = 0; i < t->queries[b]; i++) plain_row(t, &a, b, h, i, p, p + s->keys);
    free(p);
    return a;
}

static void free_arrays(arrays *a) {
    free(a->q), free(a->k), free(a->v), free(a->dout);
    free(a->o), free(a->lse), free(a->dq), free(a->dk), free(a->dv);
}

#endif
