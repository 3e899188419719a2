/* normalize.c - what tokenizer.json's normalizers and pre-tokenizers do with plain text before it is
 * split: a list of steps, each linear in the text. */

#include "llm/normalize.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/error.h"
#include "llm/bpe.h"
#include "llm/spm.h"

enum { STEPS = 16, NORMALIZED = 64 << 20 };  // bytes

typedef struct step {
    sppo_bpe_step kind;
    char *from, *to;
    int64_t from_length, to_length;
} step;

typedef struct buffer {
    char *data;
    int64_t length, capacity;
} buffer;

struct sppo__normalizer {
    step step[STEPS];
    int count;
    buffer text[2];  // a step reads one and writes the other
};

void sppo__normalizer_free(sppo__normalizer *n) {
    if (!n) return;
    for (int i = 0; i < n->count; i++) {
        free(n->step[i].from);
        free(n->step[i].to);
    }
    free(n->text[0].data);
    free(n->text[1].data);
    free(n);
}

static char *copy(const char *text, int64_t length) {
    char *p = malloc((size_t)length + 1);
    if (!p) return NULL;
    if (length) memcpy(p, text, (size_t)length);
    p[length] = 0;
    return p;
}

static sppo_status check(sppo_bpe_step kind, const char *from, int64_t from_length, const char *to,
                         int64_t to_length) {
    int bad;
    if (kind < SPPO_STEP_NFC || kind > SPPO_STEP_CHARSMAP)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_STEP, (int)kind, "unknown");
    if (kind == SPPO_STEP_CHARSMAP) return sppo__charsmap_check(from, from_length);
    if (from_length > SPPO_BPE_MARK || to_length > SPPO_BPE_MARK)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_STEP, (int)kind, "of more than 256 bytes");
    if (sppo_utf8_scan(from, from_length, &bad) != from_length ||
        sppo_utf8_scan(to, to_length, &bad) != to_length)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_STEP, (int)kind, "not UTF-8");
    if (kind >= SPPO_STEP_REPLACE && kind <= SPPO_STEP_TRIM_RIGHT && from_length == 0)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_STEP, (int)kind, "to replace nothing");
    return SPPO_OK;
}

sppo_status sppo__normalizer_add(sppo__normalizer **n, sppo_bpe_step kind, const char *from,
                                 int64_t from_length, const char *to, int64_t to_length) {
    sppo_status st = check(kind, from, from_length, to, to_length);
    if (st) return st;
    if (!*n) *n = calloc(1, sizeof **n);
    if (!*n) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    if ((*n)->count == STEPS) return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_STEPS, STEPS);
    step *s = &(*n)->step[(*n)->count++];
    *s = (step){kind, copy(from, from_length), copy(to, to_length), from_length, to_length};
    return s->from && s->to ? SPPO_OK : sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
}

static sppo_status append(buffer *b, const char *text, int64_t length) {
    if (length > NORMALIZED - b->length)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_NORMALIZED, NORMALIZED >> 20);
    char *grown = sppo__bpe_grow(b->data, &b->capacity, b->length + length, 1);
    if (!grown) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    b->data = grown;
    if (length) memcpy(b->data + b->length, text, (size_t)length);
    b->length += length;
    return SPPO_OK;
}

static int char_length(char c) {
    uint8_t byte = (uint8_t)c;
    return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/* ---- white space: Unicode's White_Space, as Rust's char::is_whitespace has it ---- */

static bool is_space(const char *text, int length) {
    static const char *const wide[] = {"\xC2\x85", "\u00a0", "\u1680", "\u2000", "\u2001",
                                       "\u2002",   "\u2003", "\u2004", "\u2005", "\u2006",
                                       "\u2007",   "\u2008", "\u2009", "\u200a", "\u2028",
                                       "\u2029",   "\u202f", "\u205f", "\u3000"};
    if (length == 1) return *text == ' ' || (*text >= '\t' && *text <= '\r');
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        if ((int)strlen(wide[i]) == length && !memcmp(wide[i], text, (size_t)length)) return true;
    }
    return false;
}

int64_t sppo__space_after(const char *text, int64_t length, int64_t at) {
    while (at < length && is_space(text + at, char_length(text[at]))) at += char_length(text[at]);
    return at;
}

int64_t sppo__space_before(const char *text, int64_t at, int64_t least) {
    while (at > least) {
        int64_t start = at - 1;
        while (start > least && ((uint8_t)text[start] & 0xC0) == 0x80) start--;
        if (!is_space(text + start, (int)(at - start))) break;
        at = start;
    }
    return at;
}

