/* block_cache.h - large blocks of memory, kept when freed: fresh pages from the system cost more than
 * many an op that fills them. */

#ifndef SPPO_BLOCK_CACHE_H
#define SPPO_BLOCK_CACHE_H

#include <stdint.h>

/* `bytes` of memory, 64-byte aligned, not zeroed; NULL if there is none. A kept block of this size
 * is used again; otherwise at most `room` bytes stay kept beside the new one. */
void *sppo__block_take(int64_t bytes, int64_t room);

/* Keeps the block as long as what is kept stays within `room` bytes. */
void sppo__block_give(void *block, int64_t bytes, int64_t room);

/* Gives kept blocks back to the system until at most `room` bytes are kept. */
void sppo__block_trim(int64_t room);

/* Counts an allocation made elsewhere into sppo_memory_allocations. */
void sppo__block_count(void);

#endif
