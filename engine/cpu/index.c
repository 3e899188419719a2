/* index.c - rows by index. Backward: a task owns columns, so repeated rows add up in order. */

#include "cpu/cpu.h"
#include "cpu/simd.h"

enum { COLUMNS = 64 };

/* Values in one row of x. */
static int64_t width(const sppo_tensor *x) {
    int64_t w = 1;
    for (int i = 1; i < x->ndim; i++) w *= x->shape[i];
    return w;
}

sppo_status KERNEL(take_rows)(sppo__call *c) {
    int64_t w = width(c->out[0]), m = c->out[0]->shape[0];
    const float *x = sppo__f32(c->in[0]);
    float *y = sppo__f32(c->out[0]);
    for (int64_t i = 0; i < m && w; i++)
        memcpy(y + i * w, x + sppo__i32(c->in[1])[i] * w, (size_t)w * sizeof *y);
    return SPPO_OK;
}

static void backward(void *context, int64_t task, int thread) {
    (void)thread;
    sppo__call *c = context;
    int64_t w = width(c->in[0]), m = c->in[0]->shape[0];
    int64_t first = task * COLUMNS, last = first + COLUMNS < w ? first + COLUMNS : w;
    for (int64_t i = 0; i < m; i++) {
        const float *dy = sppo__f32(c->in[0]) + i * w;
        float *dx = sppo__f32(c->out[0]) + sppo__i32(c->in[1])[i] * w;
        for (int64_t k = first; k < last; k++) dx[k] += dy[k];
    }
}

sppo_status KERNEL(take_rows_backward)(sppo__call *c) {
    sppo__parallel((width(c->in[0]) + COLUMNS - 1) / COLUMNS, backward, c);
    return SPPO_OK;
}
