/* index.cu - rows by index, `width` values each.
 *
 * take_rows             grid: rows taken, block 32..256. Moves 8 bytes a value. Limit: memory
 * take_rows_backward    grid n, block 128: the block of an index's first place adds all rows of
 *                       that index in order, the others leave. Moves 8 to 12 bytes a value and
 *                       reads the n indices up to n times (L2). Limit: memory, n^2 above 10,000 */

#include "cuda/kernel.h"

static __global__ void take_kernel(float *y, const float *x, const int32_t *index, int64_t width) {
    int64_t from = (int64_t)index[blockIdx.x] * width, to = (int64_t)blockIdx.x * width;
    for (int64_t i = threadIdx.x; i < width; i += blockDim.x) y[to + i] = x[from + i];
}

/* Values in one row. */
static int64_t width_of(const sppo_tensor *x) {
    int64_t w = 1;
    for (int i = 1; i < x->ndim; i++) w *= x->shape[i];
    return w;
}

sppo_status sppo_cuda_take_rows(sppo__call *c) {
    int64_t m = c->out[0]->shape[0], width = width_of(c->out[0]);
    if (!m || !width) return SPPO_OK;
    LAUNCH(take_kernel, (unsigned)m, threads_for(width, ROW_THREADS), 0, sppo__f32(c->out[0]),
           sppo__f32(c->in[0]), sppo__i32(c->in[1]), width);
    return sppo__cuda_launched(c);
}

/* dst[mine, :] += all rows of src whose index is `mine`, if this block's place is their first. */
static __global__ void add_rows_kernel(float *dst, const int32_t *index, const float *src,
                                       int64_t n, int64_t width) {
    __shared__ unsigned found[THREADS / WARP];  // a bit for each of 128 places
    int64_t here = blockIdx.x;
    int mine = index[here], warp = (int)threadIdx.x / WARP;
    for (int64_t first = 0; first < n; first += THREADS) {
        int64_t place = first + threadIdx.x;
        unsigned bits = __ballot_sync(ALL_LANES, place < n && index[place] == mine);
        if (threadIdx.x % WARP == 0) found[warp] = bits;
        __syncthreads();
        for (int w = 0; w < THREADS / WARP; w++) {
            for (unsigned left = found[w]; left; left &= left - 1) {
                int64_t row = first + w * WARP + __ffs((int)left) - 1;
                if (row < here) return;  // another block's: so for all threads
                for (int64_t i = threadIdx.x; i < width; i += THREADS)
                    dst[mine * width + i] += src[row * width + i];
            }
        }
        __syncthreads();  // before `found` is written again
    }
}

sppo_status sppo__cuda_add_rows(const sppo__call *c, float *dst, const int32_t *index,
                                const float *src, int64_t n, int64_t width) {
    if (!n || !width) return SPPO_OK;
    LAUNCH(add_rows_kernel, (unsigned)n, THREADS, 0, dst, index, src, n, width);
    return sppo__cuda_launched(c);
}

sppo_status sppo_cuda_take_rows_backward(sppo__call *c) {
    return sppo__cuda_add_rows(c, sppo__f32(c->out[0]), sppo__i32(c->in[1]), sppo__f32(c->in[0]),
                               c->in[0]->shape[0], width_of(c->in[0]));
}
