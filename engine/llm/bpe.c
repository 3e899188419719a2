/* bpe.c - builds a tokenizer from plain data and answers questions about its tokens.
 * Where the data comes from is the caller's business; it may be hostile, so everything is checked
 * here: ids, duplicates, merges that name tokens, sizes. Encoding is in bpe_encode.c.
 *
 * Lookups are binary searches in sorted arrays, not hashes: no vocabulary makes them slow. */

#include "llm/bpe.h"

#include <stdlib.h>
#include <string.h>

void *sppo__bpe_grow(void *data, int64_t *capacity, int64_t needed, size_t size) {
    if (data && needed <= *capacity) return data;
    int64_t wanted = *capacity ? *capacity : 64;
    while (wanted < needed) wanted *= 2;
    void *grown = realloc(data, (size_t)wanted * size);
    if (grown) *capacity = wanted;
    return grown;
}

sppo_status sppo_bpe_new(sppo_bpe **out, const char *pattern, int64_t vocab,
                         const sppo_bpe_options *options) {
    if (vocab < 1 || vocab > SPPO_BPE_VOCAB)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_VOCAB, (long long)vocab, SPPO_BPE_VOCAB);
    sppo_bpe *b = calloc(1, sizeof *b);
    sppo_status st =
        b ? sppo__split_new(&b->split, pattern) : sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    if (!st && options && (options->form < SPPO_BPE_LETTERS || options->form > SPPO_BPE_PIECES))
        st = sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_FORM, "unknown form");
    if (!st && options && options->nfc)
        st = sppo__normalizer_add(&b->normalizer, SPPO_STEP_NFC, "", 0, "", 0);
    if (!st) {
        b->vocab = vocab;
        b->unknown = -1;
        b->form = options ? (sppo_bpe_form)options->form : SPPO_BPE_LETTERS;
        b->whole_words = options && options->whole_words;
        b->fuse_unknown = options && options->fuse_unknown;
        b->token = malloc((size_t)vocab * sizeof *b->token);
        b->cache = calloc(SPPO_BPE_CACHE, sizeof *b->cache);
        if (!b->token || !b->cache) st = sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    }
    if (st) {
        sppo_bpe_free(b);
        return st;
    }
    for (int64_t i = 0; i < vocab; i++) b->token[i] = (sppo__token){.offset = -1};
    for (int i = 0; i < 256; i++) b->byte_id[i] = -1;
    *out = b;
    return SPPO_OK;
}

void sppo_bpe_free(sppo_bpe *b) {
    if (!b) return;
    sppo__split_free(b->split);
    sppo__normalizer_free(b->normalizer);
    free(b->token);
    free(b->text);
    free(b->normal);
    free(b->special);
    free(b->added);
    free(b->merge);
    free(b->by_rank);
    free(b->start);
    free(b->pending);
    free(b->ids);
    free(b->symbol);
    free(b->heap);
    free(b->cache);
    free(b);
}

/* Vocabularies write a byte as a letter: printable Latin-1 as itself, the other 68 as U+0100.. in
 * order. Turns `text` into bytes at `dst` (never longer); the number of them, -1 if a character is
 * no such letter. */
static int64_t bytes_of_letters(const char *text, int64_t length, char *dst) {
    const uint8_t *p = (const uint8_t *)text;
    int64_t n = 0;
    for (int64_t i = 0; i < length; i++) {
        unsigned c = p[i];
        if (c >= 0x80) {
            if (c < 0xC2 || c > 0xC5 || i + 1 == length || (p[i + 1] & 0xC0) != 0x80) return -1;
            c = (c & 0x1F) << 6 | (p[++i] & 0x3F);
        }
        if (c >= 0x100) {
            c -= 0x100;
            if (c > 67) return -1;
            c = c <= 0x20 ? c : c < 67 ? c - 0x21 + 0x7F : 0xAD;
        } else if (c <= 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD) {
            return -1;
        }
        dst[n++] = (char)c;
    }
    return n;
}

