/* stream_fuzz.c - any bytes as a file to unpack: refused with one error that stays, or the same
 * bytes come out whatever the sizes of the reads. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "io/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 20 };

/* Bytes that came out before the end or the error. */
static int64_t drain(const uint8_t *data, size_t size, int64_t step, unsigned char *out,
                     sppo_status *st) {
    sppo_stream *s;
    int64_t got, n = 0;
    *st = sppo__stream_memory(&s, data, (int64_t)size, "fuzz.gz", LIMIT);
    if (*st) return 0;
    do {
        *st = sppo_stream_read(s, out + n, step, &got);
        SPPO_ASSERT(got >= 0 && got <= step);
        n += got;
    } while (!*st && got == step);
    if (*st) SPPO_ASSERT(sppo_stream_read(s, out, 1, &got) == SPPO_ERR_STATE);
    sppo_stream_close(s);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static unsigned char a[2 * LIMIT + 8192], b[2 * LIMIT + 8192];
    sppo_status whole, pieces;
    int64_t n = drain(data, size, LIMIT + 4096, a, &whole);
    int64_t m = drain(data, size, 4093, b, &pieces);
    SPPO_ASSERT(whole == pieces);
    if (!whole) SPPO_ASSERT(n == m && !memcmp(a, b, (size_t)n));
    return 0;
}
