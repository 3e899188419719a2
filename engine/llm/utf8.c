/* utf8.c - what of some bytes is UTF-8 (RFC 3629: no surrogates, no overlong forms). */

#include <string.h>

#include "sppo.h"

/* Bytes of the sequence at p: positive if it is whole, 0 if the text ends inside it, negative if it
 * is ill-formed: the length of what Unicode says to replace by one U+FFFD, negated. */
static int sequence(const uint8_t *p, int64_t left) {
    uint8_t c = p[0], low = 0x80, high = 0xBF;
    int length = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (c < 0x80) return 1;
    if (c < 0xC2 || c > 0xF4) return -1;
    if (c == 0xE0) low = 0xA0;
    if (c == 0xED) high = 0x9F;
    if (c == 0xF0) low = 0x90;
    if (c == 0xF4) high = 0x8F;
    for (int i = 1; i < length; i++) {
        if (i == left) return 0;
        if (p[i] < low || p[i] > high) return -i;
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

int64_t sppo_utf8_scan(const char *bytes, int64_t length, int *bad) {
    const uint8_t *p = (const uint8_t *)bytes;
    int64_t at = 0;
    *bad = 0;
    while (at < length) {
        uint64_t eight;
        while (length - at >= 8) {
            memcpy(&eight, p + at, 8);
            if (eight & UINT64_C(0x8080808080808080)) break;
            at += 8;
        }
        if (at == length) break;
        int n = sequence(p + at, length - at);
        if (n < 0) *bad = -n;
        if (n <= 0) break;
        at += n;
    }
    return at;
}
