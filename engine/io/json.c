/* json.c - the limits around jansson: it takes up to 250 bytes for each "{}," of hostile input and
 * recurses 2,048 deep. What is well formed is left for jansson to say. */

#include "io/json.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Fills in what jansson would, for a fault at byte `at`. */
static void place(sppo__json_error *e, const char *text, int64_t at) {
    e->at = at;
    e->line = 1;
    e->column = 1;
    for (int64_t i = 0; i < at; i++) {
        e->column = text[i] == '\n' ? 1 : e->column + 1;
        e->line += text[i] == '\n';
    }
}

/* An object costs about as much as four simple values. */
static bool within_limits(const char *text, int64_t size, int depth, int64_t most,
                          sppo__json_error *e) {
    int level = 0;
    int64_t cost = 0;
    bool quoted = false;
    for (int64_t i = 0; i < size; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\') i++;
            else if (c == '"') quoted = false;
            continue;
        }
        switch (c) {
        case '"': quoted = true; break;
        case '{': cost += 3;          /* fall through */
        case '[': cost += 1, level++; /* fall through */
        case ',':
        case ':': cost++; break;
        case '}':
        case ']': level--; break;
        default: break;
        }
        if (level <= depth && cost <= most) continue;
        place(e, text, i);
        if (level > depth) snprintf(e->text, sizeof e->text, "nested deeper than %d", depth);
        else snprintf(e->text, sizeof e->text, "more than %lld values", (long long)most);
        return false;
    }
    return true;
}

json_t *sppo__json_parse(const char *text, int64_t size, int depth, int64_t most, size_t flags,
                         sppo__json_error *e) {
    if (!within_limits(text, size, depth, most, e)) return NULL;
    json_error_t je;
    json_t *root = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES | flags, &je);
    if (root) return root;
    e->at = je.position;
    e->line = je.line;
    e->column = je.column;
    snprintf(e->text, sizeof e->text, "%s", je.text);
    for (char *p = e->text; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f) *p = '?';
    return NULL;
}
