/* gguf_test.c - the GGUF reader: a small file with one of everything, its every truncation and
 * mutation, each error by its text, each block type against values computed by hand. */

#include "io_support.h"

#include <math.h>

#include "io/gguf.h"

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

static void put_text(bytes *b, const char *text) {
    put_uint(b, strlen(text), 8);
    put(b, text, strlen(text));
}

static void put_key(bytes *b, const char *name, int type) {
    put_text(b, name);
    put_uint(b, (uint64_t)type, 4);
}

static void put_header(bytes *b, uint64_t tensors, uint64_t keys) {
    b->size = 0;
    put(b, "GGUF", 4);
    put_uint(b, 3, 4);
    put_uint(b, tensors, 8);
    put_uint(b, keys, 8);
}

/* Sizes as the file has them: the last axis first. */
static void put_tensor(bytes *b, const char *name, int ndim, const uint64_t *sizes, uint64_t type,
                       uint64_t offset) {
    put_text(b, name);
    put_uint(b, (uint64_t)ndim, 4);
    for (int i = 0; i < ndim; i++) put_uint(b, sizes[i], 8);
    put_uint(b, type, 4);
    put_uint(b, offset, 8);
}

static void align(bytes *b, int alignment) {
    while (b->size % alignment) put_uint(b, 0, 1);
}

/* Blocks of 32: d = 0.5, m = -1 where there is one; the nibbles of byte i are i and 15 - i, the
 * bytes of q8_0 are i - 16. */
static const uint16_t HALF = 0x3800, MINUS_ONE = 0xbc00;

static void put_nibbles(bytes *b) {
    for (uint64_t i = 0; i < 16; i++) put_uint(b, i | (15 - i) << 4, 1);
}

static void build(bytes *b) {
    put_header(b, 7, 9);
    put_key(b, "general.alignment", U32), put_uint(b, 64, 4);
    put_key(b, "small", I8), put_uint(b, 0xfe, 1);
    put_key(b, "large", U64), put_uint(b, UINT64_MAX, 8);
    put_key(b, "yes", BOOL), put_uint(b, 1, 1);
    put_key(b, "pi", F64), put(b, &(double){3.25}, 8);
    put_key(b, "name", STRING), put_text(b, "tiny");
    put_key(b, "words", ARRAY), put_uint(b, STRING, 4), put_uint(b, 3, 8);
    put_text(b, "a"), put_text(b, ""), put_text(b, "ccc");
    put_key(b, "scores", ARRAY), put_uint(b, F32, 4), put_uint(b, 2, 8);
    put(b, (float[]){1.5f, -2}, 8);
    put_key(b, "none", ARRAY), put_uint(b, I16, 4), put_uint(b, 0, 8);
    put_tensor(b, "f32", 2, (uint64_t[]){3, 2}, 0, 0);
    put_tensor(b, "f16", 1, (uint64_t[]){4}, 1, 64);
    put_tensor(b, "bf16", 1, (uint64_t[]){2}, 30, 128);
    put_tensor(b, "q8_0", 2, (uint64_t[]){32, 1}, 8, 192);
    put_tensor(b, "q4_0", 1, (uint64_t[]){32}, 2, 256);
    put_tensor(b, "q4_1", 1, (uint64_t[]){32}, 3, 320);
    put_tensor(b, "iq4_nl", 1, (uint64_t[]){32}, 20, 384);
    align(b, 64);
    put(b, (float[]){1, 2, 3, 4, 5, 6}, 24), align(b, 64);
    // 1, the smallest denormal, -2, infinity
    put_uint(b, 0x3c00, 2), put_uint(b, 1, 2), put_uint(b, 0xc000, 2), put_uint(b, 0x7c00, 2);
    align(b, 64);
    put_uint(b, 0x3f80, 2), put_uint(b, 0xc040, 2), align(b, 64);
    put_uint(b, HALF, 2);
    for (int i = 0; i < 32; i++) put_uint(b, (uint64_t)(i - 16) & 255, 1);
    align(b, 64);
    put_uint(b, HALF, 2), put_nibbles(b), align(b, 64);
    put_uint(b, HALF, 2), put_uint(b, MINUS_ONE, 2), put_nibbles(b), align(b, 64);
    for (int i = 0; i < 18; i++) put_uint(b, 0, 1);
}

static sppo_status parse(const bytes *b, sppo_gguf **g) {
    return sppo__gguf_parse(b->data, b->size, "tiny.gguf", g);
}