sppo_status sppo_bpe_add_token(sppo_bpe *b, int64_t id, const char *text, int64_t length,
                               sppo_token_kind kind) {
    int64_t limit =
        kind == SPPO_TOKEN_SPECIAL || kind == SPPO_TOKEN_ADDED ? SPPO_BPE_MARK : SPPO_BPE_TOKEN;
    if (b->sorted) return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_LATE, "token");
    if (kind < SPPO_TOKEN_NORMAL || kind > SPPO_TOKEN_BYTE)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_KIND, (long long)id, (int)kind);
    if (id < 0 || id >= b->vocab)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_ID, (long long)id, (long long)b->vocab);
    if (b->token[id].offset >= 0) return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_TWICE, (long long)id);
    if (length < 1 || length > limit)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_LENGTH, (long long)id, (long long)length,
                          (long long)limit);
    if (b->text_length + length > SPPO_BPE_VOCAB_TEXT)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_VOCAB_TEXT, SPPO_BPE_VOCAB_TEXT >> 20);
    char *grown = sppo__bpe_grow(b->text, &b->text_capacity, b->text_length + length, 1);
    if (!grown) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    b->text = grown;

    char *dst = b->text + b->text_length;
    if (kind == SPPO_TOKEN_BYTE && b->form != SPPO_BPE_PIECES) {
        int byte = sppo__byte_of(text, length);
        if (byte < 0) return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_BYTE, (long long)id);
        if (b->byte_id[byte] >= 0)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_BYTE_TWICE, b->byte_id[byte],
                              (long long)id);
        b->byte_id[byte] = (int32_t)id;
    }
    if (kind == SPPO_TOKEN_NORMAL && b->form == SPPO_BPE_LETTERS) {
        length = bytes_of_letters(text, length, dst);
        if (length < 0) return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_LETTERS, (long long)id);
    } else if (kind == SPPO_TOKEN_NORMAL && b->form == SPPO_BPE_RANKS) {
        memcpy(dst, text, (size_t)length);
    } else {
        int bad;
        if (sppo_utf8_scan(text, length, &bad) != length)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_TOKEN_UTF8, (long long)id);
        memcpy(dst, text, (size_t)length);
    }
    b->token[id] =
        (sppo__token){.offset = b->text_length, .length = (int32_t)length, .kind = (int16_t)kind};
    b->text_length += length;
    if (kind == SPPO_TOKEN_NORMAL) b->normals++;
    if (kind == SPPO_TOKEN_SPECIAL) b->specials++;
    if (kind == SPPO_TOKEN_ADDED) b->addeds++;
    return SPPO_OK;
}

sppo_status sppo_bpe_set_strip(sppo_bpe *b, int64_t id, int left, int right) {
    if (id < 0 || id >= b->vocab)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_ID, (long long)id, (long long)b->vocab);
    b->token[id].strip_left = left != 0;
    b->token[id].strip_right = right != 0;
    return SPPO_OK;
}

sppo_status sppo_bpe_set_unknown(sppo_bpe *b, int64_t id) {
    if (id < 0 || id >= b->vocab)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_ID, (long long)id, (long long)b->vocab);
    b->unknown = (int32_t)id;
    return SPPO_OK;
}

sppo_status sppo_bpe_add_step(sppo_bpe *b, sppo_bpe_step step, const char *from,
                              int64_t from_length, const char *to, int64_t to_length) {
    return sppo__normalizer_add(&b->normalizer, step, from, from_length, to, to_length);
}

sppo_status sppo_bpe_use(sppo_bpe *b, sppo_spm *m) {
    if (b->form != SPPO_BPE_PIECES)
        return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_FORM, "a model for a form other than pieces");
    if (sppo_spm_count(m) > b->vocab)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_ID, (long long)sppo_spm_count(m) - 1,
                          (long long)b->vocab);
    b->model = m;
    return SPPO_OK;
}

static int compare(const char *a, int64_t na, const char *b, int64_t nb) {
    int order = memcmp(a, b, (size_t)(na < nb ? na : nb));
    return order ? order : (na > nb) - (na < nb);
}

int sppo__bpe_by_bytes(const void *a, const void *b) {
    const sppo__word *x = a, *y = b;
    return compare(x->bytes, x->length, y->bytes, y->length);
}

int64_t sppo__bpe_search(const sppo__word *words, int64_t count, const char *bytes,
                         int64_t length) {
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = compare(words[middle].bytes, words[middle].length, bytes, length);
        if (order == 0) return middle;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return -1;
}

/* First of words[low .. high) whose byte at `depth` is at least c; a word that ends there counts as
 * smaller than all. */
static int64_t first_from(const sppo__word *words, int64_t low, int64_t high, int32_t depth,
                          int c) {
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const sppo__word *w = &words[middle];
        if (w->length <= depth || (uint8_t)w->bytes[depth] < c) low = middle + 1;
        else high = middle;
    }
    return low;
}

void sppo__bpe_narrow(const sppo__word *words, int64_t *low, int64_t *high, int32_t depth, char c) {
    *low = first_from(words, *low, *high, depth, (uint8_t)c);
    *high = first_from(words, *low, *high, depth, (uint8_t)c + 1);
}

