/* gguf_blocks.c - GGML's types: their sizes, and those that are read as f32.
 * Blocks are not aligned in a file, so values are copied out of them. Layouts and the order of
 * operations are ggml-quants.c's, so that values come out with the same bits. */

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

/* The fifth bit of value i of 32, as 16. */
static int fifth_bit(const unsigned char *p, int i) {
    return (p[i / 8] >> i % 8 & 1) << 4;
}

/* f16 d, 32 high bits, 16 bytes as in q4_0; (q - 16) d */
static void unpack_q5_0(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 32; b++, p += 22, out += 32) {
        float d = f16_at(p);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)(((p[6 + i] & 15) | fifth_bit(p + 2, i)) - 16) * d;
            out[i + 16] = (float)((p[6 + i] >> 4 | fifth_bit(p + 2, i + 16)) - 16) * d;
        }
    }
}

/* f16 d, f16 m, 32 high bits, 16 bytes as in q4_0; q d + m */
static void unpack_q5_1(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 32; b++, p += 24, out += 32) {
        float d = f16_at(p), m = f16_at(p + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)((p[8 + i] & 15) | fifth_bit(p + 4, i)) * d + m;
            out[i + 16] = (float)(p[8 + i] >> 4 | fifth_bit(p + 4, i + 16)) * d + m;
        }
    }
}

/* ---- blocks of 256: groups of 16 or 32, whose scales are small integers times the block's ---- */

/* 16 bytes: scale of a group of 16 in the low half, its minimum in the high; 64 bytes: two bits of
 * each value, those of 32 values 32 apart in one byte; f16 d, f16 dmin. d s q - dmin m */
static void unpack_q2_k(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 256; b++, p += 84, out += 256) {
        float d = f16_at(p + 80), dmin = f16_at(p + 82);
        for (int i = 0; i < 256; i++) {
            int q = p[16 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
            float scale = d * (float)(p[i / 16] & 15), least = dmin * (float)(p[i / 16] >> 4);
            out[i] = scale * (float)q - least;
        }
    }
}

/* Scale of group g of 16: four low bits in 8 bytes, two high bits in 4 more; less 32. */
static int q3_scale(const unsigned char *p, int g) {
    int low = g < 8 ? p[g] & 15 : p[g - 8] >> 4;
    return (low | (p[8 + g % 4] >> g / 4 * 2 & 3) << 4) - 32;
}

/* 32 bytes: high bit of value i in bit i / 32 of byte i % 32, where 0 takes 4 off; 64 bytes as in
 * q2_k; 12 bytes of scales; f16 d. d s q */
static void unpack_q3_k(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 256; b++, p += 110, out += 256) {
        float d = f16_at(p + 108);
        for (int i = 0; i < 256; i++) {
            int low = p[32 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
            int q = low - (p[i % 32] >> i / 32 & 1 ? 0 : 4);
            out[i] = d * (float)q3_scale(p + 96, i / 16) * (float)q;
        }
    }
}

/* Six-bit scale and minimum of group g of 32, in 12 bytes: those of the first four groups in six
 * bits of a byte, those of the last four in a half byte each and the two bits left over. */
static void k_scale(const unsigned char *p, int g, int *scale, int *least) {
    if (g < 4) {
        *scale = p[g] & 63;
        *least = p[4 + g] & 63;
    } else {
        *scale = (p[4 + g] & 15) | p[g - 4] >> 6 << 4;
        *least = p[4 + g] >> 4 | p[g] >> 6 << 4;
    }
}

/* f16 d, f16 dmin, 12 bytes of scales; 128 bytes: groups 2 j and 2 j + 1 in the halves of bytes
 * 32 j and on. d s q - dmin m */
static void unpack_q4_k(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 256; b++, p += 144, out += 256) {
        for (int g = 0; g < 8; g++) {
            int s, m;
            k_scale(p + 4, g, &s, &m);
            float scale = f16_at(p) * (float)s, least = f16_at(p + 2) * (float)m;
            for (int i = 0; i < 32; i++) {
                int q = p[16 + g / 2 * 32 + i] >> g % 2 * 4 & 15;
                out[g * 32 + i] = scale * (float)q - least;
            }
        }
    }
}

