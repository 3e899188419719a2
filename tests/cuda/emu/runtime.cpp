/* runtime.cpp - the part of NVIDIA's runtime that the backend calls, with NVIDIA's own prototypes.
 *
 * A stream is lazy: nothing of it runs before somebody waits for it, so a missing wait shows as old
 * or poisoned values. Fresh memory holds NaN in every word, and NaN lies behind it, where nobody
 * may write; with AddressSanitizer the host cannot touch device memory outside of kernels and
 * copies, nobody what lies behind it, and memory given back is gone. */

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "block.h"

#if defined(EMU_ADDRESS)
#include <sanitizer/asan_interface.h>
#endif

namespace emu {

struct Memory {
    size_t bytes;
    bool given_back;  // its release is queued: no later call may name it
    uint32_t behind;  // each word behind it
};

static std::map<uintptr_t, Memory> memories;  // by address
static std::deque<std::function<void()>> queue;
static cudaError_t last_error;
static size_t total_bytes;
Counts counts;

/* What the machine is like, for tests of what it may lack:
 *   SPPO_EMU_DRIVER=12000      the CUDA that the driver knows; 0 is no driver
 *   SPPO_EMU_DEVICES=2         GPUs
 *   SPPO_EMU_CAPABILITY=75     their compute capability
 *   SPPO_EMU_MEMORY_KIB=500    memory of each, 1 GiB if not set
 *   SPPO_EMU_FAULT=100         the launch, counted from 1, that reads where there is no memory
 *   SPPO_EMU_FAULT=rmsprop     or the first of a kernel with that in its name */
static int setting(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

static const int driver_version = setting("SPPO_EMU_DRIVER", CUDART_VERSION);
static const int device_count = setting("SPPO_EMU_DEVICES", 1);
static const int capability = setting("SPPO_EMU_CAPABILITY", 90);
static const size_t device_bytes = (size_t)setting("SPPO_EMU_MEMORY_KIB", 1 << 20) << 10;
static const char *const faulty = getenv("SPPO_EMU_FAULT");
static const int faulty_launch = setting("SPPO_EMU_FAULT", 0);  // 0 for a name
static int launches;
static cudaError_t fault;  // of a kernel: all later calls fail with it, as on a GPU
static const size_t shared_bytes = 48 << 10;  // a block's, without asking for more

/* Memory is the host's to touch only while something of the stream runs. */
static void allow_host(bool allowed) {
    (void)allowed;
#if defined(EMU_ADDRESS)
    for (auto &m : memories) {
        if (allowed) ASAN_UNPOISON_MEMORY_REGION((void *)m.first, m.second.bytes);
        else ASAN_POISON_MEMORY_REGION((void *)m.first, m.second.bytes);
    }
#endif
}

/* The memory that holds `bytes` bytes from p on, one byte at least: what lies right behind it is
 * another's, perhaps the host's. */
static Memory *find(const void *p, size_t bytes) {
    auto i = memories.upper_bound((uintptr_t)p);
    if (i == memories.begin()) return nullptr;
    --i;
    bool inside = (uintptr_t)p - i->first + (bytes ? bytes : 1) <= i->second.bytes;
    return inside && !i->second.given_back ? &i->second : nullptr;
}

#if defined(EMU_ADDRESS)
enum { behind_bytes = 0 };
#else
enum { behind_bytes = 256 };
#endif

/* A signalling NaN, another for each memory: neither arithmetic nor a copy leaves it as it is. */
static uint32_t next_behind() {
    static uint32_t count;
    return 0x7fa00000u | (++count & 0xfffffu);
}

/* After a launch: what lies behind each memory is as it was. */
static void check_behind(const char *kernel) {
    for (auto &m : memories)
        for (size_t i = 0; i < behind_bytes; i += sizeof m.second.behind)
            if (memcmp((char *)m.first + m.second.bytes + i, &m.second.behind,
                       sizeof m.second.behind))
                fail("%s writes behind the end of %zu bytes", kernel, m.second.bytes);
}

bool on_device(const void *p) {
    return find(p, 0) != nullptr;
}

/* For what runs later: its memory may be given back by then, in the order of the stream. */
bool within_memory(const void *p, size_t bytes) {
    auto i = memories.upper_bound((uintptr_t)p);
    if (i == memories.begin()) return false;
    --i;
    return (uintptr_t)p - i->first + bytes <= i->second.bytes;
}

void run_later(std::function<void()> work) {
    queue.push_back([work] {
        allow_host(true);
        work();
        allow_host(false);
    });
}

/* ---- streams and graphs ---- */

struct Node {
    std::string name;
    std::function<void()> work;
};
struct Graph {
    std::vector<Node> nodes;
};
struct Stream {
    Graph *captured;  // while it captures
    bool broken;      // by a call that a capture does not allow
};

static Stream *capture_of(cudaStream_t stream) {
    Stream *s = reinterpret_cast<Stream *>(stream);
    return s && s->captured ? s : nullptr;
}

/* Work for a stream: recorded if it captures, else queued and counted. */
void put(cudaStream_t stream, const char *name, double *count, std::function<void()> work) {
    Stream *s = capture_of(stream);
    if (!s) {
        ++*count;
        run_later(work);
        return;
    }
    counts.captured++;
    s->captured->nodes.push_back({name, work});
}

/* What a capture does not allow spoils it. */
static bool spoils(cudaStream_t stream) {
    Stream *s = capture_of(stream);
    if (s) {
        s->broken = true;
        last_error = cudaErrorStreamCaptureUnsupported;
    }
    return s != nullptr;
}

static std::map<uintptr_t, size_t> pinned;  // the host's, by address

static bool is_pinned(const void *p, size_t bytes) {
    auto i = pinned.upper_bound((uintptr_t)p);
    return i != pinned.begin() &&
           (uintptr_t)p + bytes <= std::prev(i)->first + std::prev(i)->second;
}

void queue_launch(Launch launch, cudaStream_t stream) {
    uint64_t threads = (uint64_t)launch.block.x * launch.block.y * launch.block.z;
    if (!threads || threads > 1024 || launch.block.z > 64 || !launch.grid.x || !launch.grid.y ||
        !launch.grid.z || launch.grid.x > INT32_MAX || launch.grid.y > 65535 ||
        launch.grid.z > 65535) {
        last_error = cudaErrorInvalidConfiguration;
        return;
    }
    if (launch.shared > shared_bytes) {
        last_error = cudaErrorInvalidValue;
        return;
    }
    bool named = faulty && *faulty && !faulty_launch && strstr(launch.name, faulty);
    if (++launches == faulty_launch || named)
        put(stream, launch.name, &counts.launches, [] { fault = cudaErrorIllegalAddress; });
    else
        put(stream, launch.name, &counts.launches, [launch] {
            run_grid(launch);
            check_behind(launch.name);
        });
}

static cudaError_t failed(cudaError_t e) {
    last_error = e;
    return e;
}

static void check_side(const char *call, const char *side, const void *p, size_t bytes,
                       bool device) {
    if (device && !find(p, bytes)) fail("%s: %s is not device memory in use", call, side);
    if (!device && find(p, 0)) fail("%s: %s is device memory", call, side);
}

}  // namespace emu

using namespace emu;

extern "C" {

cudaError_t cudaGetDeviceCount(int *devices) {
    *devices = 0;
    if (driver_version < CUDART_VERSION) return failed(cudaErrorInsufficientDriver);
    if (!device_count) return failed(cudaErrorNoDevice);
    *devices = device_count;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = driver_version;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr what, int device) {
    if (device < 0 || device >= device_count) return failed(cudaErrorInvalidDevice);
    if (what == cudaDevAttrComputeCapabilityMajor) *value = capability / 10;
    else if (what == cudaDevAttrComputeCapabilityMinor) *value = capability % 10;
    else return failed(cudaErrorInvalidValue);
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    return device < 0 || device >= device_count ? failed(cudaErrorInvalidDevice) : cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int) {
    static char name;
    *pool = (cudaMemPool_t)&name;
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) {
    return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) {
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    *stream = reinterpret_cast<cudaStream_t>(new Stream());
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    Stream *s = reinterpret_cast<Stream *>(stream);
    if (!s) return failed(cudaErrorStreamCaptureUnsupported);  // the legacy stream
    if (s->captured) return failed(cudaErrorIllegalState);
    s->captured = new Graph();
    s->broken = false;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out) {
    Stream *s = capture_of(stream);
    *out = nullptr;
    if (!s) return failed(cudaErrorIllegalState);
    Graph *graph = s->captured;
    s->captured = nullptr;
    if (s->broken) {
        delete graph;
        return failed(cudaErrorStreamCaptureInvalidated);
    }
    *out = reinterpret_cast<cudaGraph_t>(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
    if (nodes) fail("cudaGraphGetNodes: only their number is known here");
    *count = reinterpret_cast<Graph *>(graph)->nodes.size();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long) {
    *out = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<Graph *>(graph)));
    counts.made++;
    return cudaSuccess;
}

/* Stricter than a real one, which takes another kernel in a node: the names must be the same. */
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo *why) {
    Graph *old = reinterpret_cast<Graph *>(exec), *now = reinterpret_cast<Graph *>(graph);
    bool same = old->nodes.size() == now->nodes.size();
    for (size_t i = 0; same && i < now->nodes.size(); i++)
        same = old->nodes[i].name == now->nodes[i].name;
    why->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    if (!same) return failed(cudaErrorGraphExecUpdateFailure);
    old->nodes = now->nodes;
    counts.updates++;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    if (spoils(stream)) return cudaErrorStreamCaptureUnsupported;
    counts.graphs++;
    for (const Node &node : reinterpret_cast<Graph *>(exec)->nodes) run_later(node.work);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete reinterpret_cast<Graph *>(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete reinterpret_cast<Graph *>(exec);
    counts.destroyed++;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (spoils(stream)) return cudaErrorStreamCaptureUnsupported;
    counts.waits++;
    while (!queue.empty() && !fault) {
        auto work = std::move(queue.front());
        queue.pop_front();
        work();
    }
    return fault;
}

/* In a capture it would be memory of the graph's, which could not be updated then: not here. */
cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t stream) {
    if (fault) return fault;
    if (spoils(stream)) return cudaErrorStreamCaptureUnsupported;
    if (bytes > device_bytes - total_bytes) return failed(cudaErrorMemoryAllocation);
    void *data;  // of this very size: AddressSanitizer sees the first byte past its end
    if (posix_memalign(&data, 256, bytes + behind_bytes)) return failed(cudaErrorMemoryAllocation);
    memset(data, 0xff, bytes);
    Memory m = {bytes, false, next_behind()};
    for (size_t i = 0; i < behind_bytes; i += sizeof m.behind)
        memcpy((char *)data + bytes + i, &m.behind, sizeof m.behind);
    memories[(uintptr_t)data] = m;
    total_bytes += bytes;
    allow_host(false);
    *out = data;
    return cudaSuccess;
}

