/* q8.h - products with q8_0 weights: rows of x are rounded to 8 bits too, in blocks of 32 like the
 * weights, and multiplied as integers.
 *
 *     y[r, n] = sum over blocks b of (sum over i of q_x[r, b, i] * q_w[n, b, i]) * s_x[r, b] * s_w[n, b]
 *
 * The inner sum is exact in int32. The outer is one chain of fused multiply-adds over b in order: its
 * bits depend neither on the rows that share a tile nor on threads.
 *
 * Weights lie as unsigned bytes (q + 128), which is what byte products of x86 take; -128 times the
 * sum of the row's block takes that off again. */

#ifndef SPPO_Q8_H
#define SPPO_Q8_H

#include <stdbool.h>

#include "cpu/simd.h"

enum {
    Q8 = 32,                      // values of a block
    Q8_ROW_BLOCK = 34,            // bytes of a block in rows: f16 scale, int8
    Q8_BLOCK = 64 * 2 + 32 * 64,  // of a panel: 64 f16 scales, then [8][64][4] unsigned bytes
    Q8_BIAS = 128,
    Q8_FEW_ROWS = 12
};

/* Where value k (0..31) of row n (0..63) of a panel's block lies behind its scales. */
static inline int64_t q8_at(int64_t k, int64_t n) {
    return k / 4 * 256 + n * 4 + k % 4;
}

/* Rows of x as q8_0: K is a multiple of 32. */
typedef struct q8_rows {
    int8_t *q;      // [rows][K]
    float *scale;   // [rows][K / 32]; NaN for a block with NaN or infinity in it
    int32_t *bias;  // [rows][K / 32]: -128 times the sum of the block's q
    int64_t K;
} q8_rows;

/* Rows in memory of q8_rows_bytes (ops/workspace.h), 4-byte aligned. */
static inline q8_rows q8_rows_at(void *memory, int64_t rows, int64_t K) {
    q8_rows x = {.K = K, .scale = memory};
    x.bias = (int32_t *)(x.scale + rows * (K / Q8));
    x.q = (int8_t *)(x.bias + rows * (K / Q8));
    return x;
}

static inline q8_rows q8_rows_from(const q8_rows *x, int64_t row) {
    int64_t blocks = x->K / Q8;
    return (q8_rows){x->q + row * x->K, x->scale + row * blocks, x->bias + row * blocks, x->K};
}

/* The largest |x| of a block; NaN or infinity if there is one. */
static inline float q8_largest(const float *x) {
    // Bits of |x| are in the order of |x|, infinity and NaN above all.
    vi bits = {0};
    for (int i = 0; i < Q8; i += VL) {
        vi magnitude = (vi)vload(x + i) & INT32_MAX;
        bits = (vi)vselect(magnitude > bits, (vf)magnitude, (vf)bits);
    }
    int32_t top = vmaximum_i32(bits);
    float largest;
    memcpy(&largest, &top, sizeof largest);
    return largest;
}

