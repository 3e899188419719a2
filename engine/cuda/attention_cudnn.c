/* attention_cudnn.c - attention by cuDNN: whether it is wanted and can be, and its parts run one
 * after the other. Activations are f32, so each part's rows are rounded to bf16 on their way. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/attention_parts.h"
#include "cuda/cudnn_sdpa.h"
#include "ops/workspace.h"

typedef enum wanted { UNKNOWN, OWN, CUDNN, AUTO } wanted;

/* What is told once each. */
typedef enum news { USED, MISSING, NO_ENGINE, NO_ENGINE_BACKWARD, WINDOW, NEWS } news;

static void tell(news what, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void tell(news what, const char *format, ...) {
    static bool told[NEWS];
    if (told[what]) return;
    told[what] = true;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "attention on 'cuda': ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
}

/* SPPO_CUDA_ATTENTION, read once. */
static sppo_status what_is_wanted(wanted *out) {
    static wanted known;
    const char *text = known ? NULL : getenv("SPPO_CUDA_ATTENTION");
    if (!known && (!text || !*text || !strcmp(text, "own"))) known = OWN;
    if (!known && !strcmp(text, "cudnn")) known = CUDNN;
    if (!known && !strcmp(text, "auto")) known = AUTO;
    *out = known;
    return known ? SPPO_OK : sppo__fail(SPPO_ERR_ARGUMENT, TEXT_CUDA_ATTENTION, text);
}

/* The window hides nothing from texts that are not longer than it. */
static int64_t window_of(const sppo__call *c) {
    for (int n = 0; n < c->at->nodes; n++) {
        const sppo__node *node = &c->at->node[n];
        if (node->position + node->count > c->i[2]) return c->i[2];
    }
    return 0;
}

/* Whether the parts are cuDNN's to run, so far as one can say without asking it. */
static sppo_status can_be(const sppo__call *c, bool *yes) {
    wanted want;
    *yes = false;
    sppo_status st = what_is_wanted(&want);
    if (st || want == OWN) return st;
    const char *op = sppo__op_name(c->op), *why = sppo__sdpa_missing();
    if (why && want == CUDNN) return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDNN_MISSING, op, why);
    if (why) tell(MISSING, "our own kernel, no cuDNN: %s", why);
    if (why || c->at->kv) return SPPO_OK;
    bool windowed = window_of(c) != 0, prefix = false;
    for (int n = 0; n < c->at->nodes; n++)
        prefix = prefix || c->at->node[n].end - c->at->node[n].begin > c->at->node[n].count;
    if (windowed && prefix)
        tell(WINDOW,
             "our own kernel where a sliding window cuts what answers see of a prompt: rows "
             "of several answers have equal positions, which cuDNN's window cannot say");
    *yes = !(windowed && prefix);
    return SPPO_OK;
}

static sppo__sdpa_shape shape_of(const sppo__call *c, const sppo__cuda_part *p) {
    attention_sizes s = sppo__attention_sizes(c);
    return (sppo__sdpa_shape){.backward = c->op == SPPO_OP_ATTENTION_BACKWARD,
                              .cap = s.cap > 0,
                              .padded = true,
                              .mask = p->own && s.causal ? SPPO_SDPA_CAUSAL : SPPO_SDPA_FULL,
                              .window = p->own ? window_of(c) : 0,
                              .batch = p->texts,
                              .heads = s.heads,
                              .kv_heads = s.kv_heads,
                              .queries = p->queries,
                              .keys = p->keys,
                              .D = s.D};
}

/* Plans of all parts; *yes is false where one has no engine. */
static sppo_status find_plans(const sppo__call *c, const sppo__cuda_layout *l,
                              const sppo__sdpa_plan **plan, bool *yes) {
    for (int i = 0; i < l->parts; i++) {
        sppo__sdpa_shape shape = shape_of(c, &l->part[i]);
        sppo_status st = sppo__sdpa_plan_of(sppo__op_name(c->op), &shape, &plan[i]);
        if (st) return st;
        if (plan[i]) continue;
        *yes = false;
        tell(shape.backward ? NO_ENGINE_BACKWARD : NO_ENGINE,
             "our own kernel%s, cuDNN has no engine for heads of %lld: %s",
             shape.backward ? " backward" : "", (long long)shape.D, sppo__sdpa_reason(&shape));
        return SPPO_OK;
    }
    tell(USED, "cuDNN");
    return SPPO_OK;
}

