/* pretokenize.c - cuts text into the words inside which BPE merges, by the patterns that tokenizers
 * were trained with. It knows nothing of tokens.
 *
 * The patterns match the same words as their published forms, written so that no input makes PCRE2
 * backtrack far: runs are possessive, and `\s*[\r\n]+` is a repeated group. \s stands for Unicode's
 * White_Space, spelled out because PCRE2's also has U+180E. */

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "llm/bpe.h"

// White_Space without, and with, line feed and carriage return
#define BLANK \
    "\\x09\\x0b\\x0c\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
    "\\x{202f}\\x{205f}\\x{3000}"
#define SPACE BLANK "\\x0a\\x0d"
#define ENDINGS "'(?:s|t|re|ve|m|ll|d)"

static const struct {
    const char *name, *pattern;
} patterns[] = {
    {"gpt2", ENDINGS "|\\x20?\\p{L}++|\\x20?\\p{N}++|\\x20?[^" SPACE "\\p{L}\\p{N}]++"
                     "|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]++"},
    // Every number character is split off first, so the others see the text end before it.
    {"smollm", ENDINGS "|\\x20?\\p{L}++|\\p{N}|\\x20?[^" SPACE "\\p{L}\\p{N}]++"
                       "|[" SPACE "]+(?![^" SPACE "\\p{N}])|[" SPACE "]++"},
    {"llama-bpe", "(?i:" ENDINGS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}++|\\p{N}{1,3}+"
                  "|\\x20?[^" SPACE "\\p{L}\\p{N}]++[\\r\\n]*+|(?:[" BLANK "]*+[\\r\\n]++)++"
                  "|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]++"},
    {"qwen2", "(?i:" ENDINGS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}++|\\p{N}"
              "|\\x20?[^" SPACE "\\p{L}\\p{N}]++[\\r\\n]*+|(?:[" BLANK "]*+[\\r\\n]++)++"
              "|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]++"},
    {"metaspace", "(?s).[^\\x{2581}]*+"},
    {"none", "(?s).++"},
};

struct sppo__split {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

sppo_status sppo__split_new(sppo__split **out, const char *pattern) {
    size_t i = 0, count = sizeof patterns / sizeof patterns[0];
    while (i < count && strcmp(patterns[i].name, pattern)) i++;
    if (i == count) return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_PATTERN, pattern);

    sppo__split *s = calloc(1, sizeof *s);
    if (!s) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    int error;
    PCRE2_SIZE where;
    s->code = pcre2_compile((PCRE2_SPTR)patterns[i].pattern, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_ANCHORED, &error, &where, NULL);
    s->limits = pcre2_match_context_create(NULL);
    if (s->code) s->match = pcre2_match_data_create_from_pattern(s->code, NULL);
    if (!s->code || !s->limits || !s->match) {
        sppo__split_free(s);
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    }
    // A repeated group counts a step for each turn; no word takes more than a few for each byte.
    pcre2_set_match_limit(s->limits, 4 * SPPO_BPE_TEXT);
    pcre2_set_heap_limit(s->limits, 64 << 10);  // KiB
    // Where machine code cannot be made, pcre2_match interprets: slower, the same words.
    (void)pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE);
    *out = s;
    return SPPO_OK;
}

void sppo__split_free(sppo__split *s) {
    if (!s) return;
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    pcre2_code_free(s->code);
    free(s);
}

sppo_status sppo__split_next(sppo__split *s, const char *text, int64_t length, int64_t at,
                             int64_t *end) {
    int found = pcre2_match(s->code, (PCRE2_SPTR)text, (PCRE2_SIZE)length, (PCRE2_SIZE)at,
                            PCRE2_NO_UTF_CHECK, s->match, s->limits);
    if (found <= 0) return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_MATCH, (long long)at, found);
    *end = (int64_t)pcre2_get_ovector_pointer(s->match)[1];
    SPPO_ASSERT(*end > at && *end <= length);
    return SPPO_OK;
}
