/* operands.h - an op of two inputs whose launch waits (later.c), for the op that may take it over. */

#ifndef SPPO_CUDA_OPERANDS_H
#define SPPO_CUDA_OPERANDS_H

#include "cuda/kernel.h"

/* y of a and b, `count` values each. */
typedef struct operands {
    float *y;
    const float *a, *b;
    int64_t count;
} operands;

#endif
