/* cast.c - the same values in another dtype or layout: copies without gaps, casts, panels.
 *
 * Every conversion goes through f32, a short run of values at a time. A q8_0 block is GGML's: an
 * f16 scale d, then 32 int8; d = max |x| / 127, values rounded to nearest, halves away from 0. */

#include "cpu/cpu.h"
#include "cpu/panel.h"

enum { RUN = 1024, TASK_VALUES = 1 << 16 };

static void q8_read(const char *block, float *dst) {
    uint16_t d;
    memcpy(&d, block, sizeof d);
    float scale = f16_to_f32(d);
    const int8_t *q = (const int8_t *)block + sizeof d;
    for (int i = 0; i < Q8; i++) dst[i] = (float)q[i] * scale;
}

/* To the nearest integer, halves away from 0; |v| < 2^22. */
static inline vf round_half_away(vf v) {
    vf shift = vset(12582912.0f), n = (v + shift) - shift, rest = v - n;  // halves to even so far
    n = vselect((rest == vset(0.5f)) & (v > vset(0)), n + vset(1), n);
    return vselect((rest == vset(-0.5f)) & (v < vset(0)), n - vset(1), n);
}

/* NaN or infinity among the values makes the scale, and so the block, not finite. */
static void q8_write(const float *x, char *block) {
    float largest = q8_largest(x), scale = largest / 127;
    float inverse = scale > 0 && isfinite(scale) ? 1 / scale : 0;
    uint16_t d = f32_to_f16(scale);
    memcpy(block, &d, sizeof d);
    int8_t *q = (int8_t *)block + sizeof d;
    for (int i = 0; i < Q8; i += VL) {
        vf v = isfinite(scale) ? vload(x + i) * vset(inverse) : vset(0);
        vstore_i8(q + i, __builtin_convertvector(round_half_away(v), vi));
    }
}

/* Values first .. first + count - 1 of gap-free rows as f32; for q8_0 both are multiples of 32. */
static void values_read(sppo_dtype dtype, const void *src, int64_t first, int64_t count,
                        float *dst) {
    const char *p = (const char *)src + sppo__dtype_bytes(dtype, first);
    const uint16_t *half = (const uint16_t *)p;
    switch (dtype) {
    case SPPO_DTYPE_BF16:
        for (int64_t i = 0; i < count; i++) dst[i] = bf16_to_f32(half[i]);
        break;
    case SPPO_DTYPE_F16:
        for (int64_t i = 0; i < count; i++) dst[i] = f16_to_f32(half[i]);
        break;
    case SPPO_DTYPE_Q8_0:
        for (int64_t i = 0; i < count; i += Q8) q8_read(p + i / Q8 * Q8_ROW_BLOCK, dst + i);
        break;
    default: memcpy(dst, p, (size_t)count * sizeof *dst);
    }
}

static void values_write(sppo_dtype dtype, const float *src, int64_t first, int64_t count,
                         void *dst) {
    char *p = (char *)dst + sppo__dtype_bytes(dtype, first);
    uint16_t *half = (uint16_t *)p;
    switch (dtype) {
    case SPPO_DTYPE_BF16:
        for (int64_t i = 0; i < count; i++) half[i] = f32_to_bf16(src[i]);
        break;
    case SPPO_DTYPE_F16:
        for (int64_t i = 0; i < count; i++) half[i] = f32_to_f16(src[i]);
        break;
    case SPPO_DTYPE_Q8_0:
        for (int64_t i = 0; i < count; i += Q8) q8_write(src + i, p + i / Q8 * Q8_ROW_BLOCK);
        break;
    default: memcpy(p, src, (size_t)count * sizeof *src);
    }
}

typedef struct work {
    const sppo_tensor *x, *y;
    int64_t count;        // cast: values; copy: rows
    int64_t block;        // copy: rows of a task
    int64_t N, K, bytes;  // pack, unpack; bytes of one panel
} work;

static void cast_task(void *context, int64_t task, int thread) {
    (void)thread;
    const work *w = context;
    int64_t end = (task + 1) * TASK_VALUES < w->count ? (task + 1) * TASK_VALUES : w->count;
    float run[RUN];
    for (int64_t i = task * TASK_VALUES; i < end; i += RUN) {
        int64_t n = end - i < RUN ? end - i : RUN;
        values_read(w->x->dtype, sppo__raw(w->x), i, n, run);
        values_write(w->y->dtype, run, i, n, sppo__raw(w->y));
    }
}

sppo_status KERNEL(cast)(sppo__call *c) {
    work w = {.x = c->in[0], .y = c->out[0], .count = sppo_tensor_count(c->in[0])};
    sppo__parallel((w.count + TASK_VALUES - 1) / TASK_VALUES, cast_task, &w);
    return SPPO_OK;
}

/* One row along the last axis, whose values lie `stride` apart. */
static void copy_row(sppo_dtype dtype, const char *src, int64_t stride, int64_t count, char *dst) {
    if (stride == 1 || count == 1) {
        memcpy(dst, src, (size_t)sppo__dtype_bytes(dtype, count));
    } else if (sppo__dtype_bytes(dtype, 1) == 4) {
        for (int64_t i = 0; i < count; i++) memcpy(dst + i * 4, src + i * stride * 4, 4);
    } else {
        for (int64_t i = 0; i < count; i++) memcpy(dst + i * 2, src + i * stride * 2, 2);
    }
}

