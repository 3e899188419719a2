/* matmul.c - linear over one to four weights, forward and backward: how the work is cut into tasks.
 * The products themselves are in panel.h.
 *
 * M rows of x, K columns of x, N rows of a weight. */

#include "cpu/cpu.h"
#include "cpu/panel.h"

enum { WEIGHTS = 4 };

typedef struct weight {
    sppo_dtype dtype;
    int64_t N, panels;
    int64_t bytes;  // of one panel
    const char *panel;
    float *y;         // forward: [M, N]
    const float *dy;  // backward: [M, N], NULL where the output got no gradient
    float *dpanel;    // backward: panels of f32, NULL where no gradient is wanted
} weight;

typedef struct work {
    int64_t M, K;
    panel_rows x;
    float *dx;
    int count;
    weight w[WEIGHTS];
    int64_t row_block, row_blocks;  // forward and dx
    int64_t panels;                 // forward: of all weights
    int64_t dx_blocks;              // columns of dx in blocks of 64; 0 where dx is not wanted
    int64_t k_block, k_blocks;      // dW: rows of a panel that one task takes
} work;

static void set_weight(weight *w, const sppo_tensor *t) {
    w->dtype = t->dtype;
    w->N = t->shape[0];
    w->panels = panel_count(w->N);
    w->bytes = panel_bytes(t->dtype, t->shape[1]);
    w->panel = sppo__raw(t);
}

static void forward_task(void *context, int64_t task, int thread) {
    const work *f = context;
    float *edge = sppo__scratch(thread);
    int64_t row = task / f->panels * f->row_block, p = task % f->panels;
    int64_t rows = f->M - row < f->row_block ? f->M - row : f->row_block;
    const weight *w = f->w;
    while (p >= w->panels) p -= w++->panels;
    panel_rows x = panel_rows_from(&f->x, row, f->K);
    const char *panel = w->panel + p * w->bytes, *next = NULL;
    if (p + sppo_threads() < w->panels) next = panel + sppo_threads() * w->bytes;
    float *y = w->y + row * w->N + p * 64;
    int64_t columns = w->N - p * 64;
    if (columns >= 64) {
        panel_forward(w->dtype, panel, next, rows, f->K, &x, y, w->N);
        return;
    }
    panel_forward(w->dtype, panel, next, rows, f->K, &x, edge, 64);
    columns_copy(rows, columns, edge, 64, y, w->N);
}

/* With few rows a product runs at the speed of memory, which would idle while the ops between two
 * products run. The weights of a step come in the same order each time: the start of the one that
 * came next last time is fetched ahead. A wrong guess costs what it fetched. */
enum { FEW_ROWS = 8, PLACES = 1024, AHEAD_BYTES = 256 << 10 };

typedef struct follower {
    const char *of, *panel;  // the second came after the first
    int64_t bytes;
} follower;

static follower *follower_of(const char *panel) {
    static follower place[PLACES];
    return &place[((uintptr_t)panel >> 12) * 2654435761u >> 8 & (PLACES - 1)];
}

static void fetch_follower(const weight *w) {
    static const char *last;
    *follower_of(last) = (follower){last, w->panel, w->panels * w->bytes};
    last = w->panel;
    const follower *next = follower_of(last);
    if (next->of == last)
        sppo__ahead(next->panel, next->bytes < AHEAD_BYTES ? next->bytes : AHEAD_BYTES);
}

sppo_status KERNEL(linear)(sppo__call *c) {
    work f = {.M = sppo__rows(c->in[0]),
              .K = sppo__columns(c->in[0]),
              .x.x = sppo__f32(c->in[0]),
              .count = c->n_in - 1};
    bool q8 = false;
    for (int i = 0; i < f.count; i++) {
        set_weight(&f.w[i], c->in[1 + i]);
        q8 |= f.w[i].dtype == SPPO_DTYPE_Q8_0;
        f.w[i].y = sppo__f32(c->out[i]);
        f.panels += f.w[i].panels;
        sppo__read_add(f.w[i].panels * f.w[i].bytes);
    }
    sppo__read_add(f.M * f.K * (int64_t)sizeof(float));
    if (!f.M || !f.panels) return SPPO_OK;
    panel_cut(f.M, 96, PANEL_ROWS, f.panels, &f.row_block, &f.row_blocks);
    sppo_status st = sppo__scratch_reserve(PANEL_ROWS * 64 * (int64_t)sizeof(float));
    if (!st && q8) st = panel_quantize(&f.x, f.M, f.K, "linear");
    if (!st) sppo__parallel(f.row_blocks * f.panels, forward_task, &f);
    if (!st && f.M <= FEW_ROWS) fetch_follower(f.w);
    sppo__storage_release(f.x.memory);
    return st;
}

/* One block of rows and 64 columns of dx: all weights, one after the other. */
static void dx_task(const work *b, int64_t task, float *scratch) {
    int64_t row = task / b->dx_blocks * b->row_block, k = task % b->dx_blocks * 64;
    int64_t rows = b->M - row < b->row_block ? b->M - row : b->row_block;
    for (int i = 0; i < b->count; i++) {
        const weight *w = &b->w[i];
        if (!w->dy) continue;
        panel_dx(w->dtype, w->panel, w->N, b->K, k, rows, w->dy + row * w->N, w->N,
                 b->dx + row * b->K, scratch);
    }
}

