/* safetensors_test.c - the reader on a small file, its every truncation and mutation, each error by
 * its text; the writer, read back; a full disk. */

#include "io_support.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "io/safetensors.h"

static const char HEADER[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[16,20]},"
    "\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
    "\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[20,28]},"
    "\"none\":{\"dtype\":\"F16\",\"shape\":[0,4],\"data_offsets\":[28,28]}}";

static void build(bytes *b, const char *header, int64_t data) {
    b->size = 0;
    put_uint(b, strlen(header), 8);
    put(b, header, strlen(header));
    put(b, (float[]){1, -2, 3.5f, 0}, 16);
    put_uint(b, 0xc0403f80, 4);
    put_uint(b, 7, 8);
    b->size += data - 28;
}

static void read_all(sppo_safetensors *s) {
    for (int64_t i = -1; i <= sppo_safetensors_count(s); i++) {
        sppo_tensor *t;
        const char *name = sppo_safetensors_name(s, i);
        sppo_safetensors_dtype(s, i);
        for (int a = -1; a <= sppo_safetensors_ndim(s, i); a++) sppo_safetensors_size(s, i, a);
        if (name) assert_int_equal(sppo_safetensors_find(s, name), i);
        if (name && !sppo_safetensors_tensor(&t, s, name)) sppo_tensor_release(t);
    }
    sppo_safetensors_metadata(s, "format");
}

static void reads(void **state) {
    (void)state;
    bytes b;
    build(&b, HEADER, 28);
    sppo_safetensors *s;
    sppo_tensor *t;
    assert_ok(sppo__safetensors_parse(b.data, b.size, "x", &s));
    assert_int_equal(sppo_safetensors_count(s), 4);
    assert_string_equal(sppo_safetensors_name(s, 0), "b");
    assert_string_equal(sppo_safetensors_dtype(s, 0), "BF16");
    assert_int_equal(sppo_safetensors_find(s, "a"), 1);
    assert_int_equal(sppo_safetensors_find(s, "c"), -1);
    assert_int_equal(sppo_safetensors_ndim(s, 1), 2);
    assert_int_equal(sppo_safetensors_size(s, 3, 1), 4);
    assert_string_equal(sppo_safetensors_metadata(s, "format"), "pt");
    assert_null(sppo_safetensors_metadata(s, "other"));

    assert_ok(sppo_safetensors_tensor(&t, s, "a"));
    assert_values(t, (float[]){1, -2, 3.5f, 0}, 4);
    sppo_tensor_release(t);
    uint16_t half[2];
    assert_ok(sppo_safetensors_tensor(&t, s, "b"));
    assert_int_equal(sppo_tensor_dtype(t), SPPO_DTYPE_BF16);
    assert_ok(sppo_tensor_read(t, half, 4));
    assert_int_equal(half[0], 0x3f80);
    assert_int_equal(half[1], 0xc040);
    sppo_tensor_release(t);
    assert_ok(sppo_safetensors_tensor(&t, s, "none"));
    assert_int_equal(sppo_tensor_count(t), 0);
    sppo_tensor_release(t);
    assert_fails(sppo_safetensors_tensor(&t, s, "ids"), SPPO_ERR_FORMAT,
                 "x: tensor 'ids' is I64; F32, F16, BF16 and I32 are read (at byte ");
    assert_fails(sppo_safetensors_tensor(&t, s, "q"), SPPO_ERR_ARGUMENT, "x: has no tensor 'q'");
    sppo_safetensors_close(s);
}

static void truncations(void **state) {
    (void)state;
    bytes b;
    build(&b, HEADER, 28);
    for (int64_t size = 0; size < b.size; size++) {
        void *copy = exact_copy(b.data, size);
        sppo_safetensors *s;
        assert_fails(sppo__safetensors_parse(copy, size, "x", &s), SPPO_ERR_FORMAT, "(at byte ");
        free(copy);
    }
}

