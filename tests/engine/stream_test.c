/* stream_test.c - files read in order: plain, gzip and zstd give the same bytes whatever the sizes
 * of the reads; what is cut off, damaged or a bomb is one error. */

#include "io_support.h"

#include <zlib.h>
#include <zstd.h>

#include "io/stream.h"

enum { SIZE = 300000, ROOM = 400000, LIMIT = 1 << 20 };

static unsigned char text[SIZE], packed[ROOM], out[SIZE + 1];

static void fill_text(void) {
    uint32_t x = 1;
    for (int i = 0; i < SIZE; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = (unsigned char)("abcdefgh \n"[(x >> 24) % 10]);
    }
}

/* A gzip member of `size` bytes (of zeros if data is NULL) at `to`; its length. */
static int64_t gzip(unsigned char *to, int64_t room, const unsigned char *data, int64_t size) {
    static unsigned char zeros[1 << 20];
    z_stream z = {.next_out = to, .avail_out = (uInt)room};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    int64_t left = size;
    while (left) {
        int64_t n = data || left < (int64_t)sizeof zeros ? left : (int64_t)sizeof zeros;
        z.next_in = data ? (unsigned char *)(uintptr_t)data : zeros;
        z.avail_in = (uInt)n;
        assert_int_equal(deflate(&z, Z_NO_FLUSH), Z_OK);
        left -= n;
    }
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(deflateEnd(&z), Z_OK);
    return room - (int64_t)z.avail_out;
}

static int64_t zstd(unsigned char *to, int64_t room, const unsigned char *data, int64_t size) {
    size_t n = ZSTD_compress(to, (size_t)room, data, (size_t)size, 3);
    assert_false(ZSTD_isError(n));
    return (int64_t)n;
}

/* Reads all of it in steps; bytes that came out. */
static sppo_status drain(const void *data, int64_t size, int64_t step, int64_t *total) {
    sppo_stream *s;
    int64_t got;
    void *copy = exact_copy(data, size);
    *total = 0;
    sppo_status st = sppo__stream_memory(&s, copy, size, "x", SIZE);
    assert_ok(st);
    do {
        int64_t room = SIZE + 1 - *total;
        st = sppo_stream_read(s, out + *total, step < room ? step : room, &got);
        *total += got;
    } while (!st && got == step);
    sppo_stream_close(s);
    free(copy);
    return st;
}

static void assert_text(const void *data, int64_t size) {
    static const int64_t steps[] = {97, 4096, 65536, 65537, SIZE + 1};
    for (int i = 0; i < 5; i++) {
        int64_t n;
        assert_ok(drain(data, size, steps[i], &n));
        assert_int_equal(n, SIZE);
        assert_memory_equal(out, text, SIZE);
    }
}

static void test_same_bytes(void **state) {
    (void)state;
    int64_t half = SIZE / 2, n;
    assert_text(text, SIZE);
    assert_text(packed, gzip(packed, ROOM, text, SIZE));
    assert_text(packed, zstd(packed, ROOM, text, SIZE));
    n = gzip(packed, ROOM, text, half);
    n += gzip(packed + n, ROOM - n, NULL, 0);
    assert_text(packed, n + gzip(packed + n, ROOM - n, text + half, SIZE - half));
    memcpy(packed, "\x5a\x2a\x4d\x18\x02\0\0\0ab", 10);  // a frame to skip
    n = 10 + zstd(packed + 10, ROOM - 10, text, half);
    assert_text(packed, n + zstd(packed + n, ROOM - n, text + half, SIZE - half));
}

static void test_packing(void **state) {
    (void)state;
    static const struct {
        const char *data, *name;
        int64_t size;
    } cases[] = {{"", "none", 0},
                 {"\x1f", "none", 1},
                 {"\x1f\x8b", "gzip", 2},
                 {"\x28\xb5\x2f\xfd", "zstd", 4},
                 {"\x5f\x2a\x4d\x18", "zstd", 4}};
    for (int i = 0; i < 5; i++) {
        sppo_stream *s;
        assert_ok(sppo__stream_memory(&s, cases[i].data, cases[i].size, "x", 10));
        assert_string_equal(sppo_stream_packing(s), cases[i].name);
        sppo_stream_close(s);
    }
}

