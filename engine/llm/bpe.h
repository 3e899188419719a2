/* bpe.h - the tokenizer as its own files see it: bpe.c builds it, bpe_encode.c turns text into ids,
 * normalize.c prepares text, pretokenize.c cuts it into words. */

#ifndef SPPO_BPE_H
#define SPPO_BPE_H

#include <stddef.h>

#include "core/error.h"
#include "llm/normalize.h"

enum {
    SPPO_BPE_TEXT = 16 << 20,   // bytes of text encoded at once
    SPPO_BPE_TOKEN = 16 << 10,  // bytes of a token
    SPPO_BPE_MARK = 256,        // bytes of a token that is looked for in text
    SPPO_BPE_VOCAB = 4 << 20,   // tokens, and merges
    SPPO_BPE_VOCAB_TEXT = 256 << 20,
    SPPO_BPE_CACHED = 24,  // bytes of a word that the cache keeps
    SPPO_BPE_CACHED_IDS = 5,
    SPPO_BPE_CACHE = 1 << 13  // words
};

typedef struct sppo__split sppo__split;

/* The named pre-tokenizer; the caller owns *out. */
sppo_status sppo__split_new(sppo__split **out, const char *pattern);
void sppo__split_free(sppo__split *s);

/* Where the word that begins at `at` ends. The text is valid UTF-8, at < length. */
sppo_status sppo__split_next(sppo__split *s, const char *text, int64_t length, int64_t at,
                             int64_t *end);

typedef struct sppo__token {
    int64_t offset;  // of its bytes in sppo_bpe.text, -1 for an id without a token yet
    int32_t length;
    int16_t kind;
    bool strip_left, strip_right;  // it takes the white space around it
} sppo__token;

/* A token's bytes, in an array sorted by them. */
typedef struct sppo__word {
    const char *bytes;
    int32_t length;
    int32_t id;
} sppo__word;

typedef struct sppo__merge {
    int32_t left, right, merged;
    int32_t rank;  // sorted by (left, right) after finish; form RANKS: the merged id
} sppo__merge;

typedef struct sppo__symbol {
    int32_t id, prev, next;
    int32_t rank;  // of the merge with the next symbol, -1 for none
} sppo__symbol;

/* What a word of at most SPPO_BPE_CACHED bytes became. */
typedef struct sppo__cached {
    uint8_t length;  // 0: empty
    uint8_t count;
    char bytes[SPPO_BPE_CACHED];
    int32_t ids[SPPO_BPE_CACHED_IDS];
} sppo__cached;

struct sppo_bpe {
    sppo__split *split;
    sppo__normalizer *normalizer;  // NULL: text is taken as it is
    sppo_bpe_form form;
    bool whole_words, fuse_unknown;
    int32_t unknown;  // -1: none
    sppo_spm *model;  // of form PIECES, borrowed
    bool sorted, finished;
    bool broken;  // sorting or finishing failed

    int64_t vocab;
    sppo__token *token;  // [vocab]
    char *text;          // bytes of all tokens, fixed once sorted
    int64_t text_length, text_capacity;
    sppo__word *normal, *special, *added;  // sorted
    int64_t normals, specials, addeds;
    int32_t byte_id[256];  // the token of a byte, -1 for none

    int64_t merges, merge_capacity;
    sppo__merge *merge;
    int32_t *by_rank;  // [merges] places in `merge`
    int32_t *start;    // [vocab + 1] first merge with this left token

    // what encoding needs, grown as wanted and kept
    char *pending;
    int64_t pending_length, pending_capacity;
    int64_t put;  // bytes put since the last encode
    int32_t *ids;
    int64_t count, capacity;
    sppo__symbol *symbol;
    uint64_t *heap;
    int64_t symbol_capacity;
    sppo__cached *cache;
};

/* `data` with room for `needed` elements of `size` bytes, grown by doubling; NULL, and data as it
 * was, if there is no memory. */
void *sppo__bpe_grow(void *data, int64_t *capacity, int64_t needed, size_t size);

/* The words of a sorted array that begin with a prefix: narrows [*low, *high), which holds those
 * that share the first `depth` bytes, to those whose next byte is c. */
void sppo__bpe_narrow(const sppo__word *words, int64_t *low, int64_t *high, int32_t depth, char c);

/* Order of two words by their bytes, for qsort. */
int sppo__bpe_by_bytes(const void *a, const void *b);

/* The byte of "<0x0A>", -1 if the text is none such. */
int sppo__byte_of(const char *text, int64_t length);

/* Its place in the sorted array, or -1. */
int64_t sppo__bpe_search(const sppo__word *words, int64_t count, const char *bytes, int64_t length);

#endif
