/* stream.c - a file read from its beginning to its end; what is compressed with gzip or zstd is
 * unpacked on the way, so that only a few blocks of it are in memory. What comes out is bounded
 * twice: in all, and against what went in. */

#include "io/stream.h"

#define ZLIB_CONST
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum {
    BLOCK = 64 << 10,
    RATIO = 400,            // text that repeats itself a lot comes to 100; bombs, from 1,000 on
    RATIO_FREE = 64 << 20,  // bytes that may come out whatever the ratio
    WINDOW_LOG = 27         // 128 MiB, the most that zstd writes without --long
};

typedef enum packing { PLAIN, GZIP, ZSTD } packing;
static const char *const names[] = {"none", "gzip", "zstd"};

struct sppo_stream {
    char *path;
    int fd;                       // -1: memory
    const unsigned char *memory;  // what is left of it
    int64_t memory_left;
    packing packing;
    z_stream gzip;
    ZSTD_DStream *zstd;
    int64_t base;  // where in the file in[0] is
    int64_t in_at, in_end;
    int64_t given, limit;  // bytes out
    bool inside;           // a gzip member or a zstd frame has begun and not ended
    bool last;             // in[] has the end of the file
    bool broken;
    int64_t out_at, out_end;
    unsigned char in[BLOCK];
    unsigned char out[BLOCK];  // of zstd
};

static sppo_status fail_at(sppo_stream *s, const char *text) {
    return sppo__fail(SPPO_ERR_FORMAT, TEXT_STREAM_DATA, s->path, names[s->packing], text,
                      (long long)(s->base + s->in_at));
}

static sppo_status fill(sppo_stream *s) {
    if (s->in_at < s->in_end || s->last) return SPPO_OK;
    s->base += s->in_end;
    s->in_at = s->in_end = 0;
    if (s->fd < 0) {
        s->in_end = s->memory_left < BLOCK ? s->memory_left : BLOCK;
        if (s->in_end) memcpy(s->in, s->memory, (size_t)s->in_end);
        s->memory += s->in_end;
        s->memory_left -= s->in_end;
    }
    while (s->fd >= 0 && s->in_end < BLOCK) {
        ssize_t n = read(s->fd, s->in + s->in_end, (size_t)(BLOCK - s->in_end));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return sppo__fail_os(s->path, "read");
        if (n == 0) break;
        s->in_end += n;
    }
    s->last = s->in_end < BLOCK;
    return SPPO_OK;
}

/* ---- a step of each kind: takes from in[], gives up to `room` bytes ---- */

static int64_t plain_step(sppo_stream *s, unsigned char *out, int64_t room) {
    int64_t n = s->in_end - s->in_at < room ? s->in_end - s->in_at : room;
    if (n) memcpy(out, s->in + s->in_at, (size_t)n);
    s->in_at += n;
    return n;
}

static sppo_status gzip_step(sppo_stream *s, unsigned char *out, int64_t room, int64_t *got) {
    z_stream *z = &s->gzip;
    if (!s->inside && inflateReset(z) != Z_OK) return fail_at(s, "cannot begin");
    s->inside = true;
    z->next_in = s->in + s->in_at;
    z->avail_in = (uInt)(s->in_end - s->in_at);
    z->next_out = out;
    z->avail_out = (uInt)room;
    int result = inflate(z, Z_NO_FLUSH);
    s->in_at = s->in_end - (int64_t)z->avail_in;
    *got = room - (int64_t)z->avail_out;
    if (result == Z_MEM_ERROR) return sppo__fail_memory(s->path, 1 << 15);
    if (result == Z_STREAM_END) s->inside = false;
    else if (result != Z_OK && result != Z_BUF_ERROR)
        return fail_at(s, z->msg ? z->msg : "malformed");
    return SPPO_OK;
}

/* By way of out[], which is always offered whole: with room for all of a frame zstd goes another way
 * and refuses frames that it takes piece by piece (a content size that an empty block belies). */
static sppo_status zstd_step(sppo_stream *s, unsigned char *out, int64_t room, int64_t *got) {
    if (s->out_at == s->out_end) {
        ZSTD_inBuffer in = {s->in, (size_t)s->in_end, (size_t)s->in_at};
        ZSTD_outBuffer to = {s->out, BLOCK, 0};
        size_t result = ZSTD_decompressStream(s->zstd, &to, &in);
        s->in_at = (int64_t)in.pos;
        s->out_at = 0;
        s->out_end = (int64_t)to.pos;
        if (ZSTD_isError(result)) return fail_at(s, ZSTD_getErrorName(result));
        s->inside = result != 0;
    }
    *got = s->out_end - s->out_at < room ? s->out_end - s->out_at : room;
    if (*got) memcpy(out, s->out + s->out_at, (size_t)*got);
    s->out_at += *got;
    return SPPO_OK;
}

