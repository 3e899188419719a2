/* simd.h - vectors of the instruction set a kernel file is compiled for, by GCC's vector
 * extensions. The only file with compiler extensions or intrinsics in it.
 *
 * VL floats a vector: 16 with AVX-512, 8 with AVX2, 4 in plain C. Kernels are compiled with
 * -ffp-contract=off and say vfma where they mean it, so that the same formula has the same bits
 * wherever it stands. Loops are written over VL; nothing else depends on the instruction set. */

#ifndef SPPO_SIMD_H
#define SPPO_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { VL = 16, TILE_ROWS = 6, TILE_VECTORS = 4 };
#elif defined(__AVX2__)
#include <immintrin.h>
enum { VL = 8, TILE_ROWS = 6, TILE_VECTORS = 2 };
#else
enum { VL = 4, TILE_ROWS = 4, TILE_VECTORS = 2 };
#endif

#if defined(__AVX512F__)
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint16_t vu16 __attribute__((vector_size(32)));
typedef uint32_t vu32 __attribute__((vector_size(64)));
#elif defined(__AVX2__)
typedef float vf __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));
typedef uint16_t vu16 __attribute__((vector_size(16)));
typedef uint32_t vu32 __attribute__((vector_size(32)));
#else
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint16_t vu16 __attribute__((vector_size(8)));
typedef uint32_t vu32 __attribute__((vector_size(16)));
#endif

