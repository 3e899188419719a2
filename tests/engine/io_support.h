/* io_support.h - for the tests of engine/io: bytes to build files of, a folder to put them in, and
 * checks of error texts. */

#ifndef SPPO_IO_SUPPORT_H
#define SPPO_IO_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/tensor.h"
#include "sppo.h"

typedef struct bytes {
    unsigned char data[16384];
    int64_t size;
} bytes;

static inline void put(bytes *b, const void *data, size_t size) {
    assert_true(b->size + (int64_t)size <= (int64_t)sizeof b->data);
    memcpy(b->data + b->size, data, size);
    b->size += (int64_t)size;
}

static inline void put_uint(bytes *b, uint64_t x, int size) {
    for (int i = 0; i < size; i++, x >>= 8) put(b, &(unsigned char){(unsigned char)x}, 1);
}

/* The bytes in memory of exactly their size, so that reading beyond them is caught. */
static inline void *exact_copy(const void *data, int64_t size) {
    void *copy = malloc(size ? (size_t)size : 1);
    assert_non_null(copy);
    memcpy(copy, data, (size_t)size);
    return copy;
}

static inline void assert_fails(sppo_status st, sppo_status wanted, const char *text) {
    if (st == wanted && strstr(sppo_last_error(), text)) return;
    fail_msg("status %d (wanted %d), text: %s (wanted: %s)", (int)st, (int)wanted,
             st ? sppo_last_error() : "none", text);
}

static inline void assert_ok(sppo_status st) {
    if (st) fail_msg("status %d: %s", (int)st, sppo_last_error());
}

/* A new folder, removed by leave_folder. */
static char test_folder[64];

static inline int enter_folder(void **state) {
    (void)state;
    snprintf(test_folder, sizeof test_folder, "/tmp/sppo-test-XXXXXX");
    return mkdtemp(test_folder) ? 0 : -1;
}

static inline int leave_folder(void **state) {
    (void)state;
    return sppo_folder_remove(test_folder) ? -1 : 0;
}

/* A path in it; good until 31 more calls. */
static inline const char *in_folder(const char *name) {
    static char ring[32][256];
    static int turn;
    char *path = ring[turn++ & 31];
    snprintf(path, sizeof ring[0], "%s/%s", test_folder, name);
    return path;
}

static inline void write_file(const char *path, const void *data, int64_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, (size_t)size, f), size);
    assert_int_equal(fclose(f), 0);
}

static inline void assert_file(const char *path, const void *data, int64_t size) {
    char *read;
    int64_t length;
    assert_ok(sppo_file_read(path, 1 << 20, &read, &length));
    assert_int_equal(length, size);
    assert_memory_equal(read, data, (size_t)size);
    sppo_file_free(read);
}

static inline void assert_values(const sppo_tensor *t, const float *wanted, int64_t count) {
    assert_int_equal(sppo_tensor_dtype(t), SPPO_DTYPE_F32);
    assert_int_equal(sppo_tensor_count(t), count);
    float *values = malloc(sizeof *values * (size_t)count);
    assert_ok(sppo_tensor_read(t, values, count * 4));
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&values[i], &wanted[i], 4))
            fail_msg("value %d is %a, wanted %a", (int)i, (double)values[i], (double)wanted[i]);
    free(values);
}

#endif