/* Calls every getter on everything. */
static void read_all(sppo_gguf *g) {
    const char *text;
    int64_t length, integer;
    double number;
    for (int64_t i = -1; i <= sppo_gguf_tensor_count(g); i++) {
        sppo_tensor *t;
        const char *name = sppo_gguf_tensor_name(g, i);
        sppo_gguf_tensor_type(g, i);
        for (int a = -1; a <= sppo_gguf_tensor_ndim(g, i); a++) sppo_gguf_tensor_size(g, i, a);
        if (!name) continue;
        assert_int_equal(sppo_gguf_tensor_find(g, name), i);
        if (!sppo_gguf_tensor(&t, g, name)) sppo_tensor_release(t);
    }
    for (int64_t i = -1; i <= sppo_gguf_key_count(g); i++) {
        const char *name = sppo_gguf_key_name(g, i);
        if (name) assert_int_equal(sppo_gguf_key_find(g, name), i);
        sppo_gguf_key_type(g, i);
        sppo_gguf_number(g, i, &number);
        sppo_gguf_integer(g, i, &integer);
        sppo_gguf_string(g, i, &text, &length);
        sppo_gguf_array_type(g, i);
        for (int64_t j = -1; j <= sppo_gguf_array_count(g, i); j++) {
            sppo_gguf_array_number(g, i, j, &number);
            sppo_gguf_array_string(g, i, j, &text, &length);
        }
    }
}

static void metadata(void **state) {
    (void)state;
    bytes b;
    build(&b);
    sppo_gguf *g;
    assert_ok(parse(&b, &g));
    assert_int_equal(sppo_gguf_key_count(g), 9);
    assert_string_equal(sppo_gguf_key_name(g, 8), "none");
    assert_int_equal(sppo_gguf_key_find(g, "nothing"), -1);

    double number;
    int64_t integer, length;
    const char *text;
    assert_ok(sppo_gguf_integer(g, sppo_gguf_key_find(g, "small"), &integer));
    assert_int_equal(integer, -2);
    assert_ok(sppo_gguf_number(g, sppo_gguf_key_find(g, "large"), &number));
    assert_true(number == 18446744073709551616.0);
    assert_fails(sppo_gguf_integer(g, sppo_gguf_key_find(g, "large"), &integer), SPPO_ERR_FORMAT,
                 "tiny.gguf: key 'large' is u64, wanted an integer below 2^63 (at byte ");
    assert_ok(sppo_gguf_number(g, sppo_gguf_key_find(g, "pi"), &number));
    assert_true(number == 3.25);
    assert_ok(sppo_gguf_string(g, sppo_gguf_key_find(g, "name"), &text, &length));
    assert_int_equal(length, 4);
    assert_memory_equal(text, "tiny", 4);
    assert_fails(sppo_gguf_number(g, sppo_gguf_key_find(g, "name"), &number), SPPO_ERR_FORMAT,
                 "key 'name' is string, wanted a number");

    int64_t words = sppo_gguf_key_find(g, "words"), scores = sppo_gguf_key_find(g, "scores");
    assert_int_equal(sppo_gguf_array_count(g, words), 3);
    assert_string_equal(sppo_gguf_array_type(g, words), "string");
    assert_ok(sppo_gguf_array_string(g, words, 2, &text, &length));
    assert_int_equal(length, 3);
    assert_memory_equal(text, "ccc", 3);
    assert_fails(sppo_gguf_array_string(g, words, 3, &text, &length), SPPO_ERR_ARGUMENT,
                 "tiny.gguf: element 3 of key 'words', which has 3");
    assert_fails(sppo_gguf_array_number(g, words, 0, &number), SPPO_ERR_FORMAT,
                 "key 'words' is an array of string, wanted an array of numbers");
    assert_ok(sppo_gguf_array_number(g, scores, 1, &number));
    assert_true(number == -2);
    assert_int_equal(sppo_gguf_array_count(g, sppo_gguf_key_find(g, "none")), 0);
    assert_int_equal(sppo_gguf_array_count(g, sppo_gguf_key_find(g, "pi")), -1);
    sppo_gguf_close(g);
}

