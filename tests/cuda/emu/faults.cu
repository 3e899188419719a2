/* faults.cu - what the emulation must see: `cuda_faults N` runs kernels with mistake number N in
 * them, 0 is none. Ends with 0 and "no fault seen", with 1 if a result is wrong or a call was
 * refused, with 99 if the emulation named a misuse, or as a sanitizer ends it. tools/test-cuda
 * knows which build has to see which. */

#include <cstdio>
#include <cstdlib>
#include <cstring>

#define sppo__cuda_stream() static_cast<cudaStream_t>(nullptr)

enum fault {
    NONE,
    NO_BARRIER_BEFORE_READ,
    NO_BARRIER_BEFORE_WRITE,
    NO_WARP_BARRIER,
    STATIC_SHARED_OVERRUN,
    DYNAMIC_SHARED_OVERRUN,
    SHARED_NOT_WRITTEN,
    GLOBAL_OVERRUN,
    GLOBAL_NOT_WRITTEN,
    RETURN_BEFORE_BARRIER,
    MASK_WITHOUT_SELF,
    MASK_OF_RETURNED_LANES,
    DIVERGED_COLLECTIVE,
    SHUFFLE_FROM_OUTSIDE,
    BLOCKS_ADD_TO_ONE_PLACE,
    TOO_MANY_THREADS,
    TOO_MUCH_SHARED,
    HOST_POINTER,
    HOST_READS_DEVICE,
    COPY_NOT_WAITED_FOR,
    COPY_TOO_LONG,
    USE_AFTER_RELEASE,
    WAIT_IN_CAPTURE,
    PAGEABLE_COPY_IN_CAPTURE,
    MEMORY_IN_CAPTURE,
    GRAPH_NOT_LAUNCHED,
    GRAPH_NOT_UPDATED,
    FAULTS
};

static const int N = 300, THREADS = 128;
static const unsigned ALL = 0xffffffffu;

static __device__ float block_sum(float v, int f) {
    __shared__ float parts[4];
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    for (int step = 16; step; step /= 2) v += __shfl_xor_sync(ALL, v, step);
    if (f != NO_BARRIER_BEFORE_WRITE) __syncthreads();
    bool written = lane == 0 && !(f == SHARED_NOT_WRITTEN && warp == 3);
    if (written) parts[f == STATIC_SHARED_OVERRUN ? 2 * warp : warp] = v;
    if (f != NO_BARRIER_BEFORE_READ) __syncthreads();
    v = lane < 4 ? parts[lane] : 0;
    for (int step = 16; step; step /= 2) v += __shfl_xor_sync(ALL, v, step);
    return v;
}

/* y[row] = sum(x[row, :]) + sum(x[row, :]^2), rows of N. */
static __global__ void sums_kernel(float *y, const float *x, int rows, int f) {
    const float *row = x + (size_t)blockIdx.x * N;
    bool last = (int)blockIdx.x == rows - 1;
    float sum = 0, squares = 0;
    for (int i = (int)threadIdx.x; i < N + (f == GLOBAL_OVERRUN && last); i += THREADS) {
        sum += row[i];
        squares += row[i] * row[i];
    }
    if (f == RETURN_BEFORE_BARRIER && threadIdx.x >= 96) return;
    sum = block_sum(sum, f) + block_sum(squares, f);
    if (threadIdx.x != 0) return;
    if (f == BLOCKS_ADD_TO_ONE_PLACE) y[rows] += sum;
    y[blockIdx.x] = sum;
}

/* y[i] = x[n - 1 - i] for a block of n values, through shared memory. */
static __global__ void reverse_kernel(float *y, const float *x, int n, int f) {
    DYNAMIC_SHARED(float, kept);
    int i = (int)threadIdx.x;
    kept[i + (f == DYNAMIC_SHARED_OVERRUN ? 1 : 0)] = x[i];
    __syncthreads();
    y[i] = kept[n - 1 - i];
}

/* Neighbours in a warp change places. */
static __global__ void swap_kernel(float *y, const float *x, int f) {
    __shared__ float kept[32];
    int i = (int)threadIdx.x;
    float v = x[i];
    kept[i] = v;
    if (f != NO_WARP_BARRIER) __syncwarp();
    float through_shared = kept[i ^ 1];
    if (f == MASK_OF_RETURNED_LANES && i >= 16) return;
    if (f == MASK_WITHOUT_SELF && i == 3) v = __shfl_xor_sync(0x0000000fu & ~8u, v, 1);
    else if (f == DIVERGED_COLLECTIVE && i == 3) v = (float)__ballot_sync(ALL, 1);
    else if (f == SHUFFLE_FROM_OUTSIDE) v = __shfl_sync(i < 16 ? 0xffffu : 0xffff0000u, v, 20);
    else v = __shfl_xor_sync(ALL, v, 1);
    y[i] = v == through_shared ? v : -1;
}

static void refuse(cudaError_t e) {
    if (e == cudaSuccess) e = cudaGetLastError();
    if (e == cudaSuccess) return;
    printf("refused: %s\n", cudaGetErrorString(e));
    exit(1);
}

static void expect(const char *what, float got, float want) {
    if (got - want < 1e-3f && want - got < 1e-3f) return;
    printf("wrong: %s is %g, expected %g\n", what, (double)got, (double)want);
    exit(1);
}

