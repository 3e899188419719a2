/* kernel.h - what .cu files share: launching, sums over the threads of a block, blocks of rows.
 *
 * A .cu file keeps to what nvcc and a host compiler both take: kernels are launched by LAUNCH, and
 * memory shared by a block whose size the launch gives is declared by DYNAMIC_SHARED. The emulation
 * (tests/cuda/emu) defines the two its own way. Kernels and device functions are static. Blocks are
 * whole warps, and no thread of a block that meets at a barrier leaves early. */

#ifndef SPPO_KERNEL_H
#define SPPO_KERNEL_H

#include "cuda/cuda.h"

#ifndef LAUNCH
#define LAUNCH(kernel, grid, block, shared, ...) \
    kernel<<<(grid), (block), (shared), sppo__cuda_stream()>>>(__VA_ARGS__)
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

/* Loops over what a thread keeps in registers. */
#ifdef __CUDACC__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

/* Blocks of a fixed size stay below the 255 threads that ThreadSanitizer can tell apart; blocks
 * that grow with a row, up to ROW_THREADS, are checked where rows are short. */
enum { WARP = 32, THREADS = 128, ROW_THREADS = 256, SHARED_COLUMNS = 32, SHARED_ROWS = 4 };

static const unsigned ALL_LANES = 0xffffffffu;

/* Blocks of THREADS for one thread a value; 1 .. 2^31 - 1 of them. */
static inline unsigned blocks_for(int64_t values) {
    return (unsigned)((values + THREADS - 1) / THREADS);
}

/* Threads for one row of D > 0 values. */
static inline unsigned threads_for(int64_t D, int most) {
    return D >= most ? (unsigned)most : (unsigned)((D + WARP - 1) / WARP * WARP);
}

static __device__ inline int64_t thread_value() {
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

template <typename T> static __device__ inline T warp_sum(T v) {
    for (int step = WARP / 2; step; step /= 2) v += __shfl_xor_sync(ALL_LANES, v, step);
    return v;
}

static __device__ inline float warp_maximum(float v) {
    for (int step = WARP / 2; step; step /= 2) v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, step));
    return v;
}

/* Sum over the block's threads, the same bits in each. `parts` is shared, [WARP], and for this sum
 * alone: nothing waits until all threads have read it. */
template <typename T> static __device__ inline T block_sum(T v, T *parts) {
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    v = warp_sum(v);
    if (lane == 0) parts[warp] = v;
    __syncthreads();
    return warp_sum(lane < (int)blockDim.x / WARP ? parts[lane] : T(0));
}

static __device__ inline float block_maximum(float v, float *parts) {
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    v = warp_maximum(v);
    if (lane == 0) parts[warp] = v;
    __syncthreads();
    return warp_maximum(parts[lane < (int)blockDim.x / WARP ? lane : 0]);
}

/* out[column] += sum over rows r of term(r, column): a block has 32 columns; each of its 4 warps
 * adds every fourth row, then the 4 sums are added in order. Grid (D + 31) / 32, block (32, 4). */
template <typename Term>
static __device__ inline void add_column_sums(Term term, int64_t R, int64_t D, float *out) {
    __shared__ float parts[SHARED_ROWS][SHARED_COLUMNS];
    int64_t column = (int64_t)blockIdx.x * SHARED_COLUMNS + threadIdx.x;
    float sum = 0;
    if (column < D)
        for (int64_t r = threadIdx.y; r < R; r += SHARED_ROWS) sum += term(r, column);
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || column >= D) return;
    float total = 0;
    for (int i = 0; i < SHARED_ROWS; i++) total += parts[i][threadIdx.x];
    out[column] += total;
}

/* The values of x [R, D] themselves. */
typedef struct value_term {
    const float *x;
    int64_t D;
    __device__ float operator()(int64_t r, int64_t column) const {
        return x[r * D + column];
    }
} value_term;

static inline unsigned column_blocks(int64_t D) {
    return (unsigned)((D + SHARED_COLUMNS - 1) / SHARED_COLUMNS);
}

#endif
