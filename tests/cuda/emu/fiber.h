/* fiber.h - a stack of its own, entered and left by name; sanitizers are told of each switch. */

#ifndef SPPO_EMU_FIBER_H
#define SPPO_EMU_FIBER_H

#include <cstddef>

namespace emu {

struct Fiber {
    void *stack_pointer;
    char *stack;            // lowest byte; kept for the next use of the fiber
    void *address_scratch;  // AddressSanitizer's
    void *thread_state;     // ThreadSanitizer's
};

/* Runs `entry` on f's stack at the next fiber_enter; entry ends by fiber_leave(f, true). */
void fiber_begin(Fiber *f, void (*entry)());

/* From the scheduler into the fiber, until it leaves. */
void fiber_enter(Fiber *f);

/* First thing in `entry`. */
void fiber_entered();

/* From the fiber back to the scheduler; for good if `last`. */
void fiber_leave(Fiber *f, bool last);

/* After its last leave. */
void fiber_end(Fiber *f);

/* The scheduler's own state, before the first fiber_begin in an OS thread. */
void fiber_scheduler();

/* What happened before `release` in one fiber happens before what follows `acquire` in another; a
 * switch alone says nothing of the kind. */
void order_release(void *token);
void order_acquire(void *token);

}  // namespace emu

#endif
