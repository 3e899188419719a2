/* cpu.h - what CPU kernels share: their names, the tables, the thread pool, scratch memory.
 *
 * Each family file is compiled once per instruction set with SPPO_ISA set to avx512vnni, avx512, avx2
 * or plain; KERNEL(square) is then sppo_cpu_square_avx512 and so on. */

#ifndef SPPO_CPU_H
#define SPPO_CPU_H

#include "ops/op.h"

#define SPPO__PASTE3(a, b, c) a##b##_##c
#define SPPO__PASTE(a, b, c) SPPO__PASTE3(a, b, c)
#define KERNEL(name) SPPO__PASTE(sppo_cpu_, name, SPPO_ISA)

extern const sppo__kernel sppo__cpu_table_avx512vnni[SPPO_OP_COUNT];
extern const sppo__kernel sppo__cpu_table_avx512[SPPO_OP_COUNT];
extern const sppo__kernel sppo__cpu_table_avx2[SPPO_OP_COUNT];
extern const sppo__kernel sppo__cpu_table_plain[SPPO_OP_COUNT];

#ifdef SPPO_ISA
#define SPPO_OP(NAME, name, inputs, outputs) sppo_status KERNEL(name)(sppo__call * c);
#include "ops/ops.def"
#undef SPPO_OP
#endif

/* Runs fn(context, task, thread) for task = 0 .. tasks - 1 on the pool and returns when all are
 * done. At most one region per op. Which thread runs a task is not fixed: a task's result must not
 * depend on `thread`, which is for scratch only. */
typedef void (*sppo__task)(void *context, int64_t task, int thread);
void sppo__parallel(int64_t tasks, sppo__task fn, void *context);

/* The same for cheap work on `values` values: with few of them one thread is done before another
 * has begun. */
void sppo__parallel_values(int64_t values, int64_t tasks, sppo__task fn, void *context);

/* What the next region will read first: threads that wait for it bring it into their cache. Only a
 * wish; memory that is not there any more is no error. */
void sppo__ahead(const void *from, int64_t bytes);

/* Makes sure that each thread has `bytes` of 64-byte aligned scratch, before sppo__parallel; it is
 * kept between ops. Inside a guarded arena, growing it is an error. */
sppo_status sppo__scratch_reserve(int64_t bytes);
void *sppo__scratch(int thread);

/* Most bytes a thread that were asked for since the last call. */
int64_t sppo__scratch_most(void);

/* Counts into sppo_bytes_read what this kernel has read. */
void sppo__read_add(int64_t bytes);

#endif
