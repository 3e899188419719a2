/* tape.c - reverse-mode differentiation: a list of calls, walked backwards.
 *
 * A record keeps the identity of every tensor of its call, but the values only of those that the
 * backward rule names (save_in, save_out). Inside a recompute span it keeps the values only of what
 * came from outside; before the span's records are walked, they are replayed in C. */

#include "grad/tape.h"

#include <stdlib.h>

#include "llm/segments.h"

typedef struct record {
    sppo__call call;
    sppo__backward backward;
    uint32_t kept_in, kept_out;  // bit i: this record is a user of the values
    int64_t span;                // number of its recompute span, 0 for none
} record;

static record *tape;
static int64_t length, capacity;
static bool enabled = true;
static int64_t span;   // the open recompute span, 0 for none
static int64_t spans;  // how many there have been

int sppo_grad_enable(int on) {
    int was = enabled;
    enabled = on;
    return was;
}

int64_t sppo_tape_length(void) {
    return length;
}

sppo_status sppo_tensor_set_needs_grad(sppo_tensor *t, int on) {
    if (on && t->dtype != SPPO_DTYPE_F32)
        return sppo__fail(SPPO_ERR_DTYPE, TEXT_LEAF_DTYPE, sppo__dtype_name(t->dtype));
    t->needs_grad = t->leaf = on;
    return SPPO_OK;
}

int sppo_tensor_needs_grad(const sppo_tensor *t) {
    return t->needs_grad;
}

sppo_tensor *sppo_tensor_grad(sppo_tensor *t) {
    return t->grad;
}

void sppo_tensor_clear_grad(sppo_tensor *t) {
    if (t->grad) sppo_tensor_release(t->grad);
    t->grad = NULL;
}

/* Takes the values of t for this record. */
static void keep(uint32_t *kept, int i, sppo_tensor *t) {
    if (*kept & 1u << i) return;
    t->users++;
    *kept |= 1u << i;
}

static void let_go(uint32_t *kept, int i, sppo_tensor *t) {
    if (!(*kept & 1u << i)) return;
    *kept &= ~(1u << i);
    if (--t->users == 0) {
        sppo__storage_release(t->storage);
        t->storage = NULL;
    }
}

static void drop_record(record *r) {
    for (int i = 0; i < r->call.n_in; i++) {
        if (!r->call.in[i]) continue;
        let_go(&r->kept_in, i, r->call.in[i]);
        sppo__node_release(r->call.in[i]);
    }
    for (int i = 0; i < r->call.n_out; i++) {
        sppo_tensor *t = r->call.out[i];
        let_go(&r->kept_out, i, t);
        if (!t->leaf) sppo_tensor_clear_grad(t);
        sppo__node_release(t);
    }
    if (r->call.at) sppo_segments_release(r->call.at);
}

sppo_status sppo__tape_record(const sppo__call *c, sppo__backward backward) {
    bool wanted = false;
    for (int i = 0; i < c->n_in; i++) wanted |= c->in[i] && c->in[i]->needs_grad;
    if (!enabled || !wanted) return SPPO_OK;
    if (length == capacity) {
        int64_t more = capacity ? capacity * 2 : 1024;
        record *bigger = realloc(tape, sizeof *tape * (size_t)more);
        if (!bigger) return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, "tape", 0.0, 0.0, "");
        tape = bigger;
        capacity = more;
    }
    record *r = &tape[length++];
    *r = (record){.call = *c, .backward = backward, .span = span};
    for (int i = 0; i < c->n_in; i++) {
        sppo_tensor *t = c->in[i];
        if (!t) continue;
        sppo__node_retain(t);
        bool outside = span && t->recompute != span;
        if (span ? outside : c->save_in >> i & 1) keep(&r->kept_in, i, t);
    }
    for (int i = 0; i < c->n_out; i++) {
        sppo_tensor *t = c->out[i];
        sppo__node_retain(t);
        t->needs_grad = true;
        t->recompute = span;
        if (!span && c->save_out >> i & 1) keep(&r->kept_out, i, t);
    }
    if (c->at) sppo_segments_retain(c->at);
    return SPPO_OK;
}