static void copy_task(void *context, int64_t task, int thread) {
    (void)thread;
    const work *w = context;
    const sppo_tensor *x = w->x;
    int64_t columns = sppo__columns(x), stride = x->ndim ? x->stride[x->ndim - 1] : 1;
    int64_t end = (task + 1) * w->block < w->count ? (task + 1) * w->block : w->count;
    for (int64_t row = task * w->block; row < end; row++) {
        int64_t offset = 0, rest = row;
        for (int d = x->ndim - 2; d >= 0; d--) {
            offset += rest % x->shape[d] * x->stride[d];
            rest /= x->shape[d];
        }
        copy_row(x->dtype, (const char *)sppo__raw(x) + sppo__dtype_bytes(x->dtype, offset), stride,
                 columns, (char *)sppo__raw(w->y) + sppo__dtype_bytes(x->dtype, row * columns));
    }
}

/* The input may have gaps, the output has none. q8_0 has them between rows only. */
sppo_status KERNEL(copy)(sppo__call *c) {
    work w = {.x = c->in[0], .y = c->out[0], .count = sppo__rows(c->in[0])};
    int64_t columns = sppo__columns(w.x);
    if (!columns) return SPPO_OK;
    w.block = (TASK_VALUES + columns - 1) / columns;
    sppo__parallel((w.count + w.block - 1) / w.block, copy_task, &w);
    return SPPO_OK;
}

/* Puts values k .. k + depth - 1 of 64 rows, [64][32], into a panel; `block` is the q8_0 form. */
static void panel_put(sppo_dtype dtype, char *panel, int64_t k, int64_t depth, float value[][Q8],
                      char block[][Q8_ROW_BLOCK]) {
    if (dtype == SPPO_DTYPE_Q8_0) {
        char *p = panel + k / Q8 * Q8_BLOCK;
        for (int n = 0; n < SPPO_PANEL; n++) {
            memcpy(p + n * 2, block[n], 2);
            for (int i = 0; i < Q8; i++)
                p[2 * SPPO_PANEL + q8_at(i, n)] = (char)(block[n][2 + i] + Q8_BIAS);
        }
        return;
    }
    for (int64_t i = 0; i < depth; i++) {
        for (int n = 0; n < SPPO_PANEL; n++) {
            if (dtype == SPPO_DTYPE_F32) ((float *)panel)[(k + i) * SPPO_PANEL + n] = value[n][i];
            else ((uint16_t *)panel)[panel_bf16_at(k + i, n)] = f32_to_bf16(value[n][i]);
        }
    }
}

/* One panel. q8_0 rows become q8_0 panels as they are. */
static void pack_task(void *context, int64_t task, int thread) {
    (void)thread;
    const work *w = context;
    sppo_dtype from = w->x->dtype, to = w->y->dtype;
    int64_t first = task * SPPO_PANEL;
    int64_t rows = w->N - first < SPPO_PANEL ? w->N - first : SPPO_PANEL;
    float value[SPPO_PANEL][Q8] = {{0}};
    char block[SPPO_PANEL][Q8_ROW_BLOCK] = {{0}};
    for (int64_t k = 0; k < w->K; k += Q8) {
        int64_t depth = w->K - k < Q8 ? w->K - k : Q8;
        for (int64_t n = 0; n < rows; n++) {
            int64_t at = (first + n) * w->K + k;
            if (from == SPPO_DTYPE_Q8_0 && to == from) {
                memcpy(block[n], (const char *)sppo__raw(w->x) + at / Q8 * Q8_ROW_BLOCK,
                       Q8_ROW_BLOCK);
                continue;
            }
            values_read(from, sppo__raw(w->x), at, depth, value[n]);
            if (to == SPPO_DTYPE_Q8_0) q8_write(value[n], block[n]);
        }
        panel_put(to, (char *)sppo__raw(w->y) + task * w->bytes, k, depth, value, block);
    }
}

sppo_status KERNEL(pack)(sppo__call *c) {
    work w = {.x = c->in[0], .y = c->out[0], .N = c->in[0]->shape[0], .K = c->in[0]->shape[1]};
    w.bytes = panel_bytes(w.y->dtype, w.K);
    sppo__parallel(panel_count(w.N), pack_task, &w);
    return SPPO_OK;
}

static void unpack_task(void *context, int64_t task, int thread) {
    (void)thread;
    const work *w = context;
    int64_t first = task * SPPO_PANEL;
    int64_t rows = w->N - first < SPPO_PANEL ? w->N - first : SPPO_PANEL;
    float value[Q8 * SPPO_PANEL], *y = sppo__f32(w->y) + first * w->K;
    for (int64_t k = 0; k < w->K; k += Q8) {
        int64_t depth = w->K - k < Q8 ? w->K - k : Q8;
        panel_expand(w->x->dtype, (const char *)sppo__raw(w->x) + task * w->bytes, k, depth, value);
        for (int64_t n = 0; n < rows; n++)
            // NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign)
            for (int64_t i = 0; i < depth; i++) y[n * w->K + k + i] = value[i * SPPO_PANEL + n];
    }
}

sppo_status KERNEL(unpack)(sppo__call *c) {
    work w = {.x = c->in[0], .y = c->out[0], .N = c->in[0]->shape[0], .K = c->in[0]->shape[1]};
    w.bytes = panel_bytes(w.x->dtype, w.K);
    sppo__parallel(panel_count(w.N), unpack_task, &w);
    return SPPO_OK;
}
