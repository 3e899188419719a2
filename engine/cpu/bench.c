/* bench.c - measures what this machine can do with a number of threads, by the loops of peak.c:
 * what `sppo bench` compares the kernels with. */

#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/peak.h"

enum { MAX_THREADS = 256, REGIONS = 1000 };

typedef struct loops {
    const char *name;
    sppo__peak_fma *fma;
    sppo__peak_dot *dot;
    sppo__peak_read *read;
} loops;

#define LOOPS(isa) \
    { #isa, sppo_cpu_peak_fma_##isa, sppo_cpu_peak_dot_##isa, sppo_cpu_peak_read_##isa }
static const loops all[] = {LOOPS(avx512vnni), LOOPS(avx512), LOOPS(avx2), LOOPS(plain)};

static const loops *loops_in_use(void) {
    const loops *l = all;
    while (strcmp(l->name, sppo_cpu_name())) l++;
    return l;
}

typedef struct bench {
    double end;  // clock at which to stop
    const loops *loops;
    float *memory, *copy;
    int64_t share;             // floats of one thread, a multiple of 256
    double done[MAX_THREADS];  // operations or bytes
    float result[MAX_THREADS];
} bench;

static void fma_task(void *context, int64_t task, int thread) {
    (void)thread;
    bench *b = context;
    while (sppo_clock() < b->end) b->result[task] += b->loops->fma(20000, 0.5f, &b->done[task]);
}

static void dot_task(void *context, int64_t task, int thread) {
    (void)thread;
    bench *b = context;
    while (sppo_clock() < b->end)
        b->result[task] += (float)b->loops->dot(20000, 0x01020304, &b->done[task]);
}

/* Goes over the thread's share in pieces, and looks at the clock after each. */
static void memory_task(void *context, int64_t task, int thread) {
    (void)thread;
    bench *b = context;
    float *x = b->memory + task * b->share;
    const int64_t most = 1 << 18;
    for (int64_t at = 0; sppo_clock() < b->end; at = at + most < b->share ? at + most : 0) {
        int64_t count = b->share - at < most ? b->share - at : most;
        if (b->copy) memcpy(b->copy + task * b->share + at, x + at, (size_t)count * sizeof *x);
        else b->result[task] += b->loops->read(x + at, count);
        b->done[task] += (double)count * sizeof *x;
    }
}

static void no_task(void *context, int64_t task, int thread) {
    (void)context;
    (void)task;
    (void)thread;
}

/* Runs one task a thread for `seconds`; what was done in a second, in units of 1e9. */
static double measure(bench *b, sppo__task task, int threads, double seconds) {
    int before = sppo_threads();
    if (threads < 1 || sppo_threads_set(threads)) return 0;
    b->loops = loops_in_use();
    double start = sppo_clock(), done = 0;
    b->end = start + seconds;
    sppo__parallel(threads, task, b);
    double elapsed = sppo_clock() - start;
    for (int i = 0; i < threads; i++) done += b->done[i];
    sppo_threads_set(before);
    return done / elapsed * 1e-9;
}

double sppo_bench_fma(int threads, double seconds) {
    bench b = {0};
    return measure(&b, fma_task, threads, seconds);
}

double sppo_bench_dot(int threads, double seconds) {
    bench b = {0};
    return measure(&b, dot_task, threads, seconds);
}

/* Memory for a bench, touched; 0 shares if there is none. */
static float *touched(bench *b, int threads, int64_t bytes) {
    b->share = threads > 0 ? bytes / 1024 / threads * 256 : 0;
    if (b->share <= 0) return NULL;
    size_t size = (size_t)b->share * (size_t)threads * sizeof(float);
    float *memory = aligned_alloc(1024, size);
    if (memory) memset(memory, 0, size);
    return memory;
}

double sppo_bench_read(int threads, int64_t bytes, double seconds) {
    bench b = {0};
    b.memory = touched(&b, threads, bytes);
    double rate = b.memory ? measure(&b, memory_task, threads, seconds) : 0;
    free(b.memory);
    return rate;
}

double sppo_bench_copy(int threads, int64_t bytes, double seconds) {
    bench b = {0};
    b.memory = touched(&b, threads, bytes);
    b.copy = touched(&b, threads, bytes);
    double rate = b.memory && b.copy ? measure(&b, memory_task, threads, seconds) : 0;
    free(b.memory);
    free(b.copy);
    return rate;
}

void sppo_bench_fresh_copy(int64_t bytes) {
    const int64_t piece = 1 << 22;
    char *from = calloc(1, (size_t)piece), *to = malloc((size_t)(bytes > 0 ? bytes : 1));
    for (int64_t at = 0; from && to && at < bytes; at += piece)
        memcpy(to + at, from, (size_t)(bytes - at < piece ? bytes - at : piece));
    free(from);
    free(to);
}

double sppo_bench_region(int threads, double seconds) {
    int before = sppo_threads();
    if (threads < 1 || sppo_threads_set(threads)) return 0;
    double start = sppo_clock(), taken = 0;
    int64_t count = 0;
    while (taken < seconds) {
        for (int i = 0; i < REGIONS; i++) sppo__parallel(threads, no_task, NULL);
        count += REGIONS;
        taken = sppo_clock() - start;
    }
    sppo_threads_set(before);
    return taken / (double)count;
}
