/* op.c - what all ops share: input checks, outputs, dispatch by device, the tape entry. */

#include "ops/op.h"

#include <stdlib.h>

#include "core/device.h"
#include "cpu/cpu.h"
#include "grad/tape.h"
#include "llm/segments.h"

static bool checking;

sppo_status sppo__begin(sppo__call *c) {
    const char *name = sppo__op_name(c->op);
    sppo_device device = c->in[0]->device;
    for (int i = 0; i < c->n_in; i++) {
        sppo_tensor *t = c->in[i];
        if (!t) continue;
        if (t->device != device)
            return sppo__fail(SPPO_ERR_DEVICE, TEXT_DEVICES, name, i, sppo__device_name(device),
                              sppo__device_name(t->device));
        if (!t->storage) return sppo__fail(SPPO_ERR_STATE, TEXT_RELEASED, name, i, t->made_by);
        if (t->layout == SPPO_LAYOUT_ROWS && !sppo__gap_free(t)) {
            sppo_status st = sppo_contiguous(&c->in[i], t);
            if (st) return st;
            c->temporary |= 1u << i;
        }
    }
    return SPPO_OK;
}

sppo_status sppo__want(const sppo__call *c, int i, const char *name, sppo_dtype dtype,
                       sppo_layout layout) {
    static const char *const layouts[] = {"rows", "panels"};
    const sppo_tensor *t = c->in[i];
    if (t->dtype != dtype)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_DTYPE, sppo__op_name(c->op), name,
                          sppo__dtype_name(t->dtype), sppo__dtype_name(dtype));
    if (t->layout != layout)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_WANT_LAYOUT, sppo__op_name(c->op), name,
                          layouts[t->layout], layouts[layout]);
    return SPPO_OK;
}

sppo_status sppo__check_index(const sppo__call *c, int i, const char *name, int64_t limit) {
    const sppo_tensor *t = c->in[i];
    const char *op = sppo__op_name(c->op);
    if (t->device == SPPO_DEVICE_META) return SPPO_OK;
    const sppo__storage *values = t->storage;
    if (values->ranged && values->lowest >= 0 && values->highest < limit) return SPPO_OK;
    int32_t *copy = NULL;
    if (t->device == SPPO_DEVICE_CUDA) {
        int64_t bytes = sppo_tensor_bytes(t);
        copy = malloc((size_t)bytes + 1);
        if (!copy) return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, op, 0.0, 0.0, "");
        sppo_status st = sppo_tensor_read(t, copy, bytes);
        if (st) {
            free(copy);
            return st;
        }
    }
    sppo_status st = SPPO_OK;
    const int32_t *index = copy ? copy : sppo__i32(t);
    for (int64_t j = 0; j < sppo_tensor_count(t) && !st; j++)
        if (index[j] < 0 || index[j] >= limit)
            st = sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE_AT, op, name, (long long)j,
                            (long long)index[j], 0LL, (long long)limit - 1);
    free(copy);
    return st;
}

sppo_status sppo__out(sppo__call *c, int i, sppo_dtype dtype, int ndim, const int64_t *shape) {
    sppo_tensor *t;
    sppo_status st = sppo__tensor_shell(&t, dtype, c->in[0]->device, SPPO_LAYOUT_ROWS, ndim, shape,
                                        sppo__op_name(c->op));
    if (st) return st;
    st = sppo__tensor_fill(t, false);
    if (st) {
        sppo_tensor_release(t);
        return st;
    }
    c->out[i] = t;
    if (c->n_out <= i) c->n_out = i + 1;
    return SPPO_OK;
}

sppo_status sppo__out_like(sppo__call *c, int i, const sppo_tensor *t) {
    return sppo__out(c, i, t->dtype, t->ndim, t->shape);
}

sppo__workspace sppo__workspace_of(const sppo__call *c, sppo_device device) {
    if (device == SPPO_DEVICE_CUDA) return sppo__workspace_on_cuda(c);
    typedef sppo__workspace (*function)(const sppo__call *c);
    static const function table[SPPO_OP_COUNT] = {
        [SPPO_OP_LINEAR] = sppo__workspace_linear,
        [SPPO_OP_LINEAR_BACKWARD] = sppo__workspace_linear_backward,
        [SPPO_OP_ATTENTION] = sppo__workspace_attention,
        [SPPO_OP_ATTENTION_BACKWARD] = sppo__workspace_attention_backward,
        [SPPO_OP_TOKEN_LOGPROB] = sppo__workspace_token_logprob,
        [SPPO_OP_TOKEN_LOGPROB_BACKWARD] = sppo__workspace_token_logprob_backward,
        [SPPO_OP_SAMPLE] = sppo__workspace_sample,
        [SPPO_OP_DISENTANGLED_ATTENTION] = sppo__workspace_disentangled_attention,
        [SPPO_OP_DISENTANGLED_ATTENTION_BACKWARD] = sppo__workspace_disentangled_attention_backward,
    };
    return table[c->op] ? table[c->op](c) : (sppo__workspace){0, 0};
}

int sppo_workspace_check(int on) {
    int was = checking;
    checking = on != 0;
    return was;
}

static sppo_status run_checked(sppo__call *c, sppo_device device) {
    sppo__work_most();
    sppo__work_was_unplanned();
    sppo__scratch_most();
    sppo_status st = sppo__kernels(device)[c->op](c);
    if (st || sppo__work_was_unplanned()) return st;
    sppo__workspace said = sppo__workspace_of(c, device),
                    took = {sppo__work_most(), sppo__scratch_most()};
    if (said.bytes == took.bytes && said.scratch == took.scratch) return SPPO_OK;
    return sppo__fail(SPPO_ERR_STATE, TEXT_WORKSPACE, sppo__op_name(c->op), (long long)took.bytes,
                      (long long)took.scratch, (long long)said.bytes, (long long)said.scratch);
}

sppo_status sppo__run(sppo__call *c) {
    const sppo_tensor *first = c->in[0] ? c->in[0] : c->out[0];
    if (sppo_interrupt())
        return sppo__fail(SPPO_ERR_INTERRUPTED, TEXT_INTERRUPTED, sppo__op_name(c->op));
    if (first->device == SPPO_DEVICE_META) {
        sppo__workspace w = sppo__workspace_of(c, sppo__meta_as());
        sppo_status st = sppo__work_on_meta(w.bytes, w.scratch, sppo__op_name(c->op));
        if (st) return st;
    } else if (checking) {
        return run_checked(c, first->device);
    }
    return sppo__kernels(first->device)[c->op](c);
}

sppo_status sppo__finish(sppo__call *c, sppo_status st, sppo__backward backward, sppo_tensor **out,
                         int visible) {
    if (!st) st = sppo__run(c);
    if (!st && backward) st = sppo__tape_record(c, backward);
    for (int i = 0; i < c->n_in; i++)
        if (c->temporary & 1u << i) sppo_tensor_release(c->in[i]);
    for (int i = 0; i < c->n_out; i++) {
        if (!st && i < visible) out[i] = c->out[i];
        else sppo_tensor_release(c->out[i]);
    }
    return st;
}
