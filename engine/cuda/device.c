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
static int64_t staged;  // bytes of it in use

cudaStream_t sppo__cuda_stream(void) {
    return stream;
}

static sppo_status open_device(void) {
    if (stream) return SPPO_OK;
    int count = 0;
    uint64_t keep = UINT64_MAX;  // bytes that the pool may keep unused
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e == cudaSuccess && !count) e = cudaErrorNoDevice;
    if (e == cudaSuccess) e = cudaSetDevice(0);
    if (e == cudaSuccess) e = cudaDeviceGetDefaultMemPool(&pool, 0);
    if (e == cudaSuccess) e = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep);
    if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (e == cudaSuccess) e = cudaMallocHost((void **)&staging, STAGING_BYTES);
    const char *sync = getenv("SPPO_SYNC");
    synchronous = sync && !strcmp(sync, "1");
    if (e == cudaSuccess) return SPPO_OK;
    cudaGetLastError();  // it is told here, not again by the next call
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_OPEN, cudaGetErrorString(e));
}

sppo_status sppo__cuda_result(const char *op, cudaError_t e) {
    if (e == cudaSuccess) return SPPO_OK;
    cudaGetLastError();
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA, op, cudaGetErrorString(e));
}

sppo_status sppo__cuda_launched(const sppo__call *c) {
    cudaError_t e = cudaGetLastError();
    if (e == cudaSuccess && synchronous) e = cudaStreamSynchronize(stream);
    return sppo__cuda_result(sppo__op_name(c->op), e);
}

static void *try_take(int64_t bytes) {
    void *data = NULL;
    if (cudaMallocAsync(&data, (size_t)bytes, stream) == cudaSuccess) return data;
    cudaGetLastError();
    return NULL;
}

/* Once more with all that the pool keeps unused given back to the driver. */
static void *take(int64_t bytes) {
    sppo__block_count();
    void *data = try_take(bytes);
    if (data) return data;
    if (cudaStreamSynchronize(stream) == cudaSuccess) cudaMemPoolTrimTo(pool, 0);
    return try_take(bytes);
}

/* A failure means that an earlier call failed: the next one says so. */
static void give(void *data) {
    cudaFreeAsync(data, stream);
}

static sppo_status zero(const char *op, void *data, int64_t bytes) {
    if (!bytes) return SPPO_OK;
    return sppo__cuda_result(op, cudaMemsetAsync(data, 0, (size_t)bytes, stream));
}

static cudaError_t wait_for_stream(void) {
    cudaError_t e = cudaStreamSynchronize(stream);
    if (e == cudaSuccess) staged = 0;
    return e;
}

static cudaError_t copy_staged(void *dst, const void *src, int64_t bytes) {
    cudaError_t e = staged + bytes > STAGING_BYTES ? wait_for_stream() : cudaSuccess;
    if (e != cudaSuccess) return e;
    char *place = memcpy(staging + staged, src, (size_t)bytes);
    staged += (bytes + STAGED_ALIGN - 1) / STAGED_ALIGN * STAGED_ALIGN;
    return cudaMemcpyAsync(dst, place, (size_t)bytes, cudaMemcpyHostToDevice, stream);
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
    cudaError_t e = cudaMemcpyAsync(dst, src, (size_t)bytes, kind, stream);
    if (e == cudaSuccess && way != SPPO_CUDA_INSIDE) e = wait_for_stream();
    return sppo__cuda_result(op, e);
}

const sppo__cuda_backend sppo__cuda = {.kernels = sppo__cuda_kernels,
                                       .open = open_device,
                                       .take = take,
                                       .give = give,
                                       .zero = zero,
                                       .copy = copy};
