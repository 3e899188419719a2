/* threads.c - the thread pool and its scratch memory.
 *
 * A region is a number of tasks. Whoever is awake claims the next one, the caller included; at the
 * end the caller waits only for tasks that another thread has begun. So a region never needs a
 * worker to be scheduled, which matters on a machine shared with others. Between regions workers
 * spin for a few microseconds, then sleep on a futex. Regions are started by one thread at a time:
 * the one that runs Lua. */

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/block_cache.h"
#include "core/error.h"
#include "core/storage.h"
#include "cpu/cpu.h"
#include "cpu/simd.h"

enum { MAX_THREADS = 256, SPINS = 2000, FEW_VALUES = 1 << 17, AHEAD = 512 };

/* The region's number in the upper half, its next unclaimed task in the lower. Claiming is one
 * compare-and-swap: it succeeds only if the region is still the one that was read. */
static _Atomic uint64_t ticket = UINT32_MAX;
static const uint32_t closed = UINT32_MAX;

/* What the region runs. Written while the ticket is closed; a claim that succeeds proves that they
 * were not changed since the ticket was read. */
static _Atomic uint32_t region_tasks;
static _Atomic(sppo__task) region_fn;
static _Atomic(void *) region_context;
static _Atomic int64_t region_first;

static _Atomic uint32_t begun;     // counts regions: what workers sleep on
static _Atomic uint32_t sleepers;  // workers asleep, or about to be
static _Atomic uint32_t finished;  // tasks of the region that are done: what the caller sleeps on
static _Atomic uint32_t caller_sleeps;

static int wanted;                // threads asked for, the caller included; 0 until asked
static int workers;               // threads there are, the caller not included
static _Atomic uint32_t living;   // workers that have not left yet
static _Atomic uint32_t leaving;  // workers must end

/* What will be read soon: the bytes from ahead_end - ahead_left on. Any thread may see an old pair of
 * the two; then it fetches what nobody needs, which is no error. */
static _Atomic uintptr_t ahead_end;
static _Atomic int64_t ahead_left;

static _Thread_local bool inside;  // this thread runs a task
static _Thread_local int self;     // its number

static int64_t bytes_read;
static int64_t regions;  // that were run by more than one thread

static struct {
    void *data;
    int64_t bytes;
} scratch[MAX_THREADS];

static int64_t scratch_asked;  // most bytes a thread since sppo__scratch_most

/* Sleeps while *word is `value`; may wake for no reason. */
static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* Runs tasks of the open region until none is left to claim. */
static void work(void) {
    uint64_t now = atomic_load(&ticket);
    for (;;) {
        uint32_t task = (uint32_t)now;
        if (task == closed) return;
        uint32_t tasks = atomic_load(&region_tasks);
        sppo__task fn = atomic_load(&region_fn);
        void *context = atomic_load(&region_context);
        int64_t first = atomic_load(&region_first);
        if (task >= tasks) return;
        if (!atomic_compare_exchange_strong(&ticket, &now, now + 1)) continue;
        inside = true;
        fn(context, first + task, self);
        inside = false;
        if (atomic_fetch_add(&finished, 1) + 1 == tasks && atomic_load(&caller_sleeps))
            futex_wake(&finished, 1);
        now = atomic_load(&ticket);
    }
}

/* Brings some of what will be read soon into the cache; false if there is nothing left to bring. */
static bool fetch_ahead(void) {
    if (atomic_load_explicit(&ahead_left, memory_order_relaxed) <= 0) return false;
    uintptr_t end = atomic_load_explicit(&ahead_end, memory_order_relaxed);
    int64_t left = atomic_fetch_sub_explicit(&ahead_left, AHEAD, memory_order_relaxed);
    for (int64_t i = 0; i < AHEAD && i < left; i += 64)
        __builtin_prefetch((const void *)(end - (uintptr_t)left + (uintptr_t)i), 0, 2);
    return true;
}

static void *worker(void *number) {
    self = (int)(intptr_t)number;
    uint32_t seen = atomic_load(&begun);
    while (!atomic_load(&leaving)) {
        work();
        int spins = SPINS;
        while (spins-- && atomic_load(&begun) == seen)
            if (!fetch_ahead()) spin_pause();
        if (atomic_load(&begun) == seen) {
            atomic_fetch_add(&sleepers, 1);
            if (!atomic_load(&leaving)) futex_wait(&begun, seen);
            atomic_fetch_sub(&sleepers, 1);
        }
        seen = atomic_load(&begun);
    }
    atomic_fetch_sub(&living, 1);
    futex_wake(&living, 1);
    return NULL;
}

static int processors(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
}

int sppo_threads(void) {
    if (!wanted) wanted = processors();
    return wanted;
}

