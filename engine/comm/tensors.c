/* tensors.c - collective calls on tensors, wherever their values are: what is not in the CPU's memory
 * goes through it a chunk at a time. */

#include "comm/comm.h"
#include "core/device.h"
#include "core/error.h"
#include "core/tensor.h"

#include <stdlib.h>

static sppo_status check(const char *name, const sppo_tensor *x, int process) {
    int last = sppo_comm_size() - 1;
    if (process < 0 || process > last)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_COMM_ROOT, name, process, last);
    if (x->device == SPPO_DEVICE_META) return sppo__fail(SPPO_ERR_DEVICE, TEXT_META_VALUES, name);
    if (!x->storage) return sppo__fail(SPPO_ERR_STATE, TEXT_RELEASED, name, 0, x->made_by);
    if (!sppo__gap_free(x)) return sppo__fail(SPPO_ERR_SHAPE, TEXT_GAPS, name, sppo__shape_text(x));
    return SPPO_OK;
}

/* Copies some bytes of x from the host or to it. */
static sppo_status stage(const char *name, sppo_tensor *x, int64_t at, void *host, int64_t bytes,
                         bool up) {
    char *values = (char *)sppo__raw(x) + at;
    if (up) return sppo__device_copy(name, x->device, values, SPPO_DEVICE_CPU, host, bytes);
    return sppo__device_copy(name, SPPO_DEVICE_CPU, host, x->device, values, bytes);
}

static sppo_status no_memory(void) {
    return sppo__fail(SPPO_ERR_MEMORY, TEXT_COMM_MEMORY, (long long)SPPO_COMM_CHUNK);
}

static int64_t chunk(int64_t bytes, int64_t at) {
    return bytes - at < SPPO_COMM_CHUNK ? bytes - at : SPPO_COMM_CHUNK;
}

sppo_status sppo_comm_reduce(sppo_tensor *x, int root) {
    sppo_status status = check("reduce", x, root);
    if (!status && x->dtype != SPPO_DTYPE_F32)
        status = sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, "reduce", "x",
                            sppo__dtype_name(x->dtype), "f32");
    if (status || sppo_comm_size() == 1) return status;
    int64_t bytes = sppo_tensor_bytes(x);
    if (x->device == SPPO_DEVICE_CPU) return sppo__comm_reduce(sppo__f32(x), bytes / 4, root);
    float *host = malloc(SPPO_COMM_CHUNK);
    if (!host) return no_memory();
    for (int64_t at = 0; !status && at < bytes; at += SPPO_COMM_CHUNK) {
        int64_t n = chunk(bytes, at);
        status = stage("reduce", x, at, host, n, false);
        if (!status) status = sppo__comm_reduce(host, n / 4, root);
        if (!status && sppo_comm_rank() == root) status = stage("reduce", x, at, host, n, true);
    }
    free(host);
    return status;
}

/* `to` -1: all. */
static sppo_status pass(const char *name, sppo_tensor *x, int from, int to) {
    int me = sppo_comm_rank();
    if (sppo_comm_size() == 1 || from == to || (to >= 0 && me != from && me != to)) return SPPO_OK;
    int64_t bytes = sppo_tensor_bytes(x);
    bool direct = x->device == SPPO_DEVICE_CPU;
    void *host = direct ? sppo__raw(x) : malloc(SPPO_COMM_CHUNK);
    if (!host) return no_memory();
    sppo_status status = SPPO_OK;
    for (int64_t at = 0; !status && at < bytes; at += SPPO_COMM_CHUNK) {
        int64_t n = chunk(bytes, at);
        void *part = direct ? (char *)host + at : host;
        if (!direct && me == from) status = stage(name, x, at, part, n, false);
        if (!status)
            status =
                to < 0 ? sppo_comm_broadcast(part, n, from) : sppo__comm_move(part, n, from, to);
        if (!direct && !status && me != from) status = stage(name, x, at, part, n, true);
    }
    if (!direct) free(host);
    return status;
}

sppo_status sppo_comm_share_tensor(sppo_tensor *x, int from) {
    sppo_status status = check("share", x, from);
    return status ? status : pass("share", x, from, -1);
}

sppo_status sppo_comm_move(sppo_tensor *x, int from, int to) {
    sppo_status status = check("move", x, from);
    if (!status) status = check("move", x, to);
    return status ? status : pass("move", x, from, to);
}
