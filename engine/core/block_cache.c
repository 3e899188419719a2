/* block_cache.c - keeps freed blocks in the order of freeing; a list of a few hundred is searched in
 * less time than one page takes to be zeroed. */

#include "core/block_cache.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "sppo.h"

enum { ALIGN = 64, BLOCKS = 4096 };
/* A build that checks memory (AddressSanitizer) must see every free. */
#ifndef SPPO_CHECKED_MEMORY
#define SPPO_CHECKED_MEMORY 0
#endif

static const int64_t smallest = 128 << 10;  // malloc is good at less
static const int64_t page = 4096;
static const int64_t huge = 2 << 20;  // the system's large pages

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

/* Bytes that a block takes of the system. */
static int64_t whole(int64_t bytes) {
    return (bytes + page - 1) / page * page;
}

/* Fresh pages; from the start of a large page where they fill some. */
static void *map(int64_t bytes) {
    int64_t extra = bytes >= 2 * huge ? huge : 0, size = whole(bytes);
    char *start = mmap(NULL, (size_t)(size + extra), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    if (!extra) return start;
    int64_t skip = (huge - (int64_t)((uintptr_t)start % (uintptr_t)huge)) % huge;
    if (skip) munmap(start, (size_t)skip);
    if (extra > skip) munmap(start + skip + size, (size_t)(extra - skip));
    // Only a wish; not for what does not fill the last one.
    madvise(start + skip, (size_t)(size / huge * huge), MADV_HUGEPAGE);
    return start + skip;
}

void sppo__block_trim(int64_t room) {
    while (count && bytes_kept > room) {
        munmap(kept[0].data, (size_t)whole(kept[0].bytes));
        drop(0);
    }
}

static void *fresh(int64_t bytes) {
    bool mapped = bytes >= smallest && !SPPO_CHECKED_MEMORY;
    return mapped ? map(bytes) : aligned_alloc(ALIGN, (size_t)bytes);
}

void *sppo__block_take(int64_t bytes, int64_t room) {
    for (int i = count - 1; i >= 0; i--) {
        if (kept[i].bytes != bytes) continue;
        void *data = kept[i].data;
        drop(i);
        return data;
    }
    sppo__block_trim(room);
    allocations++;
    void *data = fresh(bytes);
    if (data || !count) return data;
    sppo__block_trim(0);
    return fresh(bytes);
}

void sppo__block_give(void *data, int64_t bytes, int64_t room) {
    if (bytes < smallest || SPPO_CHECKED_MEMORY) {
        free(data);
        return;
    }
    sppo__block_trim(count == BLOCKS ? bytes_kept / 2 : room - bytes);
    if (bytes > room) {
        munmap(data, (size_t)whole(bytes));
        return;
    }
    kept[count++] = (block){data, bytes};
    bytes_kept += bytes;
}

void sppo__block_count(void) {
    allocations++;
}

int64_t sppo_memory_allocations(void) {
    return allocations;
}