/* ---- steps ---- */

static sppo_status compose(const step *s, const char *text, int64_t length, buffer *out) {
    static const int options[] = {
        UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    utf8proc_uint8_t *composed = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, length, &composed,
                                      (utf8proc_option_t)options[s->kind - SPPO_STEP_NFC]);
    if (n < 0) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_NFC, utf8proc_errmsg(n));
    sppo_status st = append(out, (const char *)composed, n);
    free(composed);
    return st;
}

static sppo_status replace(const step *s, const char *text, int64_t length, buffer *out) {
    int64_t least = s->kind == SPPO_STEP_COLLAPSE ? 2 : 1, at = 0;
    sppo_status st = SPPO_OK;
    while (at < length && !st) {
        const char *found =
            memmem(text + at, (size_t)(length - at), s->from, (size_t)s->from_length);
        int64_t where = found ? found - text : length, end = where, times = 0;
        while (end + s->from_length <= length &&
               !memcmp(text + end, s->from, (size_t)s->from_length)) {
            end += s->from_length;
            times++;
            if (least == 1) break;
        }
        st = append(out, text + at, where - at);
        if (!st && times >= least) st = append(out, s->to, s->to_length);
        else if (!st) st = append(out, text + where, end - where);
        at = end;
    }
    return st;
}

static sppo_status trim(const step *s, const char *text, int64_t length, buffer *out) {
    int64_t n = s->from_length, start = 0;
    if (s->kind == SPPO_STEP_TRIM_LEFT)
        while (start + n <= length && !memcmp(text + start, s->from, (size_t)n)) start += n;
    else
        while (length >= n && !memcmp(text + length - n, s->from, (size_t)n)) length -= n;
    return append(out, text + start, length - start);
}

static sppo_status prepend(const step *s, const char *text, int64_t length, bool first,
                           buffer *out) {
    bool missing =
        s->kind == SPPO_STEP_PREPEND_MISSING || s->kind == SPPO_STEP_PREPEND_FIRST_MISSING;
    bool wanted = first || s->kind == SPPO_STEP_PREPEND || s->kind == SPPO_STEP_PREPEND_MISSING;
    bool there = length >= s->to_length && !memcmp(text, s->to, (size_t)s->to_length);
    sppo_status st = SPPO_OK;
    if (length > 0 && wanted && !(missing && there)) st = append(out, s->to, s->to_length);
    return st ? st : append(out, text, length);
}

static sppo_status map_characters(const step *s, const char *text, int64_t length, buffer *out) {
    sppo_status st = SPPO_OK;
    for (int64_t at = 0, taken = 0; at < length && !st; at += taken) {
        const char *found = sppo__charsmap_find(s->from, text + at, length - at, &taken);
        if (!found) taken = char_length(text[at]);
        st = found ? append(out, found, (int64_t)strlen(found)) : append(out, text + at, taken);
    }
    return st;
}

static sppo_status apply(const step *s, const char *text, int64_t length, bool first, buffer *out) {
    int64_t start;
    switch (s->kind) {
    case SPPO_STEP_REPLACE:
    case SPPO_STEP_COLLAPSE: return replace(s, text, length, out);
    case SPPO_STEP_TRIM_LEFT:
    case SPPO_STEP_TRIM_RIGHT: return trim(s, text, length, out);
    case SPPO_STEP_STRIP_LEFT:
        start = sppo__space_after(text, length, 0);
        return append(out, text + start, length - start);
    case SPPO_STEP_STRIP_RIGHT: return append(out, text, sppo__space_before(text, length, 0));
    case SPPO_STEP_PREPEND:
    case SPPO_STEP_PREPEND_MISSING:
    case SPPO_STEP_PREPEND_FIRST:
    case SPPO_STEP_PREPEND_FIRST_MISSING: return prepend(s, text, length, first, out);
    case SPPO_STEP_CHARSMAP: return map_characters(s, text, length, out);
    default: return compose(s, text, length, out);
    }
}

sppo_status sppo__normalize(sppo__normalizer *n, bool first, const char **text, int64_t *length) {
    sppo_status st = SPPO_OK;
    for (int i = 0; n && i < n->count && !st; i++) {
        buffer *out = &n->text[i % 2];
        out->length = 0;
        st = apply(&n->step[i], *text, *length, first, out);
        *text = out->data;
        *length = out->length;
    }
    return st;
}
