/* blas.cpp - the part of cuBLAS that the backend calls: plain loops over columns-first matrices,
 * sums in f32 as CUBLAS_COMPUTE_32F has them (in another order than any real algorithm's). */

#include <cublas_v2.h>
#include <cuda_bf16.h>

#include "block.h"

namespace emu {
void put(cudaStream_t stream, const char *name, double *count, std::function<void()> work);
}

static cudaStream_t blas_stream;
static bool has_workspace;  // without one a captured product takes memory of its own

static float load(const void *p, cudaDataType type, int64_t i) {
    if (type == CUDA_R_16BF) return __bfloat162float(static_cast<const __nv_bfloat16 *>(p)[i]);
    return static_cast<const float *>(p)[i];
}

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle) {
    static char name;
    *handle = reinterpret_cast<cublasHandle_t>(&name);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t, cudaStream_t stream) {
    blas_stream = stream;
    has_workspace = false;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void *workspace, size_t bytes) {
    if (!emu::on_device(workspace) || !bytes) emu::fail("cublasSetWorkspace: not device memory");
    has_workspace = true;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_SUCCESS         ? "CUBLAS_STATUS_SUCCESS"
           : status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED"
                                                   : "CUBLAS_STATUS_INVALID_VALUE";
}

cublasStatus_t cublasGemmStridedBatchedEx(
    cublasHandle_t, cublasOperation_t turn_a, cublasOperation_t turn_b, int m, int n, int k,
    const void *alpha, const void *A, cudaDataType a_type, int lda, long long step_a, const void *B,
    cudaDataType b_type, int ldb, long long step_b, const void *beta, void *C, cudaDataType c_type,
    int ldc, long long step_c, int batch, cublasComputeType_t compute, cublasGemmAlgo_t) {
    bool ta = turn_a != CUBLAS_OP_N, tb = turn_b != CUBLAS_OP_N;
    if (m < 0 || n < 0 || k < 0 || batch < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) ||
        ldc < m || !lda || !ldb || !ldc)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (a_type != b_type || (a_type != CUDA_R_32F && a_type != CUDA_R_16BF) ||
        c_type != CUDA_R_32F || compute != CUBLAS_COMPUTE_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!emu::on_device(A) || !emu::on_device(B) || !emu::on_device(C))
        emu::fail("cuBLAS: a matrix is not device memory in use");
    float a = *static_cast<const float *>(alpha), b = *static_cast<const float *>(beta);
    if (!has_workspace) emu::fail("cuBLAS: the stream was set, but no workspace after it");
    emu::counts.product_flops += 2.0 * m * n * k * batch;
    size_t size = a_type == CUDA_R_16BF ? 2 : 4;
    emu::counts.product_bytes += (double)((int64_t)m * k * batch) * (double)size;
    emu::put(blas_stream, "product", &emu::counts.products, [=] {
        for (int64_t place = 0; place < (int64_t)batch * n * m; place++) {
            int64_t number = place / ((int64_t)n * m), j = place / m % n, i = place % m;
            float sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += load(A, a_type, number * step_a + (ta ? i * lda + l : l * lda + i)) *
                       load(B, b_type, number * step_b + (tb ? l * ldb + j : j * ldb + l));
            float *at = static_cast<float *>(C) + number * step_c + j * ldc + i;
            *at = a * sum + (b == 0 ? 0.0f : b * *at);
        }
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t turn_a,
                            cublasOperation_t turn_b, int m, int n, int k, const void *alpha,
                            const void *A, cudaDataType a_type, int lda, const void *B,
                            cudaDataType b_type, int ldb, const void *beta, void *C,
                            cudaDataType c_type, int ldc, cublasComputeType_t compute,
                            cublasGemmAlgo_t algorithm) {
    return cublasGemmStridedBatchedEx(handle, turn_a, turn_b, m, n, k, alpha, A, a_type, lda, 0, B,
                                      b_type, ldb, 0, beta, C, c_type, ldc, 0, 1, compute,
                                      algorithm);
}
}
