/* bpe_test.c - the tokenizer on small vocabularies made here: what it does, what it refuses, and
 * that no text makes it slow. A real vocabulary is tested in tests/lua/tokenizer_test.lua. */

#include <stdio.h>

#include "bpe_support.h"
#include "check.h"
#include "llm/bpe.h"

#define FAILS(call, status, text) \
    do { \
        assert_int_equal(call, status); \
        if (!strstr(sppo_last_error(), text)) \
            fail_msg("line %d: \"%s\" lacks \"%s\"", __LINE__, sppo_last_error(), text); \
    } while (0)

/* Bytes, then ab, abc, bc, " a" (U+0120 a), <s> special, <t> added, "unused". */
enum { AB = 256, ABC, BC, SPACE_A, SPECIAL, SPECIAL_LONG, ADDED, UNUSED, VOCAB };

static sppo_bpe *small(const char *pattern, const sppo_bpe_options *options) {
    sppo_bpe *b;
    OK(sppo_bpe_new(&b, pattern, VOCAB, options));
    OK(add_bytes(b));
    OK(add_token(b, AB, "ab", SPPO_TOKEN_NORMAL));
    OK(add_token(b, ABC, "abc", SPPO_TOKEN_NORMAL));
    OK(add_token(b, BC, "bc", SPPO_TOKEN_NORMAL));
    OK(add_token(b, SPACE_A, "\u0120a", SPPO_TOKEN_NORMAL));
    OK(add_token(b, SPECIAL, "<s>", SPPO_TOKEN_SPECIAL));
    OK(add_token(b, SPECIAL_LONG, "<s><s>!", SPPO_TOKEN_SPECIAL));
    OK(add_token(b, ADDED, "<t>", SPPO_TOKEN_ADDED));
    OK(add_token(b, UNUSED, "unused", SPPO_TOKEN_UNUSED));
    OK(add_merge(b, "b c"));
    OK(add_merge(b, "a b"));
    OK(add_merge(b, "\u0120 a"));
    OK(add_merge(b, "ab c"));
    OK(sppo_bpe_finish(b));
    return b;
}

static void put_text(sppo_bpe *b, const char *text, int special) {
    OK(sppo_bpe_put(b, text, (int64_t)strlen(text), special));
}

/* What was put has these ids. */
static void has_ids(sppo_bpe *b, const int32_t *expected, int64_t n, int line) {
    const int32_t *ids;
    int64_t count;
    OK(sppo_bpe_encode(b, &ids, &count));
    if (count != n) fail_msg("line %d: %d ids, expected %d", line, (int)count, (int)n);
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] != expected[i])
            fail_msg("line %d: id %d is %d, expected %d", line, (int)i, ids[i], expected[i]);
    }
}

#define IDS(b, ...) \
    has_ids(b, (const int32_t[]){__VA_ARGS__}, \
            sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), __LINE__)

static void merges_by_rank(void **state) {
    (void)state;
    sppo_bpe *b = small("gpt2", NULL);
    for (int again = 0; again < 2; again++) {  // the second time from the cache
        put_text(b, "abc", 0);
        IDS(b, 'a', BC);  // b c comes before a b
        put_text(b, "ab ab abab", 0);
        IDS(b, AB, ' ', AB, ' ', AB, AB);
        put_text(b, " a", 0);
        IDS(b, SPACE_A);
        put_text(b, "a\nb", 0);
        IDS(b, 'a', '\n', 'b');
    }
    has_ids(b, NULL, 0, __LINE__);
    sppo_bpe_free(b);

    b = small("gpt2", &(sppo_bpe_options){.whole_words = 1});
    put_text(b, "abc abcd", 0);
    IDS(b, ABC, SPACE_A, BC, 'd');
    sppo_bpe_free(b);
}

static void composes(void **state) {
    (void)state;
    sppo_bpe *b = small("qwen2", &(sppo_bpe_options){.nfc = 1});
    put_text(b, "e\u0301", 0);
    IDS(b, 0xC3, 0xA9);
    sppo_bpe_free(b);
}

