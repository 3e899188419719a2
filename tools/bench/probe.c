// How fast the machine is right now: f32 multiply-adds of two threads for 0.15 s, in GFLOP/s.
//
//     cc -O3 -march=native -ffp-contract=fast -pthread probe.c -o probe

#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { THREADS = 2, LANES = 256, ROUND = 4096 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct {
    pthread_t thread;
    double flops, seconds;
    float sum;
} worker;

static void *work(void *context) {
    worker *w = context;
    float x[LANES];
    for (int i = 0; i < LANES; i++) x[i] = 1.0f + (float)i;
    double begin = now();
    do {
        for (int r = 0; r < ROUND; r++)
            for (int i = 0; i < LANES; i++) x[i] = x[i] * 0.999f + 0.5f;
        w->flops += 2.0 * ROUND * LANES;
        w->seconds = now() - begin;
    } while (w->seconds < 0.15);
    for (int i = 0; i < LANES; i++) w->sum += x[i];
    return NULL;
}

int main(void) {
    worker workers[THREADS] = {0};
    double rate = 0, sum = 0;
    for (int t = 0; t < THREADS; t++) pthread_create(&workers[t].thread, NULL, work, &workers[t]);
    for (int t = 0; t < THREADS; t++) {
        pthread_join(workers[t].thread, NULL);
        rate += workers[t].flops / workers[t].seconds;
        sum += workers[t].sum;
    }
    printf("%.2f %g\n", rate / 1e9, sum);
    return 0;
}
