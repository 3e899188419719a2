/* device.h - a device as the rest of the engine sees it: its name and its memory. Values on `meta`
 * are never asked for. */

#ifndef SPPO_DEVICE_H
#define SPPO_DEVICE_H

#include "sppo.h"

/* "cpu", "cuda" or "meta" */
const char *sppo__device_name(sppo_device device);

/* Makes the device ready at its first use; SPPO_ERR_DEVICE if this build or machine has none. */
sppo_status sppo__device_open(sppo_device device);

/* Memory that is not zeroed, 64-byte aligned at least; NULL if there is none. `room`: bytes that
 * may stay cached beside it (core/block_cache.h; a GPU's driver keeps its own pool). */
void *sppo__device_take(sppo_device device, int64_t bytes, int64_t room);

/* After NULL: SPPO_OK if memory was short, SPPO_ERR_DEVICE with the op's name if the device is lost. */
sppo_status sppo__device_take_failure(sppo_device device, const char *op);
void sppo__device_give(sppo_device device, void *data, int64_t bytes, int64_t room);

/* Around a decode step: a device may gather what the step asks of it (cuda/graph.c). */
sppo_status sppo__device_step_begin(void);
sppo_status sppo__device_step_end(void);

/* In the order of the device's other work; the host may go on before it is done. */
sppo_status sppo__device_zero(sppo_device device, const char *op, void *data, int64_t bytes);

/* In order too; where the CPU is one side, done when it returns. */
sppo_status sppo__device_copy(const char *op, sppo_device to, void *dst, sppo_device from,
                              const void *src, int64_t bytes);

#endif
