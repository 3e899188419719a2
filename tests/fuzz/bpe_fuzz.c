/* bpe_fuzz.c - the tokenizer on any text with a small vocabulary (its ids give the text back), and
 * on any vocabulary. The first byte says which. */

#include <stdlib.h>

#include "../engine/bpe_support.h"
#include "core/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const patterns[] = {"gpt2", "smollm", "llama-bpe", "qwen2", "none"};

static sppo_bpe *small(const char *pattern) {
    static const char *const words[] = {"ab", "abc", "the", "\u0120a", "\u0120\u0120", "12"};
    static const char *const merges[] = {"a b", "\u0120 a", "ab c", "\u0120 \u0120", "1 2"};
    sppo_bpe *b;
    sppo_status st = sppo_bpe_new(&b, pattern, 256 + 6 + 2, NULL);
    if (!st) st = add_bytes(b);
    for (int i = 0; i < 6 && !st; i++) st = add_token(b, 256 + i, words[i], SPPO_TOKEN_NORMAL);
    if (!st) st = add_token(b, 262, "<s>", SPPO_TOKEN_SPECIAL);
    if (!st) st = add_token(b, 263, "<t>", SPPO_TOKEN_ADDED);
    for (int i = 0; i < 5 && !st; i++) st = add_merge(b, merges[i]);
    if (!st) st = sppo_bpe_finish(b);
    SPPO_ASSERT(!st);
    return b;
}

/* Puts the text in two pieces; if it is UTF-8, its ids are those of the text. */
static void text_round_trip(sppo_bpe *b, const char *text, int64_t length, int special, bool all) {
    const int32_t *ids;
    int64_t count, at = 0, cut = length / 2;
    int bad;
    while (cut > 0 && (text[cut] & 0xC0) == 0x80) cut--;
    sppo_status st = sppo_bpe_put(b, text, cut, special);
    if (!st) st = sppo_bpe_put(b, text + cut, length - cut, special);
    SPPO_ASSERT((st == SPPO_OK) == (sppo_utf8_scan(text, length, &bad) == length));
    if (st) return;
    st = sppo_bpe_encode(b, &ids, &count);
    SPPO_ASSERT(!st);
    for (int64_t i = 0; i < count; i++) {
        const char *bytes;
        int64_t n;
        sppo_token_kind kind;
        st = sppo_bpe_token(b, ids[i], &bytes, &n, &kind);
        SPPO_ASSERT(!st && kind != SPPO_TOKEN_UNUSED && (special || kind != SPPO_TOKEN_SPECIAL));
        if (all) SPPO_ASSERT(n <= length - at && !memcmp(bytes, text + at, (size_t)n));
        at += n;
    }
    SPPO_ASSERT(all ? at == length : at <= length);
}

/* Commands: kind and id, length, text; 4: a merge; 5: no more. */
static void any_vocabulary(const uint8_t *data, size_t size) {
    sppo_bpe *b;
    if (size < 3 || sppo_bpe_new(&b, patterns[data[0] % 5], data[1], NULL)) return;
    size_t at = 3;
    while (at + 3 <= size && data[at] % 6 != 5) {
        int command = data[at] % 6;
        int64_t id = (int64_t)data[at + 1] - 1, length = data[at + 2];
        at += 3;
        if ((size_t)length > size - at) break;
        const char *text = (const char *)data + at;
        at += (size_t)length;
        if (command == 4) (void)sppo_bpe_add_merge(b, text, length);
        else (void)sppo_bpe_add_token(b, id, text, length, (sppo_token_kind)command);
    }
    if (at > size) at = size;
    if (!sppo_bpe_finish(b)) {
        // Some bytes have no token here, so the text may come back shorter.
        text_round_trip(b, (const char *)data + at, (int64_t)(size - at), data[2] & 1, false);
    }
    sppo_bpe_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static sppo_bpe *known[4];
    if (size == 0) return 0;
    int first = data[0] % 16;
    if (first >= 8) {
        any_vocabulary(data + 1, size - 1);
        return 0;
    }
    int pattern = first % 4;
    if (!known[pattern]) known[pattern] = small(patterns[pattern]);
    // A copy of its own size, so that reading past the end is seen.
    char *text = malloc(size);
    if (!text) return 0;
    memcpy(text, data + 1, size - 1);
    text_round_trip(known[pattern], text, (int64_t)size - 1, first / 4, true);
    free(text);
    return 0;
}
