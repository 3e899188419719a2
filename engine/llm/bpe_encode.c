/* bpe_encode.c - text to token ids.
 *
 * Text is put piece by piece. A special token is only seen inside of a piece that may hold some;
 * the plain text between two special tokens is encoded as a whole, whatever pieces it came in.
 * Within a word the merge of lowest rank comes first, leftmost among equals, found by a heap:
 * O(n log n) for a word of n bytes. A failure forgets what was put. */

#include <stdlib.h>
#include <string.h>

#include "llm/bpe.h"
#include "llm/spm.h"

static sppo_status push_id(sppo_bpe *b, int32_t id) {
    int32_t *grown = sppo__bpe_grow(b->ids, &b->capacity, b->count + 1, sizeof *b->ids);
    if (!grown) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    b->ids = grown;
    b->ids[b->count++] = id;
    return SPPO_OK;
}

/* Rank of the merge of two tokens, -1 for none. */
static int32_t rank_of(const sppo_bpe *b, int32_t left, int32_t right) {
    int32_t low = b->start[left], end = b->start[left + 1], high = end;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (b->merge[middle].right < right) low = middle + 1;
        else high = middle;
    }
    return low < end && b->merge[low].right == right ? b->merge[low].rank : -1;
}

/* ---- a heap of (rank << 32 | place), least first ---- */