static void tensors(void **state) {
    (void)state;
    bytes b;
    build(&b);
    sppo_gguf *g;
    assert_ok(parse(&b, &g));
    assert_int_equal(sppo_gguf_tensor_count(g), 7);
    assert_string_equal(sppo_gguf_tensor_type(g, 5), "Q4_1");
    assert_int_equal(sppo_gguf_tensor_ndim(g, 0), 2);
    assert_int_equal(sppo_gguf_tensor_size(g, 0, 0), 2);
    assert_int_equal(sppo_gguf_tensor_size(g, 0, 1), 3);

    float q8[32], q4_0[32], q4_1[32];
    for (int i = 0; i < 32; i++) q8[i] = 0.5f * (float)(i - 16);
    for (int i = 0; i < 16; i++) {
        q4_0[i] = 0.5f * (float)(i - 8);
        q4_0[i + 16] = 0.5f * (float)(15 - i - 8);
        q4_1[i] = 0.5f * (float)i - 1;
        q4_1[i + 16] = 0.5f * (float)(15 - i) - 1;
    }
    const struct {
        const char *name;
        int count;
        const float *values;
    } wanted[] = {
        {"f32", 6, (float[]){1, 2, 3, 4, 5, 6}},
        {"f16", 4, (float[]){1, 0x1p-24f, -2, INFINITY}},
        {"bf16", 2, (float[]){1, -3}},
        {"q8_0", 32, q8},
        {"q4_0", 32, q4_0},
        {"q4_1", 32, q4_1},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        sppo_tensor *t;
        assert_ok(sppo_gguf_tensor(&t, g, wanted[i].name));
        assert_values(t, wanted[i].values, wanted[i].count);
        sppo_tensor_release(t);
    }
    sppo_tensor *t;
    assert_fails(sppo_gguf_tensor(&t, g, "iq4_nl"), SPPO_ERR_FORMAT,
                 "tiny.gguf: tensor 'iq4_nl' is IQ4_NL; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, "
                 "Q5_1 and Q2_K to Q6_K are read");
    assert_fails(sppo_gguf_tensor(&t, g, "x"), SPPO_ERR_ARGUMENT, "tiny.gguf: has no tensor 'x'");
    sppo_gguf_close(g);
}

static void truncations(void **state) {
    (void)state;
    bytes b;
    build(&b);
    for (int64_t size = 0; size < b.size; size++) {
        void *copy = exact_copy(b.data, size);
        sppo_gguf *g = NULL;
        assert_fails(sppo__gguf_parse(copy, size, "tiny.gguf", &g), SPPO_ERR_FORMAT, "(at byte ");
        assert_null(g);
        free(copy);
    }
}

static void mutations(void **state) {
    (void)state;
    bytes b;
    build(&b);
    int opened = 0, refused = 0;
    for (int64_t i = 0; i < b.size; i++) {
        unsigned char old = b.data[i];
        const unsigned char changed[] = {0, 255, old ^ 1, old ^ 128, (unsigned char)(old + 1)};
        for (size_t k = 0; k < sizeof changed; k++) {
            b.data[i] = changed[k];
            void *copy = exact_copy(b.data, b.size);
            sppo_gguf *g;
            sppo_status st = sppo__gguf_parse(copy, b.size, "tiny.gguf", &g);
            if (st) {
                assert_fails(st, SPPO_ERR_FORMAT, "tiny.gguf: ");
                refused++;
            } else {
                read_all(g);
                sppo_gguf_close(g);
                opened++;
            }
            free(copy);
        }
        b.data[i] = old;
    }
    assert_true(opened > 100 && refused > 100);
}

/* ---- each error ---- */

static void refuse(const bytes *b, const char *text) {
    void *copy = exact_copy(b->data, b->size);
    sppo_gguf *g;
    assert_fails(sppo__gguf_parse(copy, b->size, "tiny.gguf", &g), SPPO_ERR_FORMAT, text);
    free(copy);
}

static void header_errors(void **state) {
    (void)state;
    bytes b = {.size = 0};
    put(&b, "GGML____________________", 24);
    refuse(&b, "tiny.gguf: not a GGUF file, it starts with 'GGML' (at byte 0)");
    put_header(&b, 0, 0), b.data[4] = 1;
    refuse(&b, "tiny.gguf: GGUF version 1, versions 2 and 3 are read (at byte 4)");
    put_header(&b, 65537, 0);
    refuse(&b, "tiny.gguf: 65537 tensors cannot be in the 8 bytes left (at byte 8)");
    put_header(&b, 0, UINT64_MAX);
    refuse(&b, "18446744073709551615 metadata keys cannot be in the 0 bytes left (at byte 16)");
}

