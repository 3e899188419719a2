/* workspace_cuda.c - what CUDA kernels work with beside inputs and outputs, in bytes of device memory;
 * built everywhere, so that a run can be planned where there is no CUDA. cuBLAS's own workspace and
 * what a batch's tree takes are not in it (docs/cuda.md). */

#include "core/tensor.h"
#include "ops/workspace.h"

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* A q8_0 weight [N, K] as bf16, as many rows at a time as CUDA_UNPACKED_BYTES hold. */
static int64_t unpacked_bytes(int64_t R, int64_t N, int64_t K) {
    if (cuda_few_rows(SPPO_DTYPE_Q8_0, R)) return 0;
    int64_t rows = cuda_unpacked_rows(K);
    return (rows < N ? rows : N) * K * 2;
}

/* x in bf16, once for all weights that want it, and one q8_0 weight after the other. */
static int64_t linear_bytes(const sppo__call *c) {
    int64_t R = sppo__rows(c->in[0]), K = sppo__columns(c->in[0]), rounded = 0, unpacked = 0;
    for (int i = 1; i < c->n_in; i++) {
        sppo_dtype dtype = c->in[i]->dtype;
        if (dtype == SPPO_DTYPE_F32 || cuda_few_rows(dtype, R)) continue;
        rounded = R * K * 2;
        if (dtype == SPPO_DTYPE_Q8_0)
            unpacked = larger(unpacked, unpacked_bytes(R, c->in[i]->shape[0], K));
    }
    return rounded + unpacked;
}

/* dy in bf16 where it meets bf16, one weight after the other. */
static int64_t linear_backward_bytes(const sppo__call *c) {
    int64_t most = 0, R = sppo__rows(c->in[0]);
    for (int i = 1; i <= 4 && c->in[i]; i++)
        if (c->out[0] && c->in[4 + i] && c->in[i]->dtype != SPPO_DTYPE_F32)
            most = larger(most, R * c->in[i]->shape[0] * 2);
    return most;
}

/* Logits of a group (cuda/loss.cu); hidden states, and in backward a group's gradients, in bf16. */
static int64_t token_logprob_bytes(const sppo__call *c, bool backward) {
    int64_t n = c->in[0]->shape[0], D = c->in[0]->shape[1], V = c->in[1]->shape[0];
    sppo_dtype dtype = c->in[1]->dtype;
    if (!n || (backward && (!D || (!c->out[0] && !c->out[1])))) return 0;
    int64_t rows = n < HEAD_GROUP_ROWS ? n : HEAD_GROUP_ROWS, chunks = lse_chunks(V);
    int64_t width = head_group_chunks(rows, chunks) * LSE_CHUNK;
    int64_t bytes = rows * width * 4;
    bool rounds = dtype != SPPO_DTYPE_F32;
    if (rounds && !cuda_few_rows(dtype, n)) bytes += n * D * 2;
    if (backward) return bytes + (rounds && c->out[0] ? rows * (V < width ? V : width) * 2 : 0);
    if (dtype == SPPO_DTYPE_Q8_0) bytes += unpacked_bytes(rows, V < width ? V : width, D);
    return bytes + n * chunks * LSE_PART_BYTES;
}

/* A uniform number, what was drawn, sums and parts of each chunk, weights of all tokens. */
static int64_t sample_bytes(const sppo__call *c) {
    int64_t n = c->in[0]->shape[0], V = c->in[0]->shape[1];
    return n && V ? n * 16 + n * lse_chunks(V) * 16 + n * V * 4 : 0;
}

/* Scores of a text's pairs (backward: twice) and of its tokens with all positions, both ways. */
static int64_t disentangled_bytes(const sppo__call *c, bool backward) {
    int64_t heads = c->in[0]->shape[1], R = c->in[3]->shape[0];
    int64_t longest = sppo__disentangled_sizes(c).longest;
    return 4 * heads * longest * (longest * (backward ? 2 : 1) + 2 * R);
}

static int64_t bytes_of(const sppo__call *c) {
    switch (c->op) {
    case SPPO_OP_LINEAR: return linear_bytes(c);
    case SPPO_OP_LINEAR_BACKWARD: return linear_backward_bytes(c);
    case SPPO_OP_ATTENTION_BACKWARD: return c->in[0]->shape[0] * c->in[0]->shape[1] * 4;
    case SPPO_OP_TOKEN_LOGPROB: return token_logprob_bytes(c, false);
    case SPPO_OP_TOKEN_LOGPROB_BACKWARD: return token_logprob_bytes(c, true);
    case SPPO_OP_SAMPLE: return sample_bytes(c);
    case SPPO_OP_DISENTANGLED_ATTENTION: return disentangled_bytes(c, false);
    case SPPO_OP_DISENTANGLED_ATTENTION_BACKWARD: return disentangled_bytes(c, true);
    case SPPO_OP_SUM:
    case SPPO_OP_SUM_SQUARES:
    case SPPO_OP_NONFINITE: return (CUDA_REDUCE_PARTS + 1) * 8;
    default: return 0;
    }
}

sppo__workspace sppo__workspace_on_cuda(const sppo__call *c) {
    return (sppo__workspace){.bytes = bytes_of(c)};
}
