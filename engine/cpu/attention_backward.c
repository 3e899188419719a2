/* attention_backward.c - gradients of attention, from the merged output and log-sum-exp.
 *
 *     P = exp(S - lse)    dS = P * (dO V^T - sum(dO * O))
 *     dV = P^T dO         dK = dS^T Q                          dQ = dS K
 *
 * With a softcap S is cap * tanh(T / cap) of the scores T, and dT = dS * (1 - tanh^2) takes the
 * place of dS in dK and dQ.
 *
 * A task has one kv head and one branch: a tree of segments, or, where a tree begins with a short
 * segment that many continue, one of these with all that continues it. It goes over pages of keys,
 * and for each page over the tokens of the branch that see it. What branches give to the segment
 * they share is added up in their order at the end, so sums have one order for any number of
 * threads. */

#include "cpu/attention.h"

typedef struct backward {
    attention_sizes s;
    const sppo_segments *at;
    const float *q, *k, *v, *out, *lse, *dout;
    float *dq, *dk, *dv;  // NULL where not wanted
    const attention_branch *branch;
    float *shared;  // all branches' gradients of the keys and values they share
} backward;

/* A thread's page of keys and the rows that meet it. */
typedef struct block {
    float *keys, *values;     // [D][64], transposed
    float *key_rows;          // [64][W]
    float *dk, *dv;           // [64][W]
    float *q, *dout, *dq;     // [rows][W], q scaled
    float *weight, *dweight;  // [rows][64]
    float *lse, *delta;       // [rows]
    int32_t *position;        // [tokens], with a window
} block;

static block block_at(const attention_sizes *s, float *scratch) {
    int64_t rows = attention_rows(s);
    block b;
    b.keys = scratch;
    b.values = b.keys + SPPO_PAGE * s->D;
    b.key_rows = b.values + SPPO_PAGE * s->D;
    b.dk = b.key_rows + SPPO_PAGE * s->W;
    b.dv = b.dk + SPPO_PAGE * s->W;
    b.q = b.dv + SPPO_PAGE * s->W;
    b.dout = b.q + rows * s->W;
    b.dq = b.dout + rows * s->W;
    b.weight = b.dq + rows * s->W;
    b.dweight = b.weight + rows * SPPO_PAGE;
    b.lse = b.dweight + rows * SPPO_PAGE;
    b.delta = b.lse + rows;
    b.position = (int32_t *)(b.delta + rows);
    return b;
}

/* Keys and values of `count` tokens from `row`, zero behind them. What pads a row to W reaches only
 * what pads a gradient, which nothing reads. */
static void load_page(const backward *a, block *b, int64_t kv_head, int64_t row, int64_t count) {
    int64_t D = a->s.D, W = a->s.W, stride = a->s.kv_heads * D;
    const float *k = a->k + row * stride + kv_head * D, *v = a->v + row * stride + kv_head * D;
    for (int64_t d = 0; d < D; d++)
        for (int64_t i = 0; i < SPPO_PAGE; i++) {
            b->keys[d * SPPO_PAGE + i] = i < count ? k[i * stride + d] : 0;
            b->values[d * SPPO_PAGE + i] = i < count ? v[i * stride + d] : 0;
        }
    memset(b->key_rows, 0, sizeof(float) * (size_t)(3 * SPPO_PAGE * W));  // and dk, dv
    for (int64_t i = 0; i < count; i++)
        memcpy(b->key_rows + i * W, k + i * stride, sizeof(float) * (size_t)D);
}

static float dot(const float *x, const float *y, int64_t n) {
    vf sum = vset(0.0f);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) sum = vfma(vload(x + i), vload(y + i), sum);
    float total = vsum(sum);
    for (; i < n; i++) total = sfma(x[i], y[i], total);
    return total;
}

static void load_rows(const backward *a, block *b, int64_t kv_head, int first, int last, int64_t lo,
                      int64_t hi) {
    const attention_sizes *s = &a->s;
    int64_t D = s->D, W = s->W, r = 0;
    attention_run run;
    while (attention_next_run(a->at, &first, last, lo, hi, &run))
        for (; run.begin < run.end; run.begin++, run.row++)
            for (int64_t g = 0; g < s->G; g++, r++) {
                int64_t head = run.row * s->heads + kv_head * s->G + g;
                float *q = b->q + r * W, *dout = b->dout + r * W;
                for (int64_t i = 0; i < D; i++) q[i] = a->q[head * D + i] * s->scale;
                memcpy(dout, a->dout + head * D, sizeof *dout * (size_t)D);
                b->lse[r] = a->lse[head];
                b->delta[r] = dot(dout, a->out + head * D, D);
            }
}