static void metadata_errors(void **state) {
    (void)state;
    bytes b;
    put_header(&b, 0, 1), put_key(&b, "k", 13), put_uint(&b, 0, 8);
    refuse(&b, "tiny.gguf: key 'k' has unknown type 13 (at byte 33)");
    put_header(&b, 0, 1), put_key(&b, "k", BOOL), put_uint(&b, 2, 1);
    refuse(&b, "tiny.gguf: key 'k' has a bool of 2 (at byte 37)");
    put_header(&b, 0, 1), put_key(&b, "k", ARRAY), put_uint(&b, ARRAY, 4), put_uint(&b, 0, 8);
    refuse(&b, "tiny.gguf: key 'k' is an array of arrays (at byte 37)");
    put_header(&b, 0, 1), put_key(&b, "k", ARRAY), put_uint(&b, U64, 4);
    put_uint(&b, 1ull << 61, 8);
    refuse(&b, "2305843009213693952 array elements cannot be in the 0 bytes left (at byte 41)");
    put_header(&b, 0, 1), put_key(&b, "k", STRING), put_uint(&b, UINT64_MAX, 8);
    refuse(&b, "tiny.gguf: a string of 18446744073709551615 bytes cannot be in the 0 bytes left "
               "(at byte 37)");
    put_header(&b, 0, 1), put_key(&b, "a\nb", U8), put_uint(&b, 0, 8);
    refuse(&b, "tiny.gguf: a key is 'a\\x0ab'; names have 1..65535 bytes and no control "
               "characters (at byte 24)");
    put_header(&b, 0, 2);
    put_key(&b, "k", U8), put_uint(&b, 0, 1), put_key(&b, "k", U8), put_uint(&b, 0, 1);
    refuse(&b, "tiny.gguf: key 'k' is there twice (at byte 51)");
    for (uint64_t alignment = 0; alignment < 1ull << 32; alignment = alignment * 2 + 3) {
        put_header(&b, 0, 1), put_key(&b, "general.alignment", U32), put_uint(&b, alignment, 4);
        refuse(&b, "is not a power of two in 1..65536 (at byte 53)");
    }
    put_header(&b, 0, 1), put_key(&b, "general.alignment", U32), put_uint(&b, 0x80000000, 4);
    refuse(&b, "tiny.gguf: alignment 2147483648 is not a power of two in 1..65536 (at byte 53)");
    put_header(&b, 0, 1), put_key(&b, "general.alignment", STRING), put_text(&b, "32");
    refuse(&b, "key 'general.alignment' is string, wanted an integer (at byte 53)");
}

static void tensor_errors(void **state) {
    (void)state;
    bytes b;
    const uint64_t whole = INT64_MAX, row[] = {32, 1, 1, 1};
    put_header(&b, 1, 0), put_tensor(&b, "t", 0, NULL, 0, 0), put_uint(&b, 0, 8);
    refuse(&b, "tiny.gguf: tensor 't' has 0 dimensions, 1..4 are read (at byte 33)");
    put_header(&b, 1, 0), put_text(&b, "t"), put_uint(&b, 5, 4), put_uint(&b, 0, 8);
    put_uint(&b, 0, 8);
    refuse(&b, "tiny.gguf: tensor 't' has 5 dimensions");
    put_header(&b, 1, 0), put_tensor(&b, "t", 1, (uint64_t[]){0}, 0, 0);
    refuse(&b, "tiny.gguf: tensor 't' has a size of 0 (at byte 37)");
    put_header(&b, 1, 0), put_tensor(&b, "t", 2, (uint64_t[]){whole, 3}, 0, 0);
    refuse(&b, "tiny.gguf: tensor 't' has a size of 3 (at byte 45)");
    put_header(&b, 1, 0), put_tensor(&b, "t", 1, (uint64_t[]){whole}, 0, 0);
    refuse(&b, "tiny.gguf: tensor 't' does not lie inside the file of 57 bytes (at byte 49)");
    put_header(&b, 1, 0), put_tensor(&b, "t", 1, row, 40, 0);
    refuse(&b, "tiny.gguf: tensor 't' has unknown type 40 (at byte 45)");
    put_header(&b, 1, 0), put_tensor(&b, "t", 1, row, 4, 0);
    refuse(&b, "tiny.gguf: tensor 't' has unknown type 4 (at byte 45)");
    put_header(&b, 1, 0), put_tensor(&b, "t", 1, (uint64_t[]){33}, 8, 0);
    refuse(&b, "tiny.gguf: tensor 't' has rows of 33 values, not whole blocks of 32 as Q8_0 needs "
               "(at byte 45)");
    put_header(&b, 1, 0), put_tensor(&b, "t", 1, row, 0, 16), align(&b, 32), b.size += 256;
    refuse(&b, "tiny.gguf: tensor 't' starts at 16, no multiple of the alignment 32 (at byte 24)");
    put_header(&b, 1, 0), put_tensor(&b, "t", 1, row, 0, INT64_MAX - 31);
    refuse(&b, "tiny.gguf: tensor 't' does not lie inside the file of 57 bytes (at byte 24)");
    put_header(&b, 2, 0), put_tensor(&b, "t", 1, row, 0, 0), put_tensor(&b, "u", 1, row, 0, 96);
    align(&b, 32), b.size += 512;
    refuse(&b, "tiny.gguf: tensors 't' and 'u' overlap (at byte 192)");
    put_header(&b, 2, 0), put_tensor(&b, "t", 1, row, 0, 0), put_tensor(&b, "t", 1, row, 0, 128);
    refuse(&b, "tiny.gguf: tensor 't' is there twice (at byte 57)");
}