/* For bodies that must be compiled anew for each constant they are called with. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Tells the processor that this thread only waits. */
static inline void spin_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static inline vf vload(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void vstore(float *p, vf v) {
    memcpy(p, &v, sizeof v);
}

static inline vf vset(float x) {
    return x - (vf){0};
}

/* a * b + c; one rounding with AVX-512 and AVX2, two in plain C. */
static inline vf vfma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* The scalar twin of vfma, for tails: the same rounding. */
static inline float sfma(float a, float b, float c) {
#if defined(__AVX2__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/* The first n < VL values, zeros after them: the tail of a loop takes the same way as its body. */
static inline vf vload_part(const float *p, int64_t n) {
    vf v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}

static inline void vstore_part(float *p, vf v, int64_t n) {
    memcpy(p, &v, (size_t)n * sizeof *p);
}

static inline vf vsqrt(vf x) {
#if defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (vf)_mm256_sqrt_ps((__m256)x);
#else
    float lane[VL];
    vstore(lane, x);
    for (int i = 0; i < VL; i++) lane[i] = sqrtf(lane[i]);
    return vload(lane);
#endif
}

/* VL bf16 values as f32. */
static inline vf vload_bf16(const uint16_t *p) {
    vu16 h;
    memcpy(&h, p, sizeof h);
    vu32 w = __builtin_convertvector(h, vu32) << 16;
    return (vf)w;
}

/* VL bytes as f32. */
static inline vf vload_i8(const int8_t *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
#else
    return (vf){(float)p[0], (float)p[1], (float)p[2], (float)p[3]};
#endif
}

/* dst[j * ldd + i] = src[i * lds + j] for i, j < 4. */
static inline void transpose4(const float *src, int64_t lds, float *dst, int64_t ldd) {
    typedef float v4 __attribute__((vector_size(16)));
    v4 r[4], t[4];
    for (int i = 0; i < 4; i++) memcpy(&r[i], src + i * lds, sizeof r[i]);
    t[0] = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
    t[1] = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    t[2] = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    t[3] = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(t[0], t[2], 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(t[0], t[2], 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(t[1], t[3], 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(t[1], t[3], 2, 3, 6, 7);
    for (int j = 0; j < 4; j++) memcpy(dst + j * ldd, &r[j], sizeof r[j]);
}

/* yes where mask is -1, no where it is 0. */
static inline vf vselect(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

static inline vf vmax(vf a, vf b) {
    return vselect(a > b, a, b);
}

static inline vf vmin(vf a, vf b) {
    return vselect(a < b, a, b);
}

/* Lanes added in halves, a fixed order. */
static inline float vsum(vf v) {
    float lane[VL];
    vstore(lane, v);
    for (int half = VL / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

static inline float vmaximum(vf v) {
    float lane[VL];
    vstore(lane, v);
    float m = lane[0];
    for (int i = 1; i < VL; i++) m = lane[i] > m ? lane[i] : m;
    return m;
}

/* exp(x): x = n ln2 + r, a polynomial of degree 6 in r, then n into the exponent. Relative error
 * below 2e-7; 0 below -87.3 (so exp(-inf) is exactly 0), infinity above 88.7; NaN stays NaN. */
static inline vf vexp(vf x) {
    vf clamped = vmin(vmax(x, vset(-87.5f)), vset(88.8f));
    vf scaled = clamped * vset(1.44269504088896341f);
    vf shift = vset(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    vf n = (scaled + shift) - shift;
    vf r = vfma(n, vset(-0.693359375f), clamped);
    r = vfma(n, vset(2.12194440e-4f), r);
    vf p = vset(1.3888888889e-3f);
    p = vfma(p, r, vset(8.3333333333e-3f));
    p = vfma(p, r, vset(4.1666666667e-2f));
    p = vfma(p, r, vset(1.6666666667e-1f));
    p = vfma(p, r, vset(0.5f));
    p = vfma(p, r, vset(1.0f));
    p = vfma(p, r, vset(1.0f));
    // In two factors, so that n = 128 does not overflow the exponent field early.
    vi e = __builtin_convertvector(n, vi);
    vi half = e >> 1;
    vf low = (vf)((half + 127) << 23), high = (vf)((e - half + 127) << 23);
    vf y = p * low * high;
    y = vselect(x < vset(-87.3f), vset(0.0f), y);
    y = vselect(x > vset(88.72284f), vset(INFINITY), y);
    return vselect(x == x, y, x);
}

/* The scalar twin of vexp: the same bits as a lane of it. */
static inline float sexp(float x) {
    float lane[VL];
    vstore(lane, vexp(vset(x)));
    return lane[0];
}

static inline float bf16_to_f32(uint16_t h) {
    uint32_t w = (uint32_t)h << 16;
    float x;
    memcpy(&x, &w, sizeof x);
    return x;
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t f32_to_bf16(float x) {
    uint32_t w;
    memcpy(&w, &x, sizeof w);
    if ((w & 0x7fffffff) > 0x7f800000) return (uint16_t)((w >> 16) | 0x40);
    return (uint16_t)((w + 0x7fff + ((w >> 16) & 1)) >> 16);
}

static inline float f16_to_f32(uint16_t h) {
    uint32_t w = (uint32_t)(h & 0x7fff) << 13;
    float x;
    memcpy(&x, &w, sizeof x);
    x *= 0x1p112f;  // moves the exponent's bias; makes f16's subnormal numbers normal
    memcpy(&w, &x, sizeof w);
    w |= (h & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
    w |= (uint32_t)(h & 0x8000) << 16;
    memcpy(&x, &w, sizeof x);
    return x;
}

/* Round to nearest, ties to even; too large is infinity, NaN stays NaN. */
static inline uint16_t f32_to_f16(float x) {
    uint32_t w;
    memcpy(&w, &x, sizeof w);
    uint16_t sign = (uint16_t)(w >> 16 & 0x8000);
    w &= 0x7fffffff;
    if (w > 0x7f800000) return sign | 0x7e00;
    if (w >= 0x47800000) return sign | 0x7c00;
    if (w < 0x38800000) {  // subnormal in f16: adding 1/2 shifts and rounds
        float magnitude;
        memcpy(&magnitude, &w, sizeof magnitude);
        magnitude += 0.5f;
        memcpy(&w, &magnitude, sizeof w);
        return (uint16_t)(sign | (w - 0x3f000000));
    }
    return (uint16_t)(sign | ((w - 0x38000000 + 0xfff + (w >> 13 & 1)) >> 13));
}

#endif