/* ---- memory of one part, in one piece ---- */

enum { PIECES = 16, PIECE_ALIGN = 256 };

typedef struct room {
    int64_t bytes;
    void **at[PIECES];
    int64_t place[PIECES];
    int count;
    sppo__storage *memory;
} room;

/* `bytes` for *at, once the room is taken. */
static void want(room *r, void **at, int64_t bytes) {
    SPPO_ASSERT(r->count < PIECES);
    r->at[r->count] = at;
    r->place[r->count++] = r->bytes;
    r->bytes += (bytes + PIECE_ALIGN - 1) / PIECE_ALIGN * PIECE_ALIGN;
}

static sppo_status take(const sppo__call *c, room *r) {
    sppo_status st =
        sppo__work_unplanned(&r->memory, SPPO_DEVICE_CUDA, r->bytes, sppo__op_name(c->op));
    for (int i = 0; i < r->count && !st; i++) *r->at[i] = (char *)r->memory->data + r->place[i];
    return st;
}

/* ---- running ---- */

typedef struct sizes {
    int64_t q_rows, k_rows, heads, q_width, k_width, D;
} sizes;

static sizes sizes_of(const sppo__call *c, const sppo__cuda_part *p) {
    attention_sizes s = sppo__attention_sizes(c);
    return (sizes){.q_rows = p->texts * p->queries,
                   .k_rows = p->texts * p->keys,
                   .heads = s.heads,
                   .q_width = s.heads * s.D,
                   .k_width = s.kv_heads * s.D,
                   .D = s.D};
}

/* Room for what both directions need, lengths from the list. */
static void want_inputs(room *r, const sizes *s, const sppo__cuda_part *p, const int32_t *list,
                        void **m, void **workspace, const sppo__sdpa_plan *plan) {
    int64_t workspace_bytes = sppo__sdpa_workspace(plan);
    want(r, &m[SPPO_SDPA_Q], s->q_rows * s->q_width * 2);
    want(r, &m[SPPO_SDPA_K], s->k_rows * s->k_width * 2);
    want(r, &m[SPPO_SDPA_V], s->k_rows * s->k_width * 2);
    want(r, &m[SPPO_SDPA_O], s->q_rows * s->q_width * 2);
    want(r, &m[SPPO_SDPA_LSE], s->q_rows * s->heads * 4);
    if (workspace_bytes) want(r, workspace, workspace_bytes);
    m[SPPO_SDPA_QUERY_LENGTH] = (void *)(list + p->query_length);
    m[SPPO_SDPA_KEY_LENGTH] = (void *)(list + p->key_length);
}

static sppo_status gather_inputs(const sppo__call *c, const sizes *s, const sppo__cuda_part *p,
                                 const int32_t *list, void **m) {
    const int32_t *queries = list + p->query_map, *keys = list + p->key_map;
    sppo_status st =
        sppo__cuda_gather(c, m[SPPO_SDPA_Q], sppo__f32(c->in[0]), queries, s->q_rows, s->q_width);
    if (!st)
        st = sppo__cuda_gather(c, m[SPPO_SDPA_K], sppo__f32(c->in[1]), keys, s->k_rows, s->k_width);
    if (!st)
        st = sppo__cuda_gather(c, m[SPPO_SDPA_V], sppo__f32(c->in[2]), keys, s->k_rows, s->k_width);
    return st;
}

static sppo_status run(const sppo__call *c, const sppo__sdpa_plan *plan, void **m,
                       void *workspace) {
    const char *op = sppo__op_name(c->op);
    sppo_status st = sppo__sdpa_run(op, plan, m, c->f[0], c->f[1], workspace);
    return st ? st : sppo__cuda_launched(c);
}

static sppo_status forward_part(const sppo__call *c, const sppo__cuda_part *p,
                                const sppo__sdpa_plan *plan, const int32_t *list) {
    sizes s = sizes_of(c, p);
    room r = {0};
    void *m[SPPO_SDPA_ROLES] = {0}, *workspace = NULL;
    want_inputs(&r, &s, p, list, m, &workspace, plan);
    sppo_status st = take(c, &r);
    if (st) return st;
    st = gather_inputs(c, &s, p, list, m);
    if (!st) st = run(c, plan, m, workspace);
    if (!st)
        st = sppo__cuda_merge(c, m[SPPO_SDPA_O], m[SPPO_SDPA_LSE], list + p->query_map, p, s.heads,
                              s.D, sppo__f32(c->out[0]), sppo__f32(c->out[1]));
    sppo__storage_release(r.memory);
    return st;
}