static void files(void **state) {
    (void)state;
    bytes b;
    build(&b);
    sppo_gguf *g;
    sppo_tensor *t;
    const char *path = in_folder("a.gguf");
    write_file(path, b.data, b.size);
    assert_ok(sppo_gguf_open(&g, path));
    assert_ok(sppo_gguf_tensor(&t, g, "f32"));
    sppo_tensor_release(t);
    assert_int_equal(truncate(path, 100), 0);
    assert_fails(sppo_gguf_tensor(&t, g, "f32"), SPPO_ERR_IO, "a.gguf: has 100 bytes now, it had ");
    sppo_gguf_close(g);
    write_file(path, "", 0);
    assert_fails(sppo_gguf_open(&g, path), SPPO_ERR_FORMAT,
                 "a.gguf: ends inside the header: 4 bytes wanted, 0 left (at byte 0)");
    assert_fails(sppo_gguf_open(&g, in_folder("none")), SPPO_ERR_IO,
                 "none: cannot open: No such file or directory");
    assert_fails(sppo_gguf_open(&g, test_folder), SPPO_ERR_IO, ": is a folder, a file is wanted");
}

/* Files that tools/golden/fuzz_seeds.py wrote from the format's description. */
static void other_writer(void **state) {
    (void)state;
    sppo_gguf *g;
    sppo_tensor *t;
    double number;
    assert_ok(sppo_gguf_open(&g, SOURCE_DIR "/tests/fuzz/seeds/gguf/tiny.gguf"));
    assert_int_equal(sppo_gguf_key_count(g), 6);
    assert_int_equal(sppo_gguf_tensor_count(g), 13);
    assert_ok(sppo_gguf_number(g, sppo_gguf_key_find(g, "llama.rope.freq_base"), &number));
    assert_true(number == 100000);
    assert_ok(sppo_gguf_tensor(&t, g, "t3"));
    assert_int_equal(sppo_tensor_size(t, 0), 32);
    sppo_tensor_release(t);
    sppo_gguf_close(g);
    assert_ok(sppo_gguf_open(&g, SOURCE_DIR "/tests/fuzz/seeds/gguf/v2.gguf"));
    sppo_gguf_close(g);
}

/* Every block type against the gguf package (tools/golden/gguf_blocks.py): the same bits, also
 * where scales are infinite or -0; NaN where it says NaN, whose sign and payload are nobody's. */
static void blocks(void **state) {
    (void)state;
    static const char *const names[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
                                        "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"};
    sppo_gguf *g;
    assert_ok(sppo_gguf_open(&g, SOURCE_DIR "/tests/golden/gguf_blocks.gguf"));
    assert_int_equal(sppo_gguf_tensor_count(g), 20);
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        char name[16];
        int64_t finite = 0, infinite = 0;
        sppo_tensor *t, *u;
        snprintf(name, sizeof name, "%s.values", names[n]);
        assert_ok(sppo_gguf_tensor(&t, g, names[n]));
        assert_ok(sppo_gguf_tensor(&u, g, name));
        assert_int_equal(sppo_tensor_count(t), sppo_tensor_count(u));
        const float *got = sppo_tensor_data(t), *wanted = sppo_tensor_data(u);
        for (int64_t i = 0; i < sppo_tensor_count(t); i++) {
            finite += isfinite(wanted[i]) != 0;
            infinite += isinf(wanted[i]) != 0;
            if (isnan(wanted[i]) ? !isnan(got[i]) : memcmp(&got[i], &wanted[i], 4))
                fail_msg("%s: value %d is %a, wanted %a", names[n], (int)i, (double)got[i],
                         (double)wanted[i]);
        }
        assert_true(finite > 100 && infinite > 10);
        sppo_tensor_release(t);
        sppo_tensor_release(u);
    }
    sppo_gguf_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata),      cmocka_unit_test(tensors),
        cmocka_unit_test(truncations),   cmocka_unit_test(mutations),
        cmocka_unit_test(header_errors), cmocka_unit_test(metadata_errors),
        cmocka_unit_test(tensor_errors), cmocka_unit_test(files),
        cmocka_unit_test(other_writer),  cmocka_unit_test(blocks),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
