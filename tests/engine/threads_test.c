/* threads_test.c - the thread pool: every task once, changing the number of threads, nested
 * regions, scratch memory. Meant to be run under ThreadSanitizer too. */

#include "check.h"

#include "cpu/cpu.h"

enum { TASKS = 1000 };

typedef struct tally {
    int64_t count[TASKS];  // one place a task, so plain memory is enough
    int64_t result[TASKS];
    int bad_thread;
} tally;

static void count_task(void *context, int64_t task, int thread) {
    tally *t = context;
    t->count[task]++;
    t->result[task] = task * 3 + 1;
    if (thread < 0 || thread >= sppo_threads()) t->bad_thread = 1;
}

static void check_tally(const tally *t, int64_t tasks, int64_t rounds) {
    for (int64_t i = 0; i < TASKS; i++) {
        assert_int_equal(t->count[i], i < tasks ? rounds : 0);
        if (i < tasks) assert_int_equal(t->result[i], i * 3 + 1);
    }
    assert_int_equal(t->bad_thread, 0);
}

static void every_task_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        OK(sppo_threads_set(threads));
        assert_int_equal(sppo_threads(), threads);
        for (int64_t tasks = 0; tasks <= TASKS; tasks = tasks * 3 + 1) {
            tally t = {0};
            sppo__parallel(tasks, count_task, &t);
            check_tally(&t, tasks, 1);
        }
    }
    OK(sppo_threads_set(0));
}

/* Many small regions, with pauses in which workers fall asleep, and with changes of the number. */
static void many_regions(void **state) {
    (void)state;
    tally t = {0};
    enum { ROUNDS = 3000 };
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 100 == 0) OK(sppo_threads_set(1 + i / 100 * 7 % 4));
        sppo__parallel(7, count_task, &t);
        if (i % 50 == 0)
            for (double end = sppo_clock() + 0.0005; sppo_clock() < end;) continue;
    }
    check_tally(&t, 7, ROUNDS);
    OK(sppo_threads_set(0));
}

/* A wish for memory that is not there, or is gone before it is fetched, harms nobody. */
static void ahead_of_nothing(void **state) {
    (void)state;
    tally t = {0};
    enum { ROUNDS = 200 };
    OK(sppo_threads_set(3));
    for (int i = 0; i < ROUNDS; i++) {
        void *gone = malloc(1 << 20);
        sppo__ahead(gone, 1 << 20);
        free(gone);
        sppo__parallel(7, count_task, &t);
        sppo__ahead((const void *)(uintptr_t)(i % 2 ? 64 : UINTPTR_MAX - 4095), 4096 * (i % 3) + 7);
        for (double end = sppo_clock() + 0.00002; sppo_clock() < end;) continue;
    }
    check_tally(&t, 7, ROUNDS);
    sppo__ahead(NULL, 0);
    OK(sppo_threads_set(0));
}

typedef struct outer {
    int64_t sum[8];
} outer;

static void inner_task(void *context, int64_t task, int thread) {
    (void)thread;
    *(int64_t *)context += task;
}

static void outer_task(void *context, int64_t task, int thread) {
    (void)thread;
    sppo__parallel(10, inner_task, &((outer *)context)->sum[task]);
}

static void nested_regions(void **state) {
    (void)state;
    OK(sppo_threads_set(3));
    outer o = {0};
    sppo__parallel(8, outer_task, &o);
    for (int i = 0; i < 8; i++) assert_int_equal(o.sum[i], 45);
    OK(sppo_threads_set(0));
}

static void scratch_task(void *context, int64_t task, int thread) {
    unsigned char *mine = sppo__scratch(thread);
    int64_t bytes = *(int64_t *)context;
    memset(mine, (int)task & 255, (size_t)bytes);
    for (int64_t i = 0; i < bytes; i += 997)
        if (mine[i] != (task & 255)) abort();
}

static void scratch_memory(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        OK(sppo_threads_set(threads));
        for (int64_t bytes = 100; bytes < 1000000; bytes *= 10) {
            OK(sppo__scratch_reserve(bytes));
            for (int i = 0; i < threads; i++) assert_int_equal((uintptr_t)sppo__scratch(i) % 64, 0);
            sppo__parallel(50, scratch_task, &bytes);
        }
    }
    OK(sppo_threads_set(0));
}

/* A measured arena allows no more scratch than there is. */
static void scratch_guard(void **state) {
    (void)state;
    const int64_t shape = 16;
    sppo_tensor *t;
    for (int step = 0; step < 2; step++) {
        OK(sppo_arena_begin(3));
        OK(sppo_tensor_new(&t, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 1, &shape));
        if (step == 1) {
            OK(sppo__scratch_reserve(1000));
            assert_int_equal(sppo__scratch_reserve(1 << 28), SPPO_ERR_MEMORY);
            assert_non_null(strstr(sppo_last_error(), "scratch: 268435456 bytes a thread wanted"));
        }
        sppo_tensor_release(t);
        OK(sppo_arena_end(3));
    }
    sppo_arena_free(3);
}

static void refused(void **state) {
    (void)state;
    assert_int_equal(sppo_threads_set(-1), SPPO_ERR_ARGUMENT);
    assert_string_equal(sppo_last_error(), "threads must be in 1..256, got -1");
    assert_int_equal(sppo_threads_set(257), SPPO_ERR_ARGUMENT);
}

static void peaks(void **state) {
    (void)state;
    assert_true(sppo_bench_fma(2, 0.02) > 0.01);
    assert_true(sppo_bench_read(2, 1 << 20, 0.02) > 0.01);
    assert_true(sppo_bench_read(0, 1 << 20, 0.02) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_once),  cmocka_unit_test(many_regions),
        cmocka_unit_test(ahead_of_nothing), cmocka_unit_test(nested_regions),
        cmocka_unit_test(scratch_memory),   cmocka_unit_test(scratch_guard),
        cmocka_unit_test(refused),          cmocka_unit_test(peaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
