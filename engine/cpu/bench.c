/* bench.c - measures what this machine can do with a number of threads, by the loops of peak.c:
 * what `sppo bench` compares the kernels with. */

#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/peak.h"

enum { MAX_THREADS = 256 };

typedef struct bench {
    double end;  // clock at which to stop
    sppo__peak_fma *fma;
    sppo__peak_read *read;
    const float *memory;
    int64_t share;             // floats of one thread, a multiple of 256
    double done[MAX_THREADS];  // FLOPs or bytes
    float result[MAX_THREADS];
} bench;

static void fma_task(void *context, int64_t task, int thread) {
    (void)thread;
    bench *b = context;
    while (sppo_clock() < b->end) b->result[task] += b->fma(20000, 0.5f, &b->done[task]);
}

static void read_task(void *context, int64_t task, int thread) {
    (void)thread;
    bench *b = context;
    const float *x = b->memory + task * b->share;
    const int64_t most = 1 << 18;
    for (int64_t at = 0; sppo_clock() < b->end; at = at + most < b->share ? at + most : 0) {
        int64_t count = b->share - at < most ? b->share - at : most;
        b->result[task] += b->read(x + at, count);
        b->done[task] += (double)count * sizeof(float);
    }
}

/* Runs one task a thread for `seconds`; what was done in a second, in units of 1e9. */
static double measure(bench *b, sppo__task task, int threads, double seconds) {
    int before = sppo_threads();
    if (threads < 1 || sppo_threads_set(threads)) return 0;
    double start = sppo_clock(), done = 0;
    b->end = start + seconds;
    sppo__parallel(threads, task, b);
    double elapsed = sppo_clock() - start;
    for (int i = 0; i < threads; i++) done += b->done[i];
    sppo_threads_set(before);
    return done / elapsed * 1e-9;
}

double sppo_bench_fma(int threads, double seconds) {
    bench b = {.fma = sppo_cpu_peak_fma_plain};
    if (!strncmp(sppo_cpu_name(), "avx512", 6)) b.fma = sppo_cpu_peak_fma_avx512;
    if (!strcmp(sppo_cpu_name(), "avx2")) b.fma = sppo_cpu_peak_fma_avx2;
    return measure(&b, fma_task, threads, seconds);
}

double sppo_bench_read(int threads, int64_t bytes, double seconds) {
    bench b = {.read = sppo_cpu_peak_read_plain};
    if (!strncmp(sppo_cpu_name(), "avx512", 6)) b.read = sppo_cpu_peak_read_avx512;
    if (!strcmp(sppo_cpu_name(), "avx2")) b.read = sppo_cpu_peak_read_avx2;
    b.share = threads > 0 ? bytes / 1024 / threads * 256 : 0;
    if (b.share <= 0) return 0;
    size_t size = (size_t)b.share * (size_t)threads * sizeof(float);
    float *memory = aligned_alloc(1024, size);
    if (!memory) return 0;
    memset(memory, 0, size);
    b.memory = memory;
    double rate = measure(&b, read_task, threads, seconds);
    free(memory);
    return rate;
}
