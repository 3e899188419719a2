/* peak.h - the loops that bench.c times, one of each for every instruction set. */

#ifndef SPPO_PEAK_H
#define SPPO_PEAK_H

#include <stdint.h>

/* Runs `rounds` of multiply-adds; adds the FLOPs they were. `seed` and the result keep the compiler
 * from knowing the values. */
typedef float sppo__peak_fma(int64_t rounds, float seed, double *flops);

/* The same of integer multiply-adds of bytes. */
typedef int32_t sppo__peak_dot(int64_t rounds, int32_t seed, double *operations);

/* Sum of `count` floats, a multiple of 256. */
typedef float sppo__peak_read(const float *x, int64_t count);

#define SPPO__PEAK(isa) \
    sppo__peak_fma sppo_cpu_peak_fma_##isa; \
    sppo__peak_dot sppo_cpu_peak_dot_##isa; \
    sppo__peak_read sppo_cpu_peak_read_##isa;
SPPO__PEAK(avx512vnni)
SPPO__PEAK(avx512)
SPPO__PEAK(avx2)
SPPO__PEAK(plain)
#undef SPPO__PEAK

#endif