/* Cut anywhere, the start comes out and then one error. */
static void test_cut(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        int64_t n, size = (kind ? zstd : gzip)(packed, ROOM, text, 2000);
        for (int64_t cut = kind ? 4 : 2; cut < size; cut++) {
            assert_fails(drain(packed, cut, 4096, &n), SPPO_ERR_FORMAT, "the file ends inside it");
            assert_true(n <= 2000);
            assert_memory_equal(out, text, (size_t)n);
        }
    }
}

static void test_damage(void **state) {
    (void)state;
    int64_t n, size = gzip(packed, ROOM, text, 2000);
    packed[size - 6] ^= 1;
    assert_fails(drain(packed, size, 4096, &n), SPPO_ERR_FORMAT,
                 "x: its gzip data: incorrect data check (at byte ");
    packed[size - 6] ^= 1;
    memcpy(packed + size, "more", 4);
    assert_fails(drain(packed, size + 4, 4096, &n), SPPO_ERR_FORMAT, "incorrect header check");
    size = zstd(packed, ROOM, text, 2000);
    memcpy(packed + size, "more", 4);
    assert_fails(drain(packed, size + 4, 4096, &n), SPPO_ERR_FORMAT, "x: its zstd data: Unknown");
    // A window of 2^41 bytes.
    assert_fails(drain("\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00", 9, 4096, &n), SPPO_ERR_FORMAT,
                 "too much memory");
}

/* A frame whose header promises bytes that its one, empty block does not hold: zstd minds only where
 * it has room for all of them, so what comes of it must not depend on the reader's room. */
static void test_belied_size(void **state) {
    (void)state;
    int64_t n;
    const char *frame = "\x28\xb5\x2f\xfd\x50\x22\x3b\xed\x01\x00\x00";
    sppo_status whole = drain(frame, 11, SIZE, &n);
    for (int64_t step = 1; step < SIZE; step *= 3)
        assert_int_equal(drain(frame, 11, step, &n), whole);
}

/* A gigabyte of zeros is refused after 64 MiB; a limit holds for plain files too. */
static void test_bomb(void **state) {
    (void)state;
    enum { BLOCK = 1 << 20, BOMB = 2 << 20 };
    unsigned char *bomb = malloc(BOMB), *block = malloc(BLOCK);
    int64_t size = gzip(bomb, BOMB, NULL, 1 << 30), n, total = 0;
    sppo_stream *s;
    assert_ok(sppo__stream_memory(&s, bomb, size, "bomb.gz", INT64_MAX));
    sppo_status st;
    while (!(st = sppo_stream_read(s, block, BLOCK, &n))) total += n;
    assert_fails(st, SPPO_ERR_FORMAT, "of gzip data, more than 400 to 1");
    assert_int_equal(total, 64 << 20);
    assert_fails(sppo_stream_read(s, block, BLOCK, &n), SPPO_ERR_STATE, "after an error");
    sppo_stream_close(s);
    assert_ok(sppo__stream_memory(&s, text, SIZE, "x", 1000));
    assert_fails(sppo_stream_read(s, block, BLOCK, &n), SPPO_ERR_FORMAT,
                 "x: more than 1000 bytes, as many are read");
    sppo_stream_close(s);
    free(bomb);
    free(block);
}

static void test_file(void **state) {
    (void)state;
    sppo_stream *s;
    int64_t n;
    const char *path = in_folder("t.gz");
    write_file(path, packed, gzip(packed, ROOM, text, SIZE));
    assert_ok(sppo_stream_open(&s, path, LIMIT));
    assert_ok(sppo_stream_read(s, out, SIZE + 1, &n));
    assert_int_equal(n, SIZE);
    assert_memory_equal(out, text, SIZE);
    sppo_stream_close(s);
    assert_fails(sppo_stream_open(&s, test_folder, LIMIT), SPPO_ERR_IO, "is a folder");
    assert_fails(sppo_stream_open(&s, in_folder("none"), LIMIT), SPPO_ERR_IO, "No such file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),  cmocka_unit_test(test_packing),
        cmocka_unit_test(test_cut),         cmocka_unit_test(test_damage),
        cmocka_unit_test(test_belied_size), cmocka_unit_test(test_bomb),
        cmocka_unit_test(test_file),
    };
    fill_text();
    return cmocka_run_group_tests_name("stream", tests, enter_folder, leave_folder);
}
