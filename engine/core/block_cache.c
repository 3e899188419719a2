/* block_cache.c - keeps freed blocks in the order of freeing; a list of a few hundred is searched in
 * less time than one page takes to be zeroed. */

#include "core/block_cache.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "sppo.h"

enum { ALIGN = 64, BLOCKS = 4096 };
/* A build that checks memory (AddressSanitizer) must see every free. */
#ifndef SPPO_CHECKED_MEMORY
#define SPPO_CHECKED_MEMORY 0
#endif

static const int64_t smallest = 64 << 10;  // malloc is good at less
static const int64_t huge = 2 << 20;       // size of the system's large pages

typedef struct block {
    void *data;
    int64_t bytes;
} block;

static block kept[BLOCKS];  // oldest first
static int count;
static int64_t bytes_kept;
static int64_t allocations;

static void drop(int i) {
    bytes_kept -= kept[i].bytes;
    for (count--; i < count; i++) kept[i] = kept[i + 1];
}

static void trim(int64_t room) {
    while (count && bytes_kept > room) {
        free(kept[0].data);
        drop(0);
    }
}

void *sppo__block_take(int64_t bytes, int64_t room) {
    for (int i = count - 1; i >= 0; i--) {
        if (kept[i].bytes != bytes) continue;
        void *data = kept[i].data;
        drop(i);
        return data;
    }
    trim(room);
    allocations++;
    if (bytes < 2 * huge) return aligned_alloc(ALIGN, (size_t)bytes);
    int64_t whole = (bytes + huge - 1) / huge * huge;
    void *data = aligned_alloc((size_t)huge, (size_t)whole);
    if (data) madvise(data, (size_t)whole, MADV_HUGEPAGE);  // only a wish
    return data;
}

void sppo__block_give(void *data, int64_t bytes, int64_t room) {
    if (SPPO_CHECKED_MEMORY || bytes < smallest || bytes > room) {
        free(data);
        return;
    }
    trim(count == BLOCKS ? bytes_kept / 2 : room - bytes);
    kept[count++] = (block){data, bytes};
    bytes_kept += bytes;
}

void sppo__block_count(void) {
    allocations++;
}

int64_t sppo_memory_allocations(void) {
    return allocations;
}
