/* matmul_test.c - linear, token_logprob, casts and panels against plain loops in double precision,
 * with every instruction set; the same bits whatever the threads and the batch. */

#include "check.h"

#include "ops/op.h"

static const int64_t sizes_N[] = {1, 63, 64, 65, 200}, sizes_K[] = {1, 7, 32, 576},
                     sizes_M[] = {0, 1, 2, 5, 6, 7, 64, 257};
#define COUNT(a) (int)(sizeof(a) / sizeof((a)[0]))

static const sppo_dtype weight_dtypes[] = {SPPO_DTYPE_F32, SPPO_DTYPE_BF16, SPPO_DTYPE_Q8_0};

/* A weight in panels, and the values that it really holds. */
static sppo_tensor *weight(int64_t N, int64_t K, sppo_dtype dtype, uint64_t seed,
                           sppo_tensor **held) {
    sppo_tensor *rows = matrix(N, K, seed), *panels;
    OK(sppo_pack(&panels, rows, dtype));
    OK(sppo_unpack(held, panels));
    sppo_tensor_release(rows);
    return panels;
}

/* x as the product sees it: with q8_0 weights its blocks of 32 are rounded to 8 bits too (q8.h). */
static sppo_tensor *seen(sppo_tensor *x, int64_t M, int64_t K, sppo_dtype dtype) {
    sppo_tensor *y;
    OK(sppo_tensor_new(&y, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 2, (int64_t[]){M, K}));
    OK(sppo_tensor_copy(y, x));
    for (int64_t b = 0; dtype == SPPO_DTYPE_Q8_0 && b < M * K; b += 32) {
        float *v = (float *)sppo_tensor_data(y) + b, largest = 0;
        for (int i = 0; i < 32; i++) largest = fmaxf(largest, fabsf(v[i]));
        float scale = largest / 127, inverse = scale > 0 ? 1 / scale : 0;
        for (int i = 0; i < 32; i++) v[i] = rintf(v[i] * inverse) * scale;
    }
    return y;
}

static void compare_linear(int64_t M, int64_t N, int64_t K, sppo_dtype dtype) {
    sppo_tensor *x = matrix(M, K, 1), *held, *w = weight(N, K, dtype, 2, &held), *y;
    sppo_tensor *rows = seen(x, M, K, dtype);
    OK(sppo_linear(&y, x, &w, 1));
    assert_int_equal(sppo_tensor_size(y, 0), M);
    assert_int_equal(sppo_tensor_size(y, 1), N);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < K; k++) {
                double p = (double)values(rows)[m * K + k] * (double)values(held)[n * K + k];
                sum += p;
                size += fabs(p);
            }
            check_near((double)values(y)[m * N + n], sum, 2e-6 * size, __LINE__);
        }
    }
    sppo_tensor_release(x);
    sppo_tensor_release(rows);
    sppo_tensor_release(held);
    sppo_tensor_release(w);
    sppo_tensor_release(y);
}

static void linear_body(void) {
    for (int d = 0; d < 3; d++)
        for (int n = 0; n < COUNT(sizes_N); n++)
            for (int k = 0; k < COUNT(sizes_K); k++)
                for (int m = 0; m < COUNT(sizes_M); m++)
                    if (weight_dtypes[d] != SPPO_DTYPE_Q8_0 || sizes_K[k] % 32 == 0)
                        compare_linear(sizes_M[m], sizes_N[n], sizes_K[k], weight_dtypes[d]);
    compare_linear(9, 70, 1536, SPPO_DTYPE_F32);  // more than one part of K
    compare_linear(40, 70, 1536, SPPO_DTYPE_BF16);
    compare_linear(40, 70, 1536, SPPO_DTYPE_Q8_0);
}

static void linear_matches(void **state) {
    (void)state;
    each_cpu(linear_body);
}

