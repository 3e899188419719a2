/* table.c - the CUDA kernels, made from ops.def. */

#include "cuda/cuda.h"

#define SPPO_OP(NAME, name, inputs, outputs) [SPPO_OP_##NAME] = sppo_cuda_##name,
const sppo__kernel sppo__cuda_kernels[SPPO_OP_COUNT] = {
#include "ops/ops.def"
};
#undef SPPO_OP

/* The output takes the input's storage, as on every device. */
sppo_status sppo_cuda_view(sppo__call *c) {
    return sppo_meta_view(c);
}