/* Filled with 0xff as well; of this very size. */
cudaError_t cudaMallocHost(void **out, size_t bytes) {
    *out = malloc(bytes);
    if (!*out) return failed(cudaErrorMemoryAllocation);
    memset(*out, 0xff, bytes);
    pinned[(uintptr_t)*out] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeAsync(void *data, cudaStream_t stream) {
    if (fault) return fault;
    if (spoils(stream)) return cudaErrorStreamCaptureUnsupported;
    Memory *m = find(data, 0);
    if (!m || !memories.count((uintptr_t)data)) fail("cudaFreeAsync: not device memory in use");
    m->given_back = true;
    run_later([data] {
        total_bytes -= memories[(uintptr_t)data].bytes;
        memories.erase((uintptr_t)data);
        free(data);
    });
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    if (fault) return fault;
    if ((kind == cudaMemcpyHostToDevice && !is_pinned(src, bytes) && spoils(stream)) ||
        (kind == cudaMemcpyDeviceToHost && !is_pinned(dst, bytes) && spoils(stream)))
        return cudaErrorStreamCaptureUnsupported;
    check_side("cudaMemcpyAsync", "the destination", dst, bytes, kind != cudaMemcpyDeviceToHost);
    check_side("cudaMemcpyAsync", "the source", src, bytes, kind != cudaMemcpyHostToDevice);
    if (kind == cudaMemcpyHostToDevice) counts.bytes_up += (double)bytes;
    if (kind == cudaMemcpyDeviceToHost) counts.bytes_down += (double)bytes;
    if (kind == cudaMemcpyDeviceToDevice) counts.bytes_inside += (double)bytes;
    put(stream, "copy", &counts.copies, [=] { memmove(dst, src, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *data, int value, size_t bytes, cudaStream_t stream) {
    if (fault) return fault;
    check_side("cudaMemsetAsync", "the destination", data, bytes, true);
    put(stream, "fill", &counts.fills, [=] { memset(data, value, bytes); });
    return cudaSuccess;
}

/* All counts since the last call. For tests (tests/cuda/traffic_test.lua), by the host's FFI. */
__attribute__((visibility("default"))) void sppo_emu_counts(Counts *out) {
    *out = counts;
    counts = Counts();
}

cudaError_t cudaGetLastError(void) {
    cudaError_t e = fault ? fault : last_error;
    last_error = cudaSuccess;
    return e;
}

const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
        return "operation failed due to a previous error during capture";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorMemoryAllocation: return "out of memory";
    default: return "unknown error";
    }
}
}
