/* panel.h - weights in panels: how they lie, and the three products that read or make them.
 *
 * A [N, K] weight is ceil(N / 64) panels, each for 64 output rows; rows past N are zero.
 *     f32         [K][64]
 *     bf16        [K][32][2]: columns n and n + 32 side by side
 *     q8_0        K / 32 blocks (q8.h); a value is its scale times its int8, which is exact in f32
 * Everything here is a part of an op, run by one thread on a block of its work. */

#ifndef SPPO_PANEL_H
#define SPPO_PANEL_H

#include "cpu/cpu.h"
#include "cpu/q8.h"
#include "cpu/tile.h"
#include "ops/workspace.h"

enum {
    PANEL_DEPTH = 640,   // most rows of a panel multiplied in one go: they stay in L2
    PANEL_QUANTIZE = 16  // rows of x made q8_0 in one task
};

static inline int64_t panel_bytes(sppo_dtype dtype, int64_t K) {
    if (dtype == SPPO_DTYPE_F32) return K * 64 * 4;
    if (dtype == SPPO_DTYPE_BF16) return K * 64 * 2;
    return K / Q8 * Q8_BLOCK;
}

/* Where value k of row n (0..63) lies in a bf16 panel. */
static inline int64_t panel_bf16_at(int64_t k, int64_t n) {
    return k * 64 + n % 32 * 2 + n / 32;
}

static inline int64_t panel_count(int64_t N) {
    return (N + 63) / 64;
}

/* Cuts `rows` into blocks of whole tiles, at most `most` rows each, so that `tasks_a_block` tasks
 * of each block keep all threads busy; values do not depend on it. */
