/* reduce.cu - sums in f64, over parts of a fixed size and then over the parts: the order depends on
 * the number of values alone.
 *
 * sum, sum_squares, nonfinite    grid 1..1024, block 128, then one block. Reads 4 bytes a value.
 *                                Limit: memory (f64 adds on consumer GPUs: 1/64 of f32's rate)
 * segment_sum                    grid: groups, block 128; each block reads all groups' numbers:
 *                                8 n bytes a group, mostly from L2. Limit: n x groups
 * ..._backward                   one thread a value. Limit: memory */

#include "cuda/kernel.h"
#include "ops/workspace.h"

extern "C" {
#include "cuda/device.h"
}

enum { PARTS = CUDA_REDUCE_PARTS, PART_VALUES = 16384 };
typedef enum what { SUM, SQUARES, NONFINITE } what;

template <what of> static __device__ inline double term(float x) {
    if (of == SUM) return (double)x;
    if (of == SQUARES) return (double)x * (double)x;
    return isfinite(x) ? 0.0 : 1.0;
}

/* Part number blockIdx.x: values from there on, `size` at most. */
template <what of>
static __global__ void part_kernel(double *part, const float *x, int64_t n, int64_t size) {
    __shared__ double parts[WARP];
    int64_t i = (int64_t)blockIdx.x * size, end = n - i < size ? n : i + size;
    double sum = 0;
    for (i += threadIdx.x; i < end; i += blockDim.x) sum += term<of>(x[i]);
    sum = block_sum(sum, parts);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

/* The total to one of `rounded` and `exact`. One block. */
static __global__ void total_kernel(float *rounded, double *exact, const double *part, int count) {
    __shared__ double parts[WARP];
    double sum = 0;
    for (int i = (int)threadIdx.x; i < count; i += (int)blockDim.x) sum += part[i];
    sum = block_sum(sum, parts);
    if (threadIdx.x != 0) return;
    if (rounded) *rounded = (float)sum;
    else *exact = sum;
}

/* Values of x as they lie, padding included (it is zero); the total into `rounded`, or if that is
 * NULL to the host, which waits for it. */
template <what of> static sppo_status reduce(sppo__call *c, float *rounded) {
    const sppo_tensor *x = c->in[0];
    const char *op = sppo__op_name(c->op);
    int64_t n = sppo_tensor_bytes(x) / 4, size = PART_VALUES;
    if (n > size * PARTS) size = (n + PARTS - 1) / PARTS;
    int64_t count = (n + size - 1) / size;
    sppo__storage *memory;
    sppo_status st =
        sppo__work_new(&memory, SPPO_DEVICE_CUDA, (PARTS + 1) * sizeof(double), false, op);
    if (st) return st;
    double *part = (double *)memory->data, *exact = part + PARTS;
    if (count) LAUNCH(part_kernel<of>, (unsigned)count, THREADS, 0, part, sppo__f32(x), n, size);
    LAUNCH(total_kernel, 1, THREADS, 0, rounded, exact, part, (int)count);
    st = sppo__cuda_launched(c);
    if (!st && !rounded)
        st = sppo__cuda.copy(op, SPPO_CUDA_DOWN, c->result, exact, sizeof *exact);
    sppo__storage_release(memory);
    return st;
}

sppo_status sppo_cuda_sum(sppo__call *c) {
    return reduce<SUM>(c, sppo__f32(c->out[0]));
}

sppo_status sppo_cuda_sum_squares(sppo__call *c) {
    return reduce<SQUARES>(c, NULL);
}

sppo_status sppo_cuda_nonfinite(sppo__call *c) {
    return reduce<NONFINITE>(c, NULL);
}

/* dx[i] += dy[group ? group[i] : 0] */
static __global__ void spread_kernel(float *dx, const float *dy, const int32_t *group, int64_t n) {
    int64_t i = thread_value();
    if (i < n) dx[i] += dy[group ? group[i] : 0];
}

static sppo_status spread(sppo__call *c, const int32_t *group) {
    int64_t n = sppo_tensor_count(c->out[0]);
    if (!n) return SPPO_OK;
    LAUNCH(spread_kernel, blocks_for(n), THREADS, 0, sppo__f32(c->out[0]), sppo__f32(c->in[0]),
           group, n);
    return sppo__cuda_launched(c);
}

sppo_status sppo_cuda_sum_backward(sppo__call *c) {
    return spread(c, NULL);
}

sppo_status sppo_cuda_segment_sum_backward(sppo__call *c) {
    return spread(c, sppo__i32(c->in[1]));
}

/* The values of group blockIdx.x, in f64. */
static __global__ void segment_sum_kernel(float *y, const float *x, const int32_t *group,
                                          int64_t n) {
    __shared__ double parts[WARP];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        if (group[i] == (int)blockIdx.x) sum += (double)x[i];
    sum = block_sum(sum, parts);
    if (threadIdx.x == 0) y[blockIdx.x] = (float)sum;
}

sppo_status sppo_cuda_segment_sum(sppo__call *c) {
    int64_t groups = c->out[0]->shape[0], n = c->in[0]->shape[0];
    if (!groups) return SPPO_OK;
    LAUNCH(segment_sum_kernel, (unsigned)groups, THREADS, 0, sppo__f32(c->out[0]),
           sppo__f32(c->in[0]), sppo__i32(c->in[1]), n);
    return sppo__cuda_launched(c);
}
