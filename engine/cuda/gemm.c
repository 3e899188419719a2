/* gemm.c - dense products by cuBLAS, which takes columns first: a row-major C = A B is its
 * C' = B' A' with nothing turned. f32 stays f32 (no TF32: cuBLAS's default for this type).
 *
 * The library's workspace is ours, 32 MiB as it asks for on an H100, outside the counters: one of
 * its own would be memory taken inside a graph (graph.c). */

#include <cublas_v2.h>

#include "cuda/cuda.h"
#include "cuda/device.h"

enum { WORKSPACE_BYTES = 32 << 20 };

static cublasHandle_t handle;
static cudaStream_t set;  // its stream
static void *workspace;

static sppo_status result(const char *op, cublasStatus_t status) {
    if (status == CUBLAS_STATUS_SUCCESS) return SPPO_OK;
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUBLAS, op, cublasGetStatusString(status));
}

static sppo_status open_library(const char *op) {
    cudaStream_t stream = sppo__cuda_stream();  // what waits goes before the product
    sppo_status st = SPPO_OK;
    if (!workspace) workspace = sppo__cuda.take(WORKSPACE_BYTES);
    if (!workspace) return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, op, 32.0, 0.0, "");
    if (!handle) st = result(op, cublasCreate(&handle));
    if (st || stream == set) return st;
    st = result(op, cublasSetStream(handle, stream));  // which forgets the workspace
    if (!st) st = result(op, cublasSetWorkspace(handle, workspace, WORKSPACE_BYTES));
    if (!st) set = stream;
    return st;
}

static sppo_status check_sizes(const char *op, int64_t M, int64_t N, int64_t K) {
    int64_t longest = M > N ? M : N;
    if (K > longest) longest = K;
    if (longest <= INT32_MAX) return SPPO_OK;
    return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDA_SIZE, op, (long long)longest);
}

sppo_status sppo__cuda_gemm(const char *op, const sppo__cuda_product *p) {
    sppo_status st = check_sizes(op, p->M, p->N, p->K);
    if (st) return st;
    if (!p->M || !p->N) return SPPO_OK;
    if (!p->K) {  // the empty sum
        size_t bytes = (size_t)(p->M * p->N) * sizeof *p->C;
        if (p->add) return SPPO_OK;
        return sppo__cuda_result(op, cudaMemsetAsync(p->C, 0, bytes, sppo__cuda_stream()));
    }
    st = open_library(op);
    if (st) return st;
    float one = 1, beta = p->add ? 1.0f : 0.0f;
    cudaDataType type = p->dtype == SPPO_DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    int M = (int)p->M, N = (int)p->N, K = (int)p->K, row_c = p->row_c ? (int)p->row_c : N;
    return result(op, cublasGemmEx(handle, p->turn_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                                   p->turn_a ? CUBLAS_OP_T : CUBLAS_OP_N, N, M, K, &one, p->B, type,
                                   p->turn_b ? K : N, p->A, type, p->turn_a ? M : K, &beta, p->C,
                                   CUDA_R_32F, row_c, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}

sppo_status sppo__cuda_gemm_heads(const char *op, const sppo__cuda_heads *p) {
    int64_t rows = p->row_a > p->row_b ? p->row_a : p->row_b;
    sppo_status st = check_sizes(op, p->M > rows ? p->M : rows, p->N, p->K);
    if (!st) st = open_library(op);
    if (st) return st;
    float beta = p->add ? 1.0f : 0.0f;
    return result(op, cublasGemmStridedBatchedEx(
                          handle, p->turn_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                          p->turn_a ? CUBLAS_OP_T : CUBLAS_OP_N, (int)p->N, (int)p->M, (int)p->K,
                          &p->scale, p->B, CUDA_R_32F, (int)p->row_b, p->head_b, p->A, CUDA_R_32F,
                          (int)p->row_a, p->head_a, &beta, p->C, CUDA_R_32F, (int)p->row_c,
                          p->head_c, (int)p->heads, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}
