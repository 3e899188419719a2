/* fiber.cpp - switching stacks. Compiled without ThreadSanitizer's instrumentation, which would
 * take the scheduler's own variables for shared ones. */

#include "fiber.h"

#include <cstdint>
#include <sys/mman.h>

#include "emu.h"

#if !defined(__x86_64__)
#error "the emulation switches stacks on x86-64 only"
#endif
#if defined(EMU_ADDRESS)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(EMU_THREAD)
extern "C" void *__tsan_get_current_fiber(void);
extern "C" void *__tsan_create_fiber(unsigned flags);
extern "C" void __tsan_destroy_fiber(void *fiber);
extern "C" void __tsan_switch_to_fiber(void *fiber, unsigned flags);
extern "C" void __tsan_acquire(void *address);
extern "C" void __tsan_release(void *address);
#endif

/* Saves what a callee must keep and the stack pointer in *from, takes both from `to`. */
extern "C" void emu_switch_stack(void **from, void *to);
asm(R"(
    .text
    .p2align 4
    .globl emu_switch_stack
    .type emu_switch_stack, @function
emu_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emu_switch_stack, . - emu_switch_stack
)");

namespace emu {

static const size_t stack_bytes = 256 << 10;
static const int saved_registers = 6;

static void *scheduler_pointer;
#if defined(EMU_ADDRESS)
static const void *scheduler_stack;
static size_t scheduler_stack_bytes;
static void *scheduler_scratch;
#endif
#if defined(EMU_THREAD)
static void *scheduler_state;
static const size_t used_bytes = 16 << 10;  // of a stack, at most
static const unsigned no_order = 1;         // __tsan_switch_to_fiber_no_sync

// States of fibers that have ended, the oldest to be destroyed next. A new state takes the number
// of a destroyed one, and then ThreadSanitizer takes the two for one thread: races between blocks
// that are run soon after one another are seen because this comes late.
enum { most_ended = 4096 };
static void *ended[most_ended];
static unsigned ended_count;
#endif

void fiber_scheduler() {
#if defined(EMU_THREAD)
    scheduler_state = __tsan_get_current_fiber();
#endif
}

void fiber_begin(Fiber *f, void (*entry)()) {
    if (!f->stack) {
        void *memory = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail("no memory for the stack of a thread");
        mprotect(memory, 4096, PROT_NONE);  // a stack that overflows stops here
        f->stack = static_cast<char *>(memory);
    }
#if defined(EMU_THREAD)
    // What the last thread kept on this stack is forgotten: a kernel's arrays are its own.
    else if (mmap(f->stack + stack_bytes - used_bytes, used_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        fail("no memory for the stack of a thread");
#endif
    // What the switch pops, the address it returns to, and the place of a caller's address, which
    // leaves the stack aligned as a function expects it.
    void **top = reinterpret_cast<void **>(f->stack + stack_bytes);
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(entry);
    for (int i = 0; i < saved_registers; i++) *--top = nullptr;
    f->stack_pointer = top;
#if defined(EMU_THREAD)
    f->thread_state = __tsan_create_fiber(0);
#endif
}

void fiber_enter(Fiber *f) {
#if defined(EMU_ADDRESS)
    __sanitizer_start_switch_fiber(&scheduler_scratch, f->stack, stack_bytes);
#endif
#if defined(EMU_THREAD)
    __tsan_switch_to_fiber(f->thread_state, no_order);
#endif
    emu_switch_stack(&scheduler_pointer, f->stack_pointer);
#if defined(EMU_ADDRESS)
    __sanitizer_finish_switch_fiber(scheduler_scratch, nullptr, nullptr);
#endif
}

void fiber_entered() {
#if defined(EMU_ADDRESS)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

void fiber_leave(Fiber *f, bool last) {
    (void)last;
#if defined(EMU_ADDRESS)
    __sanitizer_start_switch_fiber(last ? nullptr : &f->address_scratch, scheduler_stack,
                                   scheduler_stack_bytes);
#endif
#if defined(EMU_THREAD)
    __tsan_switch_to_fiber(scheduler_state, no_order);
#endif
    emu_switch_stack(&f->stack_pointer, scheduler_pointer);
#if defined(EMU_ADDRESS)
    __sanitizer_finish_switch_fiber(f->address_scratch, nullptr, nullptr);
#endif
}

void fiber_end(Fiber *f) {
    (void)f;
#if defined(EMU_THREAD)
    void **place = &ended[ended_count++ % most_ended];
    if (*place) __tsan_destroy_fiber(*place);
    *place = f->thread_state;
#endif
}

void order_release(void *token) {
    (void)token;
#if defined(EMU_THREAD)
    __tsan_release(token);
#endif
}

void order_acquire(void *token) {
    (void)token;
#if defined(EMU_THREAD)
    __tsan_acquire(token);
#endif
}

}  // namespace emu
