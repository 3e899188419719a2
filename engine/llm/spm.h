/* spm.h - a SentencePiece model as its own files see it: spm_file.c reads a tokenizer.model, spm.c
 * checks the pieces and writes them anew, spm_charsmap.c checks and applies the map of characters,
 * spm_library.cc lets the library encode with BPE models, spm_unigram.c encodes with the others.
 *
 * The library (0.1.97) trusts its model file: it reads past its arrays, or aborts, on a wrong one.
 * So it never sees a file, only bytes that spm.c wrote from pieces that were checked. */

#ifndef SPPO_SPM_H
#define SPPO_SPM_H

#include <stddef.h>

#include "sppo.h"

enum {
    SPPO_SPM_COUNT = 1 << 20,  // pieces
    SPPO_SPM_PIECE = 256,      // bytes of a piece: what a text of n bytes costs has it as a factor
    SPPO_SPM_NESTED = 60,      // user-defined pieces that begin one: the library has room for 64
    SPPO_SPM_CHARSMAP = 4 << 20,  // bytes
    SPPO_SPM_TRIE = 1 << 18,      // units of the map's trie
    SPPO_SPM_RULE = 31,           // bytes that a rule replaces: the library has room for 32 matches
    SPPO_SPM_GROWTH = 16,         // bytes that may stand for one; Unicode's own rules reach 11
    SPPO_SPM_TEXT = 4 << 20       // bytes encoded at once: the library takes up to 250 for each
};

typedef struct sppo__sp sppo__sp;

/* Why the library refused or failed; `text` is ended by a NUL. */
typedef struct sppo__sp_error {
    char text[256];
} sppo__sp_error;

#ifdef __cplusplus
extern "C" {
#endif

/* The library's processor for a model as spm.c writes it; NULL and an error if it refuses. */
sppo__sp *sppo__sp_load(const char *model, size_t bytes, sppo__sp_error *error);
void sppo__sp_free(sppo__sp *p);

/* Ids of a text, borrowed (and for the caller to change) until the next call with p; 0, or -1 and
 * an error. */
int sppo__sp_encode(sppo__sp *p, const char *text, size_t length, int32_t **ids, int64_t *count,
                    sppo__sp_error *error);

/* 1 if a hash map of these `count` texts, as the library makes it, has no long chains. */
int sppo__sp_map_is_fair(const char *const *texts, const int32_t *lengths, int64_t count);

#ifdef __cplusplus
}
#endif

/* Checks a compiled map: u32 size of the trie, the trie (a Darts double array, u32 units), texts
 * ended by NULs. After it the library cannot leave the map's bytes. */
sppo_status sppo__charsmap_check(const char *data, int64_t bytes);

/* Of a checked map: the text that replaces the longest rule at the start of `text`, and the length
 * of what it replaces; NULL for none. */
const char *sppo__charsmap_find(const char *map, const char *text, int64_t length, int64_t *taken);

typedef struct sppo__unigram sppo__unigram;

/* The pieces of a checked unigram model, which must outlive *out. */
sppo_status sppo__unigram_new(sppo__unigram **out, sppo_spm *m);
void sppo__unigram_free(sppo__unigram *u);

/* Ids of UTF-8 text that is normalised already, borrowed until the next call. */
sppo_status sppo__unigram_encode(sppo__unigram *u, const char *text, int64_t length, int32_t **ids,
                                 int64_t *count);

/* Text of at most SPPO_SPM_TEXT bytes to ids, borrowed until the next call. */
sppo_status sppo__spm_encode(sppo_spm *m, const char *text, int64_t length, int32_t **ids,
                             int64_t *count);

#endif
