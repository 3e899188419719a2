/* peak.c - multiply-adds without memory, and memory without arithmetic: the two limits. */

#include "cpu/peak.h"

#include "cpu/cpu.h"
#include "cpu/simd.h"

enum { CHAINS = 12 };

float KERNEL(peak_fma)(int64_t rounds, float seed, double *flops) {
    vf x = vset(seed), y = vset(1 - seed), chain[CHAINS];
    for (int i = 0; i < CHAINS; i++) chain[i] = vset(seed * (float)i);
    for (int64_t n = 0; n < rounds; n++)
        for (int i = 0; i < CHAINS; i++) chain[i] = vfma(chain[i], x, y);
    vf sum = vset(0);
    for (int i = 0; i < CHAINS; i++) sum = sum + chain[i];
    *flops += 2.0 * CHAINS * VL * (double)rounds;
    return vsum(sum);
}

int32_t KERNEL(peak_dot)(int64_t rounds, int32_t seed, double *operations) {
    vi chain[CHAINS];
    vb w = (vb)vset_i32(seed);
    for (int i = 0; i < CHAINS; i++) chain[i] = vset_i32(seed + i);
    for (int64_t n = 0; n < rounds; n++)
        for (int i = 0; i < CHAINS; i++) chain[i] = vdot4(chain[i], w, seed + (int32_t)n);
    vi sum = vset_i32(0);
    for (int i = 0; i < CHAINS; i++) sum += chain[i];
    *operations += 2.0 * 4 * CHAINS * VL * (double)rounds;
    return sum[0];
}

float KERNEL(peak_read)(const float *x, int64_t count) {
    vf sum[8];
    for (int i = 0; i < 8; i++) sum[i] = vset(0);
    for (int64_t n = 0; n < count; n += 8 * VL)
        for (int i = 0; i < 8; i++) sum[i] = sum[i] + vload(x + n + i * VL);
    for (int i = 1; i < 8; i++) sum[0] = sum[0] + sum[i];
    return vsum(sum[0]);
}
