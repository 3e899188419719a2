/* spm_unigram.c - text to the pieces of a unigram model: the likeliest way to cut it, by Viterbi over
 * its bytes. Ours and not the library's, since where two ways are as likely, versions of the library
 * differ; this takes what those from 0.2 on and Hugging Face's tokenizers take: of equal ways to a
 * place the one whose last piece begins first. */

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "llm/bpe.h"
#include "llm/spm.h"

static const double UNKNOWN = -10;  // of an unknown character, beside the least likely piece

/* The best way to a place in the text. */
typedef struct cell {
    double score;
    int32_t from, id;  // of its last piece; from -1: none yet
} cell;

struct sppo__unigram {
    sppo__word *words;  // pieces that text is cut into, sorted; texts are the model's
    double *score;      // [words]
    int64_t count, first[257];
    double least, most;  // of normal pieces
    int32_t unknown;
    bool bytes;  // unknown characters become the pieces of their bytes
    bool hugging_face;
    int32_t byte[256];
    cell *cells;
    int32_t *ids;
    int64_t cell_capacity, id_capacity;
};

void sppo__unigram_free(sppo__unigram *u) {
    if (!u) return;
    free(u->words);
    free(u->score);
    free(u->cells);
    free(u->ids);
    free(u);
}

static void take_piece(sppo__unigram *u, const char *text, int64_t length, double score, int kind,
                       int32_t id) {
    if (kind == SPPO_PIECE_UNKNOWN) u->unknown = id;
    if (kind == SPPO_PIECE_BYTE) u->byte[sppo__byte_of(text, length)] = id;
    if (kind == SPPO_PIECE_NORMAL && score < u->least) u->least = score;
    if (kind == SPPO_PIECE_NORMAL && score > u->most) u->most = score;
    bool found = kind == SPPO_PIECE_UNKNOWN && u->hugging_face;
    if (kind == SPPO_PIECE_NORMAL || kind == SPPO_PIECE_USER || found)
        u->words[u->count++] = (sppo__word){text, (int32_t)length, id};
}

/* Scores in the order of the words, and where each first byte begins. */
static void sort_words(sppo__unigram *u, sppo_spm *m) {
    qsort(u->words, (size_t)u->count, sizeof *u->words, sppo__bpe_by_bytes);
    int64_t at = 0;
    for (int byte = 0; byte < 257; byte++) {
        while (at < u->count && (unsigned char)u->words[at].bytes[0] < byte) at++;
        u->first[byte] = at;
    }
    for (int64_t i = 0; i < u->count; i++) {
        const sppo__word *w = &u->words[i];
        const char *text;
        int64_t length;
        double score;
        int kind;
        sppo_spm_piece(m, w->id, &text, &length, &score, &kind);
        // A user's piece is always taken (the library's EncodeOptimized).
        u->score[i] = kind == SPPO_PIECE_USER ? w->length * u->most - 0.1 : score;
    }
}

sppo_status sppo__unigram_new(sppo__unigram **out, sppo_spm *m) {
    sppo__unigram *u = calloc(1, sizeof *u);
    int64_t count = sppo_spm_count(m);
    if (u) u->words = malloc((size_t)count * sizeof *u->words);
    if (u) u->score = malloc((size_t)count * sizeof *u->score);
    if (!u || !u->words || !u->score) {
        sppo__unigram_free(u);
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_SPM_MEMORY);
    }
    u->least = DBL_MAX;
    u->most = -DBL_MAX;
    u->bytes = sppo_spm_settings(m)->byte_fallback != 0;
    u->hugging_face = sppo_spm_settings(m)->hugging_face != 0;
    for (int64_t i = 0; i < count; i++) {
        const char *text;
        int64_t length;
        double score;
        int kind;
        sppo_spm_piece(m, i, &text, &length, &score, &kind);
        take_piece(u, text, length, score, kind, (int32_t)i);
    }
    sort_words(u, m);
    *out = u;
    return SPPO_OK;
}

static void relax(const sppo__unigram *u, cell *to, double score, int64_t from, int32_t id) {
    if (!u->hugging_face) score = (double)(float)score;  // as the library adds
    if (to->from < 0 || score > to->score) *to = (cell){score, (int32_t)from, id};
}

/* Bytes of the character that begins at a place of UTF-8 text. */
static int64_t character(const char *text) {
    unsigned char c = (unsigned char)*text;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* All pieces that begin at `at`. */
static void extend(sppo__unigram *u, const char *text, int64_t length, int64_t at) {
    unsigned char byte = (unsigned char)text[at];
    int64_t low = u->first[byte], high = u->first[byte + 1], one = character(text + at);
    bool known = false;
    double score = u->cells[at].score;
    for (int64_t end = at + 1; low < high; end++) {
        if (u->words[low].length == end - at) {
            relax(u, &u->cells[end], score + u->score[low], at, u->words[low].id);
            known = known || end == at + one;
        }
        if (end == length) break;
        sppo__bpe_narrow(u->words, &low, &high, (int32_t)(end - at), text[end]);
    }
    if (!known) relax(u, &u->cells[at + one], score + (u->least + UNKNOWN), at, u->unknown);
}

/* The pieces from the end to the start, into the end of ids; the index of the first. */
static int64_t collect(sppo__unigram *u, const char *text, int64_t length) {
    int64_t n = length;
    for (int64_t end = length; end > 0; end = u->cells[end].from) {
        const cell *c = &u->cells[end];
        if (c->id != u->unknown) u->ids[--n] = c->id;
        else if (u->bytes)
            for (int64_t i = end; i > c->from; i--)
                u->ids[--n] = u->byte[(unsigned char)text[i - 1]];
        else if (n == length || u->ids[n] != u->unknown) u->ids[--n] = u->unknown;
    }
    return n;
}

sppo_status sppo__unigram_encode(sppo__unigram *u, const char *text, int64_t length, int32_t **ids,
                                 int64_t *count) {
    cell *cells = sppo__bpe_grow(u->cells, &u->cell_capacity, length + 1, sizeof *cells);
    if (cells) u->cells = cells;
    int32_t *grown = sppo__bpe_grow(u->ids, &u->id_capacity, length + 1, sizeof *grown);
    if (grown) u->ids = grown;
    if (!cells || !grown) return sppo__fail(SPPO_ERR_MEMORY, TEXT_SPM_MEMORY);
    for (int64_t i = 1; i <= length; i++) cells[i].from = -1;
    cells[0] = (cell){0, 0, 0};
    for (int64_t at = 0; at < length; at += character(text + at)) extend(u, text, length, at);
    int64_t first = collect(u, text, length);
    *ids = u->ids + first;
    *count = length - first;
    return SPPO_OK;
}