/* Rows of a batch, the same rows one at a time, several weights at once, 1 to 3 threads. */
static void linear_bits_body(void) {
    enum { M = 257, K = 1536 };
    const int64_t N[] = {200, 64, 1};
    for (int d = 0; d < 3; d++) {
        sppo_tensor *x = matrix(M, K, 3), *w[3], *all[3], *again[3], *held;
        for (int i = 0; i < 3; i++) {
            w[i] = weight(N[i], K, weight_dtypes[d], 4 + (uint64_t)i, &held);
            sppo_tensor_release(held);
        }
        OK(sppo_threads_set(1));
        OK(sppo_linear(all, x, w, 3));
        for (int threads = 2; threads <= 3; threads++) {
            OK(sppo_threads_set(threads));
            OK(sppo_linear(again, x, w, 3));
            for (int i = 0; i < 3; i++) {
                same_bytes(all[i], again[i]);
                sppo_tensor_release(again[i]);
            }
        }
        for (int64_t m = 0; m < M; m += 8) {
            sppo_tensor *row, *y;
            OK(sppo_narrow(&row, x, 0, m, m % 16 ? 1 : 7 < M - m ? 7 : 1));
            OK(sppo_linear(&y, row, &w[0], 1));
            assert_memory_equal(values(y), values(all[0]) + m * N[0], (size_t)N[0] * 4);
            sppo_tensor_release(row);
            sppo_tensor_release(y);
        }
        for (int i = 0; i < 3; i++) {
            sppo_tensor_release(w[i]);
            sppo_tensor_release(all[i]);
        }
        sppo_tensor_release(x);
    }
    OK(sppo_threads_set(0));
}

static void linear_bits(void **state) {
    (void)state;
    each_cpu(linear_bits_body);
}

/* sum += dy^T x or dy W, in double. */
static double product(const float *a, int64_t stride_a, const float *b, int64_t stride_b,
                      int64_t count, double *size) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double p = (double)a[i * stride_a] * (double)b[i * stride_b];
        sum += p;
        *size += fabs(p);
    }
    return sum;
}

/* Two weights, or one without a gradient of its output; gradients are added to what is there. */
static void compare_backward(int64_t M, int64_t N, int64_t K, sppo_dtype dtype) {
    sppo_tensor *x = matrix(M, K, 11), *held[2], *w[2], *dy[2], *dx = matrix(M, K, 12), *dw[2];
    sppo_tensor *dx_before = matrix(M, K, 12), *start[2], *rows[2];
    const int64_t sizes[2] = {N, 65};
    for (int i = 0; i < 2; i++) {
        w[i] = weight(sizes[i], K, dtype, 13 + (uint64_t)i, &held[i]);
        dy[i] = matrix(M, sizes[i], 15 + (uint64_t)i);
        start[i] = matrix(sizes[i], K, 17 + (uint64_t)i);
        OK(sppo_pack(&dw[i], start[i], SPPO_DTYPE_F32));
    }
    sppo__call c = {.op = SPPO_OP_LINEAR_BACKWARD,
                    .n_in = 9,
                    .n_out = 5,
                    .in = {x, w[0], w[1], NULL, NULL, dy[0], dy[1]},
                    .out = {dx, dw[0], dw[1]}};
    OK(sppo__run(&c));
    for (int i = 0; i < 2; i++) OK(sppo_unpack(&rows[i], dw[i]));
    for (int64_t m = 0; m < M; m++) {
        for (int64_t k = 0; k < K; k++) {
            double size = 1, sum = (double)values(dx_before)[m * K + k];
            for (int i = 0; i < 2; i++)
                sum += product(values(dy[i]) + m * sizes[i], 1, values(held[i]) + k, K, sizes[i],
                               &size);
            check_near((double)values(dx)[m * K + k], sum, 3e-6 * size, __LINE__);
        }
    }
    for (int i = 0; i < 2; i++) {
        for (int64_t n = 0; n < sizes[i]; n++) {
            for (int64_t k = 0; k < K; k++) {
                double size = 1, sum = (double)values(start[i])[n * K + k];
                sum += product(values(dy[i]) + n, sizes[i], values(x) + k, K, M, &size);
                check_near((double)values(rows[i])[n * K + k], sum, 3e-6 * size, __LINE__);
            }
        }
        sppo_tensor_release(w[i]);
        sppo_tensor_release(held[i]);
        sppo_tensor_release(dy[i]);
        sppo_tensor_release(dw[i]);
        sppo_tensor_release(start[i]);
        sppo_tensor_release(rows[i]);
    }
    sppo_tensor_release(x);
    sppo_tensor_release(dx);
    sppo_tensor_release(dx_before);
}

