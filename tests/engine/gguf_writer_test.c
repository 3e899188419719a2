/* gguf_writer_test.c - the GGUF writer: what it writes reads back, byte by byte where the format
 * says so; each error by its text; a file appears whole or not at all. */

#include "io_support.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "io/gguf.h"

static sppo_tensor *tensor_of(sppo_dtype dtype, int ndim, const int64_t *shape, const void *data) {
    sppo_tensor *t;
    assert_ok(sppo_tensor_new(&t, dtype, SPPO_DEVICE_CPU, ndim, shape));
    if (data) assert_ok(sppo_tensor_write(t, data, sppo_tensor_bytes(t)));
    return t;
}

/* No sibling PATH.tmp-<pid> is left. */
static void assert_no_temporary(const char *path) {
    char temporary[300];
    snprintf(temporary, sizeof temporary, "%s.tmp-%d", path, (int)getpid());
    assert_int_equal(access(temporary, F_OK), -1);
}

static const float six[] = {1, 2, 3, 4, 5, -6};
static const uint16_t halves[] = {0x3c00, 0x7bff, 0x8001, 0, 0x0400};

/* One of everything; returns the path. */
static const char *write_one(const char *name) {
    const char *path = in_folder(name);
    const int64_t two[] = {2, 3}, one[] = {5}, row[] = {32};
    unsigned char block[34] = {0, 0x38};  // d = 0.5
    for (int i = 0; i < 32; i++) block[2 + i] = (unsigned char)(i - 16);
    sppo_gguf_writer *w;
    assert_ok(sppo_gguf_writer_new(&w, path));
    assert_ok(sppo_gguf_writer_string(w, "general.architecture", "llama", 5));
    assert_ok(sppo_gguf_writer_number(w, "u8", "u8", 255));
    assert_ok(sppo_gguf_writer_number(w, "i8", "i8", -128));
    assert_ok(sppo_gguf_writer_number(w, "u16", "u16", 65535));
    assert_ok(sppo_gguf_writer_number(w, "i16", "i16", -2));
    assert_ok(sppo_gguf_writer_number(w, "u32", "u32", 4294967295.0));
    assert_ok(sppo_gguf_writer_number(w, "i32", "i32", -2147483648.0));
    assert_ok(sppo_gguf_writer_number(w, "u64", "u64", 0x1p53));
    assert_ok(sppo_gguf_writer_number(w, "i64", "i64", -0x1p53));
    assert_ok(sppo_gguf_writer_number(w, "f32", "f32", 1e-5));
    assert_ok(sppo_gguf_writer_number(w, "f64", "f64", 0.1));
    assert_ok(sppo_gguf_writer_number(w, "yes", "bool", 1));
    assert_ok(sppo_gguf_writer_array(w, "words", "string", 3));
    assert_ok(sppo_gguf_writer_element_string(w, "a", 1));
    assert_ok(sppo_gguf_writer_element_string(w, "", 0));
    assert_ok(sppo_gguf_writer_element_string(w, "b\0c", 3));
    assert_ok(sppo_gguf_writer_array(w, "kinds", "i32", 2));
    assert_ok(sppo_gguf_writer_element(w, 1));
    assert_ok(sppo_gguf_writer_element(w, -3));
    assert_ok(sppo_gguf_writer_array(w, "none", "f32", 0));
    assert_ok(sppo_gguf_writer_add(w, "f32", SPPO_DTYPE_F32, 2, two));
    assert_ok(sppo_gguf_writer_add(w, "f16", SPPO_DTYPE_F16, 1, one));
    assert_ok(sppo_gguf_writer_add(w, "bf16", SPPO_DTYPE_BF16, 1, one));
    assert_ok(sppo_gguf_writer_add(w, "q8_0", SPPO_DTYPE_Q8_0, 1, row));
    assert_ok(sppo_gguf_writer_begin(w));
    assert_int_equal(access(path, F_OK), -1);
    const struct {
        const char *name;
        sppo_tensor *t;
    } tensors[] = {{"f32", tensor_of(SPPO_DTYPE_F32, 2, two, six)},
                   {"f16", tensor_of(SPPO_DTYPE_F16, 1, one, halves)},
                   {"bf16", tensor_of(SPPO_DTYPE_BF16, 1, one, halves)},
                   {"q8_0", tensor_of(SPPO_DTYPE_Q8_0, 1, row, block)}};
    for (int i = 0; i < 4; i++) {
        assert_ok(sppo_gguf_writer_write(w, tensors[i].name, tensors[i].t));
        sppo_tensor_release(tensors[i].t);
    }
    assert_ok(sppo_gguf_writer_close(w));
    assert_no_temporary(path);
    return path;
}

