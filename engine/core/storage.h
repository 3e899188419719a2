/* storage.h - what scratch memory asks of the allocator. */

#ifndef SPPO_STORAGE_H
#define SPPO_STORAGE_H

#include "core/tensor.h"

/* True between begin and end of an arena that has been measured: nothing may be allocated. */
bool sppo__storage_guarded(void);

/* Bytes of all threads' scratch (cpu/threads.c). */
int64_t sppo__scratch_bytes(void);

#endif
