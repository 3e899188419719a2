/* simd.h - vectors of the instruction set a kernel file is compiled for, by GCC's vector
 * extensions. The only file with compiler extensions or intrinsics in it.
 *
 * VL floats a vector: 16 with AVX-512, 8 with AVX2, 4 in plain C. Kernels are compiled with
 * -ffp-contract=off and say vfma where they mean it, so that the same formula has the same bits
 * wherever it stands. Loops are written over VL; nothing else depends on the instruction set. */

#ifndef SPPO_SIMD_H
#define SPPO_SIMD_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { VL = 16, TILE_ROWS = 6, TILE_VECTORS = 4, Q8_TILE_ROWS = 6, Q8_TILE_VECTORS = 2 };
#elif defined(__AVX2__)
#include <immintrin.h>
enum { VL = 8, TILE_ROWS = 6, TILE_VECTORS = 2, Q8_TILE_ROWS = 4, Q8_TILE_VECTORS = 1 };
#else
enum { VL = 4, TILE_ROWS = 4, TILE_VECTORS = 2, Q8_TILE_ROWS = 4, Q8_TILE_VECTORS = 1 };
#endif

#if defined(__AVX512F__)
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu32 __attribute__((vector_size(64)));
typedef uint8_t vb __attribute__((vector_size(64)));
typedef int8_t vi8 __attribute__((vector_size(16)));
#elif defined(__AVX2__)
typedef float vf __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));
typedef uint32_t vu32 __attribute__((vector_size(32)));
typedef uint8_t vb __attribute__((vector_size(32)));
typedef int8_t vi8 __attribute__((vector_size(8)));
#else
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vu32 __attribute__((vector_size(16)));
typedef uint8_t vb __attribute__((vector_size(16)));
typedef int8_t vi8 __attribute__((vector_size(4)));
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

/* 2 VL bf16 values as f32: the even ones, then the odd ones. */
static inline void vload_bf16_pairs(const uint16_t *p, vf *even, vf *odd) {
    vu32 w;
    memcpy(&w, p, sizeof w);
    *even = (vf)(w << 16);
    *odd = (vf)(w & 0xffff0000);
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

/* VL f16 values as f32. */
static inline vf vload_f16(const uint16_t *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#else
    return (vf){f16_to_f32(p[0]), f16_to_f32(p[1]), f16_to_f32(p[2]), f16_to_f32(p[3])};
#endif
}

static inline vi vset_i32(int32_t x) {
    return x - (vi){0};
}

static inline vb vload_bytes(const uint8_t *p) {
    vb v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The low bytes of VL integers. */
static inline void vstore_i8(int8_t *p, vi v) {
    vi8 low = __builtin_convertvector(v, vi8);
    memcpy(p, &low, sizeof low);
}

/* Lane i: sum + w[4 i] * x[0] + .. + w[4 i + 3] * x[3], w unsigned bytes, x the four signed bytes
 * of an integer. Exact. */
static inline vi vdot4(vi sum, vb w, int32_t x) {
#if defined(__AVX512VNNI__)
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX2__)
    // Bytes 0 and 2 of each lane, then 1 and 3, as 16-bit values: their products do not saturate.
    typedef int16_t v16 __attribute__((vector_size(VL * 4)));
    v16 w_all = (v16)w, x_all = (v16)vset_i32(x);
    v16 w_low = w_all & 255, w_high = (w_all >> 8) & 255;
    v16 x_low = (v16)(x_all << 8) >> 8, x_high = x_all >> 8;
#if defined(__AVX512F__)
    vi low = (vi)_mm512_madd_epi16((__m512i)w_low, (__m512i)x_low);
    vi high = (vi)_mm512_madd_epi16((__m512i)w_high, (__m512i)x_high);
#else
    vi low = (vi)_mm256_madd_epi16((__m256i)w_low, (__m256i)x_low);
    vi high = (vi)_mm256_madd_epi16((__m256i)w_high, (__m256i)x_high);
#endif
    return sum + low + high;
#else
    int8_t four[4];
    memcpy(four, &x, sizeof four);
    for (int i = 0; i < VL; i++)
        for (int j = 0; j < 4; j++) sum[i] += w[4 * i + j] * four[j];
    return sum;
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

static inline vi vload_i32(const int32_t *p) {
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Lane i: base[index[i]]. */
static inline vf vgather(const float *base, vi index) {
#if defined(__AVX512F__)
    return (vf)_mm512_i32gather_ps((__m512i)index, base, 4);
#elif defined(__AVX2__)
    return (vf)_mm256_i32gather_ps(base, (__m256i)index, 4);
#else
    return (vf){base[index[0]], base[index[1]], base[index[2]], base[index[3]]};
#endif
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

static inline bool vany_at_least(vf v, float least) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(least), _CMP_GE_OQ) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_set1_ps(least), _CMP_GE_OQ)) != 0;
#else
    return (v[0] >= least) | (v[1] >= least) | (v[2] >= least) | (v[3] >= least);
#endif
}

/* Lanes joined in halves: i with i + VL / 2, then i with i + VL / 4, and so on. */
static inline float vsum(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#elif defined(__AVX2__)
    __m128 s = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return s[0] + s[1];
#else
    return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}

/* The largest lane of a vector without NaN. */
static inline float vmaximum(vf v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#elif defined(__AVX2__)
    __m128 s = _mm_max_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return s[0] > s[1] ? s[0] : s[1];
#else
    float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
#endif
}

static inline int32_t vmaximum_i32(vi v) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_epi32((__m512i)v);
#elif defined(__AVX2__)
    __m128i s =
        _mm_max_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
    s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
#else
    int32_t a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
#endif
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

/* tanh(x): an odd polynomial near 0 (Cephes' tanhf), 1 - 2 / (exp(2 |x|) + 1) further out. Relative
 * error below 2e-7; exactly +-1 from about 9 on; NaN stays NaN. */
static inline vf vtanh(vf x) {
    vf size = vmax(x, -x), s = x * x;
    vf p = vset(-5.70498872745e-3f);
    p = vfma(p, s, vset(2.06390887954e-2f));
    p = vfma(p, s, vset(-5.37397155531e-2f));
    p = vfma(p, s, vset(1.33314422036e-1f));
    p = vfma(p, s, vset(-3.33332819422e-1f));
    vf near = vfma(p * s, x, x);
    vf far = vset(1) - vset(2) / (vexp(size + size) + vset(1));
    return vselect(size > vset(0.625f), vselect(x < vset(0), -far, far), near);
}

/* cap * tanh(x / cap), cap > 0. */
static inline vf vsoftcap(vf x, float cap) {
    return vset(cap) * vtanh(x / vset(cap));
}

/* The scalar twin of vexp: the same bits as a lane of it. */
static inline float sexp(float x) {
    float lane[VL];
    vstore(lane, vexp(vset(x)));
    return lane[0];
}

static inline float stanh(float x) {
    float lane[VL];
    vstore(lane, vtanh(vset(x)));
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
