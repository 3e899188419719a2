/* block.cpp - runs a grid: threads of a block in turn until each waits or returns, then whatever
 * can complete. Compiled without ThreadSanitizer's instrumentation, like fiber.cpp.
 *
 * SPPO_EMU_ORDER=forward|reverse|SEED: the order in which blocks and threads get their turns.
 *
 * Under ThreadSanitizer a block runs on an OS thread of its own and is waited for in a way that the
 * sanitizer does not see; a thread's accesses are ordered with another's by __syncthreads,
 * __syncwarp and the ends of the launch alone. So two accesses that only happen to be apart are
 * reported as the race that they are. The sanitizer tells about 250 threads apart: in larger blocks
 * it sees nothing. */

#include "block.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <unistd.h>

#include "fiber.h"

namespace emu {

uint3 thread_index, block_index;
dim3 block_size, grid_size;
char *dynamic_shared;

enum { most_threads = 1024, lanes = 32 };

struct Thread {
    Fiber fiber;
    int number;
    uint3 index;
    bool done;
    Wait wait;
    int line, lane;
    unsigned mask;
    uint64_t value, result;
    int barriers, warp_barriers;  // passed: consecutive ones have different tokens
};

static Thread threads[most_threads];
static Thread *current;
static int count, alive;
static const Launch *running;

// Addresses that stand for an order: two for the block and two for each warp, since a thread may
// reach the next barrier before another has left this one; and one for the end of the launch. A
// block's are its own: what ThreadSanitizer knows of them goes with their memory.
typedef char token[8];
enum { tokens_of_block = 2 + 2 * lanes };
static token *tokens, end_token;

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fputs("emulated CUDA: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    fflush(stderr);
    _exit(99);
}

/* "kernel: block (x, y), " for a text. */
static const char *where() {
    static char text[256];
    snprintf(text, sizeof text, "%s: block (%u, %u)", running->name, block_index.x, block_index.y);
    return text;
}

int own_lane() {
    return current->number % lanes;
}

static void wait(Thread *t, Wait kind, int line) {
    t->wait = kind;
    t->line = line;
    fiber_leave(&t->fiber, false);
}

void barrier(int line) {
    Thread *t = current;
    void *place = tokens[t->barriers++ & 1];
    order_release(place);
    wait(t, Wait::barrier, line);
    order_acquire(place);
}

uint64_t collective(Wait kind, unsigned mask, uint64_t value, int lane, int line) {
    Thread *t = current;
    if (!(mask >> t->number % lanes & 1))
        fail("%s, thread %d is not in the mask %08x of its own warp collective", where(), t->number,
             mask);
    t->mask = mask;
    t->value = value;
    t->lane = lane;
    if (kind == Wait::warp_barrier) {
        if (mask != 0xffffffffu)
            fail("%s: __syncwarp of a part of a warp is not emulated", where());
        void *place = tokens[2 + 2 * (t->number / lanes) + (t->warp_barriers++ & 1)];
        order_release(place);
        wait(t, kind, line);
        order_acquire(place);
    } else {
        wait(t, kind, line);
    }
    return t->result;
}

static void entry() {
    fiber_entered();
    Thread *t = current;
    running->body();
    order_release(end_token);
    t->done = true;
    alive--;
    fiber_leave(&t->fiber, true);
}

/* ---- what can complete ---- */

/* All lanes of the mask of t's collective wait in it. */
static bool is_complete(const Thread *warp, int size, const Thread *t) {
    for (int i = 0; i < lanes; i++) {
        if (!(t->mask >> i & 1)) continue;
        const Thread *other = warp + i;
        if (i >= size || other->done)
            fail("%s, thread %d waits in a warp collective for lane %d, which %s", where(),
                 t->number, i, i < size ? "has returned" : "the block does not have");
        if (other->wait == Wait::none) return false;
        if (other->wait == Wait::barrier)
            fail("%s: thread %d waits at a barrier, thread %d for it in a warp collective", where(),
                 other->number, t->number);
        if (other->wait != t->wait || other->mask != t->mask || other->line != t->line)
            fail("%s: threads %d and %d of a warp wait in different collectives, lines %d and %d",
                 where(), t->number, other->number, t->line, other->line);
    }
    return true;
}

static bool release_warp(Thread *warp, int size) {
    bool progress = false;
    for (int i = 0; i < size; i++) {
        Thread *t = warp + i;
        if (t->done || t->wait == Wait::none || t->wait == Wait::barrier) continue;
        if (!is_complete(warp, size, t)) continue;
        unsigned mask = t->mask, ballot = 0;
        for (int k = 0; k < size; k++)
            if (mask >> k & 1 && warp[k].value) ballot |= 1u << k;
        for (int k = 0; k < size; k++) {
            if (!(mask >> k & 1)) continue;
            Thread *to = warp + k;
            if (to->wait == Wait::shuffle && !(to->lane >= 0 && mask >> to->lane & 1))
                fail("%s, thread %d shuffles from lane %d, which is not in the mask %08x", where(),
                     to->number, to->lane, mask);
            to->result = to->wait == Wait::shuffle ? warp[to->lane].value : ballot;
        }
        for (int k = 0; k < size; k++)
            if (mask >> k & 1) warp[k].wait = Wait::none;
        progress = true;
    }
    return progress;
}

/* Once every thread that is left waits at a barrier: none may have returned. */
static bool release_barrier() {
    const Thread *first = nullptr;
    for (int i = 0; i < count; i++) {
        const Thread *t = threads + i;
        if (t->done) continue;
        if (t->wait != Wait::barrier) return false;
        if (first && t->line != first->line)
            fail("%s: threads %d and %d wait at different barriers, lines %d and %d", where(),
                 first->number, t->number, first->line, t->line);
        first = t;
    }
    if (alive < count)
        fail("%s: a barrier that %d of %d threads never reach: they have returned", where(),
             count - alive, count);
    for (int i = 0; i < count; i++) threads[i].wait = Wait::none;
    return true;
}

/* ---- order ---- */

enum class Order { forward, reverse, shuffled };
static Order order;
static uint64_t order_state;

static void read_order() {
    static bool known;
    const char *text = getenv("SPPO_EMU_ORDER");
    if (known) return;
    known = true;
    if (!text || !*text || !strcmp(text, "forward")) return;
    order = strcmp(text, "reverse") ? Order::shuffled : Order::reverse;
    order_state = strtoull(text, nullptr, 10);
    if (order == Order::shuffled && !order_state)
        fail("SPPO_EMU_ORDER is '%s', it must be forward, reverse or a number above 0", text);
}

static unsigned draw(unsigned below) {
    order_state = order_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((order_state >> 33) % below);
}

/* Numbers 0 .. n - 1 in the order of turns. */
static void fill_order(int *turn, int n) {
    for (int i = 0; i < n; i++) turn[i] = order == Order::reverse ? n - 1 - i : i;
    if (order != Order::shuffled) return;
    for (int i = n - 1; i > 0; i--) {
        int other = (int)draw((unsigned)i + 1), keep = turn[i];
        turn[i] = turn[other];
        turn[other] = keep;
    }
}

/* ---- blocks ---- */

#if defined(EMU_POISON)
extern "C" char __start_emu_shared[] __attribute__((weak));
extern "C" char __stop_emu_shared[] __attribute__((weak));
#endif

/* Shared memory begins with NaN in every word, so that a value not written is seen; in reverse order
 * with 3.4e38, which is no less than any other number, for a maximum passes over NaN. */
static void begin_block() {
    int fresh = order == Order::reverse ? 0x7f : 0xff;
    dynamic_shared = nullptr;
    if (running->shared) {
        dynamic_shared = static_cast<char *>(malloc(running->shared));
        if (!dynamic_shared) fail("%s: no memory for its shared memory", running->name);
        memset(dynamic_shared, fresh, running->shared);
    }
#if defined(EMU_POISON)
    if (__start_emu_shared)
        memset(__start_emu_shared, fresh, (size_t)(__stop_emu_shared - __start_emu_shared));
#endif
    for (int i = 0; i < count; i++) {
        Thread *t = threads + i;
        unsigned n = (unsigned)i;
        t->number = i;
        t->index.x = n % block_size.x;
        t->index.y = n / block_size.x % block_size.y;
        t->index.z = n / block_size.x / block_size.y;
        t->done = false;
        t->wait = Wait::none;
        t->barriers = t->warp_barriers = 0;
        fiber_begin(&t->fiber, entry);
    }
    alive = count;
}

static void run_block() {
    int turn[most_threads];
    fiber_scheduler();
    begin_block();
    while (alive) {
        bool progress = false;
        fill_order(turn, count);
        for (int i = 0; i < count; i++) {
            Thread *t = threads + turn[i];
            if (t->done || t->wait != Wait::none) continue;
            current = t;
            thread_index = t->index;
            fiber_enter(&t->fiber);
            progress = true;
        }
        for (int i = 0; i < count; i += lanes)
            progress |= release_warp(threads + i, count - i < lanes ? count - i : lanes);
        if (alive) progress |= release_barrier();
        if (!progress) fail("%s: no thread can go on", where());
    }
    for (int i = 0; i < count; i++) fiber_end(&threads[i].fiber);
    order_acquire(end_token);
    free(dynamic_shared);
}

#if defined(EMU_THREAD)
static volatile int block_done;

static void *block_thread(void *) {
    run_block();
    block_done = 1;
    return nullptr;
}

static void run_apart() {
    pthread_t thread;
    block_done = 0;
    if (pthread_create(&thread, nullptr, block_thread, nullptr)) fail("no OS thread for a block");
    pthread_detach(thread);
    while (!block_done) usleep(10);
}
#else
static void run_apart() {
    run_block();
}
#endif

void run_grid(const Launch &launch) {
    read_order();
    running = &launch;
    grid_size = launch.grid;
    block_size = launch.block;
    count = (int)(launch.block.x * launch.block.y * launch.block.z);
    unsigned blocks = launch.grid.x * launch.grid.y * launch.grid.z;
    unsigned first = order == Order::shuffled ? draw(blocks) : 0;
    for (unsigned i = 0; i < blocks; i++) {
        unsigned b = order == Order::reverse ? blocks - 1 - i : (first + i) % blocks;
        block_index.x = b % launch.grid.x;
        block_index.y = b / launch.grid.x % launch.grid.y;
        block_index.z = b / launch.grid.x / launch.grid.y;
        tokens = static_cast<token *>(malloc(sizeof(token) * tokens_of_block));
        if (!tokens) fail("%s: no memory for a block", launch.name);
        run_apart();
        free(tokens);
    }
    order_acquire(end_token);
}

}  // namespace emu
