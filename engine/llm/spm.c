/* spm.c - the pieces of a SentencePiece model: added one by one, checked as a whole, written as the
 * bytes of a tokenizer.model, and these given to the library. They may be hostile; what is checked
 * here is what the library takes for granted. */

#include "llm/spm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "llm/bpe.h"

enum { AROUND = 32 };  // bytes that a written piece has beside its text, or fewer

typedef struct sppo__piece {
    int64_t offset;
    int32_t length, kind;
    float score;
} sppo__piece;

struct sppo_spm {
    sppo_spm_options options;
    sppo__piece *piece;
    int64_t count, capacity;
    char *text;
    int64_t text_length, text_capacity;
    char *charsmap;
    int64_t charsmap_bytes;
    char *bytes;  // the model as written
    int64_t length;
    sppo__sp *library;       // of a BPE model
    sppo__unigram *unigram;  // of the others
    int32_t unknown;         // its piece
};

sppo_status sppo_spm_new(sppo_spm **out, const sppo_spm_options *options) {
    sppo_spm *m = calloc(1, sizeof *m);
    if (!m) return sppo__fail(SPPO_ERR_MEMORY, TEXT_SPM_MEMORY);
    m->options = *options;
    *out = m;
    return SPPO_OK;
}

void sppo_spm_free(sppo_spm *m) {
    if (!m) return;
    if (m->library) sppo__sp_free(m->library);
    sppo__unigram_free(m->unigram);
    free(m->piece);
    free(m->text);
    free(m->charsmap);
    free(m->bytes);
    free(m);
}

sppo_spm_options *sppo_spm_settings(sppo_spm *m) {
    return &m->options;
}

int64_t sppo_spm_count(const sppo_spm *m) {
    return m->count;
}

sppo_status sppo_spm_add(sppo_spm *m, const char *text, int64_t length, double score, int kind) {
    long long id = (long long)m->count;
    int bad;
    if (m->bytes) return sppo__fail(SPPO_ERR_STATE, TEXT_SPM_STATE, "a piece after finish");
    if (id >= SPPO_SPM_COUNT)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_COUNT, id + 1, SPPO_SPM_COUNT);
    if (length < 1 || length > SPPO_SPM_PIECE)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_LENGTH, id, (long long)length, SPPO_SPM_PIECE);
    if (memchr(text, 0, (size_t)length))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_PIECE, id, "has a NUL in it");
    if (sppo_utf8_scan(text, length, &bad) != length)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_PIECE, id, "is not UTF-8");
    if (!(fabs(score) <= 1e9)) return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_SCORE, id, score);
    if (kind < SPPO_PIECE_NORMAL || kind > SPPO_PIECE_BYTE)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_KIND, id, kind);

    sppo__piece *grown = sppo__bpe_grow(m->piece, &m->capacity, m->count + 1, sizeof *m->piece);
    if (grown) m->piece = grown;
    char *more = sppo__bpe_grow(m->text, &m->text_capacity, m->text_length + length, 1);
    if (more) m->text = more;
    if (!grown || !more) return sppo__fail(SPPO_ERR_MEMORY, TEXT_SPM_MEMORY);
    memcpy(m->text + m->text_length, text, (size_t)length);
    m->piece[m->count++] = (sppo__piece){m->text_length, (int32_t)length, kind, (float)score};
    m->text_length += length;
    return SPPO_OK;
}

sppo_status sppo_spm_set_charsmap(sppo_spm *m, const char *data, int64_t bytes) {
    sppo_status st = sppo__charsmap_check(data, bytes);
    if (st) return st;
    char *copy = malloc((size_t)bytes);
    if (!copy) return sppo__fail(SPPO_ERR_MEMORY, TEXT_SPM_MEMORY);
    memcpy(copy, data, (size_t)bytes);
    free(m->charsmap);
    m->charsmap = copy;
    m->charsmap_bytes = bytes;
    return SPPO_OK;
}

