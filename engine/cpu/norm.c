/* norm.c - row normalisations. A row's sums are made in vector lanes, in an order that only its
 * length decides; sums over rows in blocks of a fixed size.
 *
 * R rows, D columns. */

#include "cpu/cpu.h"
#include "cpu/simd.h"

enum { TASK_VALUES = 1 << 15, COLUMNS = 64, ROWS = 128 };

typedef struct norm {
    const float *x, *weight, *bias, *dy;
    float *y, *scale;             // forward: scale [R] is 1 / rms, or 1 / deviation
    float *mean;                  // [R]; NULL for rms_norm
    float *dx, *dweight, *dbias;  // backward, NULL where not wanted
    float eps, offset;            // the factor of column i is offset + weight[i]
    int64_t R, D;
    int64_t block, blocks;  // rows of a task, tasks over rows
} norm;

/* Values i .. i + VL - 1 of a row of D, zeros past its end. */
static inline vf row_load(const float *row, int64_t i, int64_t D) {
    return i + VL <= D ? vload(row + i) : vload_part(row + i, D - i);
}

static inline void row_store(float *row, int64_t i, int64_t D, vf v) {
    if (i + VL <= D) vstore(row + i, v);
    else vstore_part(row + i, v, D - i);
}

static inline vf factors(const norm *n, int64_t i) {
    return row_load(n->weight, i, n->D) + vset(n->offset);
}

static float square_sum(const float *x, int64_t D) {
    vf sum[2] = {vset(0), vset(0)};
    for (int64_t i = 0, turn = 0; i < D; i += VL, turn ^= 1) {
        vf v = row_load(x, i, D);
        sum[turn] = vfma(v, v, sum[turn]);
    }
    return vsum(sum[0] + sum[1]);
}

static void cut_rows(norm *n) {
    n->block = (TASK_VALUES + n->D - 1) / n->D;
    n->blocks = (n->R + n->block - 1) / n->block;
}

static void forward_task(void *context, int64_t task, int thread) {
    const norm *n = context;
    (void)thread;
    int64_t D = n->D, end = n->R - task * n->block < n->block ? n->R : (task + 1) * n->block;
    for (int64_t r = task * n->block; r < end; r++) {
        const float *x = n->x + r * D;
        float scale = 1.0f / sqrtf(square_sum(x, D) / (float)D + n->eps);
        n->scale[r] = scale;
        for (int64_t i = 0; i < D; i += VL) {
            vf v = row_load(x, i, D) * vset(scale) * factors(n, i);
            row_store(n->y + r * D, i, D, v);
        }
    }
}

/* Mean of row r, then its deviation from the differences: no cancellation of large squares. */
static void layer_forward_task(void *context, int64_t task, int thread) {
    const norm *n = context;
    (void)thread;
    int64_t D = n->D, end = n->R - task * n->block < n->block ? n->R : (task + 1) * n->block;
    for (int64_t r = task * n->block; r < end; r++) {
        const float *x = n->x + r * D;
        vf sum = vset(0), squares = vset(0);
        for (int64_t i = 0; i < D; i += VL) sum = sum + row_load(x, i, D);
        float mean = vsum(sum) / (float)D;
        for (int64_t i = 0; i < D; i += VL) {
            vf d = row_load(x, i, D) - vset(mean);
            if (i + VL > D) {  // what pads the row is no part of it
                float lane[VL] = {0};
                vstore_part(lane, d, D - i);
                d = vload(lane);
            }
            squares = vfma(d, d, squares);
        }
        float scale = 1.0f / sqrtf(vsum(squares) / (float)D + n->eps);
        n->mean[r] = mean;
        n->scale[r] = scale;
        for (int64_t i = 0; i < D; i += VL) {
            vf h = (row_load(x, i, D) - vset(mean)) * vset(scale);
            row_store(n->y + r * D, i, D,
                      vfma(h, row_load(n->weight, i, D), row_load(n->bias, i, D)));
        }
    }
}