/* Scores and dO V^T become P and dS; both exactly 0 where a row does not see a key. */
static void weigh(const backward *a, block *b, const sppo__node *node, int64_t page, int64_t lo,
                  int64_t hi) {
    for (int64_t token = lo, r = 0; token < hi; token++) {
        int64_t position = a->s.window ? b->position[token - lo] : 0;
        attention_keys keys = attention_sees(&a->s, node, page, token, position);
        for (int64_t g = 0; g < a->s.G; g++, r++) {
            float *weight = b->weight + r * SPPO_PAGE, *dweight = b->dweight + r * SPPO_PAGE;
            vf lse = vset(b->lse[r]), delta = vset(b->delta[r]);
            for (int64_t i = 0; i < SPPO_PAGE; i += VL) {
                vf score = vload(weight + i), slope = vset(1);
                if (a->s.cap > 0) {
                    vf t = vtanh(score / vset(a->s.cap));
                    score = vset(a->s.cap) * t;
                    slope = vset(1) - t * t;
                }
                vf p = vexp(score - lse);
                vstore(weight + i, p);
                vf d = p * (vload(dweight + i) - delta);
                vstore(dweight + i, a->s.cap > 0 ? d * slope : d);
            }
            for (int64_t i = 0; i < keys.begin; i++) weight[i] = dweight[i] = 0;
            for (int64_t i = keys.end; i < SPPO_PAGE; i++) weight[i] = dweight[i] = 0;
        }
    }
}

static void add_dq(const backward *a, const block *b, int64_t kv_head, int first, int last,
                   int64_t lo, int64_t hi) {
    const attention_sizes *s = &a->s;
    int64_t r = 0;
    attention_run run;
    while (attention_next_run(a->at, &first, last, lo, hi, &run))
        for (; run.begin < run.end; run.begin++, run.row++)
            for (int64_t g = 0; g < s->G; g++, r++) {
                float *dq = a->dq + (run.row * s->heads + kv_head * s->G + g) * s->D;
                for (int64_t i = 0; i < s->D; i++) dq[i] += b->dq[r * s->W + i] * s->scale;
            }
}

/* Whether some of the tokens lo .. hi see some of the page. */
static bool page_is_seen(const backward *a, const block *b, const sppo__node *node, int64_t page,
                         int64_t lo, int64_t hi) {
    for (int64_t token = lo; token < hi; token++) {
        attention_keys k = attention_sees(&a->s, node, page, token, b->position[token - lo]);
        if (k.begin < k.end) return true;
    }
    return false;
}

/* The rows of tokens lo .. hi against the page of `count` keys in b. */
static void meet_page(const backward *a, block *b, int64_t kv_head, const sppo__node *node,
                      int64_t page, int64_t count, int first, int last, int64_t lo, int64_t hi) {
    int64_t D = a->s.D, W = a->s.W, rows = (hi - lo) * a->s.G;
    if (a->s.window) {
        attention_positions(a->at, first, last, lo, hi, b->position);
        if (!page_is_seen(a, b, node, page, lo, hi)) return;
    }
    load_rows(a, b, kv_head, first, last, lo, hi);
    tile_f32(rows, D, b->q, W, 1, b->keys, SPPO_PAGE, b->weight, SPPO_PAGE, false);
    tile_f32(rows, D, b->dout, W, 1, b->values, SPPO_PAGE, b->dweight, SPPO_PAGE, false);
    weigh(a, b, node, page, lo, hi);
    for (int64_t w = 0; w < W; w += SPPO_PANEL) {
        if (a->dq)
            tile_f32(rows, count, b->dweight, SPPO_PAGE, 1, b->key_rows + w, W, b->dq + w, W,
                     false);
        if (a->dk) tile_f32(count, rows, b->dweight, 1, SPPO_PAGE, b->q + w, W, b->dk + w, W, true);
        if (a->dv)
            tile_f32(count, rows, b->weight, 1, SPPO_PAGE, b->dout + w, W, b->dv + w, W, true);
    }
    if (a->dq) add_dq(a, b, kv_head, first, last, lo, hi);
}

/* One page of a node against the tokens lo .. hi of the branch; b gets dk and dv. */
static void run_page(const backward *a, block *b, int64_t kv_head, const attention_branch *br,
                     int n, int64_t page, int64_t lo, int64_t hi) {
    const sppo__node *node = &a->at->node[n];
    int64_t count = node->count - page * SPPO_PAGE, step = a->s.block;
    if (count > SPPO_PAGE) count = SPPO_PAGE;
    load_page(a, b, kv_head, node->start + page * SPPO_PAGE, count);
    for (lo = attention_first(&a->s, node, page, lo); lo < hi; lo += step)
        meet_page(a, b, kv_head, node, page, count, br->first, br->last, lo,
                  lo + step < hi ? lo + step : hi);
}