static void writes(void **state) {
    (void)state;
    const char *path = write_one("w.gguf");
    static const struct {
        const char *key;
        double value;
    } numbers[] = {{"u8", 255},
                   {"i8", -128},
                   {"u16", 65535},
                   {"i16", -2},
                   {"u32", 4294967295.},
                   {"i32", -2147483648.},
                   {"u64", 0x1p53},
                   {"i64", -0x1p53},
                   {"f32", (double)1e-5f},
                   {"f64", 0.1},
                   {"yes", 1}};
    sppo_gguf *g;
    assert_ok(sppo_gguf_open(&g, path));
    assert_int_equal(sppo_gguf_key_count(g), 15);
    assert_string_equal(sppo_gguf_key_name(g, 0), "general.architecture");
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        double value;
        int64_t at = sppo_gguf_key_find(g, numbers[i].key);
        assert_ok(sppo_gguf_number(g, at, &value));
        assert_true(value == numbers[i].value);
        assert_string_equal(sppo_gguf_key_type(g, at), i < 10 ? numbers[i].key : "bool");
    }
    const char *text;
    int64_t length, words = sppo_gguf_key_find(g, "words");
    double number;
    assert_int_equal(sppo_gguf_array_count(g, words), 3);
    assert_ok(sppo_gguf_array_string(g, words, 2, &text, &length));
    assert_int_equal(length, 3);
    assert_memory_equal(text, "b\0c", 3);
    assert_ok(sppo_gguf_array_number(g, sppo_gguf_key_find(g, "kinds"), 1, &number));
    assert_true(number == -3);
    assert_int_equal(sppo_gguf_array_count(g, sppo_gguf_key_find(g, "none")), 0);

    sppo_tensor *t;
    float q8[32];
    for (int i = 0; i < 32; i++) q8[i] = 0.5f * (float)(i - 16);
    assert_int_equal(sppo_gguf_tensor_count(g), 4);
    assert_int_equal(sppo_gguf_tensor_size(g, 0, 0), 2);
    assert_string_equal(sppo_gguf_tensor_type(g, 2), "BF16");
    assert_ok(sppo_gguf_tensor(&t, g, "f32"));
    assert_values(t, six, 6);
    sppo_tensor_release(t);
    assert_ok(sppo_gguf_tensor(&t, g, "f16"));
    assert_values(t, (float[]){1, 65504, -0x1p-24f, 0, 0x1p-14f}, 5);
    sppo_tensor_release(t);
    assert_ok(sppo_gguf_tensor(&t, g, "q8_0"));
    assert_values(t, q8, 32);
    sppo_tensor_release(t);
    sppo_gguf_close(g);
}

