/* spm_file.c - reads a tokenizer.model: protobuf's wire format, message ModelProto of
 * sentencepiece_model.proto, as far as encoding needs it. Fields of training are passed over, and
 * so is the self-test, which the library would run.
 *
 * Any bytes may come: a length is compared with what is left of the message it lies in. */

#include <string.h>

#include "core/error.h"
#include "llm/spm.h"

typedef struct reader {
    const uint8_t *start;  // of the file, for the offset in an error
    const uint8_t *at, *end;
} reader;

/* One field: a number, or the bytes of a text or message. */
typedef struct field {
    uint64_t number;
    int wire;        // 0 varint, 1 64 bits, 2 bytes, 5 32 bits
    uint64_t value;  // of a varint
    const uint8_t *bytes;
    int64_t length;
} field;

static sppo_status bad(const reader *r, const char *what) {
    return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_FILE, what, (long long)(r->at - r->start));
}

static sppo_status read_varint(reader *r, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (r->at == r->end) return bad(r, "ends inside a number");
        uint8_t byte = *r->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return SPPO_OK;
    }
    return bad(r, "a number of more than 64 bits");
}

static sppo_status read_field(reader *r, field *f) {
    uint64_t tag, length;
    *f = (field){0};
    sppo_status st = read_varint(r, &tag);
    if (st) return st;
    f->number = tag >> 3;
    f->wire = (int)(tag & 7);
    if (f->number == 0) return bad(r, "is no SentencePiece model: a field has number 0");
    if (f->wire == 0) return read_varint(r, &f->value);
    if (f->wire == 1) length = 8;
    else if (f->wire == 5) length = 4;
    else if (f->wire != 2) return bad(r, "is no SentencePiece model: unknown kind of field");
    else if ((st = read_varint(r, &length))) return st;
    if (length > (uint64_t)(r->end - r->at)) return bad(r, "a field is longer than what is left");
    f->bytes = r->at;
    f->length = (int64_t)length;
    r->at += length;
    return SPPO_OK;
}

static reader inside(const reader *r, const field *f) {
    return (reader){r->start, f->bytes, f->bytes + f->length};
}

static sppo_status read_piece(reader r, sppo_spm *m) {
    const char *text = "";
    int64_t length = 0;
    float score = 0;
    uint64_t kind = SPPO_PIECE_NORMAL;
    field f;
    while (r.at < r.end) {
        sppo_status st = read_field(&r, &f);
        if (st) return st;
        if (f.number == 1 && f.wire == 2) {
            text = (const char *)f.bytes;
            length = f.length;
        } else if (f.number == 2 && f.wire == 5) {
            memcpy(&score, f.bytes, 4);
        } else if (f.number == 3 && f.wire == 0) {
            kind = f.value;
        } else if (f.number <= 3) {
            return bad(&r, "a piece's text, score or type is of another kind");
        }
    }
    return sppo_spm_add(m, text, length, (double)score, kind < 100 ? (int)kind : 100);
}

static sppo_status read_trainer(reader r, sppo_spm *m) {
    sppo_spm_options *o = sppo_spm_settings(m);
    field f;
    while (r.at < r.end) {
        sppo_status st = read_field(&r, &f);
        if (st) return st;
        if (f.wire != 0) continue;
        if (f.number == 3) {
            if (f.value != 1 && f.value != 2)
                return sppo__fail(SPPO_ERR_FORMAT, TEXT_SPM_TYPE, (unsigned long long)f.value);
            o->unigram = f.value == 1;
        }
        if (f.number == 24) o->whitespace_suffix = f.value != 0;
        if (f.number == 35) o->byte_fallback = f.value != 0;
    }
    return SPPO_OK;
}

static sppo_status read_normalizer(reader r, sppo_spm *m) {
    sppo_spm_options *o = sppo_spm_settings(m);
    field f;
    while (r.at < r.end) {
        sppo_status st = read_field(&r, &f);
        if (st) return st;
        if (f.number == 2 && f.wire == 2 && f.length > 0) {
            st = sppo_spm_set_charsmap(m, (const char *)f.bytes, f.length);
            if (st) return st;
        }
        if (f.wire != 0) continue;
        if (f.number == 3) o->add_dummy_prefix = f.value != 0;
        if (f.number == 4) o->remove_extra_whitespaces = f.value != 0;
        if (f.number == 5) o->escape_whitespaces = f.value != 0;
    }
    return SPPO_OK;
}

sppo_status sppo_spm_parse(sppo_spm **out, const char *data, int64_t bytes) {
    // what the file's format says of a field that is not there
    sppo_spm_options options = {.unigram = 1,
                                .add_dummy_prefix = 1,
                                .remove_extra_whitespaces = 1,
                                .escape_whitespaces = 1};
    sppo_spm *m;
    sppo_status st = sppo_spm_new(&m, &options);
    if (st) return st;
    const uint8_t *start = (const uint8_t *)data;
    reader r = {start, start, start + bytes};
    field f;
    if (bytes == 0) st = bad(&r, "is empty");
    while (!st && r.at < r.end) {
        st = read_field(&r, &f);
        if (st || f.number > 3) continue;
        if (f.wire != 2) st = bad(&r, "is no SentencePiece model: a message is missing");
        else if (f.number == 1) st = read_piece(inside(&r, &f), m);
        else if (f.number == 2) st = read_trainer(inside(&r, &f), m);
        else st = read_normalizer(inside(&r, &f), m);
    }
    if (!st && sppo_spm_count(m) == 0) st = bad(&r, "is no SentencePiece model: it has no pieces");
    if (st) sppo_spm_free(m);
    else *out = m;
    return st;
}