static sppo_status piece_id(const sppo_spm *m, int64_t id) {
    if (id >= 0 && id < m->count) return SPPO_OK;
    return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_ID, (long long)id, (long long)m->count);
}

sppo_status sppo_spm_set_kind(sppo_spm *m, int64_t id, int kind) {
    if (m->bytes) return sppo__fail(SPPO_ERR_STATE, TEXT_SPM_STATE, "a change after finish");
    if (kind < SPPO_PIECE_NORMAL || kind > SPPO_PIECE_BYTE)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_SPM_KIND, (long long)id, kind);
    sppo_status st = piece_id(m, id);
    if (!st) m->piece[id].kind = kind;
    return st;
}

sppo_status sppo_spm_piece(const sppo_spm *m, int64_t id, const char **text, int64_t *length,
                           double *score, int *kind) {
    sppo_status st = piece_id(m, id);
    if (st) return st;
    *text = m->text + m->piece[id].offset;
    *length = m->piece[id].length;
    *score = (double)m->piece[id].score;
    *kind = m->piece[id].kind;
    return SPPO_OK;
}

sppo_status sppo_spm_charsmap(const sppo_spm *m, const char **data, int64_t *bytes) {
    *data = m->charsmap ? m->charsmap : "";
    *bytes = m->charsmap_bytes;
    return SPPO_OK;
}

sppo_status sppo_spm_bytes(const sppo_spm *m, const char **data, int64_t *bytes) {
    if (!m->bytes) return sppo__fail(SPPO_ERR_STATE, TEXT_SPM_STATE, "bytes before finish");
    *data = m->bytes;
    *bytes = m->length;
    return SPPO_OK;
}

/* ---- checks ---- */

/* What the library finds in text, and what it only knows by name: two maps, no text twice in one. */
static bool in_text(int kind) {
    return kind == SPPO_PIECE_NORMAL || kind == SPPO_PIECE_USER || kind == SPPO_PIECE_UNUSED;
}

static bool is_user(int kind) {
    return kind == SPPO_PIECE_USER;
}

static bool is_named(int kind) {
    return !in_text(kind);
}

/* The pieces whose kind passes, sorted by bytes; their number. `words` has room for all. */
static int64_t sorted(const sppo_spm *m, bool (*passes)(int), sppo__word *words) {
    int64_t n = 0;
    for (int64_t i = 0; i < m->count; i++) {
        const sppo__piece *p = &m->piece[i];
        if (passes(p->kind)) words[n++] = (sppo__word){m->text + p->offset, p->length, (int32_t)i};
    }
    qsort(words, (size_t)n, sizeof *words, sppo__bpe_by_bytes);
    return n;
}

static sppo_status all_differ(const sppo__word *words, int64_t n) {
    for (int64_t i = 1; i < n; i++) {
        if (sppo__bpe_by_bytes(&words[i - 1], &words[i]) == 0)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_SAME, words[i - 1].id, words[i].id);
    }
    return SPPO_OK;
}

/* No sorted word begins with more than SPPO_SPM_NESTED others. */
static sppo_status shallow(const sppo__word *words, int64_t n) {
    const sppo__word *open[SPPO_SPM_NESTED + 1];
    int depth = 0;
    for (int64_t i = 0; i < n; i++) {
        const sppo__word *w = &words[i];
        while (depth > 0 &&
               (open[depth - 1]->length > w->length ||
                memcmp(open[depth - 1]->bytes, w->bytes, (size_t)open[depth - 1]->length)))
            depth--;
        if (depth > SPPO_SPM_NESTED)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_NESTED, SPPO_SPM_NESTED, w->id);
        open[depth++] = w;
    }
    return SPPO_OK;
}