void sppo_tape_clear(void) {
    while (length) drop_record(&tape[--length]);
    span = 0;
}

sppo_status sppo_recompute_begin(void) {
    if (span) return sppo__fail(SPPO_ERR_STATE, TEXT_RECOMPUTE_NESTED);
    span = ++spans;
    return SPPO_OK;
}

sppo_status sppo_recompute_end(void) {
    if (!span) return sppo__fail(SPPO_ERR_STATE, TEXT_RECOMPUTE_END);
    span = 0;
    return SPPO_OK;
}

void sppo_recompute_abort(void) {
    span = 0;
}

sppo_tensor *sppo__dout(const sppo__call *fwd, int i) {
    return fwd->out[i]->grad;
}

sppo_status sppo__din(const sppo__call *fwd, int i, sppo_tensor **out) {
    sppo_tensor *t = fwd->in[i];
    *out = NULL;
    if (!t || !t->needs_grad) return SPPO_OK;
    if (!t->grad) {
        sppo_memory_kind was =
            sppo_memory_kind_set(t->leaf ? SPPO_MEMORY_GRADIENTS : SPPO_MEMORY_ACTIVATIONS);
        sppo_status st = sppo__tensor_make(&t->grad, SPPO_DTYPE_F32, t->device, t->layout, t->ndim,
                                           t->shape, "gradient");
        sppo_memory_kind_set(was);
        if (st) return st;
    }
    *out = t->grad;
    return SPPO_OK;
}

/* Runs the calls of the span that ends at `last` again; their values stay until each is walked. */
static sppo_status replay(int64_t last) {
    int64_t number = tape[last].span, first = last;
    while (first > 0 && tape[first - 1].span == number) first--;
    for (int64_t i = first; i <= last; i++) {
        record *r = &tape[i];
        bool alive = true;
        for (int j = 0; j < r->call.n_out; j++) {
            sppo_tensor *t = r->call.out[j];
            alive &= t->storage != NULL;
            keep(&r->kept_out, j, t);
        }
        if (!alive) {
            sppo_status st = SPPO_OK;
            for (int j = 0; j < r->call.n_out && !st && r->call.op != SPPO_OP_VIEW; j++)
                st = sppo__tensor_fill(r->call.out[j], false);
            if (!st) st = sppo__run(&r->call);
            if (st) return st;
        }
        r->span = 0;
    }
    return SPPO_OK;
}

static bool has_gradient(const record *r) {
    for (int i = 0; i < r->call.n_out; i++)
        if (r->call.out[i]->grad) return true;
    return false;
}

sppo_status sppo_backward(sppo_tensor *loss, float seed) {
    if (sppo_tensor_count(loss) != 1)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_LOSS_SIZE, sppo__shape_text(loss));
    if (!loss->needs_grad || !length) return sppo__fail(SPPO_ERR_STATE, TEXT_NO_TAPE);
    sppo__call start = {.op = SPPO_OP_SUM, .in = {loss}, .n_in = 1};
    sppo_tensor *grad;
    sppo_status st = sppo__din(&start, 0, &grad);
    if (!st && grad->device != SPPO_DEVICE_META) {
        float value = 0;
        st = sppo_tensor_read(grad, &value, sizeof value);
        value += seed;
        if (!st) st = sppo_tensor_write(grad, &value, sizeof value);
    }
    for (int64_t i = length - 1; i >= 0 && !st; i--) {
        record *r = &tape[i];
        bool reached = has_gradient(r);
        if (reached && r->span) st = replay(i);
        if (reached && !st) st = r->backward(&r->call);
        length = i;
        drop_record(r);
    }
    sppo_tape_clear();
    return st;
}