static void mutations(void **state) {
    (void)state;
    bytes b;
    build(&b, HEADER, 28);
    int opened = 0, refused = 0;
    for (int64_t i = 0; i < b.size; i++) {
        unsigned char old = b.data[i];
        const unsigned char changed[] = {0, 255, old ^ 1, old ^ 128, '"', '9', '}', ','};
        for (size_t k = 0; k < sizeof changed; k++) {
            b.data[i] = changed[k];
            void *copy = exact_copy(b.data, b.size);
            sppo_safetensors *s;
            sppo_status st = sppo__safetensors_parse(copy, b.size, "x", &s);
            if (st) {
                assert_fails(st, SPPO_ERR_FORMAT, "(at byte ");
                refused++;
            } else {
                read_all(s);
                sppo_safetensors_close(s);
                opened++;
            }
            free(copy);
        }
        b.data[i] = old;
    }
    assert_true(opened > 100 && refused > 100);
}

static void refuse(const char *header, int64_t data, const char *text) {
    bytes b;
    build(&b, header, data);
    sppo_safetensors *s;
    assert_fails(sppo__safetensors_parse(b.data, b.size, "x", &s), SPPO_ERR_FORMAT, text);
}

static void errors(void **state) {
    (void)state;
    sppo_safetensors *s;
    assert_fails(sppo__safetensors_parse("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, "x", &s),
                 SPPO_ERR_FORMAT,
                 "x: a header of 9223372036854775807 bytes; it has 2..100000000 "
                 "and lies inside the file of 10 (at byte 0)");
    refuse("[]", 28, "x: not a safetensors file, its header starts with '[' (at byte 8)");
    refuse("{\"a\":1,\"a\":2}", 28, "x: header: duplicate object key");
    refuse("{\"a\":1]", 28, "x: header: '}' expected near ']' (at byte 15)");
    refuse("{\"a\":[[[[[[]]]]]]}", 28, "x: header: nested deeper than 4 (at byte 16)");
    refuse("{\"a\\u0000b\":1}", 28, "x: header: ");
    refuse("{\"a\":1}", 28, "x: tensor 'a': not an object (at byte 8)");
    refuse("{\"a\":{\"shape\":[],\"data_offsets\":[0,4]}}", 28, "x: tensor 'a': no dtype");
    refuse("{\"a\":{\"dtype\":\"Q4\",\"shape\":[],\"data_offsets\":[0,4]}}", 28,
           "x: tensor 'a' has unknown dtype 'Q4' (at byte 8)");
    refuse("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 28, "x: tensor 'a': no shape");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 28,
           "x: tensor 'a': more than 4 dimensions");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[-7],\"data_offsets\":[0,28]}}", 28,
           "x: tensor 'a': a size that is not a whole number");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[7.0],\"data_offsets\":[0,28]}}", 28,
           "x: tensor 'a': a size that is not a whole number");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,28]}}",
           28, "x: tensor 'a': sizes whose product is beyond 2^63");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[7]}}", 28, "x: tensor 'a': no data_offsets");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[7],\"data_offsets\":[0,29]}}", 28,
           "x: tensor 'a' does not lie inside the file of ");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[7],\"data_offsets\":[28,0]}}", 28,
           "x: tensor 'a' does not lie inside the file of ");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,28]}}", 28,
           "x: tensor 'a' of F32 [6] takes 24 bytes, its place has 28 (at byte 63)");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", 28,
           "x: bytes 87..91 belong to no tensor (at byte 87)");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[4,28]}}", 28,
           "x: bytes 63..67 belong to no tensor (at byte 63)");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
           "\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[12,28]}}",
           28, "x: tensors 'a' and 'b' overlap (at byte ");
    refuse("{\"\\u0007\":{\"dtype\":\"F32\",\"shape\":[7],\"data_offsets\":[0,28]}}", 28,
           "x: a tensor name is '\\x07'; names have 1..1024 bytes and no control characters");
    refuse("{\"__metadata__\":{\"a\":1}}", 28, "x: metadata 'a' is not a string (at byte 8)");
    refuse("{}", 28, "x: bytes 10..38 belong to no tensor (at byte 10)");
}

