/* op.h - what every op file uses: the call, its outputs, dispatch, and the tape entry.
 *
 * An op in ops/<family>.c checks its arguments, makes its outputs and names what its backward rule
 * needs; the arithmetic is in cpu/<family>.c (and cuda/<family>.cu), the cost in sppo_meta_<op>.
 *
 *     sppo_status sppo_square(sppo_tensor **out, sppo_tensor *x) {
 *         sppo__call c = {.op = SPPO_OP_SQUARE, .in = {x}, .n_in = 1, .save_in = 1};
 *         sppo_status st = sppo__begin(&c);
 *         if (!st) st = sppo__want(&c, 0, "x", SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
 *         if (!st) st = sppo__out_like(&c, 0, c.in[0]);
 *         return sppo__finish(&c, st, square_backward, out, 1);
 *     }
 */

#ifndef SPPO_OP_H
#define SPPO_OP_H

#include "core/error.h"
#include "core/tensor.h"

#define SPPO_OP(NAME, name, inputs, outputs) SPPO_OP_##NAME,
typedef enum sppo__op {
#include "ops/ops.def"
    SPPO_OP_COUNT
} sppo__op;
#undef SPPO_OP

typedef struct sppo__call {
    sppo__op op;
    int n_in, n_out;
    sppo_tensor *in[SPPO_MAX_IN];    // NULL where an optional input is absent
    sppo_tensor *out[SPPO_MAX_OUT];  // NULL where a gradient is not wanted
    float f[8];
    int64_t i[4];
    double *result;                         // where kernels that return a number put it
    sppo_segments *at;                      // rope and attention
    const struct sppo__sampling *sampling;  // sample
    uint32_t save_in;                       // bit i: backward reads the values of in[i]
    uint32_t save_out;                      // bit i: backward reads the values of out[i]
    uint32_t temporary;                     // bit i: in[i] is a contiguous copy made by sppo__begin
} sppo__call;

typedef sppo_status (*sppo__kernel)(sppo__call *c);

/* Adds to the gradients of fwd's inputs, given those of its outputs (sppo__dout, sppo__din). */
typedef sppo_status (*sppo__backward)(const sppo__call *fwd);

/* "rms_norm" */
const char *sppo__op_name(sppo__op op);

/* Kernel table of a device. */
const sppo__kernel *sppo__kernels(sppo_device device);

/* ---- making a call ---- */

/* Same device for all inputs, none released; replaces inputs with gaps by contiguous copies. */
sppo_status sppo__begin(sppo__call *c);

/* Input i must have this dtype and layout; `name` is for the text. */
sppo_status sppo__want(const sppo__call *c, int i, const char *name, sppo_dtype dtype,
                       sppo_layout layout);

/* Values of input i (i32) are in 0 .. limit - 1. */
sppo_status sppo__check_index(const sppo__call *c, int i, const char *name, int64_t limit);

/* Output i: fresh values, not zeroed. */
sppo_status sppo__out(sppo__call *c, int i, sppo_dtype dtype, int ndim, const int64_t *shape);
sppo_status sppo__out_like(sppo__call *c, int i, const sppo_tensor *t);

/* Runs the kernel if `st` is OK; records if a gradient can be wanted and `backward` is given; hands
 * the first `visible` outputs to `out`, releases the rest; on failure releases everything. */
sppo_status sppo__finish(sppo__call *c, sppo_status st, sppo__backward backward, sppo_tensor **out,
                         int visible);

/* Just the kernel, for backward rules and replays. */
sppo_status sppo__run(sppo__call *c);

/* ---- inside a backward rule ---- */

/* Gradient of output i; NULL if nothing depends on it. Borrowed. */
sppo_tensor *sppo__dout(const sppo__call *fwd, int i);

/* Gradient of input i to add to, zero when fresh; NULL in *out if it needs none. Borrowed. */
sppo_status sppo__din(const sppo__call *fwd, int i, sppo_tensor **out);

/* ---- workspace: what a kernel takes beside inputs and outputs ---- */

typedef struct sppo__workspace {
    int64_t bytes;    // of sppo__work_new, alive at once
    int64_t scratch;  // bytes a thread
} sppo__workspace;

/* Of a call, from its shapes alone. An op that has some has a function for it beside its checks, and
 * a line in the table in op.c; on CUDA both are in ops/workspace_cuda.c. Meta counts it
 * (sppo_meta_as), and sppo_workspace_check holds the kernel to it. */
sppo__workspace sppo__workspace_of(const sppo__call *c, sppo_device device);
sppo__workspace sppo__workspace_on_cuda(const sppo__call *c);
sppo__workspace sppo__workspace_linear(const sppo__call *c);
sppo__workspace sppo__workspace_linear_backward(const sppo__call *c);
sppo__workspace sppo__workspace_attention(const sppo__call *c);
sppo__workspace sppo__workspace_attention_backward(const sppo__call *c);
sppo__workspace sppo__workspace_token_logprob(const sppo__call *c);
sppo__workspace sppo__workspace_token_logprob_backward(const sppo__call *c);
sppo__workspace sppo__workspace_sample(const sppo__call *c);
sppo__workspace sppo__workspace_disentangled_attention(const sppo__call *c);
sppo__workspace sppo__workspace_disentangled_attention_backward(const sppo__call *c);

/* ---- meta: what an op costs ---- */

void sppo__cost_add(double flops, double bytes);

/* Which of the bytes are read; sppo__cost says so by itself. */
void sppo__cost_add_read(double bytes);

/* Bytes of a tensor's values. */
static inline double sppo__bytes(const sppo_tensor *t) {
    return t ? (double)sppo__value_bytes(t->dtype, t->layout, t->ndim, t->shape) : 0;
}

/* All inputs read once, all outputs written once, `flops` operations: what most ops cost. */
sppo_status sppo__cost(const sppo__call *c, double flops);

#define SPPO_OP(NAME, name, inputs, outputs) sppo_status sppo_meta_##name(sppo__call *c);
#include "ops/ops.def"
#undef SPPO_OP

#endif
