/* cudnn_missing.c - in the place of the other cudnn_*.c where cuDNN's headers were not found when
 * this program was built: attention is our own kernel's, and who asks for cuDNN is told so. */

#include "cuda/cudnn_sdpa.h"

const char *sppo__sdpa_missing(void) {
    return TEXT_CUDNN_BUILD;
}

sppo_status sppo__sdpa_plan_of(const char *op, const sppo__sdpa_shape *shape,
                               const sppo__sdpa_plan **out) {
    (void)shape, (void)out;
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDNN_MISSING, op, TEXT_CUDNN_BUILD);
}

const char *sppo__sdpa_reason(const sppo__sdpa_shape *shape) {
    (void)shape;
    return TEXT_CUDNN_BUILD;
}

int64_t sppo__sdpa_workspace(const sppo__sdpa_plan *plan) {
    (void)plan;
    return 0;
}

sppo_status sppo__sdpa_run(const char *op, const sppo__sdpa_plan *plan,
                           void *const memory[SPPO_SDPA_ROLES], float scale, float cap,
                           void *workspace) {
    (void)plan, (void)memory, (void)scale, (void)cap, (void)workspace;
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDNN_MISSING, op, TEXT_CUDNN_BUILD);
}
