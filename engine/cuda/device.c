/* device.c - the CUDA device: one stream, the driver's pool of memory, copies, errors.
 *
 * Memory comes from cudaMallocAsync: the driver's pool keeps what is given back, in the order of
 * the stream, and cuts it up for what is asked for next. The engine's counters (core/storage.c)
 * count bytes asked for; the pool holds at least those. */

#include "cuda/device.h"

#include <stdlib.h>
#include <string.h>

#include "core/block_cache.h"
#include "cuda/cuda.h"

/* Small values on their way up wait in memory that the device reads by itself, so the host does
 * not: their places are used again once the stream has been waited for. */
enum { STAGING_BYTES = 1 << 20, STAGED_MOST = 64 << 10, STAGED_ALIGN = 64 };

static cudaStream_t stream;
static cudaMemPool_t pool;
static bool synchronous;
static char *staging;
static int64_t staged;       // bytes of it in use
static cudaError_t refused;  // why the last request for memory failed

cudaStream_t sppo__cuda_stream(void) {
    sppo__cuda_flush();
    cudaStream_t capture = sppo__cuda_capturing();
    return capture ? capture : stream;
}

bool sppo__cuda_synchronous(void) {
    return synchronous;
}

/* Why there is no device. Versions are 1000 * major + 10 * minor; without a driver its is 0. */
static sppo_status no_device(cudaError_t e) {
    int driver = 0, wanted = 0;
    cudaGetLastError();  // it is told here, not again by the next call
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    cudaRuntimeGetVersion(&wanted);
    int major = wanted / 1000, minor = wanted % 1000 / 10;
    if (!driver) return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_NO_DRIVER, major, minor);
    if (e == cudaErrorInsufficientDriver)
        return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_OLD_DRIVER, driver / 1000, driver % 1000 / 10,
                          major, minor);
    if (e != cudaSuccess && e != cudaErrorNoDevice)
        return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_OPEN, cudaGetErrorString(e));
    const char *seen = getenv("CUDA_VISIBLE_DEVICES"), *quote = seen ? "'" : "";
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_NO_DEVICE, driver / 1000, driver % 1000 / 10,
                      quote, seen ? seen : "not set", quote);
}

/* Which of `count` GPUs: SPPO_CUDA_DEVICE, 0 without. A setting of the machine, so no recipe has it:
 * a run goes on where it was on another of its GPUs. */
static sppo_status choose(int count, int *index) {
    const char *text = getenv("SPPO_CUDA_DEVICE");
    char *end = NULL;
    long wanted = text && *text ? strtol(text, &end, 10) : 0;
    if ((end && *end) || wanted < 0 || wanted >= count)
        return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_INDEX, text, count - 1, count,
                          count == 1 ? "" : "s");
    *index = (int)wanted;
    return SPPO_OK;
}

static sppo_status check_capability(int index) {
    int major = 0, minor = 0;
    cudaError_t e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
    if (e == cudaSuccess)
        e = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index);
    if (e != cudaSuccess) return no_device(e);
    if (major >= 8) return SPPO_OK;
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_CAPABILITY, index, major, minor);
}

static sppo_status open_device(void) {
    if (stream) return SPPO_OK;
    int count = 0, index = 0;
    uint64_t keep = UINT64_MAX;  // bytes that the pool may keep unused
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e != cudaSuccess || !count) return no_device(e);
    sppo_status st = choose(count, &index);
    if (!st) st = check_capability(index);
    if (st) return st;
    e = cudaSetDevice(index);
    if (e == cudaSuccess) e = cudaDeviceGetDefaultMemPool(&pool, index);
    if (e == cudaSuccess) e = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep);
    if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (e == cudaSuccess) e = cudaMallocHost((void **)&staging, STAGING_BYTES);
    const char *sync = getenv("SPPO_SYNC");
    synchronous = sync && !strcmp(sync, "1");
    if (e == cudaSuccess) return SPPO_OK;
    return no_device(e);
}

/* A kernel went wrong while it ran: every later call of the process fails with the same error. */
static bool is_fault(cudaError_t e) {
    switch (e) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable: return true;
    default: return false;
    }
}