static sppo_status sort_kind(sppo_bpe *b, sppo_token_kind kind, sppo__word **out, int64_t count) {
    sppo__word *words = malloc((size_t)(count + 1) * sizeof *words);
    if (!words) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    *out = words;
    int64_t n = 0;
    for (int64_t i = 0; i < b->vocab; i++) {
        const sppo__token *t = &b->token[i];
        if (t->kind == (int16_t)kind)
            words[n++] = (sppo__word){b->text + t->offset, t->length, (int32_t)i};
    }
    qsort(words, (size_t)n, sizeof *words, sppo__bpe_by_bytes);
    for (int64_t i = 1; i < n; i++) {
        if (sppo__bpe_by_bytes(&words[i - 1], &words[i]) == 0)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_SAME, words[i - 1].id, words[i].id);
    }
    return SPPO_OK;
}

/* The tokens are complete: every id has one. Sorts them for lookups. */
static sppo_status sort_tokens(sppo_bpe *b) {
    if (b->broken) return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_BROKEN);
    if (b->sorted) return SPPO_OK;
    for (int64_t i = 0; i < b->vocab; i++) {
        if (b->token[i].offset < 0)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_HOLE, (long long)i, (long long)b->vocab);
    }
    b->sorted = b->broken = true;
    sppo_status st = sort_kind(b, SPPO_TOKEN_NORMAL, &b->normal, b->normals);
    if (!st) st = sort_kind(b, SPPO_TOKEN_SPECIAL, &b->special, b->specials);
    if (!st) st = sort_kind(b, SPPO_TOKEN_ADDED, &b->added, b->addeds);
    if (st) return st;
    bool bytes = b->form == SPPO_BPE_LETTERS || b->form == SPPO_BPE_RANKS;
    for (int64_t i = 0; bytes && i < b->normals; i++) {
        if (b->normal[i].length == 1) b->byte_id[(uint8_t)b->normal[i].bytes[0]] = b->normal[i].id;
    }
    b->broken = false;
    return SPPO_OK;
}

/* The normal token that a merge names, or -1; `bytes` has room for 2 SPPO_BPE_TOKEN. */
static int32_t find_part(const sppo_bpe *b, const char *text, int64_t length, char *bytes,
                         int64_t *n) {
    if (length < 1 || length > SPPO_BPE_TOKEN) return -1;
    *n = length;
    if (b->form == SPPO_BPE_LETTERS) *n = bytes_of_letters(text, length, bytes);
    else memcpy(bytes, text, (size_t)length);
    if (*n < 0) return -1;
    int64_t place = sppo__bpe_search(b->normal, b->normals, bytes, *n);
    return place < 0 ? -1 : b->normal[place].id;
}

sppo_status sppo_bpe_add_merge(sppo_bpe *b, const char *text, int64_t length) {
    if (b->finished) return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_LATE, "merge");
    if (b->form == SPPO_BPE_RANKS || b->form == SPPO_BPE_PIECES)
        return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_FORM, "a merge for a form that has none");
    sppo_status st = sort_tokens(b);
    if (st) return st;
    long long rank = (long long)b->merges;
    if (rank >= SPPO_BPE_VOCAB) return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_MERGES, SPPO_BPE_VOCAB);
    const char *space = length > 0 ? memchr(text, ' ', (size_t)length) : NULL;
    if (!space) return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_MERGE_FORM, rank);

    char bytes[2 * SPPO_BPE_TOKEN];
    int64_t n = 0, m = 0, place = -1;
    int32_t left = find_part(b, text, space - text, bytes, &n), right = -1;
    if (left >= 0) right = find_part(b, space + 1, text + length - space - 1, bytes + n, &m);
    if (right >= 0) place = sppo__bpe_search(b->normal, b->normals, bytes, n + m);
    if (place < 0) {
        const char *what = left < 0 ? "left part" : right < 0 ? "right part" : "result";
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_MERGE_TOKEN, rank, what);
    }
    sppo__merge *grown =
        sppo__bpe_grow(b->merge, &b->merge_capacity, b->merges + 1, sizeof *b->merge);
    if (!grown) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    b->merge = grown;
    b->merge[b->merges++] = (sppo__merge){left, right, b->normal[place].id, (int32_t)rank};
    return SPPO_OK;
}

/* Form RANKS: every token that two others make is their merge, in the order of (id, left, right). */
static int by_merged(const void *a, const void *b) {
    const sppo__merge *x = a, *y = b;
    if (x->merged != y->merged) return x->merged < y->merged ? -1 : 1;
    return (x->left > y->left) - (x->left < y->left);
}