static float *device_values(int count, const float *values) {
    void *memory;
    size_t bytes = (size_t)count * sizeof *values;
    refuse(cudaMallocAsync(&memory, bytes, nullptr));
    if (values) {
        refuse(cudaMemcpyAsync(memory, values, bytes, cudaMemcpyHostToDevice, nullptr));
        refuse(cudaStreamSynchronize(nullptr));
    }
    return static_cast<float *>(memory);
}

enum { ROWS = 3 };
static float x[ROWS * N], y[ROWS + 1], line[32], turned[32];

static void check_sums(int f) {
    for (int i = 0; i < ROWS * N; i++) x[i] = (float)(i % 7);
    float *there = device_values(ROWS * N, f == GLOBAL_NOT_WRITTEN ? nullptr : x);
    float *sums = device_values(ROWS + 1, y);
    LAUNCH(sums_kernel, f == TOO_MANY_THREADS ? 1 : ROWS, f == TOO_MANY_THREADS ? 2048 : THREADS, 0,
           f == HOST_POINTER ? y : sums, there, ROWS, f);
    refuse(cudaSuccess);
    if (f == HOST_READS_DEVICE) expect("a sum", sums[0], 0);
    size_t bytes = (f == COPY_TOO_LONG ? ROWS + 2 : ROWS) * sizeof *y;
    refuse(cudaMemcpyAsync(y, sums, bytes, cudaMemcpyDeviceToHost, nullptr));
    if (f != COPY_NOT_WAITED_FOR) refuse(cudaStreamSynchronize(nullptr));
    for (int r = 0; r < ROWS; r++) {
        float want = 0;
        for (int i = 0; i < N; i++) want += x[r * N + i] + x[r * N + i] * x[r * N + i];
        expect("a sum", y[r], want);
    }
    refuse(cudaFreeAsync(sums, nullptr));
    if (f == USE_AFTER_RELEASE) LAUNCH(sums_kernel, ROWS, THREADS, 0, sums, there, ROWS, f);
}

static void check_warps(int f) {
    for (int i = 0; i < 32; i++) line[i] = (float)(i * i);
    float *from = device_values(32, line), *to = device_values(32, nullptr);
    size_t shared = f == TOO_MUCH_SHARED ? 64 << 10 : 32 * sizeof *line;
    LAUNCH(reverse_kernel, 1, 32, shared, to, from, 32, f);
    LAUNCH(swap_kernel, 1, 32, 0, from, to, f);
    refuse(cudaSuccess);
    refuse(cudaMemcpyAsync(turned, from, sizeof turned, cudaMemcpyDeviceToHost, nullptr));
    refuse(cudaStreamSynchronize(nullptr));
    for (int i = 0; i < 32; i++) expect("a swapped value", turned[i], line[31 - (i ^ 1)]);
}

/* A graph turns `line` round; updated, it turns `turned` back. */
static void check_graph(int f) {
    cudaStream_t stream, side;
    cudaGraph_t graph[2];
    cudaGraphExec_t ready = nullptr;
    cudaGraphExecUpdateResultInfo why;
    void *more;
    refuse(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    refuse(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking));
    float *from = device_values(32, line), *to = device_values(32, nullptr);
    for (int i = 0; i < 2; i++) {
        refuse(cudaStreamBeginCapture(side, cudaStreamCaptureModeRelaxed));
        emu::launch("reverse", reverse_kernel, 1, 32, 32 * sizeof *line, side, i ? from : to,
                    i ? to : from, 32, (int)NONE);
        if (f == WAIT_IN_CAPTURE) cudaStreamSynchronize(side);
        if (f == MEMORY_IN_CAPTURE) cudaMallocAsync(&more, 4, side);
        if (f == PAGEABLE_COPY_IN_CAPTURE)
            cudaMemcpyAsync(turned, to, 4, cudaMemcpyDeviceToHost, side);
        refuse(cudaStreamEndCapture(side, &graph[i]));
        if (i == 0) refuse(cudaGraphInstantiate(&ready, graph[i], 0));
        else if (f != GRAPH_NOT_UPDATED) refuse(cudaGraphExecUpdate(ready, graph[i], &why));
        refuse(cudaGraphDestroy(graph[i]));
        if (f != GRAPH_NOT_LAUNCHED) refuse(cudaGraphLaunch(ready, stream));
        float *wanted = i ? from : to;
        refuse(cudaMemsetAsync(i ? to : from, 0, 128, stream));
        refuse(cudaMemcpyAsync(turned, wanted, sizeof turned, cudaMemcpyDeviceToHost, stream));
        refuse(cudaStreamSynchronize(stream));
        for (int j = 0; j < 32; j++)
            expect("a value by a graph", turned[j], line[i ? j : 31 - j]);
    }
    refuse(cudaGraphExecDestroy(ready));
}

int main(int argc, char **argv) {
    int f = argc > 1 ? atoi(argv[1]) : -1;
    if (f < 0 || f >= FAULTS) {
        printf("%d\n", FAULTS);
        return 2;
    }
    check_sums(f);
    check_warps(f);
    check_graph(f);
    puts("no fault seen");
    return 0;
}