static inline void panel_cut(int64_t rows, int64_t least, int64_t most, int64_t tasks_a_block,
                             int64_t *block, int64_t *blocks) {
    int64_t n = (rows + most - 1) / most, enough = 4 * (int64_t)sppo_threads();
    while (n * tasks_a_block < enough && rows / (n + 1) >= least) n++;
    *block = n ? (rows + n - 1) / n : 0;
    *block = (*block + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    *blocks = *block ? (rows + *block - 1) / *block : 0;
}

/* Rows k .. k + depth - 1 of a panel as f32, [depth][64]. For q8_0 k is a multiple of 32. */
static inline void panel_expand(sppo_dtype dtype, const void *panel, int64_t k, int64_t depth,
                                float *dst) {
    if (dtype == SPPO_DTYPE_F32) {
        memcpy(dst, (const float *)panel + k * 64, (size_t)depth * 64 * sizeof *dst);
        return;
    }
    if (dtype == SPPO_DTYPE_BF16) {
        const uint16_t *src = (const uint16_t *)panel + k * 64;
        for (int64_t i = 0; i < depth; i++, src += 64, dst += 64)
            for (int n = 0; n < 32; n += VL) {
                vf low, high;
                vload_bf16_pairs(src + 2 * n, &low, &high);
                vstore(dst + n, low);
                vstore(dst + 32 + n, high);
            }
        return;
    }
    q8_expand(panel, k, depth, dst);
}

/* Rows of x as the products read them: f32, and beside them q8_0 where a weight is q8_0. */
typedef struct panel_rows {
    const float *x;  // [rows][K]
    q8_rows q8;
    sppo__storage *memory;  // of q8; NULL without
} panel_rows;

static inline panel_rows panel_rows_from(const panel_rows *x, int64_t row, int64_t K) {
    panel_rows some = {.x = x->x + row * K};
    if (x->memory) some.q8 = q8_rows_from(&x->q8, row);
    return some;
}

typedef struct panel_quantize_work {
    const panel_rows *x;
    int64_t rows, K;
} panel_quantize_work;

static inline void panel_quantize_task(void *context, int64_t task, int thread) {
    const panel_quantize_work *w = context;
    (void)thread;
    for (int64_t r = task * PANEL_QUANTIZE; r < w->rows && r < (task + 1) * PANEL_QUANTIZE; r++)
        q8_quantize_row(&w->x->q8, r, w->x->x + r * w->K);
}

/* Makes the q8_0 form of `rows` rows of x; the caller releases x->memory. */
static inline sppo_status panel_quantize(panel_rows *x, int64_t rows, int64_t K, const char *what) {
    sppo_status st =
        sppo__work_new(&x->memory, SPPO_DEVICE_CPU, q8_rows_bytes(rows, K), false, what);
    if (st) return st;
    x->q8 = q8_rows_at(x->memory->data, rows, K);
    panel_quantize_work w = {x, rows, K};
    sppo__parallel_values(rows * K, (rows + PANEL_QUANTIZE - 1) / PANEL_QUANTIZE,
                          panel_quantize_task, &w);
    return SPPO_OK;
}

/* y[r, 0..63] = sum over k of x[r, k] * panel[k, 0..63]. `next` is the panel that this thread will
 * probably be asked for next, or NULL. */
static inline void panel_forward(sppo_dtype dtype, const char *panel, const char *next,
                                 int64_t rows, int64_t K, const panel_rows *from, float *y,
                                 int64_t ldy) {
    if (dtype == SPPO_DTYPE_Q8_0) {
        q8_forward(&from->q8, rows, panel, next, y, ldy);
        return;
    }
    bool half = dtype == SPPO_DTYPE_BF16;
    int64_t most = rows <= TILE_ROWS ? K : PANEL_DEPTH, parts = (K + most - 1) / (most ? most : 1);
    int64_t step = parts ? (K + parts - 1) / parts : 0, bytes = half ? 128 : 256, k = 0;
    do {  // also once for K = 0, the empty sum
        tile_panel(half, rows, K - k < step ? K - k : step, from->x + k, K, panel + k * bytes, y,
                   ldy, k > 0, next ? next + k * bytes : NULL);
        k += step;
    } while (k < K);
}

/* A block of columns of y that is 64 wide in scratch and `columns` wide in place. */
static inline void columns_copy(int64_t rows, int64_t columns, const float *src, int64_t lds,
                                float *dst, int64_t ldd) {
    for (int64_t r = 0; r < rows; r++)
        // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker)
        memcpy(dst + r * ldd, src + r * lds, (size_t)columns * sizeof *dst);
}

/* dx[r, k .. k + 63] += sum over n < N of dy[r, n] * W[n, k ..], the part of one weight; k is a
 * multiple of 64, columns past K are left alone. At most PANEL_ROWS rows. */
static inline void panel_dx(sppo_dtype dtype, const void *panels, int64_t N, int64_t K, int64_t k,
                            int64_t rows, const float *dy, int64_t lddy, float *dx,
                            float *scratch) {
    float *turned = scratch, *block = turned + PANEL_DX_DEPTH * 64, *edge = block + 64 * 64;
    int64_t columns = K - k < 64 ? K - k : 64, bytes = panel_bytes(dtype, K);
    float *c = dx + k;
    int64_t ldc = K;
    if (columns < 64) {
        memset(block, 0, sizeof *block * 64 * 64);
        memset(edge, 0, sizeof *edge * (size_t)rows * 64);
        columns_copy(rows, columns, c, K, edge, 64);
        c = edge;
        ldc = 64;
    }
    for (int64_t n = 0; n < N; n += PANEL_DX_DEPTH) {
        int64_t depth = N - n < PANEL_DX_DEPTH ? N - n : PANEL_DX_DEPTH;
        for (int64_t j = 0; j < depth; j += 64) {
            const char *panel = (const char *)panels + (n + j) / 64 * bytes;
            const float *src = (const float *)panel + k * 64;
            if (dtype != SPPO_DTYPE_F32 || columns < 64) {
                panel_expand(dtype, panel, k, columns, block);
                src = block;
            }
            for (int a = 0; a < 64; a += 4)
                for (int b = 0; b < 64; b += 4)
                    transpose4(src + b * 64 + a, 64, turned + (j + a) * 64 + b, 64);
        }
        tile_f32(rows, depth, dy + n, lddy, 1, turned, 64, c, ldc, true);
    }
    if (columns < 64) columns_copy(rows, columns, edge, 64, dx + k, K);
}

/* dpanel[k, 0..63] += sum over m < M of x[m, k] * dy[m, 0..63], for `count` rows of the panel from
 * k on; dy has `columns` (1..64) of this panel. */
static inline void panel_dweight(int64_t M, int64_t k, int64_t count, const float *x, int64_t ldx,
                                 const float *dy, int64_t lddy, int64_t columns, float *dpanel,
                                 float *scratch) {
    for (int64_t m = 0; m < M; m += PANEL_DWEIGHT_DEPTH) {
        int64_t depth = M - m < PANEL_DWEIGHT_DEPTH ? M - m : PANEL_DWEIGHT_DEPTH;
        if (columns < 64) memset(scratch, 0, sizeof *scratch * (size_t)depth * 64);
        columns_copy(depth, columns, dy + m * lddy, lddy, scratch, 64);
        tile_f32(count, depth, x + m * ldx + k, 1, ldx, scratch, 64, dpanel + k * 64, 64, true);
    }
}

#endif