/* One row, as GGML's q8_0: scale = max |x| / 127 (kept in f32 here), values to the nearest. */
static inline void q8_quantize_row(const q8_rows *to, int64_t row, const float *x) {
    for (int64_t b = 0; b < to->K / Q8; b++, x += Q8) {
        int64_t at = row * (to->K / Q8) + b;
        float largest = q8_largest(x);
        to->scale[at] = isfinite(largest) ? largest / 127 : NAN;
        vf inverse = vset(largest > 0 ? 1 / to->scale[at] : 0), sum = vset(0);
        vf shift = vset(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
        for (int i = 0; i < Q8; i += VL) {
            vf n = (vload(x + i) * inverse + shift) - shift;
            sum = sum + n;  // of integers: exact
            vstore_i8(to->q + row * to->K + b * Q8 + i, __builtin_convertvector(n, vi));
        }
        to->bias[at] = isfinite(largest) ? -Q8_BIAS * (int32_t)vsum(sum) : 0;
    }
}

/* Memory to bring into the second-level cache while a product runs: `bytes` for each block. */
typedef struct q8_ahead {
    const char *from;
    int64_t bytes;
} q8_ahead;

/* `rows` x `vectors` outputs from column `n` of a panel on; both are constants where called. */
ALWAYS_INLINE void q8_tile(int rows, int vectors, const q8_rows *x, const char *panel, int64_t n,
                           float *y, int64_t ldy, const q8_ahead *ahead) {
    vf sum[6][4];
    int64_t blocks = x->K / Q8;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = vset(0);
    for (int64_t b = 0; b < blocks; b++, panel += Q8_BLOCK) {
        const uint8_t *w = (const uint8_t *)panel + 128 + n * 4;
        for (int64_t i = 0; i < ahead->bytes; i += 64)
            __builtin_prefetch(ahead->from + b * ahead->bytes + i, 0, 2);
        vi dot[6][4];
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++) dot[r][v] = vset_i32(x->bias[r * blocks + b]);
        for (int k = 0; k < Q8; k += 4, w += 256) {
            vb weight[4];
            for (int v = 0; v < vectors; v++) weight[v] = vload_bytes(w + v * VL * 4);
            for (int r = 0; r < rows; r++) {
                int32_t four;
                memcpy(&four, x->q + r * x->K + b * Q8 + k, sizeof four);
                for (int v = 0; v < vectors; v++) dot[r][v] = vdot4(dot[r][v], weight[v], four);
            }
        }
        for (int v = 0; v < vectors; v++) {
            vf scale = vload_f16((const uint16_t *)panel + n + v * VL);
            for (int r = 0; r < rows; r++)
                sum[r][v] = vfma(__builtin_convertvector(dot[r][v], vf),
                                 vset(x->scale[r * blocks + b]) * scale, sum[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) vstore(y + r * ldy + n + v * VL, sum[r][v]);
}

/* `rows` rows of x in tiles of at most `most` rows. `next`: a panel to fetch ahead, or NULL. */
ALWAYS_INLINE void q8_tiles(int most, int vectors, const q8_rows *x, int64_t rows,
                            const char *panel, const char *next, float *y, int64_t ldy) {
#define TILE(r) \
    case r: \
        if (r <= most) q8_tile(r, vectors, &some, panel, n, y + row * ldy, ldy, &ahead); \
        break
    int64_t tiles = (rows + most - 1) / most, blocks = x->K / Q8;
    q8_ahead ahead = {next, next ? Q8_BLOCK / tiles : 0};
    for (int64_t row = 0; tiles > 0; tiles--) {
        int64_t count = (rows - row + tiles - 1) / tiles, share = ahead.bytes;
        q8_rows some = q8_rows_from(x, row);
        for (int64_t n = 0; n < 64; n += vectors * VL) {
            switch (count) {
                TILE(1);
                TILE(2);
                TILE(3);
                TILE(4);
                TILE(5);
                TILE(6);
            default: break;
            }
            ahead.bytes = 0;  // once a tile
        }
        ahead.bytes = share;
        if (next) ahead.from += blocks * share;
        row += count;
    }
#undef TILE
}

/* y[r, 0..63] for `rows` rows of x against one panel. Few rows run at the speed of memory, which is
 * highest when a panel is read from end to end: low and wide tiles. */
static inline void q8_forward(const q8_rows *x, int64_t rows, const char *panel, const char *next,
                              float *y, int64_t ldy) {
    if (rows == 1) {
        q8_ahead none = {NULL, 0}, all = {next, next ? Q8_BLOCK : 0};
        for (int64_t n = 0; n < 64; n += 4 * VL)
            q8_tile(1, 4, x, panel, n, y, ldy, n ? &none : &all);
    } else if (VL == 16 && rows <= Q8_FEW_ROWS) {  // its sums fit in 32 registers
        q8_tiles(3, 4, x, rows, panel, next, y, ldy);
    } else {
        q8_tiles(Q8_TILE_ROWS, Q8_TILE_VECTORS, x, rows, panel, next, y, ldy);
    }
}

/* Rows k .. k + depth - 1 of a panel's values as f32, [depth][64]; k is a multiple of 32. */
static inline void q8_expand(const char *panel, int64_t k, int64_t depth, float *dst) {
    const char *block = panel + k / Q8 * Q8_BLOCK;
    for (; depth > 0; depth -= Q8, block += Q8_BLOCK, dst += Q8 * 64) {
        for (int n = 0; n < 64; n += VL) {
            vf scale = vload_f16((const uint16_t *)block + n);
            for (int i = 0; i < Q8 && i < depth; i += 4) {
                vi four = (vi)vload_bytes((const uint8_t *)block + 128 + q8_at(i, n));
                for (int j = 0; j < 4; j++) {
                    vi q = ((four >> (8 * j)) & 255) - Q8_BIAS;
                    vstore(dst + (i + j) * 64 + n, __builtin_convertvector(q, vf) * scale);
                }
            }
        }
    }
}

#endif