static sppo_status check_maps(const sppo_spm *m) {
    sppo__word *words = malloc((size_t)m->count * sizeof *words);
    const char **texts = malloc((size_t)m->count * sizeof *texts);
    int32_t *lengths = malloc((size_t)m->count * sizeof *lengths);
    sppo_status st = SPPO_OK;
    if (!words || !texts || !lengths) st = sppo__fail(SPPO_ERR_MEMORY, TEXT_SPM_MEMORY);
    if (!st) st = all_differ(words, sorted(m, is_named, words));
    if (!st) st = shallow(words, sorted(m, is_user, words));
    if (!st) st = all_differ(words, sorted(m, in_text, words));
    for (int64_t i = 0; !st && i < m->count; i++) {
        texts[i] = m->text + m->piece[i].offset;
        lengths[i] = m->piece[i].length;
    }
    if (!st && !sppo__sp_map_is_fair(texts, lengths, m->count))
        st = sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_STATE, "its pieces are made to collide");
    free(words);
    free(texts);
    free(lengths);
    return st;
}

int sppo__byte_of(const char *text, int64_t length) {
    static const char digits[] = "0123456789ABCDEF";
    if (length != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    const char *high = memchr(digits, text[3], 16), *low = memchr(digits, text[4], 16);
    return high && low ? (int)(high - digits) * 16 + (int)(low - digits) : -1;
}

static sppo_status check(sppo_spm *m) {
    bool byte[256] = {false};
    int64_t unknown = 0, normal = 0;
    int bytes = 0;
    if (m->count < 1) return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_COUNT, 0LL, SPPO_SPM_COUNT);
    for (int64_t i = 0; i < m->count; i++) {
        const sppo__piece *p = &m->piece[i];
        unknown += p->kind == SPPO_PIECE_UNKNOWN;
        if (p->kind == SPPO_PIECE_UNKNOWN) m->unknown = (int32_t)i;
        normal += p->kind == SPPO_PIECE_NORMAL;
        if (p->kind != SPPO_PIECE_BYTE) continue;
        int value = sppo__byte_of(m->text + p->offset, p->length);
        if (value < 0)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_PIECE, (long long)i,
                              "is of type byte and not written like <0x0A>");
        bytes += !byte[value];
        byte[value] = true;
    }
    if (unknown != 1) return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_UNKNOWN, (long long)unknown);
    if (bytes != (m->options.byte_fallback ? 256 : 0))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_BYTES, bytes,
                          m->options.byte_fallback ? "on" : "off");
    if (m->options.unigram && !normal) return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_NORMAL);
    return check_maps(m);
}

/* ---- writing: protobuf's wire format, message ModelProto of sentencepiece_model.proto ---- */

static char *put_varint(char *p, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *p++ = (char)(value | 0x80);
    *p++ = (char)value;
    return p;
}

static char *put_number(char *p, int field, uint64_t value) {
    return put_varint(put_varint(p, (uint64_t)field << 3), value);
}

static char *put_text(char *p, int field, const char *text, int64_t length) {
    p = put_varint(put_varint(p, (uint64_t)field << 3 | 2), (uint64_t)length);
    if (length) memcpy(p, text, (size_t)length);
    return p + length;
}

static char *put_piece(char *p, const char *text, int64_t length, float score, int kind) {
    char inner[SPPO_SPM_PIECE + AROUND], *q = put_text(inner, 1, text, length);
    *q++ = 2 << 3 | 5;  // score, 32 bits
    memcpy(q, &score, 4);
    q = put_number(q + 4, 3, (uint64_t)kind);
    return put_text(p, 1, inner, q - inner);
}