static void add_page(const attention_sizes *s, float *gradient, const float *page, int64_t kv_head,
                     int64_t row, int64_t count) {
    if (!gradient) return;
    for (int64_t i = 0; i < count; i++) {
        float *dst = gradient + ((row + i) * s->kv_heads + kv_head) * s->D;
        for (int64_t d = 0; d < s->D; d++) dst[d] += page[i * s->W + d];
    }
}

static float *shared_part(const backward *a, const attention_branch *br, int64_t kv_head) {
    return a->shared + br->offset + kv_head * 2 * a->at->node[br->shared].count * a->s.W;
}

static void backward_task(void *context, int64_t task, int thread) {
    const backward *a = context;
    int64_t kv_head = task % a->s.kv_heads;
    const attention_branch *br = &a->branch[task / a->s.kv_heads];
    block b = block_at(&a->s, sppo__scratch(thread));
    if (br->shared >= 0) {
        int64_t keys = a->at->node[br->shared].count, W = a->s.W;
        float *dk = shared_part(a, br, kv_head), *dv = dk + keys * W;
        for (int64_t page = 0, at = 0; at < keys; page++, at += SPPO_PAGE) {
            size_t bytes =
                sizeof(float) * (size_t)((keys - at < SPPO_PAGE ? keys - at : SPPO_PAGE) * W);
            run_page(a, &b, kv_head, br, br->shared, page, br->begin, br->end);
            memcpy(dk + at * W, b.dk, bytes);
            memcpy(dv + at * W, b.dv, bytes);
        }
    }
    for (int n = br->first; n < br->last; n++) {
        const sppo__node *node = &a->at->node[n];
        if (n == br->shared) continue;
        for (int64_t page = 0; page * SPPO_PAGE < node->count; page++) {
            int64_t row = node->start + page * SPPO_PAGE, count = node->count - page * SPPO_PAGE;
            if (count > SPPO_PAGE) count = SPPO_PAGE;
            run_page(a, &b, kv_head, br, n, page, node->begin, node->end);
            add_page(&a->s, a->dk, b.dk, kv_head, row, count);
            add_page(&a->s, a->dv, b.dv, kv_head, row, count);
        }
    }
}

/* What the branches of a shared node gave, in their order. */
static void add_shared(const backward *a, const attention_branch *br) {
    const sppo__node *node = &a->at->node[br->shared];
    for (int64_t h = 0; h < a->s.kv_heads; h++) {
        const float *dk = shared_part(a, br, h);
        add_page(&a->s, a->dk, dk, h, node->start, node->count);
        add_page(&a->s, a->dv, dk + node->count * a->s.W, h, node->start, node->count);
    }
}

sppo_status KERNEL(attention_backward)(sppo__call *c) {
    backward a = {.s = sppo__attention_sizes(c), .at = c->at};
    const float **in[] = {&a.q, &a.k, &a.v, &a.out, &a.lse, &a.dout};
    float **out[] = {&a.dq, &a.dk, &a.dv};
    for (int i = 0; i < 6; i++) *in[i] = sppo__f32(c->in[i]);
    for (int i = 0; i < 3; i++)
        if (c->out[i]) *out[i] = sppo__f32(c->out[i]);
    sppo__storage *list = NULL, *shared = NULL;
    int64_t floats, count = 0;
    sppo_status st = sppo__scratch_reserve(attention_backward_block_floats(&a.s) * 4);
    if (!st)
        st = sppo__work_new(&list, SPPO_DEVICE_CPU, a.at->nodes * (int64_t)sizeof(attention_branch),
                            false, "attention_backward");
    if (!st) {
        a.branch = list->data;
        count = sppo__attention_branches(a.at, &a.s, list->data, &floats);
        st = sppo__work_new(&shared, SPPO_DEVICE_CPU, floats * 4, false, "attention_backward");
    }
    if (!st) {
        a.shared = shared->data;
        sppo__parallel(count * a.s.kv_heads, backward_task, &a);
        for (int64_t i = 0; i < count; i++)
            if (a.branch[i].shared >= 0) add_shared(&a, &a.branch[i]);
    }
    sppo__storage_release(shared);
    sppo__storage_release(list);
    return st;
}
