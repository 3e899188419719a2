/* check.h - what the C tests of tensor code share: numbers, tensors, and a loop over the
 * instruction sets of this processor. */

#ifndef SPPO_TEST_CHECK_H
#define SPPO_TEST_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sppo.h"

#define OK(call) check_status(call, #call, __LINE__)

static inline void check_status(sppo_status st, const char *text, int line) {
    if (st) fail_msg("line %d: %s: %s", line, text, sppo_last_error());
}

static inline void check_near(double got, double want, double tolerance, int line) {
    if (!(fabs(got - want) <= tolerance))
        fail_msg("line %d: %.9g, expected %.9g within %.3g", line, got, want, tolerance);
}

/* Evenly spread in [-1, 1), the same on every machine. */
static inline float next_number(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(*state >> 32) / 2147483648.0f;
}

/* An f32 tensor of rows of such numbers; the caller owns it. */
static inline sppo_tensor *numbers(int ndim, const int64_t *shape, uint64_t seed) {
    sppo_tensor *t;
    OK(sppo_tensor_new(&t, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, ndim, shape));
    float *x = sppo_tensor_data(t);
    for (int64_t i = 0; i < sppo_tensor_count(t); i++) x[i] = next_number(&seed);
    return t;
}

static inline sppo_tensor *matrix(int64_t rows, int64_t columns, uint64_t seed) {
    return numbers(2, (int64_t[]){rows, columns}, seed);
}

static inline const float *values(sppo_tensor *t) {
    return sppo_tensor_data(t);
}

static inline void same_bytes(sppo_tensor *a, sppo_tensor *b) {
    assert_int_equal(sppo_tensor_bytes(a), sppo_tensor_bytes(b));
    assert_memory_equal(sppo_tensor_data(a), sppo_tensor_data(b), (size_t)sppo_tensor_bytes(a));
}

/* Runs `body` with each instruction set that this processor has; the best one stays in use. */
static inline void each_cpu(void (*body)(void)) {
    static const char *const names[] = {"plain", "avx2", "avx512", "avx512vnni"};
    for (int i = 0; i < 3; i++) {
        sppo_status st = sppo_cpu_use(names[i]);
        if (st == SPPO_ERR_DEVICE) {
            print_message("skipped: %s\n", sppo_last_error());
            continue;
        }
        OK(st);
        body();
    }
}

#endif