static void special_tokens(void **state) {
    (void)state;
    sppo_bpe *b = small("gpt2", NULL);
    put_text(b, "<s>", 0);
    IDS(b, '<', 's', '>');
    put_text(b, "a<s>b", 1);
    IDS(b, 'a', SPECIAL, 'b');
    put_text(b, "<s><s><s>!<s", 1);  // the longest of the first place
    IDS(b, SPECIAL, SPECIAL_LONG, '<', 's');
    put_text(b, "a<t>b<s>", 0);  // added tokens are text
    IDS(b, 'a', ADDED, 'b', '<', 's', '>');
    put_text(b, "unused", 1);
    IDS(b, 'u', 'n', 'u', 's', 'e', 'd');

    // Pieces are one text, but a special token lies inside of one that may hold it.
    put_text(b, "a", 0);
    put_text(b, "bc<s", 1);
    put_text(b, ">", 1);
    put_text(b, "<s>a", 1);
    put_text(b, "b<t", 0);
    put_text(b, "", 0);
    put_text(b, ">", 1);
    IDS(b, 'a', BC, '<', 's', '>', SPECIAL, AB, ADDED);
    sppo_bpe_free(b);
}

static void bad_text(void **state) {
    (void)state;
    sppo_bpe *b = small("gpt2", NULL);
    put_text(b, "ab", 0);
    FAILS(sppo_bpe_put(b, "ab\xE2\x82", 4, 0), SPPO_ERR_ARGUMENT, "not UTF-8 (at byte 2)");
    has_ids(b, NULL, 0, __LINE__);  // nothing stays behind
    FAILS(sppo_bpe_put(b, "a\xED\xA0\x80", 4, 1), SPPO_ERR_ARGUMENT, "(at byte 1)");
    FAILS(sppo_bpe_put(b, "a", -1, 0), SPPO_ERR_ARGUMENT, "more than 16 MiB");
    put_text(b, "ab", 0);
    FAILS(sppo_bpe_put(b, "ab", SPPO_BPE_TEXT - 1, 0), SPPO_ERR_ARGUMENT, "more than 16 MiB");
    put_text(b, "ab", 0);
    IDS(b, AB);
    sppo_bpe_free(b);
}

static void questions(void **state) {
    (void)state;
    sppo_bpe *b = small("gpt2", NULL);
    const char *bytes;
    int64_t length;
    int32_t left, right;
    sppo_token_kind kind;
    assert_int_equal(sppo_bpe_vocab(b), VOCAB);
    OK(sppo_bpe_token(b, SPACE_A, &bytes, &length, &kind));
    assert_int_equal(length, 2);
    assert_memory_equal(bytes, " a", 2);
    assert_int_equal(kind, SPPO_TOKEN_NORMAL);
    for (int i = 0; i < 256; i++) {
        OK(sppo_bpe_token(b, i, &bytes, &length, &kind));
        assert_int_equal(length, 1);
        assert_int_equal((uint8_t)bytes[0], i);
        assert_int_equal(sppo_bpe_find(b, bytes, 1), i);
    }
    OK(sppo_bpe_token(b, UNUSED, &bytes, &length, &kind));
    assert_int_equal(kind, SPPO_TOKEN_UNUSED);
    FAILS(sppo_bpe_token(b, VOCAB, &bytes, &length, &kind), SPPO_ERR_ARGUMENT,
          "token id 264, the vocabulary has 264");
    FAILS(sppo_bpe_token(b, -1, &bytes, &length, &kind), SPPO_ERR_ARGUMENT, "token id -1");
    assert_int_equal(sppo_bpe_find(b, "<s>", 3), SPECIAL);
    assert_int_equal(sppo_bpe_find(b, "<t>", 3), ADDED);
    assert_int_equal(sppo_bpe_find(b, "unused", 6), -1);
    assert_int_equal(sppo_bpe_find(b, "", 0), -1);
    assert_int_equal(sppo_bpe_merge_count(b), 4);
    OK(sppo_bpe_merge(b, 3, &left, &right));
    assert_int_equal(left, AB);
    assert_int_equal(right, 'c');
    FAILS(sppo_bpe_merge(b, 4, &left, &right), SPPO_ERR_ARGUMENT, "merge 4 of 4");
    sppo_bpe_free(b);
}

/* Bytes without a token are left out before merging. */
static void missing_bytes(void **state) {
    (void)state;
    sppo_bpe *b;
    OK(sppo_bpe_new(&b, "gpt2", 3, NULL));
    OK(add_token(b, 0, "a", SPPO_TOKEN_NORMAL));
    OK(add_token(b, 1, "b", SPPO_TOKEN_NORMAL));
    OK(add_token(b, 2, "ab", SPPO_TOKEN_NORMAL));
    OK(add_merge(b, "a b"));
    OK(sppo_bpe_finish(b));
    put_text(b, "axb x a", 0);
    IDS(b, 2, 0);
    sppo_bpe_free(b);
}

/* ---- words ---- */