/* The bytes of a small file, as the format's description has them. */
static void bytes_of_the_format(void **state) {
    (void)state;
    const char *path = in_folder("b.gguf");
    sppo_gguf_writer *w;
    sppo_tensor *t = tensor_of(SPPO_DTYPE_F32, 2, (int64_t[]){2, 3}, six);
    assert_ok(sppo_gguf_writer_new(&w, path));
    assert_ok(sppo_gguf_writer_number(w, "k", "u32", 7));
    assert_ok(sppo_gguf_writer_add(w, "t", SPPO_DTYPE_F32, 2, (int64_t[]){2, 3}));
    assert_ok(sppo_gguf_writer_begin(w));
    assert_ok(sppo_gguf_writer_write(w, "t", t));
    assert_ok(sppo_gguf_writer_close(w));
    sppo_tensor_release(t);

    bytes b = {.size = 0};
    put(&b, "GGUF", 4), put_uint(&b, 3, 4), put_uint(&b, 1, 8), put_uint(&b, 1, 8);
    put_uint(&b, 1, 8), put(&b, "k", 1), put_uint(&b, 4, 4), put_uint(&b, 7, 4);
    put_uint(&b, 1, 8), put(&b, "t", 1), put_uint(&b, 2, 4), put_uint(&b, 3, 8);
    put_uint(&b, 2, 8), put_uint(&b, 0, 4), put_uint(&b, 0, 8);
    while (b.size % 32) put_uint(&b, 0, 1);
    put(&b, six, sizeof six);
    while (b.size % 32) put_uint(&b, 0, 1);
    assert_file(path, b.data, b.size);
}

static void errors(void **state) {
    (void)state;
    const char *path = in_folder("e.gguf");
    const int64_t one[] = {5};
    sppo_tensor *a = tensor_of(SPPO_DTYPE_F32, 1, one, NULL);
    sppo_gguf_writer *w;
    assert_ok(sppo_gguf_writer_new(&w, path));
    assert_fails(sppo_gguf_writer_number(w, "k", "u33", 1), SPPO_ERR_ARGUMENT,
                 "e.gguf: key 'k' cannot be a u33");
    assert_fails(sppo_gguf_writer_number(w, "k", "string", 1), SPPO_ERR_ARGUMENT, "be a string");
    assert_fails(sppo_gguf_writer_array(w, "k", "u8", -1), SPPO_ERR_ARGUMENT, "key 'k'");
    assert_fails(sppo_gguf_writer_number(w, "a\nb", "u8", 1), SPPO_ERR_ARGUMENT,
                 "'a\\x0ab' cannot be the name of a key; names have 1..65535 bytes");
    assert_fails(sppo_gguf_writer_element(w, 1), SPPO_ERR_STATE, "without an array");
    assert_ok(sppo_gguf_writer_array(w, "words", "string", 1));
    assert_fails(sppo_gguf_writer_element(w, 1), SPPO_ERR_STATE, "of another type than its array");
    assert_fails(sppo_gguf_writer_number(w, "k", "u8", 1), SPPO_ERR_STATE,
                 "k comes before the last element of an array");
    assert_fails(sppo_gguf_writer_begin(w), SPPO_ERR_STATE, "before the last element");
    assert_ok(sppo_gguf_writer_element_string(w, "x", 1));
    assert_fails(sppo_gguf_writer_element_string(w, "y", 1), SPPO_ERR_STATE, "without an array");
    assert_fails(sppo_gguf_writer_add(w, "", SPPO_DTYPE_F32, 1, one), SPPO_ERR_ARGUMENT,
                 "'' cannot be the name of a tensor; names have 1..63 bytes");
    char longest[65];
    memset(longest, 'n', 64), longest[64] = 0;
    assert_fails(sppo_gguf_writer_add(w, longest, SPPO_DTYPE_F32, 1, one), SPPO_ERR_ARGUMENT,
                 "names have 1..63 bytes");
    assert_fails(sppo_gguf_writer_add(w, "a", SPPO_DTYPE_F32, 0, NULL), SPPO_ERR_SHAPE,
                 "a: 0 dimensions");
    assert_fails(sppo_gguf_writer_add(w, "a", SPPO_DTYPE_F32, 1, (int64_t[]){-1}), SPPO_ERR_SHAPE,
                 "size -1 of axis 0 is negative");
    assert_fails(sppo_gguf_writer_add(w, "a", SPPO_DTYPE_F32, 1, (int64_t[]){0}), SPPO_ERR_SHAPE,
                 "e.gguf: a tensor of shape [0] has no values");
    assert_fails(sppo_gguf_writer_add(w, "a", SPPO_DTYPE_Q8_0, 1, one), SPPO_ERR_SHAPE,
                 "last size 5 is not a multiple of 32");
    assert_fails(sppo_gguf_writer_write(w, "a", a), SPPO_ERR_STATE, "write before begin");
    assert_ok(sppo_gguf_writer_add(w, "a", SPPO_DTYPE_F32, 1, one));
    assert_ok(sppo_gguf_writer_add(w, "b", SPPO_DTYPE_BF16, 1, one));
    assert_ok(sppo_gguf_writer_begin(w));
    assert_fails(sppo_gguf_writer_begin(w), SPPO_ERR_STATE, "begin after begin");
    assert_fails(sppo_gguf_writer_number(w, "k", "u8", 1), SPPO_ERR_STATE, "k comes after begin");
    assert_fails(sppo_gguf_writer_add(w, "c", SPPO_DTYPE_F32, 1, one), SPPO_ERR_STATE,
                 "c comes after begin");
    assert_fails(sppo_gguf_writer_write(w, "b", a), SPPO_ERR_STATE,
                 "tensor 'b' written, 'a' is next");
    assert_ok(sppo_gguf_writer_write(w, "a", a));
    assert_fails(sppo_gguf_writer_write(w, "b", a), SPPO_ERR_SHAPE,
                 "tensor 'b' is f32 [5] in rows, announced as bf16 [5] in rows");
    assert_fails(sppo_gguf_writer_close(w), SPPO_ERR_STATE, "e.gguf: closed after 1 of 2 tensors");
    assert_int_equal(access(path, F_OK), -1);
    assert_no_temporary(path);
    sppo_tensor_release(a);
}