/* Some rows of one panel of one weight's gradient. */
static void dweight_task(const work *b, int64_t task, float *scratch) {
    int64_t p = task / b->k_blocks, k = task % b->k_blocks * b->k_block;
    const weight *w = b->w;
    for (;; w++) {
        int64_t panels = w->dy && w->dpanel ? w->panels : 0;
        if (p < panels) break;
        p -= panels;
    }
    int64_t columns = w->N - p * 64 < 64 ? w->N - p * 64 : 64;
    int64_t count = b->K - k < b->k_block ? b->K - k : b->k_block;
    panel_dweight(b->M, k, count, b->x.x, b->K, w->dy + p * 64, w->N, columns,
                  w->dpanel + p * 64 * b->K, scratch);
}

static void backward_task(void *context, int64_t task, int thread) {
    const work *b = context;
    int64_t dx_tasks = b->row_blocks * b->dx_blocks;
    if (task < dx_tasks) dx_task(b, task, sppo__scratch(thread));
    else dweight_task(b, task - dx_tasks, sppo__scratch(thread));
}

/* in: x, w0..w3, dy0..dy3; out: dx, dw0..dw3. */
sppo_status KERNEL(linear_backward)(sppo__call *c) {
    work b = {.M = sppo__rows(c->in[0]), .K = sppo__columns(c->in[0])};
    int64_t panels = 0;
    for (; b.count < WEIGHTS && c->in[1 + b.count]; b.count++) {
        weight *w = &b.w[b.count];
        const sppo_tensor *dy = c->in[1 + WEIGHTS + b.count], *dw = c->out[1 + b.count];
        w->N = c->in[1 + b.count]->shape[0];
        w->panels = panel_count(w->N);
        if (dy) w->dy = sppo__f32(dy);
        if (dw) w->dpanel = sppo__f32(dw);
        if (dy && dw) panels += w->panels;
        if (dy && c->out[0]) set_weight(w, c->in[1 + b.count]);
    }
    if (!b.M || !b.K) return SPPO_OK;
    if (c->out[0]) {
        b.dx = sppo__f32(c->out[0]);
        b.dx_blocks = panel_count(b.K);
        panel_cut(b.M, 96, PANEL_ROWS, b.dx_blocks, &b.row_block, &b.row_blocks);
    }
    int64_t tasks = b.row_blocks * b.dx_blocks;
    if (panels) {
        b.x.x = sppo__f32(c->in[0]);
        panel_cut(b.K, 96, PANEL_ROWS, panels, &b.k_block, &b.k_blocks);
        tasks += panels * b.k_blocks;
    }
    sppo_status st = sppo__scratch_reserve(sppo__workspace_linear_backward(c).scratch);
    if (!st) sppo__parallel(tasks, backward_task, &b);
    return st;
}

/* ---- bias ---- */

enum { BIAS_VALUES = 1 << 15, BIAS_COLUMNS = 64, BIAS_ROWS = 128 };

typedef struct bias_work {
    const float *x, *bias;  // forward: rows, what is added; backward: x is dy
    float *out;
    int64_t R, N, block;  // rows, columns; rows of a task
} bias_work;

static void add_bias_task(void *context, int64_t task, int thread) {
    const bias_work *w = context;
    (void)thread;
    int64_t end = w->R - task * w->block < w->block ? w->R : (task + 1) * w->block;
    for (int64_t r = task * w->block; r < end; r++)
        for (int64_t i = 0; i < w->N; i++) w->out[r * w->N + i] = w->x[r * w->N + i] + w->bias[i];
}

/* in: x, bias. */
sppo_status KERNEL(add_bias)(sppo__call *c) {
    bias_work w = {.x = sppo__f32(c->in[0]),
                   .bias = sppo__f32(c->in[1]),
                   .out = sppo__f32(c->out[0]),
                   .R = sppo__rows(c->in[0]),
                   .N = sppo__columns(c->in[0])};
    if (!w.N) return SPPO_OK;
    sppo__read_add((w.R + 1) * w.N * (int64_t)sizeof(float));
    w.block = (BIAS_VALUES + w.N - 1) / w.N;
    sppo__parallel_values(w.R * w.N, (w.R + w.block - 1) / w.block, add_bias_task, &w);
    return SPPO_OK;
}

/* Some columns: rows are added in blocks of a fixed size, so the order is that of any batch. */
static void dbias_task(void *context, int64_t task, int thread) {
    const bias_work *w = context;
    (void)thread;
    int64_t column = task * BIAS_COLUMNS;
    int64_t width = w->N - column < BIAS_COLUMNS ? w->N - column : BIAS_COLUMNS;
    float total[BIAS_COLUMNS] = {0};
    for (int64_t first = 0; first < w->R; first += BIAS_ROWS) {
        int64_t end = w->R - first < BIAS_ROWS ? w->R : first + BIAS_ROWS;
        float sum[BIAS_COLUMNS] = {0};
        for (int64_t r = first; r < end; r++)
            for (int64_t i = 0; i < width; i++) sum[i] += w->x[r * w->N + column + i];
        for (int64_t i = 0; i < width; i++) total[i] += sum[i];
    }
    for (int64_t i = 0; i < width; i++) w->out[column + i] += total[i];
}

/* in: dy; out: dbias. */
sppo_status KERNEL(add_bias_backward)(sppo__call *c) {
    bias_work w = {.x = sppo__f32(c->in[0]),
                   .out = sppo__f32(c->out[0]),
                   .R = sppo__rows(c->in[0]),
                   .N = sppo__columns(c->in[0])};
    sppo__parallel((w.N + BIAS_COLUMNS - 1) / BIAS_COLUMNS, dbias_task, &w);
    return SPPO_OK;
}
