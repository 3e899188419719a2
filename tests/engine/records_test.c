/* records_test.c - record files: what is appended comes back; torn tails are cut, damage is an
 * error; a full disk loses nothing that was whole before. */

#include "io_support.h"

#include <signal.h>
#include <sys/resource.h>

#include "io/records.h"

/* "one", "", "three": records at 16, 31 and 43, the end at 60. */
enum { FIRST = 16, SECOND = 31, THIRD = 43, END = 60 };

static void make(const char *path) {
    sppo_records *r;
    assert_ok(sppo_folder_remove(path));
    assert_ok(sppo_records_open(&r, path, 1));
    assert_int_equal(sppo_records_count(r), 0);
    assert_ok(sppo_records_append(r, "one", 3));
    assert_ok(sppo_records_append(r, "", 0));
    assert_ok(sppo_records_append(r, "three", 5));
    assert_ok(sppo_records_close(r));
}

static void assert_record(sppo_records *r, int64_t i, const char *wanted) {
    const void *data;
    int64_t size;
    assert_ok(sppo_records_read(r, i, &data, &size));
    assert_int_equal(size, strlen(wanted));
    assert_memory_equal(data, wanted, (size_t)size);
}

static void load(const char *path, bytes *b) {
    char *data;
    b->size = 0;
    assert_ok(sppo_file_read(path, sizeof b->data, &data, &b->size));
    memcpy(b->data, data, (size_t)b->size);
    sppo_file_free(data);
}