static void backward_body(void) {
    const int64_t M[] = {0, 1, 6, 7, 257}, N[] = {1, 63, 200}, K[] = {1, 32, 100};
    for (int m = 0; m < COUNT(M); m++)
        for (int n = 0; n < COUNT(N); n++)
            for (int k = 0; k < COUNT(K); k++) compare_backward(M[m], N[n], K[k], SPPO_DTYPE_F32);
    compare_backward(50, 300, 96, SPPO_DTYPE_BF16);
    compare_backward(50, 300, 96, SPPO_DTYPE_Q8_0);
}

static void backward_matches(void **state) {
    (void)state;
    each_cpu(backward_body);
}

/* One gradient wanted, the other not; the same bits for any number of threads. */
static void backward_bits_body(void) {
    enum { M = 900, N = 200, K = 576 };
    sppo_tensor *x = matrix(M, K, 21), *dy = matrix(M, N, 22), *held;
    sppo_tensor *w = weight(N, K, SPPO_DTYPE_F32, 23, &held), *dx[4], *dw[4];
    for (int i = 0; i < 4; i++) {
        dx[i] = matrix(M, K, 24);
        OK(sppo_pack(&dw[i], held, SPPO_DTYPE_F32));
        sppo__call c = {.op = SPPO_OP_LINEAR_BACKWARD,
                        .n_in = 9,
                        .n_out = 5,
                        .in = {x, w, NULL, NULL, NULL, dy},
                        .out = {dx[i], dw[i]}};
        OK(sppo_threads_set(i < 3 ? i + 1 : 2));
        if (i == 3) c.out[0] = NULL;
        OK(sppo__run(&c));
        if (i == 3) {
            c.out[0] = dx[i];
            c.out[1] = NULL;
            OK(sppo__run(&c));
        }
        same_bytes(dx[0], dx[i]);
        same_bytes(dw[0], dw[i]);
    }
    for (int i = 0; i < 4; i++) {
        sppo_tensor_release(dx[i]);
        sppo_tensor_release(dw[i]);
    }
    sppo_tensor_release(x);
    sppo_tensor_release(dy);
    sppo_tensor_release(w);
    sppo_tensor_release(held);
    OK(sppo_threads_set(0));
}

static void backward_bits(void **state) {
    (void)state;
    each_cpu(backward_bits_body);
}

/* ---- token_logprob ---- */

static sppo_tensor *targets(int64_t n, int64_t V) {
    sppo_tensor *t;
    OK(sppo_tensor_new(&t, SPPO_DTYPE_I32, SPPO_DEVICE_CPU, 1, &n));
    int32_t *id = sppo_tensor_data(t);
    const int64_t ends[] = {V - 1, 0, 1023 % V, 1024 % V};  // of the vocabulary and of a chunk
    for (int64_t i = 0; i < n; i++) id[i] = (int32_t)(i < 4 ? ends[i] : i * 7919 % V);
    return t;
}

static double row_logprob(const double *hidden, const double *weights, int64_t D, int64_t V,
                          int64_t target) {
    double maximum = -INFINITY, sum = 0, picked = 0;
    double *logit = malloc(sizeof *logit * (size_t)V);
    assert_non_null(logit);
    for (int64_t v = 0; v < V; v++) {
        logit[v] = 0;
        for (int64_t d = 0; d < D; d++) logit[v] += hidden[d] * weights[v * D + d];
        if (logit[v] > maximum) maximum = logit[v];
    }
    for (int64_t v = 0; v < V; v++) sum += exp(logit[v] - maximum);
    picked = logit[target] - maximum - log(sum);
    free(logit);
    return picked;
}

static double *doubles(sppo_tensor *t) {
    double *d = malloc(sizeof *d * (size_t)(sppo_tensor_count(t) + 1));
    assert_non_null(d);
    for (int64_t i = 0; i < sppo_tensor_count(t); i++) d[i] = (double)values(t)[i];
    return d;
}

static void compare_logprob(int64_t n, int64_t D, int64_t V, sppo_dtype dtype) {
    sppo_tensor *hidden = matrix(n, D, 31), *held, *w = weight(V, D, dtype, 32, &held);
    sppo_tensor *target = targets(n, V), *out;
    OK(sppo_token_logprob(&out, hidden, w, target, 0));
    sppo_tensor *rows = seen(hidden, n, D, dtype);
    double *h = doubles(rows), *wd = doubles(held);
    const int32_t *id = sppo_tensor_data(target);
    for (int64_t i = 0; i < n; i++)
        check_near((double)values(out)[i], row_logprob(h + i * D, wd, D, V, id[i]), 2e-5, __LINE__);
    free(h);
    free(wd);
    sppo_tensor_release(rows);
    sppo_tensor_release(hidden);
    sppo_tensor_release(held);
    sppo_tensor_release(w);
    sppo_tensor_release(target);
    sppo_tensor_release(out);
}

