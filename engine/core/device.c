/* device.c - which kernels and which memory belong to which device, what meta counts, and small
 * process state. The only file that knows whether CUDA was built in. */

#include "core/device.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "core/block_cache.h"
#include "core/error.h"
#include "cpu/dispatch.h"
#include "cuda/device.h"
#include "ops/op.h"

#define SPPO_OP(NAME, name, inputs, outputs) [SPPO_OP_##NAME] = #name,
static const char *const names[SPPO_OP_COUNT] = {
#include "ops/ops.def"
};
#undef SPPO_OP

#define SPPO_OP(NAME, name, inputs, outputs) [SPPO_OP_##NAME] = sppo_meta_##name,
static const sppo__kernel meta_table[SPPO_OP_COUNT] = {
#include "ops/ops.def"
};
#undef SPPO_OP

static const sppo__cuda_backend *cuda;  // known once a tensor can be there
static atomic_int interrupted;
static double cost_flops, cost_bytes, cost_read;

int sppo_api_version(void) {
    return SPPO_API_VERSION;
}

const char *sppo__op_name(sppo__op op) {
    return names[op];
}

const sppo__kernel *sppo__kernels(sppo_device device) {
    if (device == SPPO_DEVICE_CUDA) return cuda->kernels;
    return device == SPPO_DEVICE_META ? meta_table : sppo__cpu_table();
}

const char *sppo__device_name(sppo_device device) {
    static const char *const device_names[] = {"cpu", "cuda", "meta"};
    return device_names[device];
}

sppo_status sppo__device_open(sppo_device device) {
    if (device != SPPO_DEVICE_CUDA) return SPPO_OK;
#ifdef SPPO_CUDA
    cuda = &sppo__cuda;
    return cuda->open();
#else
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_NO_CUDA);
#endif
}

void *sppo__device_take(sppo_device device, int64_t bytes, int64_t room) {
    return device == SPPO_DEVICE_CUDA ? cuda->take(bytes) : sppo__block_take(bytes, room);
}

sppo_status sppo__device_take_failure(sppo_device device, const char *op) {
    return device == SPPO_DEVICE_CUDA ? cuda->take_failure(op) : SPPO_OK;
}

void sppo__device_give(sppo_device device, void *data, int64_t bytes, int64_t room) {
    if (device == SPPO_DEVICE_CUDA) cuda->give(data, bytes);
    else sppo__block_give(data, bytes, room);
}

sppo_status sppo__device_step_begin(void) {
    return cuda ? cuda->step_begin() : SPPO_OK;
}

sppo_status sppo__device_step_end(void) {
    return cuda ? cuda->step_end() : SPPO_OK;
}

sppo_status sppo__device_zero(sppo_device device, const char *op, void *data, int64_t bytes) {
    if (device == SPPO_DEVICE_CUDA) return cuda->zero(op, data, bytes);
    memset(data, 0, (size_t)bytes);
    return SPPO_OK;
}

sppo_status sppo__device_copy(const char *op, sppo_device to, void *dst, sppo_device from,
                              const void *src, int64_t bytes) {
    if (!bytes) return SPPO_OK;
    if (to == SPPO_DEVICE_CPU && from == SPPO_DEVICE_CPU) {
        memcpy(dst, src, (size_t)bytes);
        return SPPO_OK;
    }
    sppo__cuda_way way = to == from               ? SPPO_CUDA_INSIDE
                         : to == SPPO_DEVICE_CUDA ? SPPO_CUDA_UP
                                                  : SPPO_CUDA_DOWN;
    return cuda->copy(op, way, dst, src, bytes);
}

void sppo_interrupt_set(int on) {
    atomic_store(&interrupted, on);
}

int sppo_interrupt(void) {
    return atomic_load(&interrupted);
}

double sppo_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double sppo_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void sppo__cost_add(double flops, double bytes) {
    cost_flops += flops;
    cost_bytes += bytes;
}

void sppo__cost_add_read(double bytes) {
    cost_read += bytes;
}

sppo_status sppo__cost(const sppo__call *c, double flops) {
    double bytes = 0;
    for (int i = 0; i < c->n_in; i++) bytes += sppo__bytes(c->in[i]);
    sppo__cost_add_read(bytes);
    for (int i = 0; i < c->n_out; i++) bytes += sppo__bytes(c->out[i]);
    sppo__cost_add(flops, bytes);
    return SPPO_OK;
}

double sppo_cost_flops(void) {
    return cost_flops;
}

double sppo_cost_bytes(void) {
    return cost_bytes;
}

double sppo_cost_read(void) {
    return cost_read;
}

void sppo_cost_reset(void) {
    cost_flops = cost_bytes = cost_read = 0;
}