static void checksum(void **state) {
    (void)state;
    assert_int_equal(sppo__crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(sppo__crc32c(sppo__crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void round_trip(void **state) {
    (void)state;
    const char *path = in_folder("a.records");
    sppo_records *r;
    make(path);
    assert_ok(sppo_records_open(&r, path, 0));
    assert_int_equal(sppo_records_count(r), 3);
    assert_int_equal(sppo_records_torn(r), 0);
    assert_record(r, 0, "one");
    assert_record(r, 1, "");
    assert_record(r, 2, "three");
    const void *data;
    int64_t size;
    assert_fails(sppo_records_read(r, 3, &data, &size), SPPO_ERR_ARGUMENT,
                 "a.records: record 3 of 3");
    assert_fails(sppo_records_append(r, "x", 1), SPPO_ERR_STATE,
                 "a.records: opened for reading, cannot append");
    assert_ok(sppo_records_close(r));

    assert_ok(sppo_records_open(&r, path, 1));
    assert_ok(sppo_records_append(r, "four", 4));
    assert_record(r, 3, "four");  // also before sync
    assert_ok(sppo_records_append(r, "five", 4));
    assert_ok(sppo_records_sync(r));
    assert_ok(sppo_records_truncate(r, 4));
    assert_ok(sppo_records_append(r, "FIVE", 4));
    assert_fails(sppo_records_truncate(r, 6), SPPO_ERR_ARGUMENT, "record 6 of 5");
    assert_fails(sppo_records_append(r, "x", (256 << 20) + 1), SPPO_ERR_ARGUMENT,
                 "record 5 has 268435457 bytes, at most 268435456 are allowed");
    assert_ok(sppo_records_close(r));
    assert_ok(sppo_records_open(&r, path, 0));
    assert_int_equal(sppo_records_count(r), 5);
    assert_record(r, 4, "FIVE");
    assert_ok(sppo_records_close(r));
}

/* More than the buffer takes, in sizes around it. */
static void large(void **state) {
    (void)state;
    const char *path = in_folder("large.records");
    const int64_t sizes[] = {1 << 19, 1 << 20, (1 << 20) - 12, (1 << 20) - 11, 3 << 20, 1, 0};
    const int count = sizeof sizes / sizeof sizes[0];
    char *data = malloc(4 << 20);
    for (int i = 0; i < 4 << 20; i++) data[i] = (char)(i * 7 + (i >> 9));
    sppo_records *r;
    assert_ok(sppo_records_open(&r, path, 1));
    for (int i = 0; i < count; i++) assert_ok(sppo_records_append(r, data + i, sizes[i]));
    assert_ok(sppo_records_close(r));
    assert_ok(sppo_records_open(&r, path, 0));
    assert_int_equal(sppo_records_count(r), count);
    for (int i = 0; i < count; i++) {
        const void *read;
        int64_t size;
        assert_ok(sppo_records_read(r, i, &read, &size));
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(read, data + i, (size_t)size);
    }
    assert_ok(sppo_records_close(r));
    free(data);
}

/* Cut anywhere, the file opens with the records that are whole, and can be written on. */
static void torn(void **state) {
    (void)state;
    const char *path = in_folder("torn.records");
    bytes b;
    make(path);
    load(path, &b);
    assert_int_equal(b.size, END);
    for (int64_t size = 0; size < END; size++) {
        int64_t whole = size >= THIRD ? 2 : size >= SECOND ? 1 : 0;
        int64_t end = size >= THIRD ? THIRD : size >= SECOND ? SECOND : size >= FIRST ? FIRST : 0;
        sppo_records *r;
        write_file(path, b.data, size);
        assert_ok(sppo_records_open(&r, path, 0));
        assert_int_equal(sppo_records_count(r), whole);
        assert_int_equal(sppo_records_torn(r), size - end);
        assert_ok(sppo_records_close(r));
        assert_ok(sppo_records_open(&r, path, 1));
        assert_int_equal(sppo_records_torn(r), size - end);
        assert_ok(sppo_records_append(r, "new", 3));
        assert_ok(sppo_records_close(r));
        assert_ok(sppo_records_open(&r, path, 0));
        assert_int_equal(sppo_records_count(r), whole + 1);
        assert_record(r, whole, "new");
        assert_ok(sppo_records_close(r));
    }
}

/* Every changed byte is noticed: refused, or (in the last payload only) taken as torn. */
static void damaged(void **state) {
    (void)state;
    const char *path = in_folder("damaged.records");
    bytes b;
    make(path);
    load(path, &b);
    for (int64_t i = 0; i < END; i++) {
        for (int bit = 0; bit < 8; bit++) {
            b.data[i] ^= (unsigned char)(1 << bit);
            sppo_records *r;
            write_file(path, b.data, END);
            sppo_status st = sppo_records_open(&r, path, 1);
            if (i >= THIRD + 12) {
                assert_ok(st);
                assert_int_equal(sppo_records_count(r), 2);
                assert_int_equal(sppo_records_torn(r), END - THIRD);
                assert_ok(sppo_records_close(r));
            } else {
                assert_fails(st, SPPO_ERR_FORMAT, "damaged.records: ");
                int64_t size;
                assert_ok(sppo_file_size(path, &size));
                assert_int_equal(size, END);  // nothing was cut
            }
            b.data[i] ^= (unsigned char)(1 << bit);
        }
    }
}

static void error_texts(void **state) {
    (void)state;
    const char *path = in_folder("e.records");
    bytes b;
    make(path);
    load(path, &b);
    sppo__scan scan;
    b.data[FIRST + 12] ^= 1;
    assert_fails(sppo__records_scan(b.data, b.size, "x", &scan), SPPO_ERR_FORMAT,
                 "x: record 0 is damaged: its checksum does not match (at byte 16)");
    free(scan.starts);
    b.data[FIRST + 12] ^= 1;
    b.data[SECOND + 3] = 0x7f;
    assert_fails(sppo__records_scan(b.data, b.size, "x", &scan), SPPO_ERR_FORMAT,
                 "x: record 1 has a damaged header (at byte 31)");
    free(scan.starts);
    b.size = SECOND;  // a header that is right and asks for 2 GiB
    put_uint(&b, 1u << 31, 4);
    put_uint(&b, 0, 4);
    put_uint(&b, sppo__crc32c(0, b.data + SECOND, 8), 4);
    assert_fails(sppo__records_scan(b.data, b.size, "x", &scan), SPPO_ERR_FORMAT,
                 "x: record 1 has 2147483648 bytes, at most 268435456 are allowed (at byte 31)");
    free(scan.starts);
    b.data[8] = 2;
    assert_fails(sppo__records_scan(b.data, b.size, "x", &scan), SPPO_ERR_FORMAT,
                 "x: record file version 2, version 1 is read (at byte 8)");
    free(scan.starts);
    assert_fails(sppo__records_scan("{\"a\":1}\n........", 16, "x", &scan), SPPO_ERR_FORMAT,
                 "x: not a record file, it starts with '{\"a\":1}\\x0a' (at byte 0)");
    free(scan.starts);
    sppo_records *r;
    assert_fails(sppo_records_open(&r, in_folder("none"), 0), SPPO_ERR_IO,
                 "none: cannot open: No such file or directory");
}

/* What power loss can leave: the length of the file reached the disk, its bytes did not. */
static void zero_tail(void **state) {
    (void)state;
    const char *path = in_folder("zero.records");
    bytes b;
    make(path);
    load(path, &b);
    for (int zeros = 1; zeros < 100; zeros++) {
        sppo_records *r;
        put_uint(&b, 0, 1);
        write_file(path, b.data, b.size);
        assert_ok(sppo_records_open(&r, path, 1));
        assert_int_equal(sppo_records_count(r), 3);
        assert_int_equal(sppo_records_torn(r), zeros);
        assert_ok(sppo_records_close(r));
        int64_t size;
        assert_ok(sppo_file_size(path, &size));
        assert_int_equal(size, END);
    }
}

static void full_disk(void **state) {
    (void)state;
    const char *path = in_folder("full.records");
    static const char data[600];
    sppo_records *r;
    struct rlimit old, small;
    make(path);
    signal(SIGXFSZ, SIG_IGN);
    assert_ok(sppo_records_open(&r, path, 1));
    assert_ok(sppo_records_append(r, data, sizeof data));
    assert_ok(sppo_records_sync(r));
    assert_ok(sppo_records_append(r, data, sizeof data));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    sppo_status st = sppo_records_sync(r);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_fails(st, SPPO_ERR_IO, "full.records: cannot write 612 bytes: File too large");
    assert_int_equal(sppo_records_count(r), 4);
    int64_t size;
    assert_ok(sppo_file_size(path, &size));
    assert_int_equal(size, END + 612);
    assert_ok(sppo_records_append(r, "space again", 11));
    assert_ok(sppo_records_close(r));
    assert_ok(sppo_records_open(&r, path, 0));
    assert_int_equal(sppo_records_torn(r), 0);
    assert_record(r, 4, "space again");
    assert_ok(sppo_records_close(r));
}

/* A file that tools/golden/fuzz_seeds.py wrote from the description in io/records.c. */
static void other_writer(void **state) {
    (void)state;
    sppo_records *r;
    assert_ok(sppo_records_open(&r, SOURCE_DIR "/tests/fuzz/seeds/records/three.records", 0));
    assert_int_equal(sppo_records_count(r), 3);
    assert_record(r, 0, "one");
    assert_record(r, 2, "\x93\x01\x02\x03");
    assert_ok(sppo_records_close(r));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum),  cmocka_unit_test(round_trip), cmocka_unit_test(large),
        cmocka_unit_test(torn),      cmocka_unit_test(damaged),    cmocka_unit_test(error_texts),
        cmocka_unit_test(zero_tail), cmocka_unit_test(full_disk),  cmocka_unit_test(other_writer),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
