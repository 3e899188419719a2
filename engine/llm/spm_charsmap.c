/* spm_charsmap.c - SentencePiece's compiled map of characters ("precompiled_charsmap"): rules that
 * replace a few bytes by others, as a Darts double array whose values are offsets of texts. The
 * library walks it without looking where it goes; so every walk is made here first. */

#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "llm/spm.h"

/* A unit of the array (darts.h of Darts-clone): where its children are, relative to its own place;
 * whether a rule ends at it (child 0 is then the leaf); the byte that leads to it. */
static uint32_t offset_of(uint32_t unit) {
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

static bool has_leaf(uint32_t unit) {
    return unit >> 8 & 1;
}

static uint32_t label_of(uint32_t unit) {
    return unit & (1u << 31 | 0xFF);
}

static uint32_t unit_at(const char *trie, uint32_t i) {
    uint32_t unit;
    memcpy(&unit, trie + 4 * (size_t)i, 4);
    return unit;
}

static sppo_status bad(const char *what) {
    return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_CHARSMAP, what);
}

typedef struct map {
    const char *trie, *texts;
    uint32_t units;
    int64_t text_bytes;
} map;

/* A node at which `depth` bytes have been read: its children and its text lie inside. */
static sppo_status check_node(const map *c, uint32_t place, int depth, uint32_t *children) {
    uint32_t unit = unit_at(c->trie, place);
    *children = place ^ offset_of(unit);
    if ((*children | 0xFF) >= c->units) return bad("leads outside of itself");
    if (depth == 0 || !has_leaf(unit)) return SPPO_OK;
    int64_t value = unit_at(c->trie, *children) & 0x7FFFFFFF;
    if (value >= c->text_bytes) return bad("has a rule without a text");
    int64_t limit = (int64_t)depth * SPPO_SPM_GROWTH, left = c->text_bytes - value;
    int bad_bytes;
    int64_t length = (int64_t)strnlen(c->texts + value, (size_t)left);
    if (length > limit) return bad("has a rule whose text is more than 16 times as long");
    if (sppo_utf8_scan(c->texts + value, length, &bad_bytes) != length)
        return bad("has a text that is not UTF-8");
    return SPPO_OK;
}

/* Every node that some text reaches, by depth. Nodes may be shared; one is looked at once in each
 * depth. */
static sppo_status walk(const map *c, uint32_t *now, uint32_t *next, uint8_t *seen) {
    int64_t count = 1;
    now[0] = 0;
    for (int depth = 0; count > 0; depth++) {
        if (depth > SPPO_SPM_RULE) return bad("has a rule of more than 31 bytes");
        int64_t found = 0;
        memset(seen, 0, c->units);
        for (int64_t i = 0; i < count; i++) {
            uint32_t children;
            sppo_status st = check_node(c, now[i], depth, &children);
            if (st) return st;
            for (uint32_t byte = 0; byte < 256; byte++) {
                uint32_t child = children ^ byte;
                if (label_of(unit_at(c->trie, child)) != byte || seen[child]) continue;
                // Child 0 of a node where a rule ends is that rule's value, not a node; the library
                // takes it for one where its bits are those of label 0.
                seen[child] = 1;
                next[found++] = child;
            }
        }
        uint32_t *swap = now;
        now = next;
        next = swap;
        count = found;
    }
    return SPPO_OK;
}

sppo_status sppo__charsmap_check(const char *data, int64_t bytes) {
    uint32_t size;
    if (bytes > SPPO_SPM_CHARSMAP) return bad("has more than 4 MiB");
    if (bytes < 4 + 4 * 256 + 1) return bad("is cut off");
    memcpy(&size, data, 4);
    if (size % 1024 || size == 0) return bad("has a trie that is not of whole blocks");
    if (size / 4 > SPPO_SPM_TRIE) return bad("has a trie of more than 1 MiB");
    if ((int64_t)size >= bytes - 4) return bad("is cut off");
    map c = {data + 4, data + 4 + size, size / 4, bytes - 4 - (int64_t)size};
    if (data[bytes - 1] != 0) return bad("does not end in a NUL");

    uint32_t *nodes = malloc(2 * (size_t)c.units * sizeof *nodes);
    uint8_t *seen = malloc(c.units);
    sppo_status st = SPPO_OK;
    if (!nodes || !seen) st = sppo__fail(SPPO_ERR_MEMORY, TEXT_SPM_MEMORY);
    if (!st) st = walk(&c, nodes, nodes + c.units, seen);
    free(nodes);
    free(seen);
    return st;
}

const char *sppo__charsmap_find(const char *data, const char *text, int64_t length,
                                int64_t *taken) {
    uint32_t size;
    memcpy(&size, data, 4);
    const char *trie = data + 4, *texts = trie + size, *found = NULL;
    uint32_t place = offset_of(unit_at(trie, 0));
    for (int64_t i = 0; i < length; i++) {
        uint8_t byte = (uint8_t)text[i];
        place ^= byte;
        uint32_t unit = unit_at(trie, place);
        if (label_of(unit) != byte) break;
        place ^= offset_of(unit);
        if (has_leaf(unit)) {
            found = texts + (unit_at(trie, place) & 0x7FFFFFFF);
            *taken = i + 1;
        }
    }
    return found;
}
