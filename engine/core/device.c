/* device.c - which kernels belong to which device, what meta counts, and small process state.
 * The only file that knows whether CUDA was built in. */

#include "core/error.h"
#include "cpu/dispatch.h"
#include "ops/op.h"

#include <stdatomic.h>
#include <time.h>

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

static atomic_int interrupted;
static double cost_flops, cost_bytes, cost_read;

int sppo_api_version(void) {
    return SPPO_API_VERSION;
}

const char *sppo__op_name(sppo__op op) {
    return names[op];
}

const sppo__kernel *sppo__kernels(sppo_device device) {
    return device == SPPO_DEVICE_META ? meta_table : sppo__cpu_table();
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