/* ---- opening ---- */

static packing packing_of(const unsigned char *p, int64_t size) {
    if (size >= 2 && p[0] == 0x1f && p[1] == 0x8b) return GZIP;
    if (size >= 4 && !memcmp(p, "\x28\xb5\x2f\xfd", 4)) return ZSTD;
    // A frame that is skipped, as pzstd puts before its first one.
    if (size >= 4 && (p[0] & 0xf0) == 0x50 && !memcmp(p + 1, "\x2a\x4d\x18", 3)) return ZSTD;
    return PLAIN;
}

static sppo_status begin(sppo_stream *s) {
    sppo_status st = fill(s);
    if (st) return st;
    s->packing = packing_of(s->in, s->in_end);
    if (s->packing == GZIP && inflateInit2(&s->gzip, 15 + 16) != Z_OK) {
        s->packing = PLAIN;  // nothing to end
        return sppo__fail_memory(s->path, 1 << 15);
    }
    if (s->packing == ZSTD) {
        s->zstd = ZSTD_createDStream();
        if (!s->zstd) return sppo__fail_memory(s->path, 1 << 17);
        ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, WINDOW_LOG);
    }
    return SPPO_OK;
}

/* Takes `fd` over. */
static sppo_status make(sppo_stream **out, int fd, const void *data, int64_t size, const char *path,
                        int64_t limit) {
    sppo_stream *s = calloc(1, sizeof *s);
    if (!s || !(s->path = strdup(path))) {
        free(s);
        if (fd >= 0) close(fd);
        return sppo__fail_memory(path, (int64_t)sizeof *s);
    }
    s->fd = fd;
    s->memory = data;
    s->memory_left = size;
    s->limit = limit;
    sppo_status st = begin(s);
    if (st) sppo_stream_close(s);
    else *out = s;
    return st;
}

sppo_status sppo__stream_memory(sppo_stream **out, const void *data, int64_t size, const char *name,
                                int64_t limit) {
    return make(out, -1, data, size, name, limit);
}

sppo_status sppo_stream_open(sppo_stream **out, const char *path, int64_t limit) {
    int fd;
    int64_t size;
    sppo_status st = sppo__open_regular(path, &fd, &size);
    return st ? st : make(out, fd, NULL, 0, path, limit);
}

const char *sppo_stream_packing(const sppo_stream *s) {
    return names[s->packing];
}

void sppo_stream_close(sppo_stream *s) {
    if (!s) return;
    if (s->packing == GZIP) inflateEnd(&s->gzip);
    ZSTD_freeDStream(s->zstd);
    if (s->fd >= 0) close(s->fd);
    free(s->path);
    free(s);
}

/* ---- reading ---- */

static sppo_status check_limits(sppo_stream *s) {
    int64_t taken = s->base + s->in_at;
    if (s->given > s->limit)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_STREAM_LIMIT, s->path, (long long)s->limit,
                          (long long)taken);
    if (s->packing != PLAIN && s->given > RATIO_FREE && s->given / RATIO > taken)
        return sppo__fail(SPPO_ERR_FORMAT, TEXT_STREAM_RATIO, s->path, (long long)s->given,
                          (long long)taken, names[s->packing], (int)RATIO, (long long)taken);
    return SPPO_OK;
}

/* At least one byte, unless *end. */
static sppo_status some(sppo_stream *s, unsigned char *out, int64_t room, int64_t *got, bool *end) {
    *got = 0;
    while (!*got) {
        sppo_status st = fill(s);
        if (st) return st;
        bool dry = s->in_at == s->in_end && s->out_at == s->out_end;
        if (dry && !s->inside) {
            *end = true;
            return SPPO_OK;
        }
        if (s->packing == PLAIN) *got = plain_step(s, out, room);
        else st = s->packing == GZIP ? gzip_step(s, out, room, got) : zstd_step(s, out, room, got);
        if (st) return st;
        if (dry && !*got && s->inside) return fail_at(s, "the file ends inside it");
    }
    return SPPO_OK;
}

sppo_status sppo_stream_read(sppo_stream *s, void *data, int64_t bytes, int64_t *got) {
    if (s->broken) return sppo__fail(SPPO_ERR_STATE, TEXT_STREAM_BROKEN, s->path);
    sppo_status st = SPPO_OK;
    bool end = false;
    *got = 0;
    while (!st && !end && *got < bytes) {
        int64_t n, room = bytes - *got < (1 << 30) ? bytes - *got : 1 << 30;
        st = some(s, (unsigned char *)data + *got, room, &n, &end);
        *got += n;
        s->given += n;
        if (!st) st = check_limits(s);
    }
    s->broken = st != SPPO_OK;
    return st;
}