/* A header of nothing but empty objects would cost jansson a hundred times its size. */
static void costly_header(void **state) {
    (void)state;
    const int64_t size = 8 << 20;
    char *b = malloc((size_t)size + 8);
    for (int i = 0; i < 8; i++) b[i] = (char)(size >> 8 * i);
    memcpy(b + 8, "{\"a\":[", 6);
    for (int64_t i = 14; i + 3 <= size + 8; i += 3) memcpy(b + i, "{},", 3);
    sppo_safetensors *s;
    assert_fails(sppo__safetensors_parse(b, size + 8, "x", &s), SPPO_ERR_FORMAT,
                 "x: header: more than 2097152 values (at byte ");
    free(b);
}

/* ---- writing ---- */

static sppo_tensor *tensor_of(sppo_dtype dtype, int ndim, const int64_t *shape, const void *data) {
    sppo_tensor *t;
    assert_ok(sppo_tensor_new(&t, dtype, SPPO_DEVICE_CPU, ndim, shape));
    assert_ok(sppo_tensor_write(t, data, sppo_tensor_bytes(t)));
    return t;
}

static void writes(void **state) {
    (void)state;
    const char *path = in_folder("w.safetensors");
    const int64_t two[] = {2, 3}, one[] = {5};
    const float values[] = {1, 2, 3, 4, 5, -6};
    const uint16_t halves[] = {1, 2, 3, 4, 5};
    sppo_tensor *a = tensor_of(SPPO_DTYPE_F32, 2, two, values);
    sppo_tensor *b = tensor_of(SPPO_DTYPE_BF16, 1, one, halves);
    sppo_tensor *scalar = tensor_of(SPPO_DTYPE_F32, 0, NULL, values);

    sppo_safetensors_writer *w;
    assert_ok(sppo_safetensors_writer_new(&w, path));
    assert_ok(sppo_safetensors_writer_add(w, "z.weight", SPPO_DTYPE_F32, 2, two));
    assert_ok(sppo_safetensors_writer_add(w, "b\xc3\xa9", SPPO_DTYPE_BF16, 1, one));
    assert_ok(sppo_safetensors_writer_add(w, "scalar", SPPO_DTYPE_F32, 0, NULL));
    assert_ok(sppo_safetensors_writer_note(w, "format", "pt"));
    assert_fails(sppo_safetensors_writer_add(w, "z.weight", SPPO_DTYPE_F32, 1, one), SPPO_ERR_STATE,
                 "z.weight added twice");
    assert_fails(sppo_safetensors_writer_add(w, "q", SPPO_DTYPE_Q8_0, 1, (int64_t[]){32}),
                 SPPO_ERR_DTYPE, "tensor 'q': q8_0 cannot be written");
    assert_fails(sppo_safetensors_writer_add(w, "a\nb", SPPO_DTYPE_F32, 1, one), SPPO_ERR_ARGUMENT,
                 "'a\\x0ab' cannot be the name of a tensor");
    assert_fails(sppo_safetensors_writer_add(w, "n", SPPO_DTYPE_F32, 1, (int64_t[]){-1}),
                 SPPO_ERR_SHAPE, "size -1 of axis 0 is negative");
    assert_fails(sppo_safetensors_writer_write(w, "z.weight", a), SPPO_ERR_STATE, "before begin");
    assert_ok(sppo_safetensors_writer_begin(w));
    assert_fails(sppo_safetensors_writer_write(w, "scalar", scalar), SPPO_ERR_STATE,
                 "tensor 'scalar' written, 'z.weight' is next");
    assert_fails(sppo_safetensors_writer_write(w, "z.weight", b), SPPO_ERR_SHAPE,
                 "tensor 'z.weight' is bf16 [5] in rows, announced as f32 [2, 3] in rows");
    assert_ok(sppo_safetensors_writer_write(w, "z.weight", a));
    assert_ok(sppo_safetensors_writer_write(w, "b\xc3\xa9", b));
    assert_ok(sppo_safetensors_writer_write(w, "scalar", scalar));
    assert_fails(sppo_safetensors_writer_write(w, "scalar", scalar), SPPO_ERR_STATE,
                 "after the last tensor");
    assert_ok(sppo_safetensors_writer_close(w));

    char *whole;
    int64_t size;
    assert_ok(sppo_file_read(path, 4096, &whole, &size));
    assert_int_equal((8 + (unsigned char)whole[0] + 256 * (unsigned char)whole[1]) % 64, 0);
    const char *first = strstr(whole + 8, "z.weight"), *second = strstr(whole + 8, "scalar");
    assert_true(first && second && first < second);
    sppo_file_free(whole);

    sppo_safetensors *s;
    sppo_tensor *t;
    assert_ok(sppo_safetensors_open(&s, path));
    assert_int_equal(sppo_safetensors_count(s), 3);
    assert_string_equal(sppo_safetensors_metadata(s, "format"), "pt");
    assert_ok(sppo_safetensors_tensor(&t, s, "z.weight"));
    assert_values(t, values, 6);
    sppo_tensor_release(t);
    uint16_t read[5];
    assert_ok(sppo_safetensors_tensor(&t, s, "b\xc3\xa9"));
    assert_ok(sppo_tensor_read(t, read, 10));
    assert_memory_equal(read, halves, 10);
    sppo_tensor_release(t);
    assert_ok(sppo_safetensors_tensor(&t, s, "scalar"));
    assert_values(t, values, 1);
    sppo_tensor_release(t);
    sppo_safetensors_close(s);
    sppo_tensor_release(a);
    sppo_tensor_release(b);
    sppo_tensor_release(scalar);
}