static void splits(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *words;  // with | between them
    } cases[] = {
        {"gpt2", "Hello| world|,| it|'s| 123|abc|\t|\t|x|   "},
        {"gpt2", "a|\n\n|\n|7|   | 7"},
        {"gpt2", "x|\u180e\u200b"},  // no White_Space
        {"smollm", "a|\n\n|7|8| |9|x| '|s|'re"},
        {"smollm", "\u00bd|\u0663| \u00e9t\u00e9|\u00a0|\u00a0|x"},
        {"llama-bpe", "a| b|123|45| '|LL|'LL| x|\n \n|   | x|!!\n"},
        {"llama-bpe", "(don|'T|)\n\n|   \n\n|\ty|   "},
        {"qwen2", "a|1|2|3|\u3000\u65e5\u672c|!\r\n| \r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128], words[256];
        int64_t length = 0, n = 0, end;
        for (const char *c = cases[i].words; *c; c++) {
            if (*c != '|') text[length++] = *c;
        }
        sppo__split *s;
        OK(sppo__split_new(&s, cases[i].pattern));
        for (int64_t at = 0; at < length; at = end) {
            if (at) words[n++] = '|';
            OK(sppo__split_next(s, text, length, at, &end));
            memcpy(words + n, text + at, (size_t)(end - at));
            n += end - at;
        }
        words[n] = 0;
        sppo__split_free(s);
        assert_string_equal(words, cases[i].words);
    }
}

/* ---- against the definition ---- */

enum { TOKENS = 60, WORD = 400 };

typedef struct rule {
    int left, right, merged;
} rule;

/* The definition of BPE: the applicable merge of lowest rank, leftmost first, until none is. */
static int merge_slowly(const rule *rules, int count, int32_t *ids, int n) {
    for (;;) {
        int best = count, place = 0;
        for (int i = 0; i + 1 < n; i++) {
            for (int r = 0; r < best; r++) {
                if (ids[i] == rules[r].left && ids[i + 1] == rules[r].right) {
                    best = r;
                    place = i;
                }
            }
        }
        if (best == count) return n;
        ids[place] = rules[best].merged;
        memmove(ids + place + 1, ids + place + 2, (size_t)(n - place - 2) * sizeof *ids);
        n--;
    }
}

static void same_as_the_definition(void **state) {
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 40; round++) {
        static char text[TOKENS][64];
        rule rules[TOKENS];
        int tokens = 3, count = 0;
        for (int i = 0; i < 3; i++) memcpy(text[i], &"a\0b\0c"[2 * i], 2);
        while (tokens < TOKENS && count < 1000) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            int left = (int)((seed >> 33) % (uint64_t)tokens);
            int right = (int)((seed >> 48) % (uint64_t)tokens);
            char both[128];
            snprintf(both, sizeof both, "%s%s", text[left], text[right]);
            bool known = strlen(both) > 20;
            for (int i = 0; i < tokens; i++) known = known || !strcmp(text[i], both);
            if (known) continue;
            memcpy(text[tokens], both, strlen(both) + 1);
            rules[count++] = (rule){left, right, tokens++};
        }
        sppo_bpe *b;
        OK(sppo_bpe_new(&b, "gpt2", tokens, NULL));
        for (int i = 0; i < tokens; i++) OK(add_token(b, i, text[i], SPPO_TOKEN_NORMAL));
        for (int i = 0; i < count; i++) {
            char merge[256];
            snprintf(merge, sizeof merge, "%s %s", text[rules[i].left], text[rules[i].right]);
            OK(add_merge(b, merge));
        }
        OK(sppo_bpe_finish(b));
        for (int length = 1; length < WORD; length += 1 + length / 3) {
            char word[WORD];
            int32_t ids[WORD];
            for (int i = 0; i < length; i++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                ids[i] = (int32_t)((seed >> 40) % 3);
                word[i] = (char)('a' + ids[i]);
            }
            OK(sppo_bpe_put(b, word, length, 0));
            has_ids(b, ids, merge_slowly(rules, count, ids, length), __LINE__);
        }
        sppo_bpe_free(b);
    }
}

/* ---- data that is wrong ---- */