static sppo_status add_gradients(const sppo__call *c, const sizes *s, const sppo__cuda_part *p,
                                 const int32_t *list, void **m) {
    const int32_t *queries = list + p->query_map, *keys = list + p->key_map;
    sppo_status st = SPPO_OK;
    if (c->out[0])
        st = sppo__cuda_add_gathered(c, sppo__f32(c->out[0]), m[SPPO_SDPA_DQ], queries, s->q_rows,
                                     s->q_width);
    if (!st && c->out[1])
        st = sppo__cuda_add_gathered(c, sppo__f32(c->out[1]), m[SPPO_SDPA_DK], keys, s->k_rows,
                                     s->k_width);
    if (!st && c->out[2])
        st = sppo__cuda_add_gathered(c, sppo__f32(c->out[2]), m[SPPO_SDPA_DV], keys, s->k_rows,
                                     s->k_width);
    return st;
}

static sppo_status backward_part(const sppo__call *c, const sppo__cuda_part *p,
                                 const sppo__sdpa_plan *plan, const int32_t *list) {
    sizes s = sizes_of(c, p);
    room r = {0};
    void *m[SPPO_SDPA_ROLES] = {0}, *workspace = NULL;
    const int32_t *queries = list + p->query_map;
    want_inputs(&r, &s, p, list, m, &workspace, plan);
    want(&r, &m[SPPO_SDPA_DO], s.q_rows * s.q_width * 2);
    want(&r, &m[SPPO_SDPA_DELTA], s.q_rows * s.heads * 4);
    want(&r, &m[SPPO_SDPA_DQ], s.q_rows * s.q_width * 2);
    want(&r, &m[SPPO_SDPA_DK], s.k_rows * s.k_width * 2);
    want(&r, &m[SPPO_SDPA_DV], s.k_rows * s.k_width * 2);
    sppo_status st = take(c, &r);
    if (st) return st;
    st = gather_inputs(c, &s, p, list, m);
    if (!st)
        st =
            sppo__cuda_gather(c, m[SPPO_SDPA_O], sppo__f32(c->in[3]), queries, s.q_rows, s.q_width);
    if (!st)
        st = sppo__cuda_gather(c, m[SPPO_SDPA_DO], sppo__f32(c->in[5]), queries, s.q_rows,
                               s.q_width);
    if (!st)
        st = sppo__cuda_gather_lse(c, m[SPPO_SDPA_LSE], sppo__f32(c->in[4]), queries, p, s.heads);
    if (!st) st = run(c, plan, m, workspace);
    if (!st) st = add_gradients(c, &s, p, list, m);
    sppo__storage_release(r.memory);
    return st;
}

typedef sppo_status (*part_runner)(const sppo__call *c, const sppo__cuda_part *p,
                                   const sppo__sdpa_plan *plan, const int32_t *list);

static sppo_status by_parts(sppo__call *c, part_runner runner, bool *done) {
    const char *op = sppo__op_name(c->op);
    sppo__cuda_layout l = {0};
    const int32_t *list = NULL;
    sppo_status st = can_be(c, done);
    if (st || !*done) return st;
    st = sppo__cuda_layout_of(op, c->at, &l);
    if (st) return st;
    const sppo__sdpa_plan **plan = calloc((size_t)l.parts, sizeof *plan);
    if (!plan) st = sppo__fail(SPPO_ERR_MEMORY, TEXT_KV_MEMORY, op);
    if (!st) st = find_plans(c, &l, plan, done);
    if (!st && *done) st = sppo__cuda_ints(op, l.list, l.count, &list);
    for (int i = 0; i < l.parts && !st && *done; i++) st = runner(c, &l.part[i], plan[i], list);
    free(plan);
    free(l.part);
    free(l.list);
    return st;
}

sppo_status sppo__cuda_attention_by_parts(sppo__call *c, bool *done) {
    return by_parts(c, forward_part, done);
}

sppo_status sppo__cuda_attention_backward_by_parts(sppo__call *c, bool *done) {
    return by_parts(c, backward_part, done);
}
