/* peak.h - the loops that bench.c times, one of each for every instruction set. */

#ifndef SPPO_PEAK_H
#define SPPO_PEAK_H

#include <stdint.h>

/* Runs `rounds` of multiply-adds; adds the FLOPs they were. `seed` and the result keep the compiler
 * from knowing the values. */
typedef float sppo__peak_fma(int64_t rounds, float seed, double *flops);

/* Sum of `count` floats, a multiple of 256. */
typedef float sppo__peak_read(const float *x, int64_t count);

sppo__peak_fma sppo_cpu_peak_fma_avx512vnni, sppo_cpu_peak_fma_avx512, sppo_cpu_peak_fma_avx2,
    sppo_cpu_peak_fma_plain;
sppo__peak_read sppo_cpu_peak_read_avx512vnni, sppo_cpu_peak_read_avx512, sppo_cpu_peak_read_avx2,
    sppo_cpu_peak_read_plain;

#endif