static char *put_options(char *p, const sppo_spm *m, bool byte_fallback) {
    const sppo_spm_options *o = &m->options;
    char inner[64], head[16], *q = put_number(inner, 3, o->unigram ? 1 : 2);
    q = put_number(q, 24, o->whitespace_suffix != 0);
    q = put_number(q, 35, byte_fallback);
    p = put_text(p, 2, inner, q - inner);

    q = put_number(inner, 3, o->add_dummy_prefix != 0);
    q = put_number(q, 4, o->remove_extra_whitespaces != 0);
    q = put_number(q, 5, o->escape_whitespaces != 0);
    char *h = put_varint(put_varint(head, 2 << 3 | 2), (uint64_t)m->charsmap_bytes);
    int64_t map = m->charsmap ? (h - head) + m->charsmap_bytes : 0;
    p = put_varint(put_varint(p, 3 << 3 | 2), (uint64_t)(map + (q - inner)));
    if (map) p = put_text(p, 2, m->charsmap, m->charsmap_bytes);
    memcpy(p, inner, (size_t)(q - inner));
    return p + (q - inner);
}

/* The model in memory that the caller frees; NULL if there is none. With `all_bytes` it has a piece
 * for each byte behind its own. */
static char *write_model(const sppo_spm *m, bool all_bytes, int64_t *length) {
    int64_t room = m->text_length + (m->count + 256) * (int64_t)(AROUND + 6) + m->charsmap_bytes;
    char *start = malloc((size_t)room), *p = start, name[8];
    if (!start) return NULL;
    for (int64_t i = 0; i < m->count; i++) {
        const sppo__piece *piece = &m->piece[i];
        p = put_piece(p, m->text + piece->offset, piece->length, piece->score, piece->kind);
    }
    for (int i = 0; all_bytes && i < 256; i++) {
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        p = put_piece(p, name, 6, 0, SPPO_PIECE_BYTE);
    }
    p = put_options(p, m, all_bytes || m->options.byte_fallback);
    *length = p - start;
    SPPO_ASSERT(*length <= room);
    return start;
}

/* The library joins unknown characters in a row by copying what it has, which takes minutes for a
 * long text. So a model without pieces for bytes is given some, and what becomes bytes is joined
 * to the unknown piece here. */
static sppo_status load(sppo_spm *m) {
    if (m->options.unigram) return sppo__unigram_new(&m->unigram, m);
    sppo__sp_error error;
    int64_t length;
    char *model = write_model(m, !m->options.byte_fallback, &length);
    if (!model) return sppo__fail(SPPO_ERR_MEMORY, TEXT_SPM_MEMORY);
    m->library = sppo__sp_load(model, (size_t)length, &error);
    free(model);
    return m->library ? SPPO_OK : sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_LIBRARY, error.text);
}

sppo_status sppo_spm_finish(sppo_spm *m) {
    if (m->bytes) return sppo__fail(SPPO_ERR_STATE, TEXT_SPM_STATE, "a second finish");
    sppo_status st = check(m);
    if (st) return st;
    m->bytes = write_model(m, false, &m->length);
    return m->bytes ? load(m) : sppo__fail(SPPO_ERR_MEMORY, TEXT_SPM_MEMORY);
}

sppo_status sppo__spm_encode(sppo_spm *m, const char *text, int64_t length, int32_t **ids,
                             int64_t *count) {
    sppo__sp_error error;
    if (!m->library && !m->unigram)
        return sppo__fail(SPPO_ERR_STATE, TEXT_SPM_STATE, "encoding before finish");
    if (length > SPPO_SPM_TEXT)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_TEXT, SPPO_SPM_TEXT >> 20);
    if (m->unigram) return sppo__unigram_encode(m->unigram, text, length, ids, count);
    if (sppo__sp_encode(m->library, text, (size_t)length, ids, count, &error))
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_LIBRARY, error.text);
    int64_t kept = 0;
    for (int64_t i = 0; i < *count; i++) {
        int32_t id = (*ids)[i];
        SPPO_ASSERT(id >= 0 && id < m->count + 256);
        if (id < m->count) (*ids)[kept++] = id;
        else if (kept == 0 || (*ids)[kept - 1] != m->unknown) (*ids)[kept++] = m->unknown;
    }
    *count = kept;
    return SPPO_OK;
}
