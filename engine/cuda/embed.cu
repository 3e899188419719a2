/* embed.cu - rows of a table of K columns, n tokens; the table f32, bf16 or q8_0 (packed ones lie
 * in rows too, cast.cu). Grid n, block 32..256. Moves the row and 4 K bytes. Limit: memory. */

#include "cuda/values.h"

static __global__ void embed_kernel(float *y, const void *table, sppo_dtype dtype,
                                    const int32_t *token, int64_t K) {
    int64_t from = (int64_t)token[blockIdx.x] * K, to = (int64_t)blockIdx.x * K;
    for (int64_t k = threadIdx.x; k < K; k += blockDim.x)
        y[to + k] = value_load(dtype, table, from + k);
}

sppo_status sppo_cuda_embed(sppo__call *c) {
    const sppo_tensor *table = c->in[0];
    int64_t n = c->in[1]->shape[0], K = table->shape[1];
    if (!n || !K) return SPPO_OK;
    LAUNCH(embed_kernel, (unsigned)n, threads_for(K, ROW_THREADS), 0, sppo__f32(c->out[0]),
           sppo__raw(table), table->dtype, sppo__i32(c->in[1]), K);
    return sppo__cuda_launched(c);
}

/* Repeated tokens add up in the order of the batch. */
sppo_status sppo_cuda_embed_backward(sppo__call *c) {
    return sppo__cuda_add_rows(c, sppo__f32(c->out[0]), sppo__i32(c->in[1]), sppo__f32(c->in[0]),
                               c->in[1]->shape[0], c->out[0]->shape[1]);
}