static void unfinished(void **state) {
    (void)state;
    const char *path = in_folder("u.safetensors");
    sppo_safetensors_writer *w;
    assert_ok(sppo_safetensors_writer_new(&w, path));
    assert_ok(sppo_safetensors_writer_add(w, "a", SPPO_DTYPE_F32, 1, (int64_t[]){4}));
    assert_ok(sppo_safetensors_writer_begin(w));
    assert_fails(sppo_safetensors_writer_close(w), SPPO_ERR_STATE,
                 "u.safetensors: closed after 0 of 1 tensors");
    assert_int_equal(access(path, F_OK), -1);
    assert_fails(sppo_safetensors_writer_new(&w, in_folder("no/u")), SPPO_ERR_IO,
                 "u: cannot create: No such file or directory");
}

static void full_disk(void **state) {
    (void)state;
    const char *path = in_folder("f.safetensors");
    const int64_t shape[] = {1024};
    sppo_tensor *t;
    sppo_safetensors_writer *w;
    assert_ok(sppo_tensor_new(&t, SPPO_DTYPE_F32, SPPO_DEVICE_CPU, 1, shape));
    assert_ok(sppo_safetensors_writer_new(&w, path));
    assert_ok(sppo_safetensors_writer_add(w, "a", SPPO_DTYPE_F32, 1, shape));
    assert_ok(sppo_safetensors_writer_begin(w));

    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    sppo_status st = sppo_safetensors_writer_write(w, "a", t);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);

    assert_fails(st, SPPO_ERR_IO, "f.safetensors: cannot write 4096 bytes: File too large");
    assert_fails(sppo_safetensors_writer_close(w), SPPO_ERR_STATE, "the file was removed");
    assert_int_equal(access(path, F_OK), -1);
    sppo_tensor_release(t);
}

/* A file of the safetensors package. */
static void other_writer(void **state) {
    (void)state;
    sppo_safetensors *s;
    sppo_tensor *t;
    assert_ok(sppo_safetensors_open(&s, SOURCE_DIR "/tests/golden/tiny_llama.safetensors"));
    assert_true(sppo_safetensors_count(s) > 10);
    for (int64_t i = 0; i < sppo_safetensors_count(s); i++) {
        int64_t bad = 0;
        assert_ok(sppo_safetensors_tensor(&t, s, sppo_safetensors_name(s, i)));
        assert_int_equal(sppo_tensor_dtype(t), SPPO_DTYPE_F32);
        const float *x = sppo_tensor_data(t);
        for (int64_t k = 0; k < sppo_tensor_count(t); k++) bad += !(x[k] > -100 && x[k] < 100);
        assert_int_equal(bad, 0);
        sppo_tensor_release(t);
    }
    sppo_safetensors_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),         cmocka_unit_test(truncations),
        cmocka_unit_test(mutations),     cmocka_unit_test(errors),
        cmocka_unit_test(writes),        cmocka_unit_test(unfinished),
        cmocka_unit_test(costly_header), cmocka_unit_test(full_disk),
        cmocka_unit_test(other_writer),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