static void logprob_body(void) {
    compare_logprob(0, 8, 100, SPPO_DTYPE_F32);
    compare_logprob(1, 1, 1, SPPO_DTYPE_F32);
    compare_logprob(7, 7, 63, SPPO_DTYPE_F32);
    compare_logprob(100, 32, 1024, SPPO_DTYPE_BF16);
    compare_logprob(5, 64, 3001, SPPO_DTYPE_F32);
    compare_logprob(101, 64, 3001, SPPO_DTYPE_Q8_0);
}

static void logprob_matches(void **state) {
    (void)state;
    each_cpu(logprob_body);
}

static void logprob_bits_body(void) {
    enum { n = 150, D = 96, V = 5000 };
    sppo_tensor *hidden = matrix(n, D, 33), *held, *w = weight(V, D, SPPO_DTYPE_BF16, 34, &held);
    sppo_tensor *target = targets(n, V), *out, *again;
    OK(sppo_threads_set(1));
    OK(sppo_token_logprob(&out, hidden, w, target, 0));
    for (int threads = 2; threads <= 3; threads++) {
        OK(sppo_threads_set(threads));
        OK(sppo_token_logprob(&again, hidden, w, target, 0));
        same_bytes(out, again);
        sppo_tensor_release(again);
    }
    for (int64_t i = 0; i < n; i += 13) {
        sppo_tensor *row, *id;
        OK(sppo_narrow(&row, hidden, 0, i, 1));
        OK(sppo_narrow(&id, target, 0, i, 1));
        OK(sppo_token_logprob(&again, row, w, id, 0));
        assert_memory_equal(values(again), values(out) + i, 4);
        sppo_tensor_release(again);
        sppo_tensor_release(row);
        sppo_tensor_release(id);
    }
    sppo_tensor_release(hidden);
    sppo_tensor_release(held);
    sppo_tensor_release(w);
    sppo_tensor_release(target);
    sppo_tensor_release(out);
    OK(sppo_threads_set(0));
}

static void logprob_bits(void **state) {
    (void)state;
    each_cpu(logprob_bits_body);
}

/* Calls the backward kernel as the tape would. */
static void logprob_backward(sppo_tensor *hidden, sppo_tensor *w, sppo_tensor *target,
                             sppo_tensor *dout, sppo_tensor *dhidden, sppo_tensor *dw) {
    int64_t n = sppo_tensor_size(hidden, 0);
    sppo_tensor *out = numbers(1, &n, 0), *lse = numbers(1, &n, 0);
    sppo__call fwd = {.op = SPPO_OP_TOKEN_LOGPROB,
                      .in = {hidden, w, target},
                      .n_in = 3,
                      .out = {out, lse},
                      .n_out = 2};
    OK(sppo__run(&fwd));
    sppo__call c = {.op = SPPO_OP_TOKEN_LOGPROB_BACKWARD,
                    .in = {hidden, w, target, lse, dout},
                    .n_in = 5,
                    .out = {dhidden, dw},
                    .n_out = 2};
    OK(sppo__run(&c));
    sppo_tensor_release(out);
    sppo_tensor_release(lse);
}

/* Central differences in double of sum dout[i] * logprob[i]. */
static double difference(double *x, const double *h, const double *w, int64_t n, int64_t D,
                         int64_t V, const int32_t *id, const float *dout) {
    double keep = *x, side[2];
    for (int s = 0; s < 2; s++) {
        *x = keep + (s ? 1e-5 : -1e-5);
        side[s] = 0;
        for (int64_t i = 0; i < n; i++)
            side[s] += (double)dout[i] * row_logprob(h + i * D, w, D, V, id[i]);
    }
    *x = keep;
    return (side[1] - side[0]) / 2e-5;
}