/* As q4_k, with 32 bytes of fifth bits before the halves: group g in bit g. */
static void unpack_q5_k(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 256; b++, p += 176, out += 256) {
        for (int g = 0; g < 8; g++) {
            int s, m;
            k_scale(p + 4, g, &s, &m);
            float scale = f16_at(p) * (float)s, least = f16_at(p + 2) * (float)m;
            for (int i = 0; i < 32; i++) {
                int q = (p[48 + g / 2 * 32 + i] >> g % 2 * 4 & 15) | (p[16 + i] >> g & 1) << 4;
                out[g * 32 + i] = scale * (float)q - least;
            }
        }
    }
}

/* 128 bytes: four low bits, values 64 apart in one byte; 64 bytes: two high bits, values 32 apart;
 * 16 signed scales of groups of 16; f16 d. d s (q - 32) */
static void unpack_q6_k(const unsigned char *p, int64_t count, float *out) {
    for (int64_t b = 0; b < count / 256; b++, p += 210, out += 256) {
        float d = f16_at(p + 208);
        for (int i = 0; i < 256; i++) {
            int half = i / 128, place = i % 128;
            int low = p[half * 64 + place % 64] >> place / 64 * 4 & 15;
            int high = p[128 + half * 32 + place % 32] >> place / 32 * 2 & 3;
            out[i] = d * (float)(int8_t)p[192 + i / 16] * (float)((low | high << 4) - 32);
        }
    }
}

/* By number, as GGML's enum has them; holes are types it dropped. */
static const sppo__gguf_type types[] = {
    [0] = {"F32", 1, 4, unpack_f32},
    [1] = {"F16", 1, 2, unpack_f16},
    [2] = {"Q4_0", 32, 18, unpack_q4_0},
    [3] = {"Q4_1", 32, 20, unpack_q4_1},
    [6] = {"Q5_0", 32, 22, unpack_q5_0},
    [7] = {"Q5_1", 32, 24, unpack_q5_1},
    [8] = {"Q8_0", 32, 34, unpack_q8_0},
    [9] = {"Q8_1", 32, 36, NULL},
    [10] = {"Q2_K", 256, 84, unpack_q2_k},
    [11] = {"Q3_K", 256, 110, unpack_q3_k},
    [12] = {"Q4_K", 256, 144, unpack_q4_k},
    [13] = {"Q5_K", 256, 176, unpack_q5_k},
    [14] = {"Q6_K", 256, 210, unpack_q6_k},
    [15] = {"Q8_K", 256, 292, NULL},
    [16] = {"IQ2_XXS", 256, 66, NULL},
    [17] = {"IQ2_XS", 256, 74, NULL},
    [18] = {"IQ3_XXS", 256, 98, NULL},
    [19] = {"IQ1_S", 256, 50, NULL},
    [20] = {"IQ4_NL", 32, 18, NULL},
    [21] = {"IQ3_S", 256, 110, NULL},
    [22] = {"IQ2_S", 256, 82, NULL},
    [23] = {"IQ4_XS", 256, 136, NULL},
    [24] = {"I8", 1, 1, NULL},
    [25] = {"I16", 1, 2, NULL},
    [26] = {"I32", 1, 4, NULL},
    [27] = {"I64", 1, 8, NULL},
    [28] = {"F64", 1, 8, NULL},
    [29] = {"IQ1_M", 256, 56, NULL},
    [30] = {"BF16", 1, 2, unpack_bf16},
    [34] = {"TQ1_0", 256, 54, NULL},
    [35] = {"TQ2_0", 256, 66, NULL},
    [39] = {"MXFP4", 32, 17, NULL},
};

const sppo__gguf_type *sppo__gguf_type_of(uint32_t number) {
    if (number >= sizeof types / sizeof types[0] || !types[number].name) return NULL;
    return &types[number];
}
