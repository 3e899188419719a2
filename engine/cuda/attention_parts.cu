/* attention_parts.cu - between the batch's rows and the padded parts that cuDNN takes
 * (attention_parts.h). All are one pass over memory; limit: memory.
 *
 * gather        blocks of 1,024 values of the part, 8 a thread: 4 bytes read of each, 2 written
 * gather_lse    the same for its rows and heads
 * merge         blocks of 32 rows and heads of the part, 8 a warp: D values of bf16 read, f32
 *               written and, for a prefix, read. A row is in a part once at most, so nothing is
 *               added at one place twice
 * add_gathered  as gather: 2 bytes read of each value, 4 read and written */

#include "cuda/attention_parts.h"

#include "cuda/values.h"

enum { EACH = 8, MERGED = THREADS / WARP * EACH };  // of a thread, or warp; of a block merging

/* Value k of this thread's: neighbours in a warp have neighbours. */
static __device__ inline int64_t value_of(int k) {
    return ((int64_t)blockIdx.x * EACH + k) * THREADS + threadIdx.x;
}

static unsigned blocks_of(int64_t values) {
    return blocks_for((values + EACH - 1) / EACH);
}

static __global__ void gather_kernel(__nv_bfloat16 *dst, const float *src, const int32_t *map,
                                     int64_t rows, int64_t width) {
    for (int k = 0; k < EACH; k++) {
        int64_t i = value_of(k);
        if (i >= rows * width) return;
        int32_t row = map[i / width];
        dst[i] = __float2bfloat16_rn(row < 0 ? 0.0f : src[row * width + i % width]);
    }
}

sppo_status sppo__cuda_gather(const sppo__call *c, void *dst, const float *src, const int32_t *map,
                              int64_t rows, int64_t width) {
    LAUNCH(gather_kernel, blocks_of(rows * width), THREADS, 0, (__nv_bfloat16 *)dst, src, map, rows,
           width);
    return sppo__cuda_launched(c);
}

static __global__ void gather_lse_kernel(float *dst, const float *lse, const int32_t *map,
                                         int64_t texts, int64_t queries, int64_t heads) {
    for (int k = 0; k < EACH; k++) {
        int64_t i = value_of(k);
        if (i >= texts * heads * queries) return;
        int64_t query = i % queries, head = i / queries % heads, text = i / queries / heads;
        int32_t row = map[text * queries + query];
        dst[i] = row < 0 ? 0.0f : lse[row * heads + head];
    }
}

sppo_status sppo__cuda_gather_lse(const sppo__call *c, float *dst, const float *lse,
                                  const int32_t *map, const sppo__cuda_part *part, int64_t heads) {
    LAUNCH(gather_lse_kernel, blocks_of(part->texts * heads * part->queries), THREADS, 0, dst, lse,
           map, part->texts, part->queries, heads);
    return sppo__cuda_launched(c);
}

/* What a row sees in one part and in those before it: exp(lse) is the sum of its weights in each,
 * so the shares of the two outputs are exp(lse - merged). One that is -infinity has no share. */
template <bool own>
static __global__ void merge_kernel(const __nv_bfloat16 *o, const float *part_lse,
                                    const int32_t *map, int64_t pairs, int64_t queries,
                                    int64_t heads, int64_t D, float *out, float *lse) {
    int lane = (int)threadIdx.x % WARP;
    int64_t pair = (int64_t)blockIdx.x * MERGED + threadIdx.x / WARP * EACH;
    int64_t end = pair + EACH < pairs ? pair + EACH : pairs;
    for (; pair < end; pair++) {  // the same for the whole warp
        int64_t place = pair / heads, head = pair % heads;
        int32_t row = map[place];
        if (row < 0) continue;
        int64_t to = row * heads + head;
        float here = part_lse[(place / queries * heads + head) * queries + place % queries];
        float before = own ? -INFINITY : lse[to], highest = fmaxf(here, before);
        float weight = expf(here - highest), old = own ? 0.0f : expf(before - highest);
        float share = weight / (weight + old), rest = old / (weight + old);
        for (int64_t d = lane; d < D; d += WARP) {
            float value = __bfloat162float(o[pair * D + d]);
            out[to * D + d] = own ? value : rest * out[to * D + d] + share * value;
        }
        __syncwarp();  // all lanes have read what is there
        if (lane == 0) lse[to] = own ? here : highest + logf(weight + old);
    }
}

sppo_status sppo__cuda_merge(const sppo__call *c, const void *o, const float *part_lse,
                             const int32_t *map, const sppo__cuda_part *part, int64_t heads,
                             int64_t D, float *out, float *lse) {
    int64_t pairs = part->texts * part->queries * heads;
    unsigned blocks = (unsigned)((pairs + MERGED - 1) / MERGED);
    const __nv_bfloat16 *from = (const __nv_bfloat16 *)o;
    if (part->own)
        LAUNCH(merge_kernel<true>, blocks, THREADS, 0, from, part_lse, map, pairs, part->queries,
               heads, D, out, lse);
    else
        LAUNCH(merge_kernel<false>, blocks, THREADS, 0, from, part_lse, map, pairs, part->queries,
               heads, D, out, lse);
    return sppo__cuda_launched(c);
}

static __global__ void add_gathered_kernel(float *dst, const __nv_bfloat16 *src, const int32_t *map,
                                           int64_t rows, int64_t width) {
    for (int k = 0; k < EACH; k++) {
        int64_t i = value_of(k);
        if (i >= rows * width) return;
        int32_t row = map[i / width];
        if (row >= 0) dst[row * width + i % width] += __bfloat162float(src[i]);
    }
}

sppo_status sppo__cuda_add_gathered(const sppo__call *c, float *dst, const void *src,
                                    const int32_t *map, int64_t rows, int64_t width) {
    LAUNCH(add_gathered_kernel, blocks_of(rows * width), THREADS, 0, dst,
           (const __nv_bfloat16 *)src, map, rows, width);
    return sppo__cuda_launched(c);
}
