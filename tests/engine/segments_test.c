/* segments_test.c - the key/value store and lists of segments: pages taken and given back, and what
 * they refuse. What attention reads from them is attention_test.c's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <malloc.h>
#include <stdio.h>

#include "llm/segments.h"
#include "sppo.h"

#define OK(call) assert_int_equal(call, SPPO_OK)
#define REFUSES(call, status, text) \
    do { \
        assert_int_equal(call, status); \
        assert_string_equal(sppo_last_error(), text); \
    } while (0)

static void test_store_pages(void **unused) {
    (void)unused;
    int64_t before = sppo_memory_used(SPPO_DEVICE_CPU);
    sppo_kv *kv;
    OK(sppo_kv_new(&kv, 3, 2, 24, 5));
    assert_int_equal(sppo_kv_bytes(3, 2, 24, 5), 5 * 3 * 2 * (24 * 64 + 64 * 64) * 4);
    assert_int_equal(sppo_memory_used(SPPO_DEVICE_CPU) - before, sppo_kv_bytes(3, 2, 24, 5));
    int a, b, c, d;
    OK(sppo_kv_open(kv, -1, 65, &a));
    OK(sppo_kv_open(kv, a, 64, &b));
    OK(sppo_kv_open(kv, a, 1, &c));
    assert_int_equal(sppo_kv_pages_free(kv), 1);
    REFUSES(sppo_kv_open(kv, b, 65, &d), SPPO_ERR_MEMORY,
            "kv_open: 2 pages wanted for 65 tokens, 1 are free");
    OK(sppo_kv_close(kv, a));  // b and c still read it
    assert_int_equal(sppo_kv_pages_free(kv), 1);
    REFUSES(sppo_kv_close(kv, a), SPPO_ERR_STATE, "kv_close: slot 0 is closed");
    REFUSES(sppo_kv_open(kv, a, 1, &d), SPPO_ERR_STATE, "kv_open: slot 0 is closed");
    OK(sppo_kv_close(kv, b));
    assert_int_equal(sppo_kv_pages_free(kv), 2);
    REFUSES(sppo_kv_close(kv, b), SPPO_ERR_ARGUMENT, "kv_close: there is no slot 1");
    OK(sppo_kv_close(kv, c));
    assert_int_equal(sppo_kv_pages_free(kv), 5);
    for (int i = 0; i < 5; i++) OK(sppo_kv_open(kv, -1, 1, &d));
    REFUSES(sppo_kv_open(kv, -1, 1, &d), SPPO_ERR_MEMORY,
            "kv_open: 1 pages wanted for 1 tokens, 0 are free");
    REFUSES(sppo_kv_open(kv, 5, 1, &d), SPPO_ERR_ARGUMENT, "kv_open: there is no slot 5");
    REFUSES(sppo_kv_open(kv, -2, 1, &d), SPPO_ERR_ARGUMENT, "kv_open: there is no slot -2");
    REFUSES(sppo_kv_open(kv, -1, 0, &d), SPPO_ERR_ARGUMENT,
            "kv_open: tokens must be in 1..320, got 0");
    REFUSES(sppo_kv_open(kv, -1, INT64_MAX, &d), SPPO_ERR_MEMORY,
            "kv_open: 144115188075855872 pages wanted for 9223372036854775807 tokens, 0 are free");
    assert_int_equal(sppo_kv_length(kv, -1), -1);
    sppo_kv_free(kv);
    sppo_kv_free(NULL);
    assert_int_equal(sppo_memory_used(SPPO_DEVICE_CPU), before);
    REFUSES(sppo_kv_new(&kv, 0, 1, 1, 1), SPPO_ERR_ARGUMENT,
            "kv_new: layers must be in 1..65536, got 0");
    REFUSES(sppo_kv_new(&kv, 1, 1, 257, 1), SPPO_ERR_ARGUMENT,
            "kv_new: head_dim must be in 1..256, got 257");
    REFUSES(sppo_kv_new(&kv, 1, 1, 1, -1), SPPO_ERR_ARGUMENT,
            "kv_new: pages must be in 1..2147483647, got -1");
    assert_int_equal(sppo_kv_new(&kv, 65536, 65536, 256, INT32_MAX), SPPO_ERR_MEMORY);
    assert_int_equal(sppo_kv_bytes(65536, 65536, 256, INT32_MAX), INT64_MAX);
}

static void test_segments_refusals(void **unused) {
    (void)unused;
    sppo_kv *kv;
    sppo_segments *at, *other, *plain;
    int a, b;
    OK(sppo_kv_new(&kv, 1, 1, 8, 4));
    OK(sppo_segments_new(&at, kv));
    OK(sppo_segments_new(&other, kv));
    OK(sppo_segments_new(&plain, NULL));
    OK(sppo_kv_open(kv, -1, 64, &a));
    REFUSES(sppo_segments_add(at, -1, 1), SPPO_ERR_STATE,
            "segments_add: these segments have a store, add slots");
    REFUSES(sppo_segments_add_slot(plain, 0, 1), SPPO_ERR_STATE,
            "segments_add_slot: these segments have no store");
    REFUSES(sppo_segments_commit(plain), SPPO_ERR_STATE,
            "segments_commit: these segments have no store");
    REFUSES(sppo_segments_add(plain, 0, 1), SPPO_ERR_ARGUMENT,
            "segments_add: parent must be in -1..-1, got 0");
    REFUSES(sppo_segments_add(plain, -1, -1), SPPO_ERR_ARGUMENT,
            "segments_add: count must be in 0..2147483647, got -1");
    REFUSES(sppo_segments_add_slot(at, 3, 1), SPPO_ERR_ARGUMENT,
            "segments_add_slot: there is no slot 3");
    REFUSES(sppo_segments_add_slot(at, a, 65), SPPO_ERR_MEMORY,
            "segments_add_slot: slot 0 has room for 64 tokens, 0 are stored and 65 added");
    OK(sppo_segments_add_slot(at, a, 60));
    static const char busy[] = "%s: slot 0 is in a batch that is not committed yet";
    char text[100];
    snprintf(text, sizeof text, busy, "segments_add_slot");
    REFUSES(sppo_segments_add_slot(at, a, 1), SPPO_ERR_STATE, text);
    REFUSES(sppo_segments_add_slot(other, a, 1), SPPO_ERR_STATE, text);
    snprintf(text, sizeof text, busy, "kv_open");
    REFUSES(sppo_kv_open(kv, a, 1, &b), SPPO_ERR_STATE, text);
    snprintf(text, sizeof text, busy, "kv_close");
    REFUSES(sppo_kv_close(kv, a), SPPO_ERR_STATE, text);
    OK(sppo_segments_commit(at));
    assert_int_equal(sppo_kv_length(kv, a), 60);
    REFUSES(sppo_segments_commit(at), SPPO_ERR_STATE,
            "segments_commit: these segments are committed; reset them first");
    REFUSES(sppo_segments_add_slot(at, a, 1), SPPO_ERR_STATE,
            "segments_add_slot: an op has used these segments; reset them first");
    OK(sppo_segments_reset(at));
    OK(sppo_kv_open(kv, a, 1, &b));
    REFUSES(sppo_segments_add_slot(at, a, 1), SPPO_ERR_STATE,
            "segments_add_slot: slot 0 takes no more tokens, 1 slots continue it");
    OK(sppo_segments_add_slot(at, b, 1));
    int32_t position;
    sppo_segments_positions(at, &position);
    assert_int_equal(position, 60);
    OK(sppo_segments_reset(at));  // nothing was stored
    assert_int_equal(sppo_kv_length(kv, b), 0);
    OK(sppo_segments_add_slot(at, b, 1));
    sppo_segments_release(at);  // leaves the slot to others
    OK(sppo_kv_close(kv, b));
    sppo_kv_free(kv);  // `other` holds it still
    OK(sppo_segments_add_slot(other, a, 1));
    sppo_segments_release(other);
    sppo_segments_release(plain);
}

static void test_positions(void **unused) {
    (void)unused;
    static const int parent[] = {-1, 0, 0, 2}, length[] = {3, 0, 2, 2};
    static const int32_t want[] = {0, 1, 2, 3, 4, 5, 6};
    sppo_segments *at;
    int32_t got[7];
    OK(sppo_segments_new(&at, NULL));
    for (int i = 0; i < 4; i++) OK(sppo_segments_add(at, parent[i], length[i]));
    assert_int_equal(sppo_segments_tokens(at), 7);
    sppo_segments_positions(at, got);
    assert_memory_equal(got, want, sizeof want);
    sppo_segments_release(at);
}

/* A decode step takes no memory: list and tree are filled anew in place. */
static void test_step_takes_no_memory(void **unused) {
    (void)unused;
    sppo_kv *kv;
    sppo_segments *at;
    int slot[8], root;
    OK(sppo_kv_new(&kv, 1, 1, 8, 16));
    OK(sppo_segments_new(&at, kv));
    OK(sppo_kv_open(kv, -1, 64, &root));
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 8; i++) OK(sppo_kv_open(kv, root, 64, &slot[i]));
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 8; i++) OK(sppo_segments_add_slot(at, slot[i], 1));
        OK(sppo__segments_use(at, "rope", 8));
        OK(sppo_segments_commit(at));
        OK(sppo_segments_reset(at));
    }
    assert_int_equal(mallinfo2().uordblks, before);
    sppo_segments_release(at);
    sppo_kv_free(kv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_pages),
        cmocka_unit_test(test_segments_refusals),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_step_takes_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
