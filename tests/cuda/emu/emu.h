/* emu.h - CUDA C++ for a host compiler: included before a .cu file, which is then compiled as C++
 * and run with one fiber a thread. Types and their arithmetic (float4, half, bf16) are NVIDIA's
 * headers'.
 *
 * Warps are 32 threads. Collectives complete when all lanes of their mask are there; barriers when
 * all threads of the block are. Every misuse that is seen ends the process with one line that names
 * the kernel, the block and the thread (emu::fail). The build defines EMU_POISON, EMU_ADDRESS or
 * EMU_THREAD: plain, under AddressSanitizer, under ThreadSanitizer. */

#ifndef SPPO_EMU_H
#define SPPO_EMU_H

#include <cuda_runtime_api.h>

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)

/* A block's static shared memory. Plain build: one section, filled with NaN before each block.
 * AddressSanitizer: plain variables, for it puts red zones around those only. ThreadSanitizer: each
 * block has an OS thread, and its own copy. */
#if defined(EMU_THREAD)
#define __shared__ static thread_local
#elif defined(EMU_POISON)
#define __shared__ static __attribute__((section("emu_shared")))
#else
#define __shared__ static
#endif

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

using std::isfinite;

namespace emu {

extern uint3 thread_index, block_index;
extern dim3 block_size, grid_size;
extern char *dynamic_shared;

enum class Wait { none, barrier, warp_barrier, shuffle, ballot };

[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool on_device(const void *p);
void barrier(int line);

/* Waits for all lanes of `mask` at the same call; `lane` is whose value a shuffle gets. */
uint64_t collective(Wait kind, unsigned mask, uint64_t value, int lane, int line);
int own_lane();

struct Launch {
    const char *name;
    dim3 grid, block;
    size_t shared;
    std::function<void()> body;
};

/* Checks limits as cudaLaunchKernel does and queues it. */
void queue_launch(Launch launch, cudaStream_t stream);

template <typename T> void check_argument(const char *kernel, const T &value) {
    if constexpr (std::is_pointer_v<T>)
        if (value && !on_device(value))
            fail("%s: a pointer argument is not device memory in use", kernel);
}

/* Arguments become the kernel's own types and are kept by value, as a launch keeps them. */
template <typename... P, typename... A>
void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
            cudaStream_t stream, A... arguments) {
    (check_argument<P>(name, static_cast<P>(arguments)), ...);
    queue_launch({name, grid, block, shared, [=] { kernel(static_cast<P>(arguments)...); }},
                 stream);
}

template <typename T> T shuffle(unsigned mask, T value, int lane, int line) {
    static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = collective(Wait::shuffle, mask, bits, lane, line);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace emu

#define threadIdx emu::thread_index
#define blockIdx emu::block_index
#define blockDim emu::block_size
#define gridDim emu::grid_size

/* The first argument is the kernel; a comma inside <> needs no parentheses around it elsewhere. */
#define LAUNCH(kernel, grid, block, shared, ...) \
    emu::launch(#kernel, kernel, grid, block, shared, sppo__cuda_stream(), __VA_ARGS__)
#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(emu::dynamic_shared)

/* The line of the call tells one collective from another. */
inline void __syncthreads(int line = __builtin_LINE()) {
    emu::barrier(line);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
    emu::collective(emu::Wait::warp_barrier, mask, 0, 0, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return (unsigned)emu::collective(emu::Wait::ballot, mask, predicate != 0, 0, line);
}
template <typename T> T __shfl_sync(unsigned mask, T value, int lane, int line = __builtin_LINE()) {
    return emu::shuffle(mask, value, lane & 31, line);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int line = __builtin_LINE()) {
    return emu::shuffle(mask, value, emu::own_lane() ^ bits, line);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int line = __builtin_LINE()) {
    int lane = emu::own_lane() + (int)delta;
    return emu::shuffle(mask, value, lane < 32 ? lane : emu::own_lane(), line);
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}

#endif