static void logprob_gradient_body(void) {
    enum { n = 5, D = 7, V = 1100 };
    int64_t rows = n;
    sppo_tensor *hidden = matrix(n, D, 41), *held, *w = weight(V, D, SPPO_DTYPE_F32, 42, &held);
    sppo_tensor *target = targets(n, V), *dout = numbers(1, &rows, 43), *dhidden = matrix(n, D, 44);
    sppo_tensor *before = matrix(n, D, 44), *dw, *dw_rows;
    OK(sppo_pack(&dw, held, SPPO_DTYPE_F32));  // gradients are added
    logprob_backward(hidden, w, target, dout, dhidden, dw);
    OK(sppo_unpack(&dw_rows, dw));
    double *h = doubles(hidden), *wd = doubles(held);
    const int32_t *id = sppo_tensor_data(target);
    for (int64_t i = 0; i < n * D; i++)
        check_near((double)values(dhidden)[i] - (double)values(before)[i],
                   difference(h + i, h, wd, n, D, V, id, values(dout)), 1e-5, __LINE__);
    for (int64_t i = 0; i < V * D; i += 131)
        check_near((double)values(dw_rows)[i] - (double)values(held)[i],
                   difference(wd + i, h, wd, n, D, V, id, values(dout)), 1e-5, __LINE__);
    free(h);
    free(wd);
    sppo_tensor_release(hidden);
    sppo_tensor_release(held);
    sppo_tensor_release(w);
    sppo_tensor_release(target);
    sppo_tensor_release(dout);
    sppo_tensor_release(dhidden);
    sppo_tensor_release(before);
    sppo_tensor_release(dw);
    sppo_tensor_release(dw_rows);
}

static void logprob_gradient(void **state) {
    (void)state;
    each_cpu(logprob_gradient_body);
}

static void logprob_gradient_bits(void **state) {
    (void)state;
    enum { n = 4200, D = 64, V = 2100 };  // more than one block of rows, more than one group
    int64_t rows = n;
    sppo_tensor *hidden = matrix(n, D, 45), *held, *w = weight(V, D, SPPO_DTYPE_F32, 46, &held);
    sppo_tensor *target = targets(n, V), *dout = numbers(1, &rows, 47), *dh[3], *dw[3];
    for (int i = 0; i < 3; i++) {
        OK(sppo_threads_set(i + 1));
        dh[i] = matrix(n, D, 48);
        OK(sppo_pack(&dw[i], held, SPPO_DTYPE_F32));
        logprob_backward(hidden, w, target, dout, dh[i], dw[i]);
        same_bytes(dh[0], dh[i]);
        same_bytes(dw[0], dw[i]);
    }
    for (int i = 0; i < 3; i++) {
        sppo_tensor_release(dh[i]);
        sppo_tensor_release(dw[i]);
    }
    sppo_tensor_release(hidden);
    sppo_tensor_release(held);
    sppo_tensor_release(w);
    sppo_tensor_release(target);
    sppo_tensor_release(dout);
    OK(sppo_threads_set(0));
}

/* ---- casts and panels ---- */

static void panels_body(void) {
    for (int n = 0; n < COUNT(sizes_N); n++) {
        for (int k = 0; k < COUNT(sizes_K); k++) {
            for (int d = 0; d < 3; d++) {
                if (weight_dtypes[d] == SPPO_DTYPE_Q8_0 && sizes_K[k] % 32) continue;
                sppo_tensor *rows = matrix(sizes_N[n], sizes_K[k], 51), *cast, *flat, *panels[2];
                sppo_tensor *held[2];
                OK(sppo_cast(&cast, rows, weight_dtypes[d]));
                OK(sppo_cast(&flat, cast, SPPO_DTYPE_F32));
                OK(sppo_pack(&panels[0], rows, weight_dtypes[d]));
                OK(sppo_pack(&panels[1], cast, weight_dtypes[d]));
                same_bytes(panels[0], panels[1]);
                for (int i = 0; i < 2; i++) {
                    OK(sppo_unpack(&held[i], panels[i]));
                    same_bytes(held[i], flat);
                    sppo_tensor_release(held[i]);
                    sppo_tensor_release(panels[i]);
                }
                sppo_tensor_release(rows);
                sppo_tensor_release(cast);
                sppo_tensor_release(flat);
            }
        }
    }
}

static void panels_round_trip(void **state) {
    (void)state;
    each_cpu(panels_body);
}