/* in: x, weight; out: y, scale. */
sppo_status KERNEL(rms_norm)(sppo__call *c) {
    norm n = {.x = sppo__f32(c->in[0]),
              .weight = sppo__f32(c->in[1]),
              .y = sppo__f32(c->out[0]),
              .scale = sppo__f32(c->out[1]),
              .eps = c->f[0],
              .offset = c->f[1],
              .R = sppo__rows(c->in[0]),
              .D = sppo__columns(c->in[0])};
    if (!n.D) return SPPO_OK;
    cut_rows(&n);
    sppo__read_add((n.R + 1) * n.D * (int64_t)sizeof(float));
    sppo__parallel_values(n.R * n.D, n.blocks, forward_task, &n);
    return SPPO_OK;
}

/* With h = x * scale, w = offset + weight: dx += scale * (dy * w - h * mean(dy * w * h)). */
static void dx_row(const norm *n, int64_t r) {
    int64_t D = n->D;
    const float *x = n->x + r * D, *dy = n->dy + r * D;
    float *dx = n->dx + r * D, scale = n->scale[r];
    vf sum[2] = {vset(0), vset(0)};
    for (int64_t i = 0, turn = 0; i < D; i += VL, turn ^= 1) {
        vf g = row_load(dy, i, D) * factors(n, i);
        sum[turn] = vfma(g, row_load(x, i, D), sum[turn]);
    }
    float along = vsum(sum[0] + sum[1]) * scale * scale / (float)D;
    for (int64_t i = 0; i < D; i += VL) {
        vf g = row_load(dy, i, D) * factors(n, i);
        vf d = vset(scale) * (g - row_load(x, i, D) * vset(along));
        row_store(dx, i, D, row_load(dx, i, D) + d);
    }
}

/* With h = (x - mean) * scale and g = dy * weight: dx += scale * (g - mean(g) - h * mean(g h)). */
static void layer_dx_row(const norm *n, int64_t r) {
    int64_t D = n->D;
    const float *x = n->x + r * D, *dy = n->dy + r * D;
    float *dx = n->dx + r * D, scale = n->scale[r];
    vf mean = vset(n->mean[r]), sum = vset(0), sum_h = vset(0);
    for (int64_t i = 0; i < D; i += VL) {
        vf g = row_load(dy, i, D) * row_load(n->weight, i, D);
        sum = sum + g;
        sum_h = vfma(g, (row_load(x, i, D) - mean) * vset(scale), sum_h);
    }
    vf level = vset(vsum(sum) / (float)D), along = vset(vsum(sum_h) / (float)D);
    for (int64_t i = 0; i < D; i += VL) {
        vf g = row_load(dy, i, D) * row_load(n->weight, i, D);
        vf h = (row_load(x, i, D) - mean) * vset(scale);
        row_store(dx, i, D, row_load(dx, i, D) + vset(scale) * (g - level - h * along));
    }
}

/* dweight += sum over rows of dy * h, for the columns from `column` on. */
static void dweight_columns(const norm *n, int64_t column) {
    int64_t D = n->D, width = D - column < COLUMNS ? D - column : COLUMNS;
    float total[COLUMNS] = {0};
    for (int64_t first = 0; first < n->R; first += ROWS) {
        int64_t end = n->R - first < ROWS ? n->R : first + ROWS;
        float sum[COLUMNS] = {0};
        for (int64_t r = first; r < end; r++) {
            const float *x = n->x + r * D + column, *dy = n->dy + r * D + column;
            for (int64_t i = 0; i < width; i++) sum[i] += dy[i] * (x[i] * n->scale[r]);
        }
        for (int64_t i = 0; i < width; i++) total[i] += sum[i];
    }
    for (int64_t i = 0; i < width; i++) n->dweight[column + i] += total[i];
}

