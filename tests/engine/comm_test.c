/* comm_test.c - collective calls between the processes that mpirun started; run without it, one
 * process. `comm_test die` is a process that leaves the others waiting: they must end too. */

#include "check.h"

#include <stdio.h>
#include <unistd.h>

/* Values whose sum depends on the order it is made in. */
static float value(int rank, int64_t i) {
    uint64_t seed = (uint64_t)(i * 64 + rank) + 1;
    next_number(&seed);
    return next_number(&seed) * (float)(1 << (rank * 5 % 20));
}

/* The sum of element i in the order of ranks. */
static float sum_of(int64_t i) {
    float sum = value(0, i);
    for (int p = 1; p < sppo_comm_size(); p++) sum += value(p, i);
    return sum;
}

/* Below, at and above a share's and a chunk's edges: shares of no value, chunks of 2^18 floats. */
static const int64_t counts[] = {0, 1, 2, 3, 7, 1000, 262144, 524287, 524289, 1700001};

static void sums(void **state) {
    (void)state;
    int me = sppo_comm_rank();
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        int64_t n = counts[c];
        float *x = malloc((size_t)(n + 1) * sizeof *x);
        for (int64_t i = 0; i < n; i++) x[i] = value(me, i);
        x[n] = 77;
        OK(sppo_comm_reduce_scatter(x, n));
        int64_t begin = sppo_comm_share(n, me), end = sppo_comm_share(n, me + 1);
        for (int64_t i = 0; i < n; i++) {
            float want = i >= begin && i < end ? sum_of(i) : value(me, i);
            if (x[i] != want) fail_msg("%lld of %lld", (long long)i, (long long)n);
        }
        OK(sppo_comm_all_gather(x, n));
        for (int64_t i = 0; i < n; i++) {
            if (x[i] != sum_of(i)) fail_msg("%lld of %lld", (long long)i, (long long)n);
        }
        for (int64_t i = 0; i < n; i++) x[i] = value(me, i);
        OK(sppo_comm_all_reduce(x, n));
        for (int64_t i = 0; i < n; i++) {
            if (x[i] != sum_of(i)) fail_msg("%lld of %lld", (long long)i, (long long)n);
        }
        assert_true(x[n] == 77);
        free(x);
    }
}

static void shares(void **state) {
    (void)state;
    int size = sppo_comm_size();
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        assert_int_equal(sppo_comm_share(counts[c], 0), 0);
        assert_int_equal(sppo_comm_share(counts[c], size), counts[c]);
        for (int p = 0; p < size; p++) {
            int64_t n = sppo_comm_share(counts[c], p + 1) - sppo_comm_share(counts[c], p);
            assert_true(n == counts[c] / size || n == counts[c] / size + 1);
        }
    }
}

static void from_each(void **state) {
    (void)state;
    enum { BYTES = (1 << 20) + 5 };
    unsigned char *x = malloc(BYTES);
    for (int root = 0; root < sppo_comm_size(); root++) {
        for (int i = 0; i < BYTES; i++) x[i] = (unsigned char)(i * 7 + sppo_comm_rank());
        OK(sppo_comm_broadcast(x, BYTES, root));
        for (int i = 0; i < BYTES; i++) assert_int_equal(x[i], (unsigned char)(i * 7 + root));
    }
    free(x);
    assert_int_equal(sppo_comm_broadcast(NULL, 0, sppo_comm_size()), SPPO_ERR_ARGUMENT);
    assert_int_equal(sppo_comm_broadcast(NULL, 0, -1), SPPO_ERR_ARGUMENT);
}

/* Tensors to each process, and from each to each other; the others keep what they have. */
static void tensors(void **state) {
    (void)state;
    int me = sppo_comm_rank(), size = sppo_comm_size();
    const int64_t shapes[][2] = {{0, 5}, {1, 1}, {3, 262145}};
    for (size_t c = 0; c < 3; c++) {
        sppo_tensor *t;
        OK(sppo_tensor_new(&t, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 2, shapes[c]));
        float *x = sppo_tensor_data(t);
        int64_t n = shapes[c][0] * shapes[c][1];
        for (int root = 0; root < size; root++) {
            for (int64_t i = 0; i < n; i++) x[i] = value(me, i);
            OK(sppo_comm_reduce(t, root));
            for (int64_t i = 0; i < n; i++) {
                if (x[i] != (me == root ? sum_of(i) : value(me, i)))
                    fail_msg("reduce: %lld", (long long)i);
            }
            OK(sppo_comm_share_tensor(t, root));
            for (int64_t i = 0; i < n; i++) {
                if (x[i] != sum_of(i)) fail_msg("share: %lld", (long long)i);
            }
            int to = (root + 1) % size;
            for (int64_t i = 0; i < n; i++) x[i] = value(me, i);
            OK(sppo_comm_move(t, root, to));
            for (int64_t i = 0; i < n; i++) {
                if (x[i] != value(me == to ? root : me, i)) fail_msg("move: %lld", (long long)i);
            }
        }
        sppo_tensor_release(t);
    }
}

static void refused(void **state) {
    (void)state;
    const int64_t shape[] = {2};
    sppo_tensor *t, *ids;
    OK(sppo_tensor_new(&t, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 1, shape));
    OK(sppo_tensor_new(&ids, SPPO_DTYPE_I32, SPPO_DEVICE_CPU, 1, shape));
    assert_int_equal(sppo_comm_reduce(t, sppo_comm_size()), SPPO_ERR_ARGUMENT);
    assert_int_equal(sppo_comm_share_tensor(t, -1), SPPO_ERR_ARGUMENT);
    assert_int_equal(sppo_comm_move(t, 0, sppo_comm_size()), SPPO_ERR_ARGUMENT);
    assert_int_equal(sppo_comm_reduce(ids, 0), SPPO_ERR_DTYPE);
    sppo_tensor_release(t);
    sppo_tensor_release(ids);
}

/* None leaves the barrier before the last one, who is late, has come. */
static void together(void **state) {
    (void)state;
    OK(sppo_comm_barrier());
    double begin = sppo_clock();
    if (sppo_comm_rank() == sppo_comm_size() - 1) usleep(200000);
    OK(sppo_comm_barrier());
    assert_true(sppo_comm_size() == 1 || sppo_clock() - begin > 0.1);
}

static void traffic(void **state) {
    (void)state;
    float x[10] = {0};
    int64_t before = sppo_comm_bytes(), me = sppo_comm_rank();
    OK(sppo_comm_reduce_scatter(x, 10));
    int64_t mine = sppo_comm_share(10, (int)me + 1) - sppo_comm_share(10, (int)me);
    assert_int_equal(sppo_comm_bytes() - before, 4 * (10 - mine));  // all but its own share
}

int main(int argc, char **argv) {
    if (sppo_comm_start()) {
        fprintf(stderr, "comm_test: %s\n", sppo_last_error());
        return 2;
    }
    if (argc > 1 && !strcmp(argv[1], "die")) {
        if (sppo_comm_rank() == sppo_comm_size() - 1) abort();
        if (sppo_comm_barrier()) return 3;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares),  cmocka_unit_test(sums),    cmocka_unit_test(from_each),
        cmocka_unit_test(tensors), cmocka_unit_test(refused), cmocka_unit_test(together),
        cmocka_unit_test(traffic),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sppo_comm_end(failed);
    return failed;
}