/* Every f16 and bf16 value survives f32; f32 rounds to the nearest f16, ties to even. */
static void half_body(void) {
    int64_t count = 65536;
    const sppo_dtype dtypes[] = {SPPO_DTYPE_F16, SPPO_DTYPE_BF16};
    for (int d = 0; d < 2; d++) {
        sppo_tensor *half, *wide, *back;
        OK(sppo_tensor_new(&half, dtypes[d], SPPO_DEVICE_CPU, 1, &count));
        uint16_t *h = sppo_tensor_data(half);
        for (int i = 0; i < 65536; i++) h[i] = (uint16_t)i;
        OK(sppo_cast(&wide, half, SPPO_DTYPE_F32));
        OK(sppo_cast(&back, wide, dtypes[d]));
        const uint16_t *b = sppo_tensor_data(back);
        for (int i = 0; i < 65536; i++) {
            if (isnan(values(wide)[i])) assert_true((b[i] & 0x7fff) > (d ? 0x7f80 : 0x7c00));
            else assert_int_equal(b[i], h[i]);
        }
        sppo_tensor_release(half);
        sppo_tensor_release(wide);
        sppo_tensor_release(back);
    }
    const float from[] = {1,        -2,         65504,    65519,        65520,          0x1p-24f,
                          0x1p-25f, 0x1.8p-25f, 0x1p-14f, 1 + 0x1p-11f, 1 + 0x1.8p-10f, INFINITY};
    const uint16_t to[] = {0x3c00, 0xc000, 0x7bff, 0x7bff, 0x7c00, 1,
                           0,      1,      0x0400, 0x3c00, 0x3c02, 0x7c00};
    count = COUNT(from);
    sppo_tensor *x = numbers(1, &count, 0), *y;
    OK(sppo_tensor_write(x, from, sizeof from));
    OK(sppo_cast(&y, x, SPPO_DTYPE_F16));
    assert_memory_equal(sppo_tensor_data(y), to, sizeof to);
    sppo_tensor_release(x);
    sppo_tensor_release(y);
}

static void half_precision(void **state) {
    (void)state;
    each_cpu(half_body);
}

static void q8_body(void) {
    int64_t count = 64;
    sppo_tensor *x = numbers(1, &count, 52), *q, *back;
    float *v = sppo_tensor_data(x);
    for (int i = 0; i < 32; i++) v[i] = (float)(i - 16) * 0.25f;
    v[0] = -127 * 0.25f;
    OK(sppo_cast(&q, x, SPPO_DTYPE_Q8_0));
    assert_int_equal(sppo_tensor_bytes(q), 68);
    const int8_t *block = sppo_tensor_data(q);
    uint16_t d;
    memcpy(&d, block, 2);
    assert_int_equal(d, 0x3400);  // 0.25
    assert_int_equal(block[2], -127);
    assert_int_equal(block[2 + 31], 15);
    OK(sppo_cast(&back, q, SPPO_DTYPE_F32));
    for (int i = 0; i < 32; i++) assert_true(values(back)[i] == v[i]);
    for (int i = 32; i < 64; i++)
        check_near((double)values(back)[i], (double)v[i], 1.0 / 127 * 0.51, __LINE__);
    sppo_tensor_release(q);
    sppo_tensor_release(back);
    for (int bad = 0; bad < 2; bad++) {  // what is not finite stays so
        v[40] = bad ? NAN : INFINITY;
        OK(sppo_cast(&q, x, SPPO_DTYPE_Q8_0));
        OK(sppo_cast(&back, q, SPPO_DTYPE_F32));
        assert_false(isfinite(values(back)[40]));
        assert_true(isfinite(values(back)[0]));
        sppo_tensor_release(q);
        sppo_tensor_release(back);
    }
    sppo_tensor_release(x);
}

static void q8_blocks(void **state) {
    (void)state;
    each_cpu(q8_body);
}