static sppo_status merges_of_ranks(sppo_bpe *b) {
    for (int64_t i = 0; i < b->normals; i++) {
        const sppo__word *w = &b->normal[i];
        if (w->length > SPPO_BPE_MARK)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_LENGTH, (long long)w->id,
                              (long long)w->length, (long long)SPPO_BPE_MARK);
        for (int32_t cut = 1; cut < w->length; cut++) {
            int64_t left = sppo__bpe_search(b->normal, b->normals, w->bytes, cut), right = -1;
            if (left >= 0)
                right = sppo__bpe_search(b->normal, b->normals, w->bytes + cut, w->length - cut);
            if (right < 0) continue;
            if (b->merges >= 4 * SPPO_BPE_VOCAB)
                return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_MERGES, 4 * SPPO_BPE_VOCAB);
            sppo__merge *grown =
                sppo__bpe_grow(b->merge, &b->merge_capacity, b->merges + 1, sizeof *b->merge);
            if (!grown) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
            b->merge = grown;
            b->merge[b->merges++] =
                (sppo__merge){b->normal[left].id, b->normal[right].id, w->id, -1};
        }
    }
    if (b->merges) qsort(b->merge, (size_t)b->merges, sizeof *b->merge, by_merged);
    for (int64_t i = 0; i < b->merges; i++) b->merge[i].rank = (int32_t)i;
    return SPPO_OK;
}

static int by_pair(const void *a, const void *b) {
    const sppo__merge *x = a, *y = b;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    if (x->right != y->right) return x->right < y->right ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

sppo_status sppo_bpe_finish(sppo_bpe *b) {
    if (b->finished) return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_LATE, "second finish");
    sppo_status st = sort_tokens(b);
    if (st) return st;
    b->broken = true;
    if (b->form == SPPO_BPE_PIECES && !b->model)
        return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_FORM, "form pieces without a model");
    if (b->unknown >= 0 && b->token[b->unknown].kind == SPPO_TOKEN_UNUSED)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_FORM, "the unknown token is unused");
    if (b->form == SPPO_BPE_RANKS) st = merges_of_ranks(b);
    if (st) return st;
    b->by_rank = malloc((size_t)(b->merges + 1) * sizeof *b->by_rank);
    b->start = calloc((size_t)b->vocab + 1, sizeof *b->start);
    if (!b->by_rank || !b->start) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    if (b->merges) qsort(b->merge, (size_t)b->merges, sizeof *b->merge, by_pair);
    for (int64_t i = 0; i < b->merges; i++) {
        const sppo__merge *m = &b->merge[i];
        if (i && m[-1].left == m->left && m[-1].right == m->right)
            return sppo__fail(SPPO_ERR_FORMAT, TEXT_BPE_MERGE_TWICE, m->rank, m[-1].rank);
        b->by_rank[m->rank] = (int32_t)i;
        b->start[m->left + 1]++;
    }
    for (int64_t i = 0; i < b->vocab; i++) b->start[i + 1] += b->start[i];
    // Pairs that make the same token come in the order of the text, not of the list.
    for (int64_t i = 0; b->form == SPPO_BPE_RANKS && i < b->merges; i++)
        b->merge[i].rank = b->merge[i].merged;
    b->broken = false;
    b->finished = true;
    return SPPO_OK;
}

int64_t sppo_bpe_vocab(const sppo_bpe *b) {
    return b->vocab;
}

int64_t sppo_bpe_merge_count(const sppo_bpe *b) {
    return b->merges;
}

sppo_status sppo_bpe_merge(const sppo_bpe *b, int64_t rank, int32_t *left, int32_t *right) {
    if (!b->finished) return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_UNFINISHED, "merge");
    if (rank < 0 || rank >= b->merges)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_RANK, (long long)rank, (long long)b->merges);
    const sppo__merge *m = &b->merge[b->by_rank[rank]];
    *left = m->left;
    *right = m->right;
    return SPPO_OK;
}

sppo_status sppo_bpe_token(const sppo_bpe *b, int64_t id, const char **bytes, int64_t *length,
                           sppo_token_kind *kind) {
    if (!b->finished) return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_UNFINISHED, "token");
    if (id < 0 || id >= b->vocab)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_ID, (long long)id, (long long)b->vocab);
    *bytes = b->text + b->token[id].offset;
    *length = b->token[id].length;
    *kind = (sppo_token_kind)b->token[id].kind;
    return SPPO_OK;
}

int64_t sppo_bpe_find(const sppo_bpe *b, const char *bytes, int64_t length) {
    if (!b->finished || length < 1) return -1;
    int64_t place = sppo__bpe_search(b->special, b->specials, bytes, length);
    if (place >= 0) return b->special[place].id;
    place = sppo__bpe_search(b->added, b->addeds, bytes, length);
    if (place >= 0) return b->added[place].id;
    place = sppo__bpe_search(b->normal, b->normals, bytes, length);
    return place >= 0 ? b->normal[place].id : -1;
}
