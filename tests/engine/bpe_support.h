/* bpe_support.h - small vocabularies for the test and the fuzz target of the tokenizer. */

#ifndef SPPO_BPE_SUPPORT_H
#define SPPO_BPE_SUPPORT_H

#include <string.h>

#include "sppo.h"

/* Writes GPT-2's letter for a byte; its length, 1 or 2. */
static inline int put_letter(uint8_t byte, char *dst) {
    unsigned c = byte;
    if (c <= 0x20) c += 0x100;
    else if (c >= 0x7F && c <= 0xA0) c += 0x100 + 0x21 - 0x7F;
    else if (c == 0xAD) c = 0x143;
    if (c < 0x80) {
        dst[0] = (char)c;
        return 1;
    }
    dst[0] = (char)(0xC0 | c >> 6);
    dst[1] = (char)(0x80 | (c & 0x3F));
    return 2;
}

/* Token i of 0..255: the byte i. */
static inline sppo_status add_bytes(sppo_bpe *b) {
    char text[2];
    sppo_status st = SPPO_OK;
    for (int i = 0; i < 256 && !st; i++)
        st = sppo_bpe_add_token(b, i, text, put_letter((uint8_t)i, text), SPPO_TOKEN_NORMAL);
    return st;
}

static inline sppo_status add_token(sppo_bpe *b, int64_t id, const char *text,
                                    sppo_token_kind kind) {
    return sppo_bpe_add_token(b, id, text, (int64_t)strlen(text), kind);
}

static inline sppo_status add_merge(sppo_bpe *b, const char *text) {
    return sppo_bpe_add_merge(b, text, (int64_t)strlen(text));
}

#endif
