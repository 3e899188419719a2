/* tensor.h - what a tensor is, inside the engine. */

#ifndef SPPO_TENSOR_H
#define SPPO_TENSOR_H

#include <stddef.h>

#include "sppo.h"

enum { SPPO_PANEL = 64 };  // output rows in one weight panel

typedef struct sppo__storage {
    int refs;
    int arena;  // 1 + the arena it came from, 0 for the heap
    sppo_device device;
    sppo_memory_kind kind;
    int64_t bytes;
    void *data;                         // NULL on meta
    bool ranged;                        // i32 that the host wrote: all values are known to be in
    int32_t lowest, highest;            // lowest .. highest, so that checks need not read them back
    const char *made_by;                // the op, for the list of largest live tensors
    struct sppo__storage *prev, *next;  // all live storages
} sppo__storage;

/* Two counts: `refs` keeps the struct (its identity, shape and gradient), `users` keeps the values.
 * The tape needs the identity of every tensor it saw but the values of few. */
struct sppo_tensor {
    int refs;
    int users;
    sppo_dtype dtype;
    sppo_device device;
    sppo_layout layout;
    int ndim;
    int64_t shape[SPPO_MAX_DIMS];
    int64_t stride[SPPO_MAX_DIMS];  // in values
    int64_t offset;                 // first value, in bytes from the storage's start
    sppo__storage *storage;         // NULL when no user is left, or until a replay makes it again
    bool needs_grad;
    bool leaf;          // a parameter: its gradient outlives backward
    int64_t recompute;  // number of the recompute span that made it, 0 for none
    sppo_tensor *grad;
    const char *made_by;
};

/* ---- dtype and shape ---- */

const char *sppo__dtype_name(sppo_dtype dtype);

/* Bytes of `count` values of one row; count is a multiple of 32 for q8_0. */
int64_t sppo__dtype_bytes(sppo_dtype dtype, int64_t count);

/* "[4, 8]"; borrowed, good until four more calls of this thread. */
const char *sppo__shape_text(const sppo_tensor *t);
const char *sppo__dims_text(int ndim, const int64_t *shape);

bool sppo__same_shape(const sppo_tensor *a, const sppo_tensor *b);
bool sppo__gap_free(const sppo_tensor *t);

/* Values in all axes but the last, and in the last. */
int64_t sppo__rows(const sppo_tensor *t);
int64_t sppo__columns(const sppo_tensor *t);

/* Bytes of a tensor's values without gaps; panels include their padding. */
int64_t sppo__value_bytes(sppo_dtype dtype, sppo_layout layout, int ndim, const int64_t *shape);

static inline float *sppo__f32(const sppo_tensor *t) {
    return (float *)((char *)t->storage->data + t->offset);
}
static inline int32_t *sppo__i32(const sppo_tensor *t) {
    return (int32_t *)((char *)t->storage->data + t->offset);
}
static inline void *sppo__raw(const sppo_tensor *t) {
    return (char *)t->storage->data + t->offset;
}

/* ---- storage ---- */

/* Zero-filled if `zero`; counted; refuses beyond the limit and inside a guarded arena. */
sppo_status sppo__storage_new(sppo__storage **out, sppo_device device, int64_t bytes, bool zero,
                              const char *made_by);
void sppo__storage_release(sppo__storage *s);

/* Storage that a kernel of `device` works with; the op's workspace function must know of it. */
sppo_status sppo__work_new(sppo__storage **out, sppo_device device, int64_t bytes, bool zero,
                           const char *made_by);

/* What sppo_meta_as last said. */
sppo_device sppo__meta_as(void);

/* Counts `bytes` of work on meta, as if a kernel had taken and released them, and `scratch` bytes a
 * thread. */
sppo_status sppo__work_on_meta(int64_t bytes, int64_t scratch, const char *made_by);

/* Storage of `device` whose size no workspace function knows: a library says it (cuDNN's plans). The
 * op that takes it is not held to its function. */
sppo_status sppo__work_unplanned(sppo__storage **out, sppo_device device, int64_t bytes,
                                 const char *made_by);

/* Whether any was taken since the last call. */
bool sppo__work_was_unplanned(void);

/* Most bytes of sppo__work_new alive since the last call. */
int64_t sppo__work_most(void);

/* ---- tensor ---- */

/* A tensor without values: struct and shape only. */
sppo_status sppo__tensor_shell(sppo_tensor **out, sppo_dtype dtype, sppo_device device,
                               sppo_layout layout, int ndim, const int64_t *shape,
                               const char *made_by);

/* Gives t storage of its own, if it has none. */
sppo_status sppo__tensor_fill(sppo_tensor *t, bool zero);

/* A zero-filled tensor of any layout. */
sppo_status sppo__tensor_make(sppo_tensor **out, sppo_dtype dtype, sppo_device device,
                              sppo_layout layout, int ndim, const int64_t *shape,
                              const char *made_by);

/* SPPO_ERR_DEVICE unless the values are in the CPU's memory. */
sppo_status sppo__want_host(const char *name, const sppo_tensor *t);

/* Identity references, as the tape holds them. */
void sppo__node_retain(sppo_tensor *t);
void sppo__node_release(sppo_tensor *t);

#endif
