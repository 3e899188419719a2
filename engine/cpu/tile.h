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

/* First column of vector v of a tile. In bf16 panels columns n and n + 32 share a word, so that one
 * load gives two vectors. */
static inline int64_t tile_column(bool half, int v) {
    return half ? v / 2 * VL + v % 2 * 32 : v * VL;
}

/* Memory to bring into the second-level cache while a product runs: `step` bytes for each k. */
typedef struct tile_ahead {
    const char *from;
    int64_t step;
} tile_ahead;

/* `rows` x `vectors` accumulators in registers; both are constants wherever this is called, and
 * `vectors` is even for bf16. */
ALWAYS_INLINE void tile_block(int rows, int vectors, bool half, int64_t depth, const float *a,
                              int64_t row_stride, int64_t column_stride, const void *b, int64_t ldb,
                              float *c, int64_t ldc, bool add, const tile_ahead *ahead) {
    vf sum[TILE_ROWS][TILE_VECTORS_ONE_ROW];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            sum[r][v] = add ? vload(c + r * ldc + tile_column(half, v)) : vset(0);
    for (int64_t k = 0; k < depth; k++) {
        vf row[TILE_VECTORS_ONE_ROW];
        for (int v = 0; half && v < vectors; v += 2)
            vload_bf16_pairs((const uint16_t *)b + k * ldb + v * VL, &row[v], &row[v + 1]);
        for (int v = 0; !half && v < vectors; v++)
            row[v] = vload((const float *)b + k * ldb + v * VL);
        for (int r = 0; r < rows; r++) {
            vf x = vset(a[r * row_stride + k * column_stride]);
            for (int v = 0; v < vectors; v++) sum[r][v] = vfma(x, row[v], sum[r][v]);
        }
        for (int64_t i = 0; ahead && i < ahead->step; i += 64)
            __builtin_prefetch(ahead->from + k * ahead->step + i, 0, 2);
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) vstore(c + r * ldc + tile_column(half, v), sum[r][v]);
}

/* All rows against one group of columns, cut into tiles of nearly equal height: a low one would wait
 * for its multiply-adds. */
ALWAYS_INLINE void tile_columns(int vectors, bool half, int64_t rows, int64_t depth, const float *a,
                                int64_t row_stride, int64_t column_stride, const void *b,
                                int64_t ldb, float *c, int64_t ldc, bool add, const char *next) {
    int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    // Each tile fetches its share of the `depth` rows of 64 columns that come next.
    tile_ahead ahead = {next, tiles ? 64 * (half ? 2 : 4) / tiles : 0};
#define TILE(n) \
    case n: \
        tile_block(n, vectors, half, depth, a, row_stride, column_stride, b, ldb, c, ldc, add, \
                   next ? &ahead : NULL); \
        break
    for (; tiles > 0; tiles--) {
        int64_t count = (rows + tiles - 1) / tiles;
        switch (count) {
#if defined(__AVX2__)
            TILE(6);
            TILE(5);
#endif
            TILE(4);
            TILE(3);
            TILE(2);
            TILE(1);
        default: break;
        }
        rows -= count;
        a += count * row_stride;
        c += count * ldc;
        ahead.from += depth * ahead.step;
    }
#undef TILE
}

/* The first `width` columns, or some more of the 64. `next`: where to prefetch from, or NULL. */
ALWAYS_INLINE void tile_any(bool half, int64_t rows, int64_t depth, const float *a,
                            int64_t row_stride, int64_t column_stride, const void *b, int64_t ldb,
                            float *c, int64_t ldc, bool add, int64_t width, const char *next) {
#define COLUMNS(vectors) \
    tile_columns(vectors, half, rows, depth, a, row_stride, column_stride, from, ldb, c + j, ldc, \
                 add, j ? NULL : next)
    // j counts floats, or words of two bf16 values.
    int64_t end = half ? 32 : width, step = TILE_VECTORS * VL / (half ? 2 : 1);
    if (rows == 1) step = TILE_VECTORS_ONE_ROW * VL / (half ? 2 : 1);
    for (int64_t j = 0; j < end; j += step) {
        const char *from = (const char *)b + j * 4;
        tile_ahead all = {next, 64 * (half ? 2 : 4)};
        if (rows == 1)
            tile_block(1, TILE_VECTORS_ONE_ROW, half, depth, a, row_stride, column_stride, from,
                       ldb, c + j, ldc, add, next && !j ? &all : NULL);
        else if (!half && TILE_VECTORS > 2 && end - j <= VL) COLUMNS(1);
        else if (!half && TILE_VECTORS > 2 && end - j <= 2 * VL) COLUMNS(2);
        else COLUMNS(TILE_VECTORS);
    }
#undef COLUMNS
}

/* A's value (r, k) is a[r * row_stride + k * column_stride]; B's row k starts at b + k * ldb; C's
 * row r at c + r * ldc. Any rows >= 0; cut into tiles of TILE_ROWS inside. */
static inline void tile_f32(int64_t rows, int64_t depth, const float *a, int64_t row_stride,
                            int64_t column_stride, const float *b, int64_t ldb, float *c,
                            int64_t ldc, bool add) {
    tile_any(false, rows, depth, a, row_stride, column_stride, b, ldb, c, ldc, add, 64, NULL);
}

/* Only the first `width` of the 64 columns are wanted; some more may be written. */
static inline void tile_f32_narrow(int64_t width, int64_t rows, int64_t depth, const float *a,
                                   int64_t row_stride, const float *b, int64_t ldb, float *c,
                                   int64_t ldc) {
    tile_any(false, rows, depth, a, row_stride, 1, b, ldb, c, ldc, false, width, NULL);
}

/* A panel of weights (panel.h), f32 or bf16; `next`, if not NULL, is the panel that this thread will
 * probably need next, from the same row on. */
static inline void tile_panel(bool half, int64_t rows, int64_t depth, const float *a,
                              int64_t row_stride, const void *b, float *c, int64_t ldc, bool add,
                              const char *next) {
    if (half) tile_any(true, rows, depth, a, row_stride, 1, b, 64, c, ldc, add, 64, next);
    else tile_any(false, rows, depth, a, row_stride, 1, b, 64, c, ldc, add, 64, next);
}

#endif