/* What is wrong with a value or a name is final: the bytes before it are in the file already. */
static void final_errors(void **state) {
    (void)state;
    static const struct {
        const char *type;
        double value;
    } bad[] = {{"u8", 256},         {"u8", -1},      {"i8", 128},
               {"u32", 0.5},        {"u32", 0x1p32}, {"u64", -1},
               {"i64", 0x1p54},     {"bool", 2},     {"i32", (double)INFINITY},
               {"u16", (double)NAN}};
    const char *path = in_folder("v.gguf");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sppo_gguf_writer *w;
        assert_ok(sppo_gguf_writer_new(&w, path));
        char text[64];
        snprintf(text, sizeof text, "v.gguf: k as %s cannot be ", bad[i].type);
        assert_fails(sppo_gguf_writer_number(w, "k", bad[i].type, bad[i].value), SPPO_ERR_ARGUMENT,
                     text);
        assert_fails(sppo_gguf_writer_string(w, "s", "", 0), SPPO_ERR_STATE, "after a failure");
        assert_fails(sppo_gguf_writer_add(w, "t", SPPO_DTYPE_F32, 1, (int64_t[]){1}),
                     SPPO_ERR_STATE, "after a failure");
        assert_fails(sppo_gguf_writer_begin(w), SPPO_ERR_STATE, "after a failure");
        assert_fails(sppo_gguf_writer_close(w), SPPO_ERR_STATE, "nothing was written");
    }
    for (int tensors = 0; tensors < 2; tensors++) {
        sppo_gguf_writer *w;
        assert_ok(sppo_gguf_writer_new(&w, path));
        for (int i = 0; i < 2; i++)
            assert_ok(tensors ? sppo_gguf_writer_add(w, "x", SPPO_DTYPE_F32, 1, (int64_t[]){1})
                              : sppo_gguf_writer_number(w, "x", "u8", i));
        assert_fails(sppo_gguf_writer_begin(w), SPPO_ERR_STATE, "v.gguf: x added twice");
        assert_fails(sppo_gguf_writer_close(w), SPPO_ERR_STATE, "nothing was written");
    }
    sppo_gguf_writer *w;
    char *large = calloc(1, 40 << 20);
    assert_ok(sppo_gguf_writer_new(&w, path));
    assert_ok(sppo_gguf_writer_string(w, "a", large, 40 << 20));
    assert_fails(sppo_gguf_writer_string(w, "b", large, 40 << 20), SPPO_ERR_ARGUMENT,
                 "v.gguf: more than 64 MiB of names and strings");
    assert_fails(sppo_gguf_writer_close(w), SPPO_ERR_STATE, "nothing was written");
    free(large);
    assert_int_equal(access(path, F_OK), -1);
    assert_no_temporary(path);
}

