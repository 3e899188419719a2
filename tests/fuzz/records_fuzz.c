/* records_fuzz.c - any bytes as a record file: what the scan accepts lies inside the file, and
 * without its torn tail the file has the same records. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "io/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sppo__scan scan, again;
    if (!sppo__records_scan(data, (int64_t)size, "fuzz.records", &scan) && size >= 16) {
        int64_t end = scan.starts[scan.count];
        SPPO_ASSERT(scan.torn == (int64_t)size || end + scan.torn == (int64_t)size);
        for (int64_t i = 0; i < scan.count; i++)
            SPPO_ASSERT(scan.starts[i] + 12 <= scan.starts[i + 1]);
        if (scan.torn < (int64_t)size) {
            SPPO_ASSERT(!sppo__records_scan(data, end, "fuzz.records", &again));
            SPPO_ASSERT(again.count == scan.count && !again.torn);
            free(again.starts);
        }
    }
    free(scan.starts);
    return 0;
}