static void heap_push(uint64_t *heap, int64_t *count, uint64_t key) {
    int64_t i = (*count)++;
    for (; i > 0 && heap[(i - 1) / 2] > key; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = key;
}

static uint64_t heap_pop(uint64_t *heap, int64_t *count) {
    uint64_t least = heap[0], last = heap[--*count];
    int64_t i = 0, child;
    while ((child = 2 * i + 1) < *count) {
        if (child + 1 < *count && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= last) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return least;
}

/* Notes the merge of symbol i with its next one. */
static void consider(sppo_bpe *b, int64_t *heap_count, int32_t i) {
    sppo__symbol *s = &b->symbol[i];
    s->rank = s->next < 0 ? -1 : rank_of(b, s->id, b->symbol[s->next].id);
    if (s->rank >= 0) heap_push(b->heap, heap_count, (uint64_t)s->rank << 32 | (uint32_t)i);
}

static sppo_status room_for_symbols(sppo_bpe *b, int64_t count) {
    if (count <= b->symbol_capacity) return SPPO_OK;
    // A merge takes one entry from the heap and adds at most two, and there are fewer than `count`.
    int64_t wanted = count < 256 ? 256 : count;
    sppo__symbol *symbol = malloc((size_t)wanted * sizeof *symbol);
    uint64_t *heap = malloc((size_t)wanted * 2 * sizeof *heap);
    if (!symbol || !heap) {
        free(symbol);
        free(heap);
        return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    }
    free(b->symbol);
    free(b->heap);
    b->symbol = symbol;
    b->heap = heap;
    b->symbol_capacity = wanted;
    return SPPO_OK;
}

static void add_symbol(sppo_bpe *b, int32_t *count, int32_t id) {
    b->symbol[*count] = (sppo__symbol){id, *count - 1, *count + 1, -1};
    ++*count;
}

/* What merging a word begins with: the tokens of its bytes. */
static int32_t split_bytes(sppo_bpe *b, const char *word, int64_t length) {
    int32_t count = 0;
    for (int64_t i = 0; i < length; i++) {
        int32_t id = b->byte_id[(uint8_t)word[i]];
        if (id >= 0) add_symbol(b, &count, id);  // else left out, as the reference does
    }
    return count;
}

/* The tokens of its characters; of one that has none its bytes', if all have one, or the unknown
 * token. */
static int32_t split_characters(sppo_bpe *b, const char *word, int64_t length) {
    int32_t count = 0;
    bool was_unknown = false;
    for (int64_t i = 0, n; i < length; i += n) {
        n = 1;
        while (i + n < length && ((uint8_t)word[i + n] & 0xC0) == 0x80) n++;
        int64_t place = sppo__bpe_search(b->normal, b->normals, word + i, n);
        bool bytes = place < 0;
        for (int64_t k = 0; bytes && k < n; k++) bytes = b->byte_id[(uint8_t)word[i + k]] >= 0;
        if (place >= 0) {
            add_symbol(b, &count, b->normal[place].id);
        } else if (bytes) {
            for (int64_t k = 0; k < n; k++) add_symbol(b, &count, b->byte_id[(uint8_t)word[i + k]]);
        } else if (b->unknown >= 0 && !(was_unknown && b->fuse_unknown)) {
            add_symbol(b, &count, b->unknown);
        }
        was_unknown = place < 0 && !bytes;
    }
    return count;
}

static sppo_status merge_word(sppo_bpe *b, const char *word, int64_t length) {
    sppo_status st = room_for_symbols(b, length);
    if (st) return st;
    int32_t count = b->form == SPPO_BPE_CHARACTERS ? split_characters(b, word, length)
                                                   : split_bytes(b, word, length);
    if (!count) return SPPO_OK;
    b->symbol[count - 1].next = -1;

    int64_t waiting = 0;
    for (int32_t i = 0; i < count; i++) consider(b, &waiting, i);
    while (waiting > 0) {
        uint64_t key = heap_pop(b->heap, &waiting);
        int32_t i = (int32_t)(key & 0xFFFFFFFF), rank = (int32_t)(key >> 32);
        sppo__symbol *s = &b->symbol[i];
        if (s->rank != rank) continue;  // one of the two has been merged since
        sppo__symbol *gone = &b->symbol[s->next];
        s->id = b->form == SPPO_BPE_RANKS ? rank : b->merge[b->by_rank[rank]].merged;
        s->next = gone->next;
        gone->rank = -1;
        if (s->next >= 0) b->symbol[s->next].prev = i;
        if (s->prev >= 0) consider(b, &waiting, s->prev);
        consider(b, &waiting, i);
    }
    for (int32_t i = 0; i >= 0 && !st; i = b->symbol[i].next) st = push_id(b, b->symbol[i].id);
    return st;
}

/* ---- words ---- */

static sppo__cached *cache_place(sppo_bpe *b, const char *word, int64_t length) {
    uint32_t hash = 2166136261u;
    for (int64_t i = 0; i < length; i++) hash = (hash ^ (uint8_t)word[i]) * 16777619u;
    return &b->cache[(hash ^ hash >> 13) % SPPO_BPE_CACHE];
}

static sppo_status encode_word(sppo_bpe *b, const char *word, int64_t length) {
    sppo__cached *cached = NULL;
    if (length <= SPPO_BPE_CACHED) {
        cached = cache_place(b, word, length);
        if (cached->length == length && !memcmp(cached->bytes, word, (size_t)length)) {
            sppo_status st = SPPO_OK;
            for (int i = 0; i < cached->count && !st; i++) st = push_id(b, cached->ids[i]);
            return st;
        }
    }
    int64_t before = b->count, whole = -1;
    if (b->whole_words) whole = sppo__bpe_search(b->normal, b->normals, word, length);
    sppo_status st = whole >= 0 ? push_id(b, b->normal[whole].id) : merge_word(b, word, length);
    int64_t made = b->count - before;
    if (!st && cached && made <= SPPO_BPE_CACHED_IDS) {
        cached->length = (uint8_t)length;
        cached->count = (uint8_t)made;
        memcpy(cached->bytes, word, (size_t)length);
        if (made) memcpy(cached->ids, b->ids + before, (size_t)made * sizeof *cached->ids);
    }
    return st;
}

static sppo_status encode_words(sppo_bpe *b, const char *text, int64_t length) {
    sppo_status st = SPPO_OK;
    for (int64_t at = 0, end; at < length && !st; at = end) {
        st = sppo__split_next(b->split, text, length, at, &end);
        if (!st) st = encode_word(b, text + at, end - at);
    }
    return st;
}

static sppo_status encode_pieces(sppo_bpe *b, const char *text, int64_t length) {
    int32_t *ids;
    int64_t count;
    sppo_status st = sppo__spm_encode(b->model, text, length, &ids, &count);
    for (int64_t i = 0; !st && i < count; i++) st = push_id(b, ids[i]);
    return st;
}

static sppo_status encode_plain(sppo_bpe *b, const char *text, int64_t length) {
    sppo_status st = sppo__normalize(b->normalizer, b->count == 0, &text, &length);
    if (st || length == 0) return st;
    if (b->form == SPPO_BPE_PIECES) return encode_pieces(b, text, length);
    if (length > INT32_MAX / 2)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_TEXT, SPPO_BPE_TEXT >> 20);
    return encode_words(b, text, length);
}

/* ---- special and added tokens ---- */

/* The first place from `at` on where one of `words` stands, the longest one there; its place in
 * `words`, or -1. */
static int64_t next_mark(const sppo__word *words, int64_t count, const char *text, int64_t length,
                         int64_t at, int64_t *where) {
    for (; count && at < length; at++) {
        int64_t low = 0, high = count, found = -1;
        for (int32_t depth = 0; low < high && at + depth < length; depth++) {
            sppo__bpe_narrow(words, &low, &high, depth, text[at + depth]);
            // the word that ends here sorts before all that go on
            if (low < high && words[low].length == depth + 1) found = low;
        }
        if (found >= 0) {
            *where = at;
            return found;
        }
    }
    return -1;
}

/* Widens [*from, *to), the mark with this id in `text`, to what it takes with it: white space not
 * before `at`. */
static void widen(const sppo_bpe *b, int32_t id, const char *text, int64_t length, int64_t at,
                  int64_t *from, int64_t *to) {
    if (b->token[id].strip_left) *from = sppo__space_before(text, *from, at);
    if (b->token[id].strip_right) *to = sppo__space_after(text, length, *to);
}

/* Encodes the plain text put since the last special token. */
static sppo_status flush(sppo_bpe *b) {
    sppo_status st = SPPO_OK;
    int64_t at = 0, from = 0, found, length = b->pending_length;
    const char *text = b->pending;
    while (!st && (found = next_mark(b->added, b->addeds, text, length, at, &from)) >= 0) {
        const sppo__word *mark = &b->added[found];
        int64_t to = from + mark->length;
        widen(b, mark->id, text, length, at, &from, &to);
        st = encode_plain(b, text + at, from - at);
        if (!st) st = push_id(b, mark->id);
        at = to;
    }
    if (!st && at < length) st = encode_plain(b, text + at, length - at);
    b->pending_length = 0;
    return st;
}

static sppo_status put_plain(sppo_bpe *b, const char *text, int64_t length) {
    int64_t needed = b->pending_length + length;
    char *grown = sppo__bpe_grow(b->pending, &b->pending_capacity, needed, 1);
    if (!grown) return sppo__fail(SPPO_ERR_MEMORY, TEXT_BPE_MEMORY);
    b->pending = grown;
    if (length) memcpy(b->pending + b->pending_length, text, (size_t)length);
    b->pending_length += length;
    return SPPO_OK;
}

static sppo_status put(sppo_bpe *b, const char *text, int64_t length, bool special) {
    int bad;
    int64_t valid = sppo_utf8_scan(text, length, &bad);
    if (valid != length) return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_UTF8, (long long)valid);
    sppo_status st = SPPO_OK;
    int64_t at = 0, from = 0, found;
    while (!st && special &&
           (found = next_mark(b->special, b->specials, text, length, at, &from)) >= 0) {
        const sppo__word *mark = &b->special[found];
        int64_t to = from + mark->length;
        widen(b, mark->id, text, length, at, &from, &to);
        st = put_plain(b, text + at, from - at);
        if (!st) st = flush(b);
        if (!st) st = push_id(b, mark->id);
        at = to;
    }
    return st ? st : put_plain(b, text + at, length - at);
}

static void forget(sppo_bpe *b) {
    b->count = b->pending_length = b->put = 0;
}

sppo_status sppo_bpe_put(sppo_bpe *b, const char *text, int64_t length, int special) {
    sppo_status st = SPPO_OK;
    if (!b->finished) return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_UNFINISHED, "put");
    if (b->put == 0) forget(b);
    if (length < 0 || length > SPPO_BPE_TEXT - b->put)
        st = sppo__fail(SPPO_ERR_ARGUMENT, TEXT_BPE_TEXT, SPPO_BPE_TEXT >> 20);
    if (!st) st = put(b, text, length, special != 0);
    if (st) forget(b);
    else b->put += length;
    return st;
}

sppo_status sppo_bpe_encode(sppo_bpe *b, const int32_t **ids, int64_t *count) {
    if (!b->finished) return sppo__fail(SPPO_ERR_STATE, TEXT_BPE_UNFINISHED, "encode");
    if (b->put == 0) forget(b);
    sppo_status st = flush(b);
    if (!st) {
        *ids = b->ids;
        *count = b->count;
        b->put = 0;  // the ids stay until the next put
    } else {
        forget(b);
    }
    return st;
}
