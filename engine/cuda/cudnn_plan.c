/* cudnn_plan.c - graphs compiled for the GPU at hand, and running them.
 *
 * Plans are kept for the life of the process, one a shape; compiling one takes about a second. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda.h"
#include "cuda/cudnn_graph.h"

struct sppo__sdpa_plan {
    sppo__sdpa_shape shape;
    sppo__graph graph;              // its descriptors live as long as the plan that is made of them
    cudnnBackendDescriptor_t plan;  // NULL: no engine
    int64_t workspace;
    char reason[400];
    struct sppo__sdpa_plan *next;
};

static struct sppo__sdpa_plan *plans;
static cudnnHandle_t handle;

/* The library's handle, on the backend's stream; NULL or why there is none. */
static const char *open_library(char *why, size_t room) {
    char text[200] = "";
    const char *missing = sppo__cudnn_load();
    if (missing) return missing;
    cudnnStatus_t status = sppo__cudnn.open(&handle);
    if (status == CUDNN_STATUS_SUCCESS)
        status = sppo__cudnn.set_stream(handle, sppo__cuda_stream());
    if (status == CUDNN_STATUS_SUCCESS) return NULL;
    sppo__cudnn.last_error(text, sizeof text);
    snprintf(why, room, "it does not open: %s (%s)", sppo__cudnn.status_text(status), text);
    return why;
}

const char *sppo__sdpa_missing(void) {
    static bool done;
    static char why[300];
    static const char *result;
    if (!done) result = open_library(why, sizeof why);
    done = true;
    return result;
}

/* ---- plans ---- */

static void make_plan(struct sppo__sdpa_plan *p) {
    sppo__graph *g = &p->graph;
    int64_t got = 0;
    if (!sppo__graph_find_engine(g, &p->shape, NULL, handle, p->reason, sizeof p->reason)) return;
    p->plan = sppo__graph_make(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "a plan");
    sppo__graph_set(g, p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                    CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->engine);
    sppo__graph_set(g, p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                    1, &g->device);
    sppo__graph_finish(g, p->plan);
    sppo__graph_get(g, p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &got,
                    &p->workspace);
}

/* A call that cuDNN refuses leaves no plan either: another release may know another graph. */
static void compile(struct sppo__sdpa_plan *p) {
    const sppo__graph *g = &p->graph;
    make_plan(p);
    if (g->status != CUDNN_STATUS_SUCCESS) {
        p->plan = NULL;
        snprintf(p->reason, sizeof p->reason, "it refuses %s: %s (%s)", g->failed,
                 sppo__cudnn.status_text(g->status), g->text);
    }
    if (!p->plan) sppo__graph_free(&p->graph);
}

static bool same(const sppo__sdpa_shape *a, const sppo__sdpa_shape *b) {
    return a->backward == b->backward && a->f32 == b->f32 && a->cap == b->cap &&
           a->padded == b->padded && a->packed == b->packed && a->mask == b->mask &&
           a->window == b->window && a->batch == b->batch && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->queries == b->queries && a->keys == b->keys &&
           a->D == b->D;
}

static struct sppo__sdpa_plan *find(const sppo__sdpa_shape *shape) {
    struct sppo__sdpa_plan *p = plans;
    while (p && !same(&p->shape, shape)) p = p->next;
    return p;
}

sppo_status sppo__sdpa_plan_of(const char *op, const sppo__sdpa_shape *shape,
                               const sppo__sdpa_plan **out) {
    struct sppo__sdpa_plan *p = find(shape);
    if (!p) {
        const char *why = sppo__sdpa_missing();
        if (why) return sppo__fail(SPPO_ERR_DEVICE, TEXT_CUDNN_MISSING, op, why);
        p = calloc(1, sizeof *p);
        if (!p)
            return sppo__fail(SPPO_ERR_MEMORY, TEXT_MEMORY, op, (double)sizeof *p / 1048576, 0.0,
                              "");
        p->shape = *shape;
        compile(p);
        p->next = plans;
        plans = p;
    }
    *out = p->plan ? p : NULL;
    return SPPO_OK;
}

const char *sppo__sdpa_reason(const sppo__sdpa_shape *shape) {
    const struct sppo__sdpa_plan *p = find(shape);
    return p ? p->reason : "";
}

int64_t sppo__sdpa_workspace(const sppo__sdpa_plan *plan) {
    return plan->workspace;
}

/* ---- running ---- */

/* Numbers that a graph reads on the host. */
typedef struct numbers {
    float scale, cap, masked, one, window;
    int32_t window_count, queries, keys;
} numbers;

/* Without lengths CAUSAL_LAST moves the window too: column + window - keys + queries > row. */
static numbers numbers_of(const sppo__sdpa_shape *s, float scale, float cap) {
    int64_t ahead = s->mask == SPPO_SDPA_CAUSAL_LAST ? s->keys - s->queries : 0;
    return (numbers){.scale = scale,
                     .cap = cap,
                     .masked = -INFINITY,
                     .one = 1,
                     .window = (float)(s->window - ahead),
                     .window_count = (int32_t)s->window,
                     .queries = (int32_t)s->queries,
                     .keys = (int32_t)s->keys};
}

static void *number_at(numbers *n, const sppo__sdpa_shape *s, int role) {
    bool counts = s->mask == SPPO_SDPA_CAUSAL_LAST && s->padded;
    switch (role) {
    case SPPO_SDPA_SCALE: return &n->scale;
    case SPPO_SDPA_CAP: return &n->cap;
    case SPPO_SDPA_MASKED: return &n->masked;
    case SPPO_SDPA_ONE: return &n->one;
    case SPPO_SDPA_WINDOW: return counts ? (void *)&n->window_count : &n->window;
    case SPPO_SDPA_QUERIES: return &n->queries;
    default: return &n->keys;
    }
}

sppo_status sppo__sdpa_run(const char *op, const sppo__sdpa_plan *plan,
                           void *const memory[SPPO_SDPA_ROLES], float scale, float cap,
                           void *workspace) {
    numbers n = numbers_of(&plan->shape, scale, cap);
    int64_t id[SPPO_SDPA_ROLES], count = 0;
    void *at[SPPO_SDPA_ROLES];
    for (int role = 1; role < SPPO_SDPA_ROLES; role++) {
        if (!(plan->graph.roles >> role & 1)) continue;
        id[count] = role;
        at[count++] = role < SPPO_SDPA_SCALE ? memory[role] : number_at(&n, &plan->shape, role);
    }
    sppo__graph g;
    sppo__graph_new(&g);
    cudnnBackendDescriptor_t d =
        sppo__graph_make(&g, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, "a plan's memory");
    sppo__graph_set(&g, d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, at);
    sppo__graph_set(&g, d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, id);
    sppo__graph_set(&g, d, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    sppo__graph_finish(&g, d);
    sppo__graph_execute(&g, handle, plan->plan, d);
    sppo_status st = sppo__graph_result(&g, op);
    sppo__graph_free(&g);
    return st;
}