/* Ends all workers; the next region makes as many as are wanted by then. */
static void dismiss(void) {
    if (!workers) return;
    atomic_store(&leaving, 1);
    atomic_fetch_add(&begun, 1);
    futex_wake(&begun, MAX_THREADS);
    for (uint32_t n; (n = atomic_load(&living)) > 0;) futex_wait(&living, n);
    atomic_store(&leaving, 0);
    workers = 0;
}

sppo_status sppo_threads_set(int threads) {
    if (threads < 0 || threads > MAX_THREADS)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_THREADS, threads);
    int n = threads ? threads : processors();
    if (n - 1 < workers) dismiss();
    wanted = n;
    return SPPO_OK;
}

/* Makes missing workers. Signals stay with the caller's thread. If the system gives no thread, the
 * others do the work. */
static void hire(void) {
    if (workers >= sppo_threads() - 1) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    while (workers < wanted - 1) {
        pthread_t thread;
        atomic_fetch_add(&living, 1);
        if (pthread_create(&thread, &detached, worker, (void *)(intptr_t)(workers + 1))) {
            atomic_fetch_sub(&living, 1);
            break;
        }
        workers++;
    }
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* One region of fewer than 2^32 tasks. */
static void run_region(int64_t first, uint32_t tasks, sppo__task fn, void *context) {
    uint64_t region = (atomic_load(&ticket) >> 32) + 1;
    atomic_store(&ticket, region << 32 | closed);
    atomic_store(&region_tasks, tasks);
    atomic_store(&region_fn, fn);
    atomic_store(&region_context, context);
    atomic_store(&region_first, first);
    atomic_store(&finished, 0);
    atomic_store(&ticket, region << 32);
    atomic_fetch_add(&begun, 1);
    uint32_t asleep = atomic_load(&sleepers);
    if (asleep) futex_wake(&begun, (int)(asleep < tasks - 1 ? asleep : tasks - 1));

    work();

    for (int spins = SPINS; spins && atomic_load(&finished) != tasks; spins--) spin_pause();
    atomic_store(&caller_sleeps, 1);
    for (uint32_t n; (n = atomic_load(&finished)) != tasks;) futex_wait(&finished, n);
    atomic_store(&caller_sleeps, 0);
}

static void run_alone(int64_t tasks, sppo__task fn, void *context) {
    bool was = inside;
    inside = true;
    for (int64_t i = 0; i < tasks; i++) fn(context, i, self);
    inside = was;
}

void sppo__parallel(int64_t tasks, sppo__task fn, void *context) {
    if (inside || tasks <= 1 || sppo_threads() == 1) {
        run_alone(tasks, fn, context);
        return;
    }
    hire();
    regions++;
    const int64_t most = 1 << 30;
    for (int64_t first = 0; first < tasks; first += most)
        run_region(first, (uint32_t)(tasks - first < most ? tasks - first : most), fn, context);
}

void sppo__parallel_values(int64_t values, int64_t tasks, sppo__task fn, void *context) {
    if (values < FEW_VALUES) run_alone(tasks, fn, context);
    else sppo__parallel(tasks, fn, context);
}

void sppo__ahead(const void *from, int64_t bytes) {
    atomic_store_explicit(&ahead_left, 0, memory_order_relaxed);
    atomic_store_explicit(&ahead_end, (uintptr_t)from + (uintptr_t)bytes, memory_order_relaxed);
    atomic_store_explicit(&ahead_left, bytes, memory_order_relaxed);
}

int64_t sppo_regions(void) {
    return regions;
}

sppo_status sppo__scratch_reserve(int64_t bytes) {
    if (bytes > scratch_asked) scratch_asked = bytes;
    for (int i = 0; i < sppo_threads(); i++) {
        if (scratch[i].bytes >= bytes) continue;
        if (sppo__storage_guarded())
            return sppo__fail(SPPO_ERR_MEMORY, TEXT_SCRATCH_GUARD, (long long)bytes,
                              (long long)scratch[i].bytes);
        free(scratch[i].data);
        int64_t padded = (bytes + 63) / 64 * 64;
        sppo__block_count();
        scratch[i].data = aligned_alloc(64, (size_t)padded);
        scratch[i].bytes = scratch[i].data ? padded : 0;
        if (!scratch[i].data)
            return sppo__fail(SPPO_ERR_MEMORY, TEXT_SCRATCH, (double)bytes / 1048576);
    }
    return SPPO_OK;
}

int64_t sppo__scratch_most(void) {
    int64_t most = scratch_asked;
    scratch_asked = 0;
    return most;
}

int64_t sppo__scratch_bytes(void) {
    int64_t bytes = 0;
    for (int i = 0; i < MAX_THREADS; i++) bytes += scratch[i].bytes;
    return bytes;
}

void sppo__read_add(int64_t bytes) {
    bytes_read += bytes;
}

int64_t sppo_bytes_read(void) {
    return bytes_read;
}

void *sppo__scratch(int thread) {
    return scratch[thread].data;
}
