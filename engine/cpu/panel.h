/* panel.h - weights in panels: how they lie, and the three products that read or make them.
 *
 * A [N, K] weight is ceil(N / 64) panels, each for 64 output rows; rows past N are zero.
 *     f32, bf16   [K][64]
 *     q8_0        K / 32 blocks of 64 scales (f16), then [32][64] of int8; a value is its scale
 *                 times its int8, which is exact in f32
 * Everything here is a part of an op, run by one thread on a block of its work. */

#ifndef SPPO_PANEL_H
#define SPPO_PANEL_H

#include "cpu/tile.h"

enum {
    PANEL_DEPTH = 640,          // most rows of a panel multiplied in one go: they stay in L2
    PANEL_ROWS = 384,           // most rows of x in one task
    PANEL_EXPAND = 24,          // from so many rows on it pays to make f32 of bf16 first
    PANEL_DX_DEPTH = 256,       // rows of W that are transposed at once
    PANEL_DWEIGHT_DEPTH = 128,  // rows of dy copied at once: they stay in L1
    Q8_BLOCK = 64 * 2 + 32 * 64
};

/* Floats of scratch that the products want. */
enum {
    PANEL_SCRATCH_FORWARD = PANEL_DEPTH * 64,
    PANEL_SCRATCH_DX = PANEL_DX_DEPTH * 64 + 64 * 64 + PANEL_ROWS * 64,
    PANEL_SCRATCH_DWEIGHT = PANEL_DWEIGHT_DEPTH * 64
};

static inline int64_t panel_bytes(sppo_dtype dtype, int64_t K) {
    if (dtype == SPPO_DTYPE_F32) return K * 64 * 4;
    if (dtype == SPPO_DTYPE_BF16) return K * 64 * 2;
    return K / 32 * Q8_BLOCK;
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
        for (int64_t i = 0; i < depth * 64; i += VL) vstore(dst + i, vload_bf16(src + i));
        return;
    }
    const char *block = (const char *)panel + k / 32 * Q8_BLOCK;
    for (; depth > 0; depth -= 32, block += Q8_BLOCK, dst += 32 * 64) {
        uint16_t half[64];
        float scale[64];
        memcpy(half, block, sizeof half);
        for (int n = 0; n < 64; n++) scale[n] = f16_to_f32(half[n]);
        const int8_t *q = (const int8_t *)block + sizeof half;
        int64_t rows = depth < 32 ? depth : 32;
        for (int n = 0; n < 64; n += VL) {
            vf s = vload(scale + n);
            for (int64_t r = 0; r < rows; r++)
                vstore(dst + r * 64 + n, vload_i8(q + r * 64 + n) * s);
        }
    }
}

/* y[r, 0..63] = sum over k of x[r, k] * panel[k, 0..63]. */
static inline void panel_forward(sppo_dtype dtype, const void *panel, int64_t rows, int64_t K,
                                 const float *x, int64_t ldx, float *y, int64_t ldy,
                                 float *scratch) {
    if (K == 0) {  // the empty sum
        tile_f32(rows, 0, x, ldx, 1, x, 64, y, ldy, false);
        return;
    }
    bool direct = dtype == SPPO_DTYPE_F32 || (dtype == SPPO_DTYPE_BF16 && rows < PANEL_EXPAND);
    int64_t most = direct && rows <= TILE_ROWS ? K : PANEL_DEPTH;
    if (!direct && rows <= TILE_ROWS) most = 32;  // stays in L1
    int64_t parts = (K + most - 1) / most, step = (K + parts - 1) / parts;
    step = (step + 31) / 32 * 32;
    for (int64_t k = 0; k < K; k += step) {
        int64_t depth = K - k < step ? K - k : step;
        if (dtype == SPPO_DTYPE_BF16 && direct) {
            tile_bf16(rows, depth, x + k, ldx, 1, (const uint16_t *)panel + k * 64, 64, y, ldy,
                      k > 0);
            continue;
        }
        const float *b = (const float *)panel + k * 64;
        if (!direct) {
            panel_expand(dtype, panel, k, depth, scratch);
            b = scratch;
        }
        tile_f32(rows, depth, x + k, ldx, 1, b, 64, y, ldy, k > 0);
    }
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
