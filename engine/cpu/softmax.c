/* softmax.c - softmax over rows: a row's maximum, then its sum of exp, in a fixed order. */

#include "cpu/cpu.h"
#include "cpu/simd.h"

enum { ROWS = 16 };

typedef struct job {
    sppo__call *c;
    void (*row)(sppo__call *c, int64_t r, int64_t D);
} job;

static void run_rows(void *context, int64_t task, int thread) {
    (void)thread;
    job *j = context;
    int64_t R = sppo__rows(j->c->in[0]), D = sppo__columns(j->c->in[0]);
    for (int64_t r = task * ROWS; r < R && r < (task + 1) * ROWS; r++) j->row(j->c, r, D);
}

static sppo_status over_rows(sppo__call *c, void (*row)(sppo__call *c, int64_t r, int64_t D)) {
    if (!sppo__columns(c->in[0])) return SPPO_OK;
    job j = {c, row};
    sppo__parallel((sppo__rows(c->in[0]) + ROWS - 1) / ROWS, run_rows, &j);
    return SPPO_OK;
}

static float row_maximum(const float *x, int64_t D) {
    float m = x[0];
    for (int64_t i = 1; i < D; i++) m = x[i] > m || x[i] != x[i] ? x[i] : m;
    return m;
}

/* y = exp(x - m); returns the sum: vector lanes over blocks of 1,024 values, blocks in f64, so that a
 * row as long as a vocabulary loses no digits. */
static float exp_row(float *y, const float *x, float m, int64_t D) {
    double total = 0;
    int64_t i = 0;
    while (i + VL <= D) {
        int64_t end = i + 1024 < D ? i + 1024 : D;
        vf sum = vset(0.0f);
        for (; i + VL <= end; i += VL) {
            vf e = vexp(vload(x + i) - vset(m));
            vstore(y + i, e);
            sum = sum + e;
        }
        total += (double)vsum(sum);
    }
    for (; i < D; i++) total += (double)(y[i] = sexp(x[i] - m));
    return (float)total;
}

static void softmax_row(sppo__call *c, int64_t r, int64_t D) {
    const float *x = sppo__f32(c->in[0]) + r * D;
    float *y = sppo__f32(c->out[0]) + r * D;
    float scale = 1.0f / exp_row(y, x, row_maximum(x, D), D);
    for (int64_t i = 0; i < D; i++) y[i] *= scale;
}

static void log_softmax_row(sppo__call *c, int64_t r, int64_t D) {
    const float *x = sppo__f32(c->in[0]) + r * D;
    float *y = sppo__f32(c->out[0]) + r * D;
    float m = row_maximum(x, D), rest = logf(exp_row(y, x, m, D));
    for (int64_t i = 0; i < D; i++) y[i] = x[i] - m - rest;
}

/* dx += y (dy - sum(dy y)) */
static void softmax_backward_row(sppo__call *c, int64_t r, int64_t D) {
    const float *dy = sppo__f32(c->in[0]) + r * D, *y = sppo__f32(c->in[1]) + r * D;
    float *dx = sppo__f32(c->out[0]) + r * D, sum = 0;
    for (int64_t i = 0; i < D; i++) sum = sfma(dy[i], y[i], sum);
    for (int64_t i = 0; i < D; i++) dx[i] = sfma(y[i], dy[i] - sum, dx[i]);
}

/* dx += dy - exp(y) sum(dy) */
static void log_softmax_backward_row(sppo__call *c, int64_t r, int64_t D) {
    const float *dy = sppo__f32(c->in[0]) + r * D, *y = sppo__f32(c->in[1]) + r * D;
    float *dx = sppo__f32(c->out[0]) + r * D, sum = 0;
    for (int64_t i = 0; i < D; i++) sum += dy[i];
    for (int64_t i = 0; i < D; i++) dx[i] += dy[i] - sexp(y[i]) * sum;
}

sppo_status KERNEL(softmax)(sppo__call *c) {
    return over_rows(c, softmax_row);
}

sppo_status KERNEL(log_softmax)(sppo__call *c) {
    return over_rows(c, log_softmax_row);
}

sppo_status KERNEL(softmax_backward)(sppo__call *c) {
    return over_rows(c, softmax_backward_row);
}

sppo_status KERNEL(log_softmax_backward)(sppo__call *c) {
    return over_rows(c, log_softmax_backward_row);
}
