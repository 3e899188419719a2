/* attention.c - attention inside a tree of segments: what it accepts, its hidden output, how it
 * differentiates and what it costs. The arithmetic is in cpu/attention*.c.
 *
 * A call has i[0] = layer, i[1] = causal, i[2] = window (0: all), f[0] = scale, f[1] = softcap (0:
 * none). */

#include <math.h>

#include "core/device.h"
#include "llm/kv_store.h"
#include "llm/segments.h"
#include "ops/op.h"
#include "ops/workspace.h"

enum {
    HEAD_DIM = 256,
    SHARED_TOKENS = 256  // longest first segment whose gradients are made branch by branch
};

attention_sizes sppo__attention_sizes(const sppo__call *c) {
    const sppo_tensor *q = c->in[0], *k = c->in[1];
    attention_sizes s = {.heads = q->shape[1],
                         .kv_heads = k->shape[1],
                         .D = q->shape[2],
                         .W = (q->shape[2] + 63) / 64 * 64,
                         .G = q->shape[1] / k->shape[1],
                         .scale = c->f[0],
                         .cap = c->f[1],
                         .window = c->i[2],
                         .causal = c->i[1] != 0};
    s.block = s.G < BLOCK_ROWS ? BLOCK_ROWS / s.G : 1;
    return s;
}

int64_t sppo__attention_branches(const sppo_segments *at, const attention_sizes *s,
                                 attention_branch *list, int64_t *floats) {
    int64_t count = 0;
    *floats = 0;
    for (int t = 0; t < at->trees; t++) {
        int first = at->tree[t], last = at->tree[t + 1];
        const sppo__node *node = at->node, *root = &node[first];
        bool cut = root->count <= SHARED_TOKENS && last - first > 2;
        if (!cut) {
            if (list) list[count] = (attention_branch){first, last, root->begin, root->end, -1, 0};
            count++;
            continue;
        }
        int64_t part = s->kv_heads * 2 * root->count * s->W;
        for (int n = first, next; n < last; n = next) {
            int64_t end = n == first ? root->begin + root->count : node[n].end;
            for (next = n + 1; n != first && next < last && node[next].begin < end; next++) {}
            if (list) list[count] = (attention_branch){n, next, node[n].begin, end, first, *floats};
            count++;
            *floats += part;
        }
    }
    return count;
}

/* Position of the first token of the batch that sees node i: its own, or the least of those that
 * continue it. */
static int64_t first_position(const sppo_segments *at, int i) {
    const sppo__node *node = &at->node[i];
    if (node->count) return node->position + node->offset;
    int64_t least = INT64_MAX;
    for (int n = i + 1; n < at->nodes && at->node[n].begin < node->end; n++) {
        int64_t first = at->node[n].position + at->node[n].offset;
        if (at->node[n].count && first < least) least = first;
    }
    return least;
}

int64_t sppo__attention_seen(const sppo_segments *at, int64_t window) {
    int64_t keys = 0;
    for (int i = 0; i < at->nodes; i++) {
        const sppo__node *node = &at->node[i];
        int64_t all = node->offset + node->count, behind = 0;
        if (window) behind = first_position(at, i) - window + 1 - node->position;
        if (behind < all) keys += all - (behind > 0 ? behind : 0);
    }
    return keys;
}

/* Without a store the keys and values are packed into pages first. */
sppo__workspace sppo__workspace_attention(const sppo__call *c) {
    attention_sizes s = sppo__attention_sizes(c);
    int64_t page = s.kv_heads * sppo__kv_head_floats(s.D) * 4;
    return (sppo__workspace){.bytes = c->at->kv ? 0 : c->at->pages * page,
                             .scratch = attention_block_floats(&s) * 4};
}

sppo__workspace sppo__workspace_attention_backward(const sppo__call *c) {
    attention_sizes s = sppo__attention_sizes(c);
    int64_t floats;
    sppo__attention_branches(c->at, &s, NULL, &floats);
    return (sppo__workspace){.bytes = c->at->nodes * (int64_t)sizeof(attention_branch) + floats * 4,
                             .scratch = attention_backward_block_floats(&s) * 4};
}

static sppo_status attention_backward(const sppo__call *fwd) {
    sppo__call c = {
        .op = SPPO_OP_ATTENTION_BACKWARD,
        .in = {fwd->in[0], fwd->in[1], fwd->in[2], fwd->out[0], fwd->out[1], sppo__dout(fwd, 0)},
        .n_in = 6,
        .n_out = 3,
        .f = {fwd->f[0], fwd->f[1]},
        .i = {fwd->i[0], fwd->i[1], fwd->i[2]},
        .at = fwd->at};
    sppo_status st = SPPO_OK;
    for (int i = 0; i < 3 && !st; i++) st = sppo__din(fwd, i, &c.out[i]);
    return st ? st : sppo__run(&c);
}

static sppo_status check_store(const sppo__call *c) {
    const sppo_kv *kv = c->at->kv;
    const sppo_tensor *k = c->in[1];
    if (k->shape[1] != kv->kv_heads || k->shape[2] != kv->head_dim)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_KV_HEADS, sppo__shape_text(k), kv->kv_heads,
                          kv->head_dim);
    if (kv->storage->device != c->in[0]->device)
        return sppo__fail(SPPO_ERR_DEVICE, TEXT_KV_DEVICE, sppo__device_name(kv->storage->device),
                          sppo__device_name(c->in[0]->device));
    if (c->i[0] < 0 || c->i[0] >= kv->layers)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "attention", "layer", 0LL,
                          (long long)kv->layers - 1, (long long)c->i[0]);
    int recording = sppo_grad_enable(0);
    sppo_grad_enable(recording);
    for (int i = 0; i < 3; i++)
        if (recording && c->in[i]->needs_grad) return sppo__fail(SPPO_ERR_STATE, TEXT_KV_GRAD);
    return SPPO_OK;
}