static void copies(void **state) {
    (void)state;
    const int64_t shape[] = {3, 70, 5};
    sppo_tensor *x = numbers(3, shape, 53), *turned, *part, *flat, *half, *half_turned;
    OK(sppo_transpose(&turned, x, 0, 1));
    OK(sppo_narrow(&part, turned, 2, 1, 3));
    OK(sppo_contiguous(&flat, part));
    for (int i = 0; i < 70; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 3; k++)
                assert_true(values(flat)[(i * 3 + j) * 3 + k] ==
                            values(x)[(j * 70 + i) * 5 + k + 1]);
    sppo_tensor_release(flat);
    OK(sppo_cast(&half, x, SPPO_DTYPE_F16));
    OK(sppo_transpose(&half_turned, half, 1, 2));
    OK(sppo_contiguous(&flat, half_turned));
    const uint16_t *h = sppo_tensor_data(half), *f = sppo_tensor_data(flat);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 70; j++)
            for (int k = 0; k < 5; k++)
                assert_int_equal(f[(i * 5 + k) * 70 + j], h[(i * 70 + j) * 5 + k]);
    sppo_tensor_release(flat);
    sppo_tensor_release(half_turned);
    sppo_tensor_release(half);
    sppo_tensor_release(part);
    sppo_tensor_release(turned);
    sppo_tensor_release(x);
}

/* ---- what is refused ---- */

static void fails(sppo_status st, sppo_status want, const char *text) {
    assert_int_equal(st, want);
    assert_string_equal(sppo_last_error(), text);
}

static void refused(void **state) {
    (void)state;
    sppo_tensor *x = matrix(4, 8, 1), *rows = matrix(3, 7, 2), *w, *out = NULL,
                *ids = targets(4, 9);
    sppo_tensor *cube = numbers(3, (int64_t[]){2, 2, 2}, 3);
    OK(sppo_pack(&w, rows, SPPO_DTYPE_F32));
    fails(sppo_linear(&out, x, &w, 1), SPPO_ERR_SHAPE,
          "linear: inner sizes differ: [4, 8] x [3, 7]");
    fails(sppo_linear(&out, x, &rows, 1), SPPO_ERR_DTYPE,
          "linear: weight is in rows, it must be in panels");
    fails(sppo_linear(&out, x, &w, 5), SPPO_ERR_ARGUMENT,
          "linear: number of weights must be in 1..4, got 5");
    fails(sppo_linear(&out, ids, &w, 1), SPPO_ERR_DTYPE, "linear: x is i32, it must be f32");
    fails(sppo_pack(&out, cube, SPPO_DTYPE_F32), SPPO_ERR_SHAPE,
          "pack: x is [2, 2, 2], it must have 2 dimensions");
    fails(sppo_pack(&out, rows, SPPO_DTYPE_Q8_0), SPPO_ERR_SHAPE,
          "pack: last size 7 is not a multiple of 32, which q8_0 needs");
    fails(sppo_pack(&out, rows, SPPO_DTYPE_F16), SPPO_ERR_DTYPE,
          "pack: dtype is f16, it must be f32, bf16 or q8_0");
    fails(sppo_unpack(&out, rows), SPPO_ERR_DTYPE, "unpack: x is in rows, it must be in panels");
    fails(sppo_cast(&out, ids, SPPO_DTYPE_F32), SPPO_ERR_DTYPE,
          "cast: x is i32, it must be f32, bf16, f16 or q8_0");
    sppo_tensor_release(w);
    sppo_tensor_release(rows);
    rows = matrix(9, 8, 2);
    OK(sppo_pack(&w, rows, SPPO_DTYPE_F32));
    int32_t *id = sppo_tensor_data(ids);
    id[2] = 9;
    fails(sppo_token_logprob(&out, x, w, ids, 0), SPPO_ERR_ARGUMENT,
          "token_logprob: target[2] is 9, it must be in 0..8");
    fails(sppo_token_logprob(&out, cube, w, ids, 0), SPPO_ERR_SHAPE,
          "token_logprob: hidden is [2, 2, 2], it must have 2 dimensions");
    assert_null(out);
    sppo_tensor_release(w);
    sppo_tensor_release(rows);
    sppo_tensor_release(x);
    sppo_tensor_release(ids);
    sppo_tensor_release(cube);
}

/* Nothing made here is alive any more. */
static int nothing_left(void **state) {
    (void)state;
    return sppo_memory_used(SPPO_DEVICE_CPU) == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_matches),    cmocka_unit_test(linear_bits),
        cmocka_unit_test(backward_matches),  cmocka_unit_test(backward_bits),
        cmocka_unit_test(logprob_matches),   cmocka_unit_test(logprob_bits),
        cmocka_unit_test(logprob_gradient),  cmocka_unit_test(logprob_gradient_bits),
        cmocka_unit_test(panels_round_trip), cmocka_unit_test(half_precision),
        cmocka_unit_test(q8_blocks),         cmocka_unit_test(copies),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, nothing_left);
}