/* The same for layer_norm, and dbias += sum over rows of dy. */
static void layer_columns(const norm *n, int64_t column) {
    int64_t D = n->D, width = D - column < COLUMNS ? D - column : COLUMNS;
    float dweight[COLUMNS] = {0}, dbias[COLUMNS] = {0};
    for (int64_t first = 0; first < n->R; first += ROWS) {
        int64_t end = n->R - first < ROWS ? n->R : first + ROWS;
        float sum[COLUMNS] = {0}, sum_h[COLUMNS] = {0};
        for (int64_t r = first; r < end; r++) {
            const float *x = n->x + r * D + column, *dy = n->dy + r * D + column;
            for (int64_t i = 0; i < width; i++) {
                sum[i] += dy[i];
                sum_h[i] += dy[i] * ((x[i] - n->mean[r]) * n->scale[r]);
            }
        }
        for (int64_t i = 0; i < width; i++) {
            dbias[i] += sum[i];
            dweight[i] += sum_h[i];
        }
    }
    for (int64_t i = 0; i < width; i++) {
        if (n->dweight) n->dweight[column + i] += dweight[i];
        if (n->dbias) n->dbias[column + i] += dbias[i];
    }
}

/* Tasks over rows first, then tasks over columns. */
static void backward_task(void *context, int64_t task, int thread) {
    const norm *n = context;
    (void)thread;
    if (task >= n->blocks) {
        int64_t column = (task - n->blocks) * COLUMNS;
        if (n->mean) layer_columns(n, column);
        else dweight_columns(n, column);
        return;
    }
    int64_t end = n->R - task * n->block < n->block ? n->R : (task + 1) * n->block;
    for (int64_t r = task * n->block; r < end; r++) {
        if (n->mean) layer_dx_row(n, r);
        else dx_row(n, r);
    }
}

/* out: dx, dweight. */
static sppo_status backward(const sppo__call *c, norm *n) {
    cut_rows(n);
    if (c->out[0]) n->dx = sppo__f32(c->out[0]);
    else n->blocks = 0;
    if (c->out[1]) n->dweight = sppo__f32(c->out[1]);
    int64_t tasks = n->blocks + (n->dweight || n->dbias ? (n->D + COLUMNS - 1) / COLUMNS : 0);
    sppo__parallel(tasks, backward_task, n);
    return SPPO_OK;
}

/* in: dy, x, weight, scale; out: dx, dweight. */
sppo_status KERNEL(rms_norm_backward)(sppo__call *c) {
    norm n = {.dy = sppo__f32(c->in[0]),
              .x = sppo__f32(c->in[1]),
              .weight = sppo__f32(c->in[2]),
              .scale = sppo__f32(c->in[3]),
              .offset = c->f[1],
              .R = sppo__rows(c->in[1]),
              .D = sppo__columns(c->in[1])};
    if (!n.D) return SPPO_OK;
    return backward(c, &n);
}

/* in: x, weight, bias; out: y, mean, scale. */
sppo_status KERNEL(layer_norm)(sppo__call *c) {
    norm n = {.x = sppo__f32(c->in[0]),
              .weight = sppo__f32(c->in[1]),
              .bias = sppo__f32(c->in[2]),
              .y = sppo__f32(c->out[0]),
              .mean = sppo__f32(c->out[1]),
              .scale = sppo__f32(c->out[2]),
              .eps = c->f[0],
              .R = sppo__rows(c->in[0]),
              .D = sppo__columns(c->in[0])};
    if (!n.D) return SPPO_OK;
    cut_rows(&n);
    sppo__parallel_values(n.R * n.D, n.blocks, layer_forward_task, &n);
    return SPPO_OK;
}

/* in: dy, x, weight, mean, scale; out: dx, dweight, dbias. */
sppo_status KERNEL(layer_norm_backward)(sppo__call *c) {
    norm n = {.dy = sppo__f32(c->in[0]),
              .x = sppo__f32(c->in[1]),
              .weight = sppo__f32(c->in[2]),
              .mean = sppo__f32(c->in[3]),
              .scale = sppo__f32(c->in[4]),
              .R = sppo__rows(c->in[1]),
              .D = sppo__columns(c->in[1])};
    if (c->out[2]) n.dbias = sppo__f32(c->out[2]);
    if (!n.D) return SPPO_OK;
    return backward(c, &n);
}
