/* device.h - the CUDA device, as core/device.c calls it. Free of CUDA's own headers. */

#ifndef SPPO_CUDA_DEVICE_H
#define SPPO_CUDA_DEVICE_H

#include "ops/op.h"

typedef enum sppo__cuda_way { SPPO_CUDA_UP, SPPO_CUDA_DOWN, SPPO_CUDA_INSIDE } sppo__cuda_way;

typedef struct sppo__cuda_backend {
    const sppo__kernel *kernels;
    sppo_status (*open)(void);
    void *(*take)(int64_t bytes);
    sppo_status (*take_failure)(const char *op);  // after NULL: SPPO_OK if memory was short
    void (*give)(void *data, int64_t bytes);
    sppo_status (*zero)(const char *op, void *data, int64_t bytes);
    sppo_status (*copy)(const char *op, sppo__cuda_way way, void *dst, const void *src,
                        int64_t bytes);
    sppo_status (*step_begin)(void);  // a decode step: what it launches may go as one
    sppo_status (*step_end)(void);
} sppo__cuda_backend;

extern const sppo__cuda_backend sppo__cuda;

#endif