sppo_status sppo__cuda_result(const char *op, cudaError_t e) {
    if (e == cudaSuccess) return SPPO_OK;
    cudaGetLastError();
    if (is_fault(e) && synchronous)
        return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_FAULT, op, cudaGetErrorString(e));
    if (is_fault(e))
        return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_LATE_FAULT, op, cudaGetErrorString(e));
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA, op, cudaGetErrorString(e));
}

sppo_status sppo__cuda_launched(const sppo__call *c) {
    cudaError_t e = cudaGetLastError();
    if (e == cudaSuccess && synchronous) e = cudaStreamSynchronize(stream);
    return sppo__cuda_result(sppo__op_name(c->op), e);
}

static cudaError_t wait_for_stream(void) {
    sppo__cuda_flush();
    cudaError_t e = sppo__cuda_submit();
    if (e == cudaSuccess) e = cudaStreamSynchronize(stream);
    if (e == cudaSuccess) staged = 0;
    return e;
}

static void *try_take(int64_t bytes) {
    void *data = NULL;
    refused = cudaMallocAsync(&data, (size_t)bytes, stream);
    if (refused == cudaSuccess) return data;
    cudaGetLastError();
    return NULL;
}

static sppo_status take_failure(const char *op) {
    return refused == cudaErrorMemoryAllocation ? SPPO_OK : sppo__cuda_result(op, refused);
}

/* Once more with all that the pool keeps unused given back to the driver. */
static void *take(int64_t bytes) {
    void *data = sppo__cuda_recycled(bytes);
    if (data) return data;
    sppo__block_count();
    data = try_take(bytes);
    if (data) return data;
    if (wait_for_stream() == cudaSuccess) cudaMemPoolTrimTo(pool, 0);
    return try_take(bytes);
}

/* A failure means that an earlier call failed: the next one says so. */
static void give(void *data, int64_t bytes) {
    if (sppo__cuda_keeps(data, bytes) || sppo__cuda_recycles(data, bytes)) return;
    cudaFreeAsync(data, stream);
}

static sppo_status zero(const char *op, void *data, int64_t bytes) {
    if (!bytes) return SPPO_OK;
    return sppo__cuda_result(op, cudaMemsetAsync(data, 0, (size_t)bytes, sppo__cuda_stream()));
}

static cudaError_t copy_staged(void *dst, const void *src, int64_t bytes) {
    cudaError_t e = staged + bytes > STAGING_BYTES ? wait_for_stream() : cudaSuccess;
    if (e != cudaSuccess) return e;
    char *place = memcpy(staging + staged, src, (size_t)bytes);
    staged += (bytes + STAGED_ALIGN - 1) / STAGED_ALIGN * STAGED_ALIGN;
    return cudaMemcpyAsync(dst, place, (size_t)bytes, cudaMemcpyHostToDevice, sppo__cuda_stream());
}

/* The caller may change or read the host's side at once: little on its way up is staged, all else
 * is waited for. */
static sppo_status copy(const char *op, sppo__cuda_way way, void *dst, const void *src,
                        int64_t bytes) {
    enum cudaMemcpyKind kind = way == SPPO_CUDA_UP     ? cudaMemcpyHostToDevice
                               : way == SPPO_CUDA_DOWN ? cudaMemcpyDeviceToHost
                                                       : cudaMemcpyDeviceToDevice;
    if (way == SPPO_CUDA_UP && bytes <= STAGED_MOST)
        return sppo__cuda_result(op, copy_staged(dst, src, bytes));
    cudaError_t e = way == SPPO_CUDA_INSIDE ? cudaSuccess : sppo__cuda_submit();
    if (e == cudaSuccess) e = cudaMemcpyAsync(dst, src, (size_t)bytes, kind, sppo__cuda_stream());
    if (e == cudaSuccess && way != SPPO_CUDA_INSIDE) e = wait_for_stream();
    return sppo__cuda_result(op, e);
}

const sppo__cuda_backend sppo__cuda = {.kernels = sppo__cuda_kernels,
                                       .open = open_device,
                                       .take = take,
                                       .take_failure = take_failure,
                                       .give = give,
                                       .zero = zero,
                                       .copy = copy,
                                       .step_begin = sppo__cuda_step_begin,
                                       .step_end = sppo__cuda_step_end};
