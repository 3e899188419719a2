/* few_rows.cu - products of few rows with bf16 or q8_0 weights: what decoding consists of.
 *
 * few_rows    grid: groups of 8 rows times blocks of 8 outputs of up to 4 weights; block 128. Groups
 *             of one block are neighbours, so that all but the first find its weights in L2. A
 *             warp makes 2 outputs of 1 or 8 rows: its lanes read each pair of neighbours of a
 *             weight's row once, as it is stored, and it becomes f32 in registers; rows of x stay
 *             f32. 2 R N K operations; weights are read once for 8 rows. Limit: memory for one
 *             row, f32 units and reads of x from L1 for 8
 *
 * A lane adds up its pairs from left to right, then the lanes are summed: a row's bits depend
 * neither on the other rows nor on what else is in the launch. */

#include "cuda/values.h"

enum { WEIGHTS = 4, OUTPUTS = 2, BLOCK_OUTPUTS = THREADS / WARP * OUTPUTS, GROUP = 8 };

typedef struct few_rows {
    const float *x;  // [R, K]
    int64_t R, K;
    const void *weight[WEIGHTS];  // [N, K]
    float *y[WEIGHTS];            // [R, N]
    int64_t N[WEIGHTS], blocks[WEIGHTS];
    unsigned groups;  // of rows
} few_rows;

/* Values k and k + 1 of row n, 0 past the end. `even`: pairs lie at multiples of their own size. */
template <sppo_dtype dtype, bool even>
static __device__ inline float2 pair_of(const void *w, int64_t n, int64_t K, int64_t k) {
    if (dtype == SPPO_DTYPE_Q8_0) {
        const q8_block *block = (const q8_block *)w + (n * K + k) / Q8;
        char2 q = *(const char2 *)(block->q + k % Q8);
        float scale = __half2float(block->scale);
        return float2{scale * (float)q.x, scale * (float)q.y};
    }
    int64_t i = n * K + k;
    if (even && dtype == SPPO_DTYPE_BF16)
        return __bfloat1622float2(*(const __nv_bfloat162 *)((const __nv_bfloat16 *)w + i));
    if (even) return *(const float2 *)((const float *)w + i);
    return float2{value_load(dtype, w, i), k + 1 < K ? value_load(dtype, w, i + 1) : 0.0f};
}

template <sppo_dtype dtype, bool even, int ROWS>
static __global__ void __launch_bounds__(THREADS, 8) few_rows_kernel(few_rows p) {
    int64_t block = blockIdx.x / p.groups, first = (int64_t)(blockIdx.x % p.groups) * ROWS;
    int which = 0, lane = (int)threadIdx.x % WARP;
    while (block >= p.blocks[which]) block -= p.blocks[which++];
    const void *w = p.weight[which];
    int64_t N = p.N[which], n = block * BLOCK_OUTPUTS + (int)threadIdx.x / WARP * OUTPUTS;
    if (n >= N) return;  // so for the whole warp

    float sum[OUTPUTS][ROWS] = {};
    int64_t row[OUTPUTS], last = p.R - 1;  // past the end the last is read again
    UNROLL
    for (int o = 0; o < OUTPUTS; o++) row[o] = n + o < N ? n + o : N - 1;
    for (int64_t k = 2 * lane; k < p.K; k += 2 * WARP) {
        float2 value[OUTPUTS];
        UNROLL
        for (int o = 0; o < OUTPUTS; o++) value[o] = pair_of<dtype, even>(w, row[o], p.K, k);
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            int64_t of = first + r < last ? first + r : last;
            float2 x = pair_of<SPPO_DTYPE_F32, even>(p.x, of, p.K, k);
            UNROLL
            for (int o = 0; o < OUTPUTS; o++)
                sum[o][r] = fmaf(value[o].y, x.y, fmaf(value[o].x, x.x, sum[o][r]));
        }
    }
    UNROLL
    for (int o = 0; o < OUTPUTS; o++) UNROLL
    for (int r = 0; r < ROWS; r++) {
        float total = warp_sum(sum[o][r]);
        if (lane == 0 && n + o < N && first + r < p.R) p.y[which][(first + r) * N + n + o] = total;
    }
}

/* dtype: bf16 or q8_0. */
template <sppo_dtype dtype, bool even> static void launch(const few_rows &p, unsigned blocks) {
    if (p.R == 1) LAUNCH((few_rows_kernel<dtype, even, 1>), blocks, THREADS, 0, p);
    else LAUNCH((few_rows_kernel<dtype, even, GROUP>), blocks * p.groups, THREADS, 0, p);
}

sppo_status sppo__cuda_few_rows(const sppo__call *c, const sppo__cuda_multiply_call *from) {
    few_rows p = {};
    int64_t blocks = 0;
    bool even = from->K % 2 == 0 && (uintptr_t)from->x % sizeof(float2) == 0;
    p.x = from->x;
    p.R = from->R;
    p.K = from->K;
    p.groups = (unsigned)((p.R + GROUP - 1) / GROUP);
    for (int i = 0; i < from->count; i++) {
        p.weight[i] = from->weight[i];
        p.y[i] = from->y[i];
        p.N[i] = from->N[i];
        p.blocks[i] = (from->N[i] + BLOCK_OUTPUTS - 1) / BLOCK_OUTPUTS;
        blocks += p.blocks[i];
        even = even && (uintptr_t)from->weight[i] % sizeof(float2) == 0;
    }
    if (!p.R || !blocks) return SPPO_OK;
    if (blocks * p.groups > INT32_MAX)
        return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_SIZE, sppo__op_name(c->op),
                          (long long)blocks * BLOCK_OUTPUTS);
    bool q8 = from->dtype == SPPO_DTYPE_Q8_0;
    if (q8 && even) launch<SPPO_DTYPE_Q8_0, true>(p, (unsigned)blocks);
    else if (q8) launch<SPPO_DTYPE_Q8_0, false>(p, (unsigned)blocks);
    else if (even) launch<SPPO_DTYPE_BF16, true>(p, (unsigned)blocks);
    else launch<SPPO_DTYPE_BF16, false>(p, (unsigned)blocks);
    return sppo__cuda_launched(c);
}
