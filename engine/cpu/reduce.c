/* reduce.c - sums in f64 over blocks of a fixed size, added in order: the same for any number of
 * threads. */

#include "cpu/cpu.h"
#include "cpu/simd.h"

enum { BLOCK = 65536, PARTS = 256 };

typedef struct job {
    const float *x;
    int64_t n, block;
    double part[PARTS];
    double (*body)(const float *x, int64_t n);
} job;

static void run_block(void *context, int64_t task, int thread) {
    (void)thread;
    job *j = context;
    int64_t first = task * j->block, left = j->n - first;
    j->part[task] = j->body(j->x + first, left < j->block ? left : j->block);
}

/* Values of x as they lie, padding included (it is zero). */
static double reduce(const sppo_tensor *x, double (*body)(const float *x, int64_t n)) {
    job j = {.x = sppo__f32(x), .n = sppo_tensor_bytes(x) / 4, .block = BLOCK, .body = body};
    if (j.n > j.block * PARTS) j.block = (j.n + PARTS - 1) / PARTS;
    int64_t tasks = (j.n + j.block - 1) / j.block;
    sppo__parallel(tasks, run_block, &j);
    double total = 0;
    for (int64_t i = 0; i < tasks; i++) total += j.part[i];
    return total;
}

/* Four chains, so that the additions overlap. */
static double sum_block(const float *x, int64_t n) {
    double s[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) s[k] += (double)x[i + k];
    for (; i < n; i++) s[0] += (double)x[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static double squares_block(const float *x, int64_t n) {
    double s[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) s[k] += (double)x[i + k] * (double)x[i + k];
    for (; i < n; i++) s[0] += (double)x[i] * (double)x[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static double nonfinite_block(const float *x, int64_t n) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += !isfinite(x[i]);
    return (double)count;
}

sppo_status KERNEL(sum)(sppo__call *c) {
    *sppo__f32(c->out[0]) = (float)reduce(c->in[0], sum_block);
    return SPPO_OK;
}

sppo_status KERNEL(sum_backward)(sppo__call *c) {
    float dy = *sppo__f32(c->in[0]), *dx = sppo__f32(c->out[0]);
    int64_t n = sppo_tensor_count(c->out[0]);
    for (int64_t i = 0; i < n; i++) dx[i] += dy;
    return SPPO_OK;
}

sppo_status KERNEL(sum_squares)(sppo__call *c) {
    *c->result = reduce(c->in[0], squares_block);
    return SPPO_OK;
}

sppo_status KERNEL(nonfinite)(sppo__call *c) {
    *c->result = reduce(c->in[0], nonfinite_block);
    return SPPO_OK;
}

/* A run of the same group is summed in f64: these are often the log-probs of a long answer. */
sppo_status KERNEL(segment_sum)(sppo__call *c) {
    const float *x = sppo__f32(c->in[0]);
    const int32_t *group = sppo__i32(c->in[1]);
    float *y = sppo__f32(c->out[0]);
    memset(y, 0, (size_t)sppo_tensor_bytes(c->out[0]));
    double run = 0;
    for (int64_t i = 0, n = c->in[0]->shape[0]; i < n; i++) {
        run += (double)x[i];
        if (i + 1 < n && group[i + 1] == group[i]) continue;
        y[group[i]] = (float)((double)y[group[i]] + run);
        run = 0;
    }
    return SPPO_OK;
}

sppo_status KERNEL(segment_sum_backward)(sppo__call *c) {
    const float *dy = sppo__f32(c->in[0]);
    const int32_t *group = sppo__i32(c->in[1]);
    float *dx = sppo__f32(c->out[0]);
    for (int64_t i = 0; i < c->out[0]->shape[0]; i++) dx[i] += dy[group[i]];
    return SPPO_OK;
}