static sppo_status check(const sppo__call *c) {
    static const char *const names[] = {"q", "k", "v"};
    const sppo_tensor *q = c->in[0], *k = c->in[1], *v = c->in[2];
    for (int i = 0; i < 3; i++) {
        sppo_status st = sppo__want(c, i, names[i], SPPO_DTYPE_F32, SPPO_LAYOUT_ROWS);
        if (st) return st;
        if (c->in[i]->ndim != 3)
            return sppo__fail(SPPO_ERR_SHAPE, TEXT_WANT_NDIM, "attention", names[i],
                              sppo__shape_text(c->in[i]), 3);
    }
    if (!sppo__same_shape(k, v))
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_SHAPES, "attention", "k", sppo__shape_text(k), "v",
                          sppo__shape_text(v));
    if (q->shape[0] != k->shape[0] || q->shape[2] != k->shape[2])
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_SHAPES, "attention", "q", sppo__shape_text(q), "k",
                          sppo__shape_text(k));
    if (q->shape[2] < 1 || q->shape[2] > HEAD_DIM)
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_HEAD_DIM, "attention", (long long)q->shape[2],
                          HEAD_DIM);
    if (k->shape[1] < 1 || q->shape[1] < 1 || q->shape[1] % k->shape[1])
        return sppo__fail(SPPO_ERR_SHAPE, TEXT_GROUPS, "attention", (long long)q->shape[1],
                          (long long)k->shape[1]);
    if (!(c->f[0] > 0) || !isfinite(c->f[0]))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_POSITIVE, "attention", "scale", (double)c->f[0]);
    if (c->f[1] != 0 && (!(c->f[1] > 0) || !isfinite(c->f[1])))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_POSITIVE, "attention", "softcap",
                          (double)c->f[1]);
    if (c->i[2] < 0)
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_RANGE, "attention", "window", 0LL,
                          (long long)INT32_MAX, (long long)c->i[2]);
    if (c->i[2] && !c->i[1]) return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_WINDOW, (long long)c->i[2]);
    sppo_status st = c->at->kv ? check_store(c) : SPPO_OK;
    return st ? st : sppo__segments_use(c->at, "attention", q->shape[0]);
}

sppo_status sppo_attention(sppo_tensor **out, sppo_tensor *q, sppo_tensor *k, sppo_tensor *v,
                           sppo_segments *at, const sppo_attention_options *options) {
    sppo__call c = {.op = SPPO_OP_ATTENTION,
                    .in = {q, k, v},
                    .n_in = 3,
                    .f = {options->scale, options->softcap},
                    .i = {options->layer, options->causal != 0, options->window},
                    .at = at,
                    .save_in = 7,
                    .save_out = 3};
    sppo_status st = sppo__begin(&c);
    if (c.f[0] == 0 && q->ndim == 3) c.f[0] = 1.0f / sqrtf((float)q->shape[2]);
    if (!st) st = check(&c);
    if (!st) st = sppo__out_like(&c, 0, c.in[0]);
    // Log-sum-exp of each row's scores, which backward makes its weights from.
    if (!st) st = sppo__out(&c, 1, SPPO_DTYPE_F32, 2, c.in[0]->shape);
    return sppo__finish(&c, st, attention_backward, out, 1);
}

/* Pairs of a query token and a key that it sees, which is min(its position + 1, window) keys. */
static double visible_in_window(const sppo__call *c) {
    double pairs = 0, window = (double)c->i[2];
    for (int i = 0; i < c->at->nodes; i++) {
        const sppo__node *node = &c->at->node[i];
        double first = (double)(node->position + node->offset), own = (double)node->count;
        double growing = fmin(fmax(window - first, 0), own);
        pairs += growing * (first + (growing + 1) / 2) + (own - growing) * window;
    }
    return pairs;
}

/* The same, also without a window. */
static double visible(const sppo__call *c) {
    if (c->i[2]) return visible_in_window(c);
    double pairs = 0;
    for (int i = 0; i < c->at->nodes; i++) {
        const sppo__node *node = &c->at->node[i];
        double own = (double)node->count, keys = (double)(node->offset + node->count);
        double below = (double)(node->end - node->begin) - own;
        pairs += below * keys + own * (c->i[1] ? (double)node->offset + (own + 1) / 2 : keys);
    }
    return pairs;
}

/* Two products a head, of 2 D operations a pair. Stored keys and values are read once. */
sppo_status sppo_meta_attention(sppo__call *c) {
    const sppo_tensor *q = c->in[0];
    double stored = (double)(sppo__attention_seen(c->at, c->i[2]) - c->at->tokens);
    stored *= 8 * (double)(c->in[1]->shape[1] * c->in[1]->shape[2]);
    sppo__cost_add(0, stored);
    sppo__cost_add_read(stored);
    return sppo__cost(c, visible(c) * 4 * (double)(q->shape[1] * q->shape[2]));
}

/* Five products a head. */
sppo_status sppo_meta_attention_backward(sppo__call *c) {
    return sppo__cost(c, visible(c) * 10 * (double)(c->in[0]->shape[1] * c->in[0]->shape[2]));
}
