/* gguf_blocks.c - GGML's types: their sizes, and those that are read as f32.
 * Blocks are not aligned in a file, so values are copied out of them. */

#include <string.h>

#include "io/gguf.h"

static float bits_to_f32(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float f16_at(const unsigned char *p) {
    uint32_t h = (uint32_t)p[0] | (uint32_t)p[1] << 8;
    uint32_t sign = (h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
    if (exponent == 31) return bits_to_f32(sign | 0x7f800000 | fraction << 13);
    if (exponent) return bits_to_f32(sign | (exponent + 112) << 23 | fraction << 13);
    float x = (float)fraction * 0x1p-24f;
    return sign ? -x : x;
}

static void unpack_f32(const unsigned char *p, int64_t count, float *out) {
    memcpy(out, p, sizeof *out * (size_t)count);
}

static void unpack_f16(const unsigned char *p, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i++) out[i] = f16_at(p + 2 * i);
}

static void unpack_bf16(const unsigned char *p, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i++)
        out[i] = bits_to_f32((uint32_t)p[2 * i] << 16 | (uint32_t)p[2 * i + 1] << 24);
}

/* f16 d, 16 bytes: value i in the low half of byte i, value i + 16 in its high half; (q - 8) d */
static void unpack_q4_0(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 32; b++, p += 18, out += 32) {
        float d = f16_at(p);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)((p[2 + i] & 15) - 8) * d;
            out[i + 16] = (float)((p[2 + i] >> 4) - 8) * d;
        }
    }
}

/* f16 d, f16 m, 16 bytes as in q4_0; q d + m */
static void unpack_q4_1(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 32; b++, p += 20, out += 32) {
        float d = f16_at(p), m = f16_at(p + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)(p[4 + i] & 15) * d + m;
            out[i + 16] = (float)(p[4 + i] >> 4) * d + m;
        }
    }
}

/* f16 d, 32 signed bytes; q d */
static void unpack_q8_0(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 32; b++, p += 34, out += 32) {
        float d = f16_at(p);
        for (int i = 0; i < 32; i++) out[i] = (float)(int8_t)p[2 + i] * d;
    }
}

/* By number, as GGML's enum has them; holes are types it dropped. */
static const sppo__gguf_type types[] = {
    [0] = {"F32", 1, 4, unpack_f32},     [1] = {"F16", 1, 2, unpack_f16},
    [2] = {"Q4_0", 32, 18, unpack_q4_0}, [3] = {"Q4_1", 32, 20, unpack_q4_1},
    [6] = {"Q5_0", 32, 22, NULL},        [7] = {"Q5_1", 32, 24, NULL},
    [8] = {"Q8_0", 32, 34, unpack_q8_0}, [9] = {"Q8_1", 32, 36, NULL},
    [10] = {"Q2_K", 256, 84, NULL},      [11] = {"Q3_K", 256, 110, NULL},
    [12] = {"Q4_K", 256, 144, NULL},     [13] = {"Q5_K", 256, 176, NULL},
    [14] = {"Q6_K", 256, 210, NULL},     [15] = {"Q8_K", 256, 292, NULL},
    [16] = {"IQ2_XXS", 256, 66, NULL},   [17] = {"IQ2_XS", 256, 74, NULL},
    [18] = {"IQ3_XXS", 256, 98, NULL},   [19] = {"IQ1_S", 256, 50, NULL},
    [20] = {"IQ4_NL", 32, 18, NULL},     [21] = {"IQ3_S", 256, 110, NULL},
    [22] = {"IQ2_S", 256, 82, NULL},     [23] = {"IQ4_XS", 256, 136, NULL},
    [24] = {"I8", 1, 1, NULL},           [25] = {"I16", 1, 2, NULL},
    [26] = {"I32", 1, 4, NULL},          [27] = {"I64", 1, 8, NULL},
    [28] = {"F64", 1, 8, NULL},          [29] = {"IQ1_M", 256, 56, NULL},
    [30] = {"BF16", 1, 2, unpack_bf16},  [34] = {"TQ1_0", 256, 54, NULL},
    [35] = {"TQ2_0", 256, 66, NULL},     [39] = {"MXFP4", 32, 17, NULL},
};

const sppo__gguf_type *sppo__gguf_type_of(uint32_t number) {
    if (number >= sizeof types / sizeof types[0] || !types[number].name) return NULL;
    return &types[number];
}
