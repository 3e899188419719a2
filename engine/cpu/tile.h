/* tile.h - the one product of the CPU backend: a few rows against a panel of 64 columns.
 *
 *     C[r, 0..63] (+)= sum over k of A[r, k] * B[k, 0..63],   r < rows
 *
 * Each value is one chain of fused multiply-adds over k = 0, 1, .. in order, started from 0 or from
 * what C holds: its bits depend neither on `rows` nor on how k is cut into calls. */

#ifndef SPPO_TILE_H
#define SPPO_TILE_H

#include "core/tensor.h"
#include "cpu/simd.h"

/* Vectors of columns that one row alone takes: as many chains as hide the latency of a
 * multiply-add, and long runs of memory, since a single row runs at the speed of the weights'
 * stream. */
enum { TILE_VECTORS_ONE_ROW = 64 / VL < 8 ? 64 / VL : 8 };

/* B[k, ..] of one tile; `half` says that B is bf16. */
ALWAYS_INLINE vf tile_load(const void *b, int64_t at, bool half) {
    return half ? vload_bf16((const uint16_t *)b + at) : vload((const float *)b + at);
}

/* `rows` x `vectors` accumulators in registers; both are constants wherever this is called. */
ALWAYS_INLINE void tile_block(int rows, int vectors, bool half, int64_t depth, const float *a,
                              int64_t row_stride, int64_t column_stride, const void *b, int64_t ldb,
                              float *c, int64_t ldc, bool add) {
    vf sum[TILE_ROWS][TILE_VECTORS_ONE_ROW];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = add ? vload(c + r * ldc + v * VL) : vset(0);
    for (int64_t k = 0; k < depth; k++) {
        vf row[TILE_VECTORS_ONE_ROW];
        for (int v = 0; v < vectors; v++) row[v] = tile_load(b, k * ldb + v * VL, half);
        for (int r = 0; r < rows; r++) {
            vf x = vset(a[r * row_stride + k * column_stride]);
            for (int v = 0; v < vectors; v++) sum[r][v] = vfma(x, row[v], sum[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) vstore(c + r * ldc + v * VL, sum[r][v]);
}

/* All rows against one group of columns: full tiles, then what is left, each with its own code. */
ALWAYS_INLINE void tile_columns(int vectors, bool half, int64_t rows, int64_t depth, const float *a,
                                int64_t row_stride, int64_t column_stride, const void *b,
                                int64_t ldb, float *c, int64_t ldc, bool add) {
#define TILE(n) \
    tile_block(n, vectors, half, depth, a, row_stride, column_stride, b, ldb, c, ldc, add)
    for (; rows >= TILE_ROWS; rows -= TILE_ROWS) {
        TILE(TILE_ROWS);
        a += TILE_ROWS * row_stride;
        c += TILE_ROWS * ldc;
    }
    switch (rows) {
#if defined(__AVX2__)
    case 5: TILE(5); break;
    case 4: TILE(4); break;
#endif
    case 3: TILE(3); break;
    case 2: TILE(2); break;
    case 1: TILE(1); break;
    default: break;
    }
#undef TILE
}

ALWAYS_INLINE void tile_any(bool half, int64_t rows, int64_t depth, const float *a,
                            int64_t row_stride, int64_t column_stride, const void *b, int64_t ldb,
                            float *c, int64_t ldc, bool add) {
    int64_t size = half ? 2 : 4;
    if (rows == 1) {
        for (int64_t j = 0; j < 64; j += TILE_VECTORS_ONE_ROW * VL)
            tile_block(1, TILE_VECTORS_ONE_ROW, half, depth, a, row_stride, column_stride,
                       (const char *)b + j * size, ldb, c + j, ldc, add);
        return;
    }
    for (int64_t j = 0; j < 64; j += TILE_VECTORS * VL)
        tile_columns(TILE_VECTORS, half, rows, depth, a, row_stride, column_stride,
                     (const char *)b + j * size, ldb, c + j, ldc, add);
}

/* A's value (r, k) is a[r * row_stride + k * column_stride]; B's row k starts at b + k * ldb; C's
 * row r at c + r * ldc. Any rows >= 0; cut into tiles of TILE_ROWS inside. */
static inline void tile_f32(int64_t rows, int64_t depth, const float *a, int64_t row_stride,
                            int64_t column_stride, const float *b, int64_t ldb, float *c,
                            int64_t ldc, bool add) {
    tile_any(false, rows, depth, a, row_stride, column_stride, b, ldb, c, ldc, add);
}

/* The same with B stored as bf16. */
static inline void tile_bf16(int64_t rows, int64_t depth, const float *a, int64_t row_stride,
                             int64_t column_stride, const uint16_t *b, int64_t ldb, float *c,
                             int64_t ldc, bool add) {
    tile_any(true, rows, depth, a, row_stride, column_stride, b, ldb, c, ldc, add);
}

#endif