static void bad_vocabularies(void **state) {
    (void)state;
    sppo_bpe *b = NULL;
    static char large[SPPO_BPE_TOKEN + 1];
    memset(large, 'x', sizeof large);
    FAILS(sppo_bpe_new(&b, "gpt2", 0, NULL), SPPO_ERR_FORMAT, "0 tokens, a vocabulary has 1..");
    FAILS(sppo_bpe_new(&b, "gpt2", SPPO_BPE_VOCAB + 1, NULL), SPPO_ERR_FORMAT, "4194305 tokens");
    FAILS(sppo_bpe_new(&b, "tekken", 5, NULL), SPPO_ERR_FORMAT, "'tekken' is none of gpt2, smollm");
    assert_null(b);

    OK(sppo_bpe_new(&b, "gpt2", 3, NULL));
    FAILS(sppo_bpe_put(b, "a", 1, 0), SPPO_ERR_STATE, "put before a successful finish");
    FAILS(add_token(b, 3, "a", SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT, "token id 3, the vocabulary");
    FAILS(add_token(b, -1, "a", SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT, "token id -1");
    FAILS(add_token(b, 0, "", SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT, "has 0 bytes, it may have 1..");
    FAILS(sppo_bpe_add_token(b, 0, large, sizeof large, SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT,
          "has 16385 bytes");
    FAILS(sppo_bpe_add_token(b, 0, large, SPPO_BPE_MARK + 1, SPPO_TOKEN_SPECIAL), SPPO_ERR_FORMAT,
          "has 257 bytes, it may have 1..256");
    FAILS(add_token(b, 0, "a b", SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT, "stands for no byte");
    FAILS(add_token(b, 0, "\u0144", SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT, "stands for no byte");
    FAILS(add_token(b, 0, "\xC2\x85", SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT, "stands for no byte");
    FAILS(add_token(b, 0, "\u6f22", SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT, "stands for no byte");
    FAILS(add_token(b, 0, "a\xC4", SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT, "stands for no byte");
    FAILS(add_token(b, 0, "<\xC4>", SPPO_TOKEN_SPECIAL), SPPO_ERR_FORMAT, "token 0 is not UTF-8");
    FAILS(add_token(b, 0, "a", (sppo_token_kind)5), SPPO_ERR_ARGUMENT, "unknown kind 5");
    OK(add_token(b, 0, "a", SPPO_TOKEN_NORMAL));
    FAILS(add_token(b, 0, "b", SPPO_TOKEN_NORMAL), SPPO_ERR_FORMAT, "id 0 has two tokens");
    OK(add_token(b, 1, "b", SPPO_TOKEN_NORMAL));
    FAILS(sppo_bpe_finish(b), SPPO_ERR_FORMAT, "id 2 of 3 has no token");
    OK(add_token(b, 2, "a", SPPO_TOKEN_NORMAL));
    FAILS(sppo_bpe_finish(b), SPPO_ERR_FORMAT, "tokens 0 and 2 are the same");
    FAILS(sppo_bpe_finish(b), SPPO_ERR_STATE, "an earlier call has failed");
    FAILS(add_merge(b, "a b"), SPPO_ERR_STATE, "an earlier call has failed");
    sppo_bpe_free(b);

    OK(sppo_bpe_new(&b, "gpt2", 4, NULL));
    OK(add_token(b, 0, "a", SPPO_TOKEN_NORMAL));
    OK(add_token(b, 1, "b", SPPO_TOKEN_NORMAL));
    OK(add_token(b, 2, "ab", SPPO_TOKEN_NORMAL));
    OK(add_token(b, 3, "c", SPPO_TOKEN_SPECIAL));
    FAILS(add_merge(b, "ab"), SPPO_ERR_FORMAT, "merge 0 has no space");
    FAILS(sppo_bpe_add_merge(b, "", 0), SPPO_ERR_FORMAT, "merge 0 has no space");
    FAILS(add_merge(b, " b"), SPPO_ERR_FORMAT, "merge 0: its left part is not a token");
    FAILS(add_merge(b, "a "), SPPO_ERR_FORMAT, "its right part is not a token");
    FAILS(add_merge(b, "a b b"), SPPO_ERR_FORMAT, "its right part is not a token");
    FAILS(add_merge(b, "a c"), SPPO_ERR_FORMAT, "its right part is not a token");
    FAILS(add_merge(b, "b a"), SPPO_ERR_FORMAT, "its result is not a token");
    FAILS(add_token(b, 3, "d", SPPO_TOKEN_NORMAL), SPPO_ERR_STATE, "a token comes too late");
    OK(add_merge(b, "a b"));
    OK(add_merge(b, "a b"));
    FAILS(sppo_bpe_finish(b), SPPO_ERR_FORMAT, "merge 1 is merge 0 again");
    FAILS(sppo_bpe_finish(b), SPPO_ERR_STATE, "an earlier call has failed");
    sppo_bpe_free(b);
}

/* ---- time ---- */

/* Encodes n times `piece` as one text, within 20 s even under sanitizers; it takes below one. */
static void in_time(sppo_bpe *b, const char *piece, int64_t n, int special) {
    int64_t size = (int64_t)strlen(piece), count;
    char *text = malloc((size_t)(n * size));
    assert_non_null(text);
    for (int64_t i = 0; i < n; i++) memcpy(text + i * size, piece, (size_t)size);
    double start = sppo_clock();
    const int32_t *ids;
    OK(sppo_bpe_put(b, text, n * size, special));
    OK(sppo_bpe_encode(b, &ids, &count));
    double seconds = sppo_clock() - start;
    if (seconds > 20) fail_msg("'%s' x %d took %.1f s", piece, (int)n, seconds);
    assert_true(count > 0 && count <= n * size);
    free(text);
}

static void long_runs(void **state) {
    (void)state;
    static const char *const patterns[] = {"gpt2", "smollm", "llama-bpe", "qwen2"};
    for (size_t p = 0; p < 4; p++) {
        sppo_bpe *b;
        enum { DOUBLINGS = 8 };
        OK(sppo_bpe_new(&b, patterns[p], 256 + 2 * DOUBLINGS + 1, NULL));
        OK(add_bytes(b));
        for (int k = 0; k < 2 * DOUBLINGS; k++) {  // aa, aaaa, ..; then of spaces
            char text[1024];
            int64_t n = 0;
            for (int i = 0; i < 2 << k % DOUBLINGS; i++)
                n += put_letter(k < DOUBLINGS ? 'a' : ' ', text + n);
            OK(sppo_bpe_add_token(b, 256 + k, text, n, SPPO_TOKEN_NORMAL));
        }
        OK(add_token(b, 256 + 2 * DOUBLINGS, "<<<<<<<<<<<<<<<<>", SPPO_TOKEN_SPECIAL));
        for (int k = 0; k < 2 * DOUBLINGS; k++) {
            char text[1025];
            int64_t n = 0;
            for (int i = 0; i < 2 << k % DOUBLINGS; i++) {
                if (i == 1 << k % DOUBLINGS) text[n++] = ' ';
                n += put_letter(k < DOUBLINGS ? 'a' : ' ', text + n);
            }
            OK(sppo_bpe_add_merge(b, text, n));
        }
        OK(sppo_bpe_finish(b));
        in_time(b, "a", 1000000, 0);
        in_time(b, " ", 1000000, 0);
        in_time(b, "\n", 1000000, 0);
        in_time(b, " \n", 2000000, 0);
        in_time(b, "  x", 300000, 0);
        in_time(b, "1", 1000000, 0);
        in_time(b, "!", 1000000, 0);
        in_time(b, "'", 1000000, 0);
        in_time(b, "\u0301", 500000, 0);
        in_time(b, "<", 1000000, 1);
        sppo_bpe_free(b);
    }
}

/* ---- UTF-8 ---- */

static void utf8(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        int valid, bad;
    } cases[] = {
        {"", 0, 0},
        {"abc", 3, 0},
        {"12345678\u00e9", 10, 0},
        {"\xF0\x9F\x9A\x80", 4, 0},
        {"a\x80", 1, 1},
        {"\xC1\x81", 0, 1},
        {"\xE0\x9F\xBF", 0, 1},
        {"\xED\xA0\x80", 0, 1},
        {"\xF4\x90\x80\x80", 0, 1},
        {"\xF5", 0, 1},
        {"\xE2\x82", 0, 0},
        {"\xF0\x9F\x9A", 0, 0},
        {"\xE2\x82"
         "a",
         0, 2},
        {"\xF0\x9F\x9A"
         "a",
         0, 3},
        {"\xF0\xC3", 0, 1},
        {"\u07ff\xC3", 2, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int bad = -1;
        int64_t valid = sppo_utf8_scan(cases[i].bytes, (int64_t)strlen(cases[i].bytes), &bad);
        if (valid != cases[i].valid || bad != cases[i].bad)
            fail_msg("case %d: %d valid, %d bad", (int)i, (int)valid, bad);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_rank),
        cmocka_unit_test(composes),
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(bad_text),
        cmocka_unit_test(questions),
        cmocka_unit_test(missing_bytes),
        cmocka_unit_test(splits),
        cmocka_unit_test(same_as_the_definition),
        cmocka_unit_test(bad_vocabularies),
        cmocka_unit_test(long_runs),
        cmocka_unit_test(utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