/* A file that was there stays until the new one is whole; what is no file is not replaced. */
static void targets(void **state) {
    (void)state;
    const char *path = in_folder("t.gguf");
    write_file(path, "old", 3);
    sppo_gguf_writer *w;
    assert_ok(sppo_gguf_writer_new(&w, path));
    assert_ok(sppo_gguf_writer_begin(w));
    assert_file(path, "old", 3);
    assert_ok(sppo_gguf_writer_close(w));
    sppo_gguf *g;
    assert_ok(sppo_gguf_open(&g, path));
    sppo_gguf_close(g);

    assert_fails(sppo_gguf_writer_new(&w, "/dev/null"), SPPO_ERR_IO,
                 "/dev/null: is not a regular file, a file is wanted");
    assert_fails(sppo_gguf_writer_new(&w, test_folder), SPPO_ERR_IO, "is a folder");
    assert_fails(sppo_gguf_writer_new(&w, in_folder("no/t.gguf")), SPPO_ERR_IO,
                 "t.gguf: cannot create: No such file or directory");
    // Someone made a folder of that name meanwhile.
    path = in_folder("u.gguf");
    assert_ok(sppo_gguf_writer_new(&w, path));
    assert_ok(sppo_gguf_writer_begin(w));
    assert_int_equal(mkdir(path, 0777), 0);
    assert_fails(sppo_gguf_writer_close(w), SPPO_ERR_IO, "u.gguf: cannot rename to");
    assert_no_temporary(path);
}

static void full_disk(void **state) {
    (void)state;
    const char *path = in_folder("f.gguf");
    const int64_t shape[] = {1024};
    sppo_tensor *t = tensor_of(SPPO_DTYPE_F32, 1, shape, NULL);
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    // In the header, and inside of a tensor.
    static const struct {
        int64_t limit;
        const char *text;
    } cases[] = {{40, "f.gguf: cannot write "},
                 {1000, "f.gguf: cannot write 4096 bytes: File too large"}};
    for (int i = 0; i < 2; i++) {
        sppo_gguf_writer *w;
        assert_ok(sppo_gguf_writer_new(&w, path));
        assert_ok(sppo_gguf_writer_string(w, "general.architecture", "llama", 5));
        assert_ok(sppo_gguf_writer_add(w, "a", SPPO_DTYPE_F32, 1, shape));
        small = old;
        small.rlim_cur = (rlim_t)cases[i].limit;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        sppo_status st = sppo_gguf_writer_begin(w);
        if (!st) st = sppo_gguf_writer_write(w, "a", t);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_fails(st, SPPO_ERR_IO, cases[i].text);
        assert_fails(sppo_gguf_writer_write(w, "a", t), SPPO_ERR_STATE, "after a failure");
        assert_fails(sppo_gguf_writer_close(w), SPPO_ERR_STATE, "nothing was written");
        assert_int_equal(access(path, F_OK), -1);
        assert_no_temporary(path);
    }
    sppo_tensor_release(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes),  cmocka_unit_test(bytes_of_the_format),
        cmocka_unit_test(errors),  cmocka_unit_test(final_errors),
        cmocka_unit_test(targets), cmocka_unit_test(full_disk),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
