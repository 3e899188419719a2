/* records_fuzz.c - any bytes as a record file: what the scan accepts lies inside the file, and
 * without its torn tail the file has the same records. Once as they are, once with the checksums
 * put right. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *data, int64_t size) {
    sppo__scan scan, again;
    if (!sppo__records_scan(data, size, "fuzz.records", &scan) && size >= 16) {
        int64_t end = scan.starts[scan.count];
        SPPO_ASSERT(scan.torn == size || end + scan.torn == size);
        for (int64_t i = 0; i < scan.count; i++)
            SPPO_ASSERT(scan.starts[i] + 12 <= scan.starts[i + 1]);
        if (scan.torn < size) {
            SPPO_ASSERT(!sppo__records_scan(data, end, "fuzz.records", &again));
            SPPO_ASSERT(again.count == scan.count && !again.torn);
            free(again.starts);
        }
    }
    free(scan.starts);
}

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(uint8_t *p, uint32_t x) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(x >> 8 * i);
}

/* Puts right what a fuzzer does not guess: the prefix and the checksums. */
static void repair(uint8_t *p, int64_t size) {
    if (size < 16) return;
    memcpy(p, "sppo-rec\1\0\0\0\0\0\0\0", 16);
    for (int64_t at = 16; size - at >= 12;) {
        int64_t length = u32_at(p + at) & 0xffff;
        put_u32(p + at, (uint32_t)length);
        if (length <= size - at - 12) put_u32(p + at + 4, sppo__crc32c(0, p + at + 12, length));
        put_u32(p + at + 8, sppo__crc32c(0, p + at, 8));
        at += 12 + length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check(data, (int64_t)size);
    uint8_t *copy = malloc(size + 1);
    if (!copy) return 0;
    memcpy(copy, data, size);
    repair(copy, (int64_t)size);
    check(copy, (int64_t)size);
    free(copy);
    return 0;
}
